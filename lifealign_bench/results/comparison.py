"""Runs beside each other: a row a run and the differences between methods; of two runs, the test pairs as well.

Two runs on the same test pairs differ in metrics, tasks and stages, and disagree on pairs; several have one row each,
one for the mean over a method's seeds, and a difference for every two methods.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.results.contributions import Metric
from lifealign_bench.results.metrics import METRICS, intransigence, per_task
from lifealign_bench.results.paired import RESAMPLES, Difference, Estimate, PairedRuns, holm
from lifealign_bench.results.statistics import mean_and_se
from lifealign_bench.results.view import SCORE, WIN_RATE, RunView
from lifealign_bench.util.registry import unknown_name

METRIC = "last"

TASK_COLUMNS = ("learned", "final", "forgetting")

_MARGIN = "preference_margin"


@dataclass(frozen=True)
class Corrected:
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
    metrics: dict[str, Corrected]
    tasks: dict[str, dict[str, Corrected]]
    stages: dict[int, dict[str, Corrected]]
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


def run_labels(views: Sequence[RunView], places: Sequence[Path]) -> list[str]:
    """What several runs are called beside each other: ``dpo seed 0``; with its place where that is not enough."""
    names = [_label(view) for view in views]
    return [f"{n} ({place})" if names.count(n) > 1 else n for n, place in zip(names, places, strict=True)]


def _corrected(found: Mapping[Any, Difference]) -> dict[Any, Corrected]:
    """Without what is undefined."""
    known = {key: d for key, d in found.items() if not math.isnan(d.value)}
    return {
        key: Corrected(d, p) for (key, d), p in zip(known.items(), holm([d.p for d in known.values()]), strict=True)
    }


def _by_task(runs: PairedRuns, first: RunView, second: RunView) -> dict[str, dict[str, Corrected]]:
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


def _by_stage(runs: PairedRuns, view: RunView) -> dict[int, dict[str, Corrected]]:
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


_LEVELS = ("average_performance", "last", "learning")


def metric_function(metric: str) -> Metric:
    """A metric as a function of the matrices of :func:`paired_runs`."""
    info = METRICS[metric]
    # S is one more row of the matrix: it is of the same test pairs, which are drawn together.
    return (lambda m: intransigence(m[..., :-1, :], m[..., -1, :])) if info.needs_single else info.function


def paired_runs(
    methods: Mapping[str, Sequence[RunView]], score: str, metric: str, resamples: int = RESAMPLES
) -> PairedRuns | None:
    """The per-pair scores of methods, for ``metric``.

    Returns:
        None where one of the runs has none, or where they are not of the same test pairs.
    """
    views = [view for own in methods.values() for view in own]
    if not views or any(score not in view.record.scores for view in views):
        return None
    alone = METRICS[metric].needs_single
    runs = {
        name: [view.pair_scores_with_single(score) if alone else view.pair_scores(score) for view in own]
        for name, own in methods.items()
    }
    if not all(run for own in runs.values() for run in own):
        return None
    if len({tuple((task, view.pair_ids(task)) for task in view.tasks) for view in views}) > 1:
        return None
    matrix = views[0].record.scores[score]
    # Runs of before there were clusters are of the same pairs as those that name them.
    clusters = next((view for view in views if view.clustered), views[0]).clusters
    seeds = {name: [view.seed for view in own] for name, own in methods.items()}
    return PairedRuns(
        runs,
        matrix.scale,
        partial=matrix.partial,
        resamples=resamples,
        clusters=clusters,
        bounded=matrix.percent,
        seeds=seeds if all(len(set(own)) == len(own) for own in seeds.values()) else None,
    )


def estimate(name: str, views: Sequence[RunView], score: str, metric: str, runs: PairedRuns | None) -> Estimate:
    """The mean of a metric over a method's runs.

    Args:
        name: the method in ``runs``.
        views: its complete runs, one for each seed.
        runs: see :func:`paired_runs`; without it the error is that over the seeds alone and there is no interval.
    """
    values = [view.metric(score, metric) for view in views]
    mean, error = mean_and_se(values)
    if runs is None or math.isnan(mean):
        return Estimate(mean, math.nan, math.nan, error, len(values))
    return estimate_of(runs, name, metric)


def estimate_of(runs: PairedRuns, name: str, metric: str) -> Estimate:
    """:meth:`PairedRuns.estimate` of a metric by its name, within what a share can be."""
    found = runs.estimate(name, metric_function(metric))
    if found.seeds == 1 or not runs.bounded:
        return found
    # Few seeds make a wide interval; beyond what a share can be it says nothing.
    lowest = 0.0 if metric in _LEVELS else -100.0
    return replace(found, low=max(found.low, lowest), high=min(found.high, 100.0))


# (heading, score, metric)
RunColumn = tuple[str, str, str]
_OTHERS = {"reward": "reward last", WIN_RATE: "win rate last", SCORE: "accuracy last"}


def run_columns(score: str) -> tuple[RunColumn, ...]:
    """Heading, score and metric of what is said of each run: every metric of what is ranked by, and how the other main
    scores end."""
    others = [(heading, name, METRIC) for name, heading in _OTHERS.items() if name != score]
    return (*((info.label, score, name) for name, info in METRICS.items()), *others)


@dataclass(frozen=True)
class ComparisonRow:
    """One run, or the mean over the seeds of one method.

    Args:
        method: its name.
        seeds: the seeds that it stands for.
        status: of the run; of a mean, ``complete``.
        values, errors: one for each of :func:`run_columns`; NaN where undefined. Errors are standard errors: over the
            test pairs for a run, over seeds and test pairs for a mean (over seeds alone without per-pair scores).
        seconds: wall clock; the mean for a mean.
    """

    method: str
    seeds: tuple[int, ...]
    status: str
    values: tuple[float, ...]
    errors: tuple[float, ...]
    seconds: float


def seconds_of(view: RunView) -> float:
    """Wall-clock seconds of all stages."""
    return sum(sum(stage.seconds.values()) for stage in view.record.stages)


def comparison_rows(views: Sequence[RunView]) -> list[ComparisonRow]:
    """One row a run, in the given order by method; below a method's several complete seeds their mean."""
    rows: list[ComparisonRow] = []
    columns = run_columns(ranking_score(views))
    for method in dict.fromkeys(view.name for view in views):
        own = sorted((view for view in views if view.name == method), key=lambda view: view.seed)
        runs = [_row(view, columns) for view in own]
        rows += runs
        complete = [view for view in own if view.complete]
        if len(complete) > 1:
            rows.append(_mean_row(method, complete, columns))
    return rows


