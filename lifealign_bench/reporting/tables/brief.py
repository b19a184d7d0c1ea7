"""What a run says at a glance: what was learned and forgotten, the win rate, what it cost, what to do next.

At most :data:`MOST_LINES` lines on a terminal of 80 columns, for one run and for a comparison; every table is in
``run`` and ``comparison`` beside this module.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.text import Text

from lifealign_bench.reporting.tables.comparison import difference_text, task_difference_grid
from lifealign_bench.reporting.tables.grid import LABEL_WIDTH, Cell, Grid, show_grid
from lifealign_bench.reporting.tables.noise import close_pairs
from lifealign_bench.reporting.tables.scores import agreement_note, tax_note
from lifealign_bench.results.budgets import spent_by
from lifealign_bench.results.comparison import (
    ComparisonRow,
    RunPair,
    comparison_rows,
    ranking_score,
    run_columns,
    seconds_of,
)
from lifealign_bench.results.sameness import differing_settings
from lifealign_bench.results.view import RunView, score_title
from lifealign_bench.util.text import break_name, clean, duration, number, with_error, with_interval

MOST_LINES = 25

_TASK_LINES = 6
_OTHER_SCORES = 3
_ROWS = 12
# Of a comparison's metrics those that a first look needs, and of the other scores' ends.
_METRICS = ("last", "forgetting", "learning")
_ENDS = {"win_rate": "win rate", "preference_accuracy": "accuracy"}


def show_summary(console: Console, views: Sequence[RunView], places: Sequence[Path]) -> None:
    """Print one run, or several side by side, at a glance.

    Args:
        places: the runs as the user can name them in a command.
    """
    if len(views) == 1:
        show_brief(console, views[0], places[0])
    elif views:
        show_brief_comparison(console, views, places)


def show_brief(console: Console, view: RunView, place: Path) -> None:
    """Print a run in at most :data:`MOST_LINES` lines."""
    stream, model = view.group
    _say(
        console, f"{view.name} on {stream}, {model}, seed {view.seed}: {len(view.tasks)} tasks, {view.protocol}", "bold"
    )
    if not view.complete:
        _say(console, f"Status: {view.record.status}. {view.record.error or ''}", "yellow")
    console.print()
    scores = view.main_scores()
    for label, text in (*_outcome(view, scores), ("cost", _cost(view))):
        console.print(Text.assemble((f"{label:<11}", "bold"), clean(text)), soft_wrap=False)
    _say_next(console, "Next: all tables, one page with figures, the responses", _commands(view, scores, place))
    if scores:
        console.print()
        show_grid(console, _tasks(view, scores[0]))


def show_brief_comparison(console: Console, views: Sequence[RunView], places: Sequence[Path]) -> None:
    """Print several runs side by side; of one stream and model in at most :data:`MOST_LINES` lines."""
    for group in dict.fromkeys(view.group for view in views):
        show_grid(console, brief_comparison([view for view in views if view.group == group]))
    words = shlex.join(map(str, places)) if len(places) < 3 else "RUN ..."
    commands = [f"lifealign-bench summary --full {words}", f"lifealign-bench report {words}"]
    _say_next(console, "Next: every metric and difference, or one page with figures", commands)


def brief_comparison(views: Sequence[RunView]) -> Grid:
    """A row for each method of one stream and model: the mean over its seeds, or its only run."""
    rows = _one_a_method(comparison_rows(views))
    first = ranking_score(views)
    columns = {(score, metric): i for i, (_, score, metric) in enumerate(run_columns(first))}
    wanted = {metric: (first, metric) for metric in _METRICS}
    wanted |= {heading: (score, "last") for score, heading in _ENDS.items() if score != first}
    used = {heading: columns[key] for heading, key in wanted.items() if _any(rows, columns[key])}
    cells: list[tuple[Cell | str, ...]] = [
        (
            row.method + ("" if row.status == "complete" else f" ({row.status})"),
            str(row.seeds[0]) if len(row.seeds) == 1 else f"{len(row.seeds)} seeds",
            *(Cell(with_error(row.values[i], row.errors[i])) for i in used.values()),
            duration(row.seconds),
        )
        for row in rows[:_ROWS]
    ]
    notes = [f"last to learning: {score_title(first)}. Percent, ± one standard error; --full says what each column is."]
    if len(rows) > _ROWS:
        notes.append(f"And {len(rows) - _ROWS} more (--full).")
    unlike = differing_settings([view.record for view in views])
    if unlike:
        notes.append(f"Not the same everywhere: {len(unlike)} setting{'s' * (len(unlike) > 1)} (--full).")
    stream, model = views[0].group
    phases = " or ".join(dict.fromkeys(view.protocol for view in views))
    return Grid(
        f"{stream} on {model}, {phases}", ("method", "seed", *used, "time"), tuple(cells), tuple(notes), labels=2
    )


def brief_differences(pairs: Sequence[RunPair], labels: Sequence[str]) -> Grid:
    """What every run differs by from the first in the metrics that a first look needs.

    Args:
        labels: of the first run and of each that is compared with it.
    """
    columns = ("learning", "forgetting", "last")
    rows = [
        (label, *(difference_text(pair, pair.metrics.get(column)) for column in columns))
        for label, pair in list(zip(labels[1:], pairs, strict=True))[:_ROWS]
    ]
    notes = ["In brackets: 95 % intervals over test pairs; *: p below 0.05 (Holm)."]
    if len(pairs) > _ROWS:
        notes.append(f"And {len(pairs) - _ROWS} more (--full).")
    title = f"{score_title(pairs[0].score).capitalize()}: difference from {labels[0]}"
    return Grid(title, ("run", *columns), tuple(rows), tuple(notes))


def brief_tasks(pair: RunPair) -> Grid:
    """The same of one run, task by task."""
    grid = task_difference_grid(pair)
    if len(grid.rows) > _TASK_LINES:
        more = (f"and {len(grid.rows) - _TASK_LINES + 1} more", *("" for _ in grid.heads[1:]))
        return replace(grid, rows=(*grid.rows[: _TASK_LINES - 1], more))
    return grid


def _one_a_method(rows: Sequence[ComparisonRow]) -> list[ComparisonRow]:
    """Of each method the mean where there is one, which comes after its runs; else its runs."""
    found: list[ComparisonRow] = []
    for method in dict.fromkeys(row.method for row in rows):
        own = [row for row in rows if row.method == method]
        means = [row for row in own if len(row.seeds) > 1]
        found += means or own
    return found


def _any(rows: Sequence[ComparisonRow], column: int) -> bool:
    return any(not math.isnan(row.values[column]) for row in rows)


def _tasks(view: RunView, score: str) -> Grid:
    """What became of the first tasks, as many as there is room for."""
    found, errors = view.per_task(score), view.per_task_errors(score)
    matrix = view.record.scores[score]
    columns = ("base", "learned", "final", "forgetting")
    rows = []
    lines = 0
    for j, task in enumerate(view.tasks):
        lines += break_name(clean(task), LABEL_WIDTH).count("\n") + 1
        if lines > _TASK_LINES - (j + 1 < len(view.tasks)):
            rows.append((f"and {len(view.tasks) - j} more", *("" for _ in columns)))
            break
        cells = [with_error(float(found[c][j]), errors[c][j] if c in errors else None, matrix.digits) for c in columns]
        rows.append((task, *cells))
    unit = f" ({matrix.measured_in})" if matrix.measured_in else ""
    agreed = any(cell in ("0.0 ±0.0", "100.0 ±0.0") for _, *cells in rows for cell in cells)
    return Grid(
        f"{score_title(score).capitalize()}{unit}",
        ("task", *columns),
        tuple(rows),
        (
            "learned: after its own stage; ±: one standard error over its test pairs.",
            *(agreement_note(matrix) if agreed else ()),
        ),
    )


def _outcome(view: RunView, scores: Sequence[str]) -> Iterator[tuple[str, str]]:
    """A label and a sentence for each thing to know."""
    if not scores:
        yield "scores", "none of those that a first look shows"
        return
    if not view.complete:
        yield "outcome", "none yet: the run is not complete"
        return
    first = scores[0]
    if view.sequential:
        by = f"{score_title(first)}, right after each task's own stage"
        yield "learned", f"{_metric(view, first, 'learning')}, the mean {by}"
        yield (
            "forgotten",
            f"{_metric(view, first, 'forgetting')}, the best since then - the end{_most_lost(view, first)}",
        )
    of = "" if view.sequential else f" {score_title(first)}"
    yield "at the end", f"{_metric(view, first, 'last')}, the mean{of} over all tasks"
    others = sorted(scores[1:], key=lambda name: "win_rate" not in name)
    for name in others[:_OTHER_SCORES]:
        label, said = ("win rate", "") if name == "win_rate" else ("", f"{score_title(name)} ")
        told = ", at the end, against the base model (50: as good)" if "win_rate" in name else ", at the end"
        yield label or "also", f"{said}{_metric(view, name, 'last')}{told}"
    tax = tax_note(view)
    if tax is not None:
        yield "tax", f"ability {tax.removeprefix('Alignment tax: general ability ')}"
    within, pairs = close_pairs(view, first)
    if within:
        yield "caution", f"rounding may decide {number(within, 0)} of {number(pairs, 0)} pairs (see --full)"


def _forgotten_most(view: RunView, score: str) -> int | None:
    """The task that fell most from its best to the end; None where none fell."""
    lost = view.per_task(score).get("forgetting")
    if lost is None or np.isnan(lost).all() or np.nanmax(lost) <= 0:
        return None
    return int(np.nanargmax(lost))


def _most_lost(view: RunView, score: str) -> str:
    j = _forgotten_most(view, score)
    return "" if j is None else f"; most of it {view.tasks[j]}"


def _metric(view: RunView, score: str, metric: str) -> str:
    digits = view.record.scores[score].digits
    interval = view.interval(score, metric)
    value = view.metric(score, metric)
    return number(value, digits) if interval is None else with_interval(value, interval.low, interval.high, digits)


def _cost(view: RunView) -> str:
    spent = spent_by(view.record)
    tokens = sum(sum(stage.tokens.values()) for stage in view.record.stages)
    parts = [duration(seconds_of(view)), f"{number(tokens, 0)} tokens"]
    if not math.isnan(spent.steps):
        parts.append(f"{number(spent.steps, 0)} training steps")
    peak = view.record.peak_memory_bytes / 2**30
    return ", ".join([*parts, *([f"{number(peak, 1)} GiB memory"] if peak else [])])


def _commands(view: RunView, scores: Sequence[str], place: Path) -> list[str]:
    words = shlex.quote(str(place))
    j = _forgotten_most(view, scores[0]) if view.complete and view.sequential and scores else None
    task = view.tasks[0 if j is None else j]
    return [
        f"lifealign-bench summary --full {words}",
        f"lifealign-bench report {words}",
        f"lifealign-bench inspect {words} --task {shlex.quote(task)}",
    ]


def _say_next(console: Console, heading: str, commands: Sequence[str]) -> None:
    _say(console, heading, "bold")
    for command in commands:
        console.print(Text(f"  {clean(command)}"), soft_wrap=True)


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(clean(text), style=style))
