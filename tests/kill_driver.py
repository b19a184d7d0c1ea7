"""Runs one configuration in a child that is left alone, and another in children that are killed with SIGKILL at random
moments, until one gets through.

Called by test_resume in a process of its own: imports are done once, every attempt is a fork. Arguments: the two
configurations as JSON, a seed, the number of kills, and the longest life of a child as a share of what the first run
took. Prints how many were killed.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from lifealign_bench.cli.worker import prepare
from lifealign_bench.config import RunConfig
from lifealign_bench.runs.run import run


def attempt(config: RunConfig, life: float | None) -> bool:
    """One attempt in a child; kills it after ``life`` seconds. True when it got through."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run(config)
            code = 0
        finally:
            os._exit(code)
    if life is not None:
        end = time.monotonic() + life
        while time.monotonic() < end:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status) == 0
            time.sleep(0.01)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, -signal.SIGKILL):
        raise SystemExit(f"an attempt failed with exit code {code}")
    return code == 0


def main() -> None:
    """See the module's docstring."""
    whole, broken, seed, kills, share = sys.argv[1:]
    prepare()
    # A forked child may not use a thread pool that its parent has started.
    torch.set_num_threads(1)
    began = time.monotonic()
    if not attempt(RunConfig.model_validate_json(whole), None):
        raise SystemExit("the run that is left alone did not finish")
    longest = float(share) * (time.monotonic() - began)
    config, lives = RunConfig.model_validate_json(broken), random.Random(int(seed))
    killed = 0
    while killed < int(kills):
        if attempt(config, lives.uniform(0.1, 1.0) * longest):
            break
        killed += 1
    else:
        if not attempt(config, None):
            raise SystemExit("the last attempt did not finish")
    print(killed)  # noqa: T201 - read by the test


if __name__ == "__main__":
    main()
