"""Published records whose numbers fit, made without training anything."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lifealign_bench.results.metrics import summarize
from lifealign_bench.results.published import pair_scores_file, seal
from lifealign_bench.results.scores import ScoreInfo, score_matrices

V1 = Path(__file__).parent / "records" / "v1.json"
TASKS = ("one", "two", "three")
INFOS = (
    ScoreInfo("preference_accuracy", True, "", main=10, scorer="preference"),
    ScoreInfo("preference_margin", False, "", scorer="preference"),
)

__all__ = ["INFOS", "TASKS", "V1", "config_hash", "content_of", "frames_of", "publish", "rewrite"]


def config_hash(config: dict[str, Any]) -> str:
    """As a run computes it."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


def frames_of(
    level: float,
    seed: int,
    pairs: int = 40,
    plan: Sequence[Sequence[str]] = (),
    first: float = 0.98,
    tasks: Sequence[str] = TASKS,
) -> dict[int, pd.DataFrame]:
    """Stage to per-pair scores; right answers at ``level``, for pairs that are as hard in every run.

    The first task is right at ``first`` after its own stage. In whatever order the tasks are, their pairs are as hard.
    """
    shared, own = np.random.default_rng(7), np.random.default_rng([seed, round(1000 * level)])
    stages = len(plan or tasks) + 1
    hard = {task: shared.random(pairs) for task in TASKS}
    names = [task for task in tasks for _ in range(pairs)]
    ids = [f"{task}/test/{i}" for task in tasks for i in range(pairs)]
    # One frame for all stages: making one takes longer than all that is in it.
    bare, frames = pd.DataFrame({"task": names, "pair_id": ids}), {}
    for stage in range(stages):
        parts = []
        for task in tasks:
            share = first if stage == 1 and task == tasks[0] else level  # learned, whatever becomes of it
            draw = hard[task] < share + own.normal(0, 0.03, pairs) if stage else np.full(pairs, 0.5)
            parts.append(draw * 1.0)
        right = np.concatenate(parts)
        frames[stage] = bare.assign(preference_accuracy=right, preference_margin=right * 4 - 2)
    return frames


def content_of(
    frames: dict[int, pd.DataFrame],
    method: str = "dpo",
    seed: int = 0,
    plan: Sequence[Sequence[str]] = (),
    **config: Any,
) -> dict[str, Any]:
    """The record of a run with these scores, as plain JSON values of the present schema."""
    content: dict[str, Any] = json.loads(V1.read_text(encoding="utf-8"))
    tasks = config.get("tasks", list(TASKS))
    trained = [list(stage) for stage in plan] or [[task] for task in tasks]
    rows = {0: frames[0]}
    for index, stage in enumerate(trained, start=1):
        rows[max(rows) + len(stage)] = frames[index]
    matrices = score_matrices(tasks, rows, len(tasks), INFOS)
    settings = content["config"] | {
        "stream": "some",
        "model": "small",
        "tasks": tasks,
        "seed": seed,
        "method": method,
    }
    settings |= config
    pairs = int((frames[0]["task"] == tasks[0]).sum())
    template = content["stages"][1]
    # Times to the last digit would be those of one run under many names.
    template = template | {"seconds": {part: round(seconds, 3) for part, seconds in template["seconds"].items()}}
    data = content["data"]["fake-upper"] | {"test_pairs": pairs, "test_prompts_in_train": 0}
    return content | {
        "schema_version": 2,
        "config": settings,
        "config_hash": config_hash(settings),
        "method": content["method"] | {"name": method, "settings": {}} | _source(method),
        "stream": {"name": settings["stream"], "tasks": tasks},
        "data": dict.fromkeys(tasks, data),
        "stages": [template | {"index": i, "tasks": names} for i, names in enumerate([[], *trained])],
        "scores": {name: matrix.model_dump(mode="json") for name, matrix in matrices.items()},
        "metrics": {
            name: {k: None if np.isnan(v) else float(v) for k, v in summarize(matrix.array()).items()}
            for name, matrix in matrices.items()
        },
    }


def _source(method: str) -> dict[str, str]:
    """The record that all are made of is of ``dpo``; others have a file of their own."""
    return {} if method == "dpo" else {"source_sha256": hashlib.sha256(method.encode("utf-8", "replace")).hexdigest()}


def rewrite(place: Path, content: dict[str, Any], sealed: bool = True) -> None:
    """Put another record at ``place``."""
    place.write_text(json.dumps(content, indent=2), encoding="utf-8")
    if sealed:
        seal(place)


def publish(
    results: Path,
    method: str = "dpo",
    seed: int = 0,
    level: float = 0.7,
    pairs: int = 40,
    draw: int | None = None,
    first: float = 0.98,
    **more: Any,
) -> Path:
    """A published record; ``more``: see :func:`content_of`."""
    frames = frames_of(
        level, seed if draw is None else draw, pairs, more.get("plan", ()), first, more.get("tasks", TASKS)
    )
    content = content_of(frames, method, seed, **more)
    config = content["config"]
    place: Path = results.joinpath(config["stream"], config["model"], method, f"seed-{seed}.json")
    place.parent.mkdir(parents=True, exist_ok=True)
    whole = pd.concat([frame.assign(stage=stage) for stage, frame in frames.items()], ignore_index=True)
    whole.to_parquet(pair_scores_file(place), index=False)
    rewrite(place, content)
    return place
