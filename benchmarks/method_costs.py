"""What a method costs beside plain DPO: seconds a step, seconds of its hooks a stage, what it keeps."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

TASKS = ("mini-detailed", "mini-brief")
PAIRS = 8


def measure_methods(repeats: int, methods: tuple[str, ...]) -> dict[str, Any]:
    """Every method's second stage on two tasks, method after method, ``repeats`` times round.

    Returns:
        By method: lists ``step`` (seconds of training a step, hooks within it included) and ``hooks`` (seconds of the
        hooks before and after a stage), and ``state`` (bytes that the method keeps after one stage).
    """
    from lifealign_bench.config import RunConfig, TrainingConfig
    from lifealign_bench.runs.run import run

    found: dict[str, Any] = {name: {"step": [], "hooks": [], "state": 0} for name in methods}
    for _ in range(repeats):
        for name in methods:
            with tempfile.TemporaryDirectory() as folder:
                config = RunConfig(
                    method=name,
                    stream=",".join(TASKS),
                    tasks=TASKS,
                    train_limit=PAIRS,
                    test_limit=2,
                    scorers=("preference",),
                    training=TrainingConfig(batch_size=4),
                    out=Path(folder),
                )
                record = run(config)
                stage = record.stages[-1]
                part = next(part for part in ("train", "on_policy", "sft") if part in stage.seconds)
                # What a step trains on is sampled in it, or before the first one.
                seconds = stage.seconds[part] + stage.seconds.get("rollout", 0.0)
                found[name]["step"].append(seconds / stage.steps)
                found[name]["hooks"].append(stage.seconds["hooks"])
                kept = config.run_directory() / "stage-1" / "method.safetensors"
                found[name]["state"] = kept.stat().st_size
    return found
