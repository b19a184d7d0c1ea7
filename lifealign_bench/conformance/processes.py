"""Two processes train as one does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import lifealign_bench
from lifealign_bench.conformance.bench import Bench
from lifealign_bench.conformance.checks import Check, Outcome, bad
from lifealign_bench.conformance.compare import WEIGHT_TOLERANCE, same_training
from lifealign_bench.conformance.stream import configuration
from lifealign_bench.conformance.trial import Trial
from lifealign_bench.conformance.worker import MARK

__all__ = ["CHECKS"]

SECONDS = 300


def _two(bench: Bench) -> Outcome:
    whole = bench.whole
    config = configuration(str(_absolute(bench.method)), bench.folder / "processes")
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    words += ["-m", "lifealign_bench.conformance.worker", config.model_dump_json()]
    # Both processes shall have this code, wherever it was imported from.
    root = str(Path(lifealign_bench.__file__).resolve().parents[1])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        done = subprocess.run(
            [sys.executable, *words],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )
    except subprocess.TimeoutExpired:
        return bad(f"two processes were not done after {SECONDS} seconds: one waits for the other")
    if done.returncode != 0:
        return bad(f"two processes broke: {_reason(done.stderr)}")
    other = Trial(config, whole.session, whole.stages, True)
    return same_training(whole, other, range(1, whole.stages + 1))


def _absolute(method: str) -> str | Path:
    return Path(method).resolve() if method.endswith(".py") else method


def _reason(text: str) -> str:
    """Why the processes broke: by the workers' own word, else the last line of what was said."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line.partition(MARK)[2] for line in lines if MARK in line]
    return (told or lines[-1:] or ["no message"])[0]


CHECKS = (
    Check(
        "two processes",
        f"two processes, each with its share of every step, come to adapters and scores within {WEIGHT_TOLERANCE:g}",
        "pair_loss sees this process's pairs only, on_gradients sees averaged gradients: whatever else hooks gather or "
        "draw has to come out alike on every process.",
        _two,
    ),
)
