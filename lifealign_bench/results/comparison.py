"""Two runs on the same test pairs: differences of metrics, tasks and stages, and the pairs on which they disagree."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.estimates import metric_function, paired_runs
from lifealign_bench.results.metrics import METRICS, per_task
from lifealign_bench.results.paired import Difference, Metric, PairedRuns, holm
from lifealign_bench.results.view import RunView
from lifealign_bench.util.registry import unknown_name

__all__ = ["TASK_COLUMNS", "Compared", "Disagreement", "RunPair", "compare_runs"]

TASK_COLUMNS = ("learned", "final", "forgetting")
_MARGIN = "preference_margin"


@dataclass(frozen=True)
class Compared:
    """A difference, second minus first, and its p-value corrected (Holm) for all those of its table."""

    difference: Difference
    p: float


@dataclass(frozen=True)
class Disagreement:
    """A test pair that two runs score differently after the last stage.

    Args:
        task: its task.
        pair_id: its id.
        first, second: its score.
        first_margin, second_margin: its preference margin in nats; NaN where there is none.
    """

    task: str
    pair_id: str
    first: float
    second: float
    first_margin: float
    second_margin: float


@dataclass(frozen=True)
class RunPair:
    """How a second run differs from a first; what is not defined for both is left out.

    Args:
        metrics: name to difference.
        tasks: task to one of :data:`TASK_COLUMNS` to difference.
        stages: row of the score matrix to task to difference.
        pairs: on which they disagree after the last stage, most first.
        compared: test pairs of each task.
    """

    first: RunView
    second: RunView
    score: str
    metrics: dict[str, Compared]
    tasks: dict[str, dict[str, Compared]]
    stages: dict[int, dict[str, Compared]]
    pairs: list[Disagreement]
    compared: dict[str, int]


def compare_runs(first: RunView, second: RunView, score: str) -> RunPair:
    """Compare two complete runs of one stream.

    Raises:
        UsageError: no such score in them.
        BenchError: a run is not complete or has no per-pair scores; other tasks or test pairs.
    """
    if first.tasks != second.tasks:
        raise BenchError(
            f"The runs have other tasks, or other orders of them: {', '.join(first.tasks)}; {', '.join(second.tasks)}.",
            "Compare runs of one stream; lifealign-bench orders shows what the order does.",
        )
    for view in (first, second):
        _check(view, score)
    runs = paired_runs({"first": [first], "second": [second]}, score, "last")
    if runs is None:
        raise BenchError(
            f"{_label(first)} and {_label(second)} were not scored on the same test pairs.",
            "Compare runs with the same data and the same --test-limit.",
        )
    functions: dict[str, Metric] = {n: metric_function(n) for n, info in METRICS.items() if not info.needs_single}
    metrics = {name: runs.difference("second", "first", function) for name, function in functions.items()}
    alone = paired_runs({"first": [first], "second": [second]}, score, "intransigence")
    if alone is not None:
        metrics["intransigence"] = alone.difference("second", "first", metric_function("intransigence"))
    return RunPair(
        first,
        second,
        score,
        _corrected(metrics),
        _by_task(runs, first, second),
        _by_stage(runs, first),
        _disagreements(first, second, score),
        {task: len(first.pair_ids(task)) for task in first.tasks},
    )


def _check(view: RunView, score: str) -> None:
    if not view.complete:
        raise BenchError(f"{_label(view)} is {view.record.status}.", "Finish it first: run the same command again.")
    if score not in view.record.scores:
        raise unknown_name(f"score of {_label(view)}", score, view.scores())
    if not view.pair_scores(score):
        if all(v is None for row in view.record.scores[score].value for v in row):
            raise UsageError(f"{_label(view)} has no values of {score}.", f"It has {', '.join(view.scores())}.")
        raise BenchError(
            f"The per-pair scores of {_label(view)} are missing or not those of its record.",
            "Name the whole folder of a run, or a published record with its scores file.",
        )


def _label(view: RunView) -> str:
    return f"{view.name} seed {view.seed}"


def _corrected(found: Mapping[Any, Difference]) -> dict[Any, Compared]:
    """Without what is undefined."""
    known = {key: d for key, d in found.items() if not math.isnan(d.value)}
    return {key: Compared(d, p) for (key, d), p in zip(known.items(), holm([d.p for d in known.values()]), strict=True)}


def _by_task(runs: PairedRuns, first: RunView, second: RunView) -> dict[str, dict[str, Compared]]:
    # Without stages of their own, tasks have no "learned".
    columns = TASK_COLUMNS if first.sequential and second.sequential else ("final",)
    found = {
        (task, column): runs.difference("second", "first", _task_function(column, j))
        for j, task in enumerate(first.tasks)
        for column in columns
    }
    corrected = _corrected(found)
    return {
        task: {column: corrected[task, column] for column in columns if (task, column) in corrected}
        for task in first.tasks
    }


def _task_function(column: str, task: int) -> Metric:
    return lambda m: per_task(m)[column][..., task]


def _by_stage(runs: PairedRuns, view: RunView) -> dict[int, dict[str, Compared]]:
    rows = range(len(view.tasks) + 1)
    found = {
        (row, task): runs.difference("second", "first", _cell_function(row, j))
        for row in rows
        for j, task in enumerate(view.tasks)
    }
    corrected = _corrected(found)
    stages = {row: {task: corrected[row, task] for task in view.tasks if (row, task) in corrected} for row in rows}
    return {row: cells for row, cells in stages.items() if cells}


def _cell_function(row: int, task: int) -> Metric:
    return lambda m: m[..., row, task]


def _disagreements(first: RunView, second: RunView, score: str) -> list[Disagreement]:
    found = []
    for task in first.tasks:
        scores, margins = ([_last(view, task, name) for view in (first, second)] for name in (score, _MARGIN))
        for pair_id, a in scores[0].items():
            b = scores[1].get(pair_id, math.nan)
            if a != b and not math.isnan(b):
                own = [values.get(pair_id, math.nan) for values in margins]
                found.append(Disagreement(task, pair_id, a, b, own[0], own[1]))

    def size(pair: Disagreement) -> tuple[float, float]:
        margin = abs(pair.second_margin - pair.first_margin)
        return -abs(pair.second - pair.first), 0.0 if math.isnan(margin) else -margin

    return sorted(found, key=size)


def _last(view: RunView, task: str, score: str) -> dict[str, float]:
    return view.stage_scores(view.rows[-1].row, task, score)
