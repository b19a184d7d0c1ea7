"""Several runs beside each other: one row a run, and one for the mean over a method's seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from lifealign_bench.config import RunConfig, flat_levels
from lifealign_bench.estimates import estimate, paired_runs
from lifealign_bench.metrics import METRICS
from lifealign_bench.paired import PairedRuns
from lifealign_bench.reporting.tables.grid import Cell, Grid
from lifealign_bench.runview import RunView
from lifealign_bench.util.text import duration, with_error

__all__ = [
    "COLUMNS",
    "ComparisonRow",
    "comparison_grids",
    "comparison_rows",
    "differing_settings",
    "flat_settings",
    "seconds_of",
]

# (heading, score, metric)
COLUMNS: tuple[tuple[str, str, str], ...] = (
    *((info.label, "preference_accuracy", name) for name, info in METRICS.items()),
    ("reward last", "reward", "last"),
    ("win rate last", "win_rate", "last"),
)


@dataclass(frozen=True)
class ComparisonRow:
    """One run, or the mean over the seeds of one method.

    Args:
        method: its name.
        seeds: the seeds that it stands for.
        status: of the run; of a mean, ``complete``.
        values, errors: one for each of :data:`COLUMNS`; NaN where undefined. Errors are standard errors: over the test
            pairs for a run, over seeds and test pairs for a mean (over seeds alone without per-pair scores).
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
    for method in dict.fromkeys(view.name for view in views):
        own = sorted((view for view in views if view.name == method), key=lambda view: view.seed)
        runs = [_row(view) for view in own]
        rows += runs
        complete = [view for view in own if view.complete]
        if len(complete) > 1:
            rows.append(_mean_row(method, complete))
    return rows


def _row(view: RunView) -> ComparisonRow:
    values = tuple(view.metric(score, metric) for _, score, metric in COLUMNS)
    intervals = [view.interval(score, metric) for _, score, metric in COLUMNS]
    errors = tuple(math.nan if i is None else i.standard_error for i in intervals)
    return ComparisonRow(view.name, (view.seed,), view.record.status, values, errors, seconds_of(view))


def _mean_row(method: str, views: Sequence[RunView]) -> ComparisonRow:
    found = []
    runs: dict[tuple[str, bool], PairedRuns | None] = {}
    for _, score, metric in COLUMNS:
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


def comparison_grids(views: Sequence[RunView]) -> list[Grid]:
    """One table for each (stream, model)."""
    grids = []
    for group in dict.fromkeys(view.group for view in views):
        grids.append(_grid(group, [view for view in views if view.group == group]))
    return grids


def _grid(group: tuple[str, str], views: Sequence[RunView]) -> Grid:
    found = comparison_rows(views)
    used = [i for i in range(len(COLUMNS)) if any(not math.isnan(row.values[i]) for row in found)]
    best = {i: _best(found, i) for i in used}
    rows: list[tuple[Cell | str, ...]] = []
    for row in found:
        seeds = str(row.seeds[0]) if len(row.seeds) == 1 else f"mean of {len(row.seeds)}"
        status = "" if row.status == "complete" else f" ({row.status})"
        cells = [Cell(with_error(row.values[i], row.errors[i]), best=row.values[i] == best[i]) for i in used]
        rows.append((row.method + status, seeds, *cells, duration(row.seconds)))
    last = next((h for h, score, _ in reversed([COLUMNS[i] for i in used]) if score == "preference_accuracy"), "gain")
    notes = [
        f"AP to {last}: preference accuracy, percent. ±: standard error over test pairs, of a mean over seeds and "
        "test pairs."
    ]
    notes += dict.fromkeys(view.single.note for view in views if view.complete and view.single.note)
    notes += differing_settings(views)
    stream, model = group
    return Grid(
        f"{stream} on {model}",
        ("method", "seed", *(COLUMNS[i][0] for i in used), "time"),
        tuple(rows),
        tuple(notes),
        labels=2,
    )


def _best(rows: Sequence[ComparisonRow], column: int) -> float:
    """The best value among single runs, or among means where there are any; NaN, marking nothing, where all agree."""
    means = [row for row in rows if len(row.seeds) > 1]
    values = [row.values[column] for row in (means or rows) if not math.isnan(row.values[column])]
    _, _, metric = COLUMNS[column]
    if len(set(values)) < 2:
        return math.nan
    return max(values) if METRICS[metric].higher_is_better else min(values)


def differing_settings(views: Sequence[RunView]) -> list[str]:
    """What beside method and seed is not the same in runs that are compared: one sentence each."""
    if len(views) < 2:
        return []
    ignored = {"method", "method_settings", "seed"}
    flat = [
        {key: value for key, value in flat_settings(view).items() if key.split(".")[0] not in ignored} for view in views
    ]
    notes = []
    for key in dict.fromkeys(key for values in flat for key in values):
        named: dict[str, list[str]] = {}
        for view, values in zip(views, flat, strict=True):
            named.setdefault(str(values.get(key)), []).append(f"{view.name} seed {view.seed}")
        if len(named) > 1:
            notes.append(
                f"Not the same everywhere: {key} is " + ", ".join(_phrase(v, w) for v, w in named.items()) + "."
            )
    digests = {tuple((name, data.test_digest) for name, data in view.record.data.items()) for view in views}
    if len(digests) > 1 and not any("limit" in note for note in notes):
        notes.append("Not the same everywhere: the test pairs.")
    return notes


def flat_settings(view: RunView) -> dict[str, Any]:
    """A run's configuration as one level of names: ``training.epochs``."""
    # A record that was written before a setting existed had what is its default now.
    return flat_levels(_defaults() | view.record.config)


@cache
def _defaults() -> dict[str, Any]:
    return RunConfig(method="", stream="", tasks=("",)).identity()


def _phrase(value: str, who: Iterable[str]) -> str:
    names = list(who)
    return f"{value} ({names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''})"
