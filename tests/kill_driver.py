"""Runs a configuration in children that are killed with SIGKILL at random moments, until one gets through.

Called by test_resume in a process of its own: imports are done once, every attempt is a fork. Arguments: the
configuration as JSON, a seed, the number of kills, and the longest life of a child in seconds.
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
    text, seed, kills, longest = sys.argv[1:]
    # A forked child may not use a thread pool that its parent has started.
    torch.set_num_threads(1)
    config = RunConfig.model_validate_json(text)
    lives = random.Random(int(seed))
    began = time.monotonic()
    killed = 0
    while killed < int(kills):
        if attempt(config, lives.uniform(0.1, 1.0) * float(longest)):
            break
        killed += 1
    else:
        if not attempt(config, None):
            raise SystemExit("the last attempt did not finish")
    print(killed, time.monotonic() - began)  # noqa: T201 - read by the test


if __name__ == "__main__":
    main()
