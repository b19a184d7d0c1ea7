"""Two processes train as one does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import lifealign_bench
from lifealign_bench.conformance.bench import Bench
from lifealign_bench.conformance.compare import distance
from lifealign_bench.conformance.findings import Check, Outcome, bad, good
from lifealign_bench.conformance.passes import WEIGHT_TOLERANCE
from lifealign_bench.conformance.stream import configuration
from lifealign_bench.conformance.trial import Trial

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
    for stage in range(1, whole.stages + 1):
        apart = distance(whole.weights(0), whole.weights(stage), other.weights(stage))
        if not apart <= WEIGHT_TOLERANCE:
            return bad(f"after stage {stage} the adapters are apart by {apart:.2g} of the way they came")
    return good(f"apart by {apart:.1g} of the way they came")


def _absolute(method: str) -> str | Path:
    return Path(method).resolve() if method.endswith(".py") else method


def _reason(text: str) -> str:
    """The line of a launcher's output that says most: the first one of an exception that is not the launcher's."""
    lines = [line.strip() for line in text.splitlines()]
    errors = [x for x in lines if "Error" in x.partition(":")[0] and "ChildFailedError" not in x]
    return (errors or [line for line in lines if line] or ["no message"])[0][:300]


CHECKS = (
    Check(
        "two processes",
        f"two processes, each with its share of every step, train the same adapter within {WEIGHT_TOLERANCE:g}",
        "pair_loss sees this process's pairs only, on_gradients sees averaged gradients: whatever else hooks gather or "
        "draw has to come out alike on every process.",
        _two,
    ),
)
