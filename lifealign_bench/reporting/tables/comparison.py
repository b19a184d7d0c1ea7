"""Runs beside each other as tables: a row a run, differences of methods; of two runs, by task, stage and pair."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lifealign_bench.reporting.tables.grid import Cell, Grid
from lifealign_bench.results.comparison import (
    METRIC,
    TASK_COLUMNS,
    ComparisonRow,
    Corrected,
    Disagreement,
    RunColumn,
    RunPair,
    comparison_rows,
    method_differences,
    ranking_score,
    run_columns,
)
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.paired import holm
from lifealign_bench.results.sameness import differing_settings
from lifealign_bench.results.view import RunView, score_title
from lifealign_bench.util.text import DASH, duration, number, p_text, rounded, with_error, with_interval


def comparison_grids(views: Sequence[RunView]) -> list[Grid]:
    """One table for each (stream, model)."""
    grids = []
    for group in dict.fromkeys(view.group for view in views):
        grids.append(_grid(group, [view for view in views if view.group == group]))
    return grids


def _grid(group: tuple[str, str], views: Sequence[RunView]) -> Grid:
    found = comparison_rows(views)
    score = ranking_score(views)
    columns = run_columns(score)
    used = [i for i in range(len(columns)) if any(not math.isnan(row.values[i]) for row in found)]
    best = {i: _best(found, i, columns[i]) for i in used}
    rows: list[tuple[Cell | str, ...]] = []
    for row in found:
        seeds = str(row.seeds[0]) if len(row.seeds) == 1 else f"mean of {len(row.seeds)}"
        status = "" if row.status == "complete" else f" ({row.status})"
        cells = [Cell(with_error(row.values[i], row.errors[i]), best=row.values[i] == best[i]) for i in used]
        rows.append((row.method + status, seeds, *cells, duration(row.seconds)))
    shown = [columns[i] for i in used]
    last = next((heading for heading, of, _ in reversed(shown) if of == score), "gain")
    notes = [
        f"AP to {last}: {score_title(score)}, percent. ±: standard error over test pairs, of a mean over seeds and "
        "test pairs."
    ]
    notes += dict.fromkeys(view.single.note for view in views if view.complete and view.single.note)
    notes += differing_settings([view.record for view in views])
    stream, model = group
    phases = " or ".join(dict.fromkeys(view.protocol for view in views))
    return Grid(
        f"{stream} on {model}, {phases}",
        ("method", "seed", *(heading for heading, _, _ in shown), "time"),
        tuple(rows),
        tuple(notes),
        labels=2,
    )


def _best(rows: Sequence[ComparisonRow], column: int, said: RunColumn) -> float:
    """The best value among single runs, or among means where there are any; NaN, marking nothing, where all agree."""
    means = [row for row in rows if len(row.seeds) > 1]
    values = [row.values[column] for row in (means or rows) if not math.isnan(row.values[column])]
    _, _, metric = said
    if len(set(values)) < 2:
        return math.nan
    return max(values) if METRICS[metric].higher_is_better else min(values)


# Below differences of methods with other seeds.
OVER_SHARED = (
    "seeds: that both methods have; a difference is over these, and not that of the means over all seeds of each."
)


def difference_grids(views: Sequence[RunView]) -> list[Grid]:
    """One table for each (stream, model) with at least two methods."""
    grids = []
    for group in dict.fromkeys(view.group for view in views):
        own = [view for view in views if view.group == group]
        found = method_differences(own)
        if not found:
            continue
        corrected = holm([d.p for _, _, d in found])
        several = len({d.shared for _, _, d in found}) > 1
        rows = [
            (
                *(a, b, with_interval(d.value, d.low, d.high), p_text(d.p), p_text(p)),
                *([str(d.shared)] if several else []),
            )
            for (a, b, d), p in zip(found, corrected, strict=True)
        ]
        notes = [
            f"Paired over {found[0][2].pairs} test pairs, with 95 % intervals; Holm: p corrected for the "
            f"{sum(not math.isnan(p) for p in corrected)} comparisons that have one.",
        ]
        if all(d.seeds == (1, 1) for _, _, d in found):
            notes.append(
                "One seed each: what another training seed would change is not included; p is of these runs, by "
                "exchanging their scores. Where they trade tasks it is careful: the interval may exclude 0 and p "
                "be above "
                "0.05."
            )
        else:
            notes.append("Several seeds: interval and p count them, seed by seed.")
            notes += dict.fromkeys(f"No p-value: {d.why}." for _, _, d in found if d.why)
        stream, model = group
        of = f"{score_title(ranking_score(own))}, percent"
        title = f"{METRICS[METRIC].label} ({of}), method by method: {stream} on {model}"
        if several:
            notes.append(OVER_SHARED)
        heads = ("first", "second", "first - second", "p", "p (Holm)", *(["seeds"] if several else []))
        grids.append(Grid(title, heads, tuple(rows), tuple(notes), labels=2))
    return grids


_LEVEL = 0.05


def settings_grid(settings: dict[str, list[Any]], labels: Sequence[str]) -> Grid:
    rows = [
        (name, *(DASH if value is None else str(value) for value in values)) for name, values in settings.items()
    ] or [("(nothing)", *("" for _ in labels))]
    return Grid("What is not the same", ("setting", *labels), tuple(rows), prose=tuple(range(1, len(labels) + 1)))


def difference_text(pair: RunPair, found: Corrected | None) -> str:
    """``-9.1* [-12.3, -6.0]``, the star for a small p-value; a dash where there is none."""
    return _text(found, pair.first.record.scores[pair.score].digits)


def _text(found: Corrected | None, digits: int) -> str:
    if found is None:
        return DASH
    d = found.difference
    star = "*" if found.p < _LEVEL else ""
    return f"{number(d.value, digits)}{star} [{number(d.low, digits)}, {number(d.high, digits)}]"


def _unit(pair: RunPair) -> str:
    matrix = pair.first.record.scores[pair.score]
    return "percentage points" if matrix.percent else matrix.measured_in


def metric_difference_grid(pair: RunPair) -> Grid:
    digits = pair.first.record.scores[pair.score].digits
    rows = []
    for name, found in pair.metrics.items():
        values = [number(view.metric(pair.score, name), digits) for view in (pair.first, pair.second)]
        rows.append((METRICS[name].label, *values, _text(found, digits), p_text(found.difference.p), p_text(found.p)))
    total = sum(pair.compared.values())
    notes = (
        f"Paired over {total} test pairs, {_unit(pair)}: second minus first, 95 % interval by bootstrap over the "
        "pairs; p by exchanging the runs' scores, Holm: corrected for all differences of a table; *: below 0.05 after "
        "that. What another training seed would change is not included.",
    )
    return Grid("Metrics", ("metric", "first", "second", "difference", "p", "p (Holm)"), tuple(rows), notes)


def task_difference_grid(pair: RunPair) -> Grid:
    digits = pair.first.record.scores[pair.score].digits
    columns = [c for c in TASK_COLUMNS if any(c in cells for cells in pair.tasks.values())]
    rows = [(task, *(_text(cells.get(column), digits) for column in columns)) for task, cells in pair.tasks.items()]
    return Grid("Tasks", ("task", *columns), tuple(rows))


def stage_grid(pair: RunPair) -> Grid:
    digits = pair.first.record.scores[pair.score].digits
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
                "first_margin": rounded(p.first_margin),
                "second_margin": rounded(p.second_margin),
            }
            for p in pairs_to_show(pair, task, limit)
        ],
    }


def _json(found: Corrected) -> dict[str, float | None]:
    d = found.difference
    return {"difference": rounded(d.value), "low": rounded(d.low), "high": rounded(d.high), "p": d.p, "p_holm": found.p}