def _row(view: RunView, columns: Sequence[RunColumn]) -> ComparisonRow:
    values = tuple(view.metric(score, metric) for _, score, metric in columns)
    intervals = [view.interval(score, metric) for _, score, metric in columns]
    errors = tuple(math.nan if i is None else i.standard_error for i in intervals)
    return ComparisonRow(view.name, (view.seed,), view.record.status, values, errors, seconds_of(view))


def _mean_row(method: str, views: Sequence[RunView], columns: Sequence[RunColumn]) -> ComparisonRow:
    found = []
    runs: dict[tuple[str, bool], PairedRuns | None] = {}
    for _, score, metric in columns:
        kind = (score, METRICS[metric].needs_single)
        if kind not in runs:
            runs[kind] = paired_runs({method: views}, score, metric)
        found.append(estimate(method, views, score, metric, runs[kind]))
    return ComparisonRow(
        method,
        tuple(view.seed for view in views),
        "complete",
        tuple(e.value for e in found),
        tuple(e.standard_error for e in found),
        sum(map(seconds_of, views)) / len(views),
    )


def ranking_score(views: Sequence[RunView]) -> str:
    """What most runs of a stream are judged by first; see ``RunView.ranked_by``."""
    by_score = Counter(view.ranked_by for view in views)
    return by_score.most_common(1)[0][0] if by_score else SCORE


def shared_score(views: Sequence[RunView]) -> str:
    """The same where every run has it, else preference accuracy, which all have."""
    score = ranking_score(views)
    return score if all(score in view.record.scores for view in views) else SCORE


def method_differences(views: Sequence[RunView]) -> list[tuple[str, str, Difference]]:
    """Every two methods among complete runs of one stream and model, in their order; see ``paired``.

    Runs without per-pair scores, that were scored on other test pairs than the first, or for which the metric is not
    defined (``single``), are left out.
    """
    kept: dict[str, list[RunView]] = {}
    digests = None
    score = ranking_score(views)
    for view in views:
        own = tuple((name, data.test_digest) for name, data in view.record.data.items())
        defined = not math.isnan(view.metric(score, METRIC))
        found = view.pair_scores(score) if defined and score in view.record.scores else {}
        if found and digests in (None, own):
            digests = own
            kept.setdefault(view.name, []).append(view)
    runs = paired_runs(kept, score, METRIC) if len(kept) > 1 else None
    if runs is None:
        return []
    pairs = list(combinations(kept, 2))
    function = METRICS[METRIC].function
    if all(len(own) == 1 for own in kept.values()):
        return [(a, b, runs.difference(a, b, function)) for a, b in pairs]
    return [(a, b, d) for (a, b), d in zip(pairs, runs.differences(pairs, function), strict=True)]
