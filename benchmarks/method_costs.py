"""What a method costs beside plain DPO: seconds a step, seconds of its hooks a stage, what it keeps."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

STREAM = "forms"
TASKS = ("forms-green", "forms-label")
PAIRS = 8
NEW_TOKENS = 24


def measure_methods(repeats: int, methods: tuple[str, ...]) -> dict[str, Any]:
    """Every method's second stage on two tasks, method after method, ``repeats`` times round, on one thread.

    Times are of the processor, which other work on the machine lengthens little.

    Returns:
        By method: lists ``step`` (seconds of training a step, hooks within it included), ``against`` (the same divided
        by that of ``dpo`` in the same round) and ``hooks`` (seconds of the hooks before and after a stage), ``state``
        (bytes that the method keeps after one stage) and ``on`` (whose tasks).
    """
    names = ("dpo", *(name for name in methods if name != "dpo"))
    found: dict[str, Any] = {n: {"step": [], "against": [], "hooks": [], "state": 0, "on": STREAM} for n in names}
    for _ in range(repeats):
        for name in names:
            with patch.object(time, "perf_counter", time.process_time):
                step, hooks, state = _second_stage(name)
            row = found[name]
            row["step"].append(step)
            row["against"].append(step / found["dpo"]["step"][-1])
            row["hooks"].append(hooks)
            row["state"] = state
            print(name, row, file=sys.stderr, flush=True)
    return found


def _second_stage(name: str) -> tuple[float, float, int]:
    """Seconds of a step and of the hooks, and bytes kept."""
    from lifealign_bench.config import GenerationConfig, RunConfig, TrainingConfig
    from lifealign_bench.runs.run import run

    with tempfile.TemporaryDirectory() as folder:
        config = RunConfig(
            method=name,
            stream=",".join(TASKS),
            tasks=TASKS,
            train_limit=PAIRS,
            test_limit=2,
            scorers=("preference",),
            training=TrainingConfig(batch_size=4),
            generation=GenerationConfig(max_new_tokens=NEW_TOKENS),
            threads=1,
            out=Path(folder),
        )
        stage = run(config).stages[-1]
        part = next(part for part in ("train", "on_policy", "sft") if part in stage.seconds)
        # What a step trains on is sampled in it, or before the first one.
        seconds = stage.seconds[part] + stage.seconds.get("rollout", 0.0)
        kept = config.run_directory() / "stage-1" / "method.safetensors"
        return seconds / stage.steps, stage.seconds["hooks"], kept.stat().st_size
