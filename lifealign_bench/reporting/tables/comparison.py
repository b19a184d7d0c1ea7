"""Several runs beside each other: one row a run, and one for the mean over a method's seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any

from lifealign_bench.config import RunConfig, flat_levels
from lifealign_bench.estimates import estimate, paired_runs
from lifealign_bench.reporting.tables.grid import Cell, Grid
from lifealign_bench.results.comparison import TASK_COLUMNS, Compared, Disagreement, RunPair
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.paired import Difference, PairedRuns, holm
from lifealign_bench.results.record import Matrix
from lifealign_bench.results.view import RunView
from lifealign_bench.util.text import DASH, duration, number, with_error

__all__ = [
    "COLUMNS",
    "ComparisonRow",
    "comparison_grids",
    "comparison_json",
    "comparison_rows",
    "difference_grids",
    "differences",
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


SCORE, METRIC = "preference_accuracy", "last"


def differences(views: Sequence[RunView]) -> list[tuple[str, str, Difference]]:
    """Every two methods among complete runs of one stream and model, in their order; see ``paired``.

    Runs without per-pair scores, that were scored on other test pairs than the first, or for which the metric is not
    defined (``single``), are left out.
    """
    scores: dict[str, list[dict[str, Matrix]]] = {}
    digests = None
    for view in views:
        own = tuple((name, data.test_digest) for name, data in view.record.data.items())
        defined = not math.isnan(view.metric(SCORE, METRIC))
        found = view.pair_scores(SCORE) if defined and SCORE in view.record.scores else {}
        if found and digests in (None, own):
            digests = own
            scores.setdefault(view.name, []).append(found)
    runs = PairedRuns(scores, 100.0) if len(scores) > 1 else None
    return [
        (a, b, runs.difference(a, b, METRICS[METRIC].function)) for a, b in combinations(scores, 2) if runs is not None
    ]


def difference_grids(views: Sequence[RunView]) -> list[Grid]:
    """One table for each (stream, model) with at least two methods."""
    grids = []
    for group in dict.fromkeys(view.group for view in views):
        found = differences([view for view in views if view.group == group])
        if not found:
            continue
        corrected = holm([d.p for _, _, d in found])
        rows = [
            (a, b, f"{number(d.value)} [{number(d.low)}, {number(d.high)}]", _p(d.p), _p(p))
            for (a, b, d), p in zip(found, corrected, strict=True)
        ]
        notes = [
            f"Paired over {found[0][2].pairs} test pairs: 95 % interval by bootstrap, p by exchanging the methods' "
            f"scores; Holm: p corrected for these {len(rows)} comparisons. Where methods trade tasks, p is careful: "
            "the interval may exclude 0 and p be above 0.05.",
        ]
        if all(d.seeds == (1, 1) for _, _, d in found):
            notes.append("One seed each: what another seed of training would change is not in it.")
        else:
            notes.append("Several seeds: the interval counts them, the test does not.")
        stream, model = group
        title = f"{METRICS[METRIC].label} (preference accuracy, percent), method by method: {stream} on {model}"
        heads = ("first", "second", "first - second", "p", "p (Holm)")
        grids.append(Grid(title, heads, tuple(rows), tuple(notes), labels=2))
    return grids


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else number(value, 3)


_LEVEL = 0.05


def settings_grid(settings: dict[str, list[Any]], labels: Sequence[str]) -> Grid:
    rows = [
        (name, *(DASH if value is None else str(value) for value in values)) for name, values in settings.items()
    ] or [("(nothing)", *("" for _ in labels))]
    return Grid("What is not the same", ("setting", *labels), tuple(rows), prose=tuple(range(1, len(labels) + 1)))


def _text(found: Compared | None, digits: int) -> str:
    if found is None:
        return DASH
    d = found.difference
    star = "*" if found.p < _LEVEL else ""
    return f"{number(d.value, digits)}{star} [{number(d.low, digits)}, {number(d.high, digits)}]"


def _digits(pair: RunPair) -> int:
    return 1 if pair.first.record.scores[pair.score].percent else 2


def _unit(pair: RunPair) -> str:
    matrix = pair.first.record.scores[pair.score]
    return "percentage points" if matrix.percent else matrix.measured_in


def metric_grid(pair: RunPair) -> Grid:
    digits = _digits(pair)
    rows = []
    for name, found in pair.metrics.items():
        values = [number(view.metric(pair.score, name), digits) for view in (pair.first, pair.second)]
        rows.append((METRICS[name].label, *values, _text(found, digits), _p(found.difference.p), _p(found.p)))
    total = sum(pair.compared.values())
    notes = (
        f"Paired over {total} test pairs, {_unit(pair)}: second minus first, 95 % interval by bootstrap over the "
        "pairs; p by exchanging the runs' scores, Holm: corrected for all differences of a table; *: below 0.05 after "
        "that. What another seed of training would change is not in it.",
    )
    return Grid("Metrics", ("metric", "first", "second", "difference", "p", "p (Holm)"), tuple(rows), notes)


def task_grid(pair: RunPair) -> Grid:
    digits = _digits(pair)
    columns = [c for c in TASK_COLUMNS if any(c in cells for cells in pair.tasks.values())]
    rows = [(task, *(_text(cells.get(column), digits) for column in columns)) for task, cells in pair.tasks.items()]
    return Grid("Tasks", ("task", *columns), tuple(rows))


def stage_grid(pair: RunPair) -> Grid:
    digits = _digits(pair)
    labels = {row.row: row.label for row in pair.second.rows}
    rows = [
        (labels.get(row, str(row)), *(_text(cells.get(task), digits) for task in pair.first.tasks))
        for row, cells in pair.stages.items()
    ]
    return Grid("After every stage, on every task", ("after stage", *pair.first.tasks), tuple(rows))


def count_grid(pair: RunPair, first: str, second: str) -> Grid:
    rows = []
    for task, count in pair.compared.items():
        own = [p for p in pair.pairs if p.task == task]
        higher = sum(p.second > p.first for p in own)
        rows.append((task, str(count), str(len(own) - higher), str(higher)))
    heads = ("task", "pairs", f"higher: {first}", f"higher: {second}")
    return Grid("Pairs on which they disagree after the last stage", heads, tuple(rows))


def pairs_to_show(pair: RunPair, task: str | None, limit: int | None) -> list[Disagreement]:
    return [p for p in pair.pairs if task in (None, p.task)][:limit]


def pair_grid(chosen: Sequence[Disagreement], total: int, first: str, second: str) -> Grid:
    rows = tuple(
        (p.pair_id, number(p.first, 2), number(p.second, 2), number(p.first_margin, 2), number(p.second_margin, 2))
        for p in chosen
    )
    heads = ("pair", first, second, f"margin {first}", f"margin {second}")
    notes = (f"{len(chosen)} of {total}; margin: preference margin in nats.",)
    return Grid("Where they disagree most", heads, rows, notes)


def comparison_json(pair: RunPair, task: str | None, limit: int | None) -> dict[str, Any]:
    """A comparison as plain JSON values."""
    return {
        "first": {"method": pair.first.name, "seed": pair.first.seed},
        "second": {"method": pair.second.name, "seed": pair.second.seed},
        "score": pair.score,
        "test_pairs": pair.compared,
        "metrics": {name: _json(found) for name, found in pair.metrics.items()},
        "tasks": {t: {c: _json(found) for c, found in cells.items()} for t, cells in pair.tasks.items()},
        "stages": [
            {"row": row, "tasks": {t: _json(found) for t, found in cells.items()}} for row, cells in pair.stages.items()
        ],
        "disagreements": [
            {
                "task": p.task,
                "pair": p.pair_id,
                "first": p.first,
                "second": p.second,
                "first_margin": _plain(p.first_margin),
                "second_margin": _plain(p.second_margin),
            }
            for p in pairs_to_show(pair, task, limit)
        ],
    }


def _json(found: Compared) -> dict[str, float | None]:
    d = found.difference
    return {"difference": _plain(d.value), "low": _plain(d.low), "high": _plain(d.high), "p": d.p, "p_holm": found.p}


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(f"{value:.12g}")
