"""The tables of one run; and runs, comparisons and plans shown on a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.text import Text

from lifealign_bench.reporting.tables.comparison import comparison_grids, difference_grids
from lifealign_bench.reporting.tables.grid import Cell, Grid, show_grid, without_repeats
from lifealign_bench.reporting.tables.noise import noise_note
from lifealign_bench.reporting.tables.plan import plan_grids
from lifealign_bench.reporting.tables.scores import (
    ability_grid,
    agreement_note,
    reward_grid,
    score_heads,
    score_note,
    tax_note,
    win_grid,
)
from lifealign_bench.results.budgets import budget_of, budget_text, spent_by
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.view import RunView, StageRow, score_title
from lifealign_bench.util.text import DASH, clean, duration, number, operations, with_error, with_interval

if TYPE_CHECKING:
    from lifealign_bench.experiments.plan import Plan

_SHORTEST = 0.05  # seconds


def record_grids(view: RunView) -> list[Grid]:
    """All tables of a run, in the order in which they are shown."""
    scores = view.main_scores()
    grids = [
        *(matrix_grid(view, score) for score in scores),
        *(task_grid(view, score) for score in scores),
        reward_grid(view),
        other_grid(view),
        ability_grid(view),
        summary_grid(view, scores) if scores else None,
        win_grid(view),
        cost_grid(view) if view.record.stages else None,
    ]
    return without_repeats([grid for grid in grids if grid is not None])


def matrix_grid(view: RunView, score: str) -> Grid:
    """Stages by tasks, each cell with its standard error."""
    matrix = view.record.scores[score]
    values, errors, digits = matrix.array(), matrix.errors(), matrix.digits
    shown = [row.row for row in view.rows]
    best = [_best(column.tolist()) for column in values[shown].T]
    rows: list[tuple[Cell | str, ...]] = []
    for row in view.rows:
        cells = [
            Cell(
                with_error(values[row.row, j], errors[row.row, j], digits),
                best=values[row.row, j] == best[j],
                current=task in row.tasks and not math.isnan(values[row.row, j]),
            )
            for j, task in enumerate(view.tasks)
        ]
        rows.append((row.label, *cells))
    unit = f" ({matrix.measured_in})" if matrix.measured_in else ""
    return Grid(
        f"{score_title(score).capitalize()}{unit} after every stage, on every task",
        ("after stage", *score_heads(view, score)),
        tuple(rows),
        (*_error_notes(view, score), *noise_note(view, score), *score_note(view, score)),
    )


def task_grid(view: RunView, score: str) -> Grid:
    """What became of each task."""
    found, errors = view.per_task(score), view.per_task_errors(score)
    digits = view.record.scores[score].digits
    columns = ("base", "learned", "final", "forgetting", "change")
    rows = [
        (
            head,
            *(
                with_error(float(found[name][j]), errors[name][j] if name in errors else None, digits)
                for name in columns
            ),
        )
        for j, head in enumerate(score_heads(view, score))
    ]
    notes = ["learned: right after its own stage; change: final - learned; forgetting: best since its stage - final."]
    if not view.sequential:
        notes = ["All tasks are trained at once: none has a stage of its own, and nothing comes after it."]
    return Grid(
        f"{score_title(score).capitalize()}: learned and forgotten",
        ("task", *columns),
        tuple(rows),
        (*notes, *score_note(view, score)),
    )


def other_grid(view: RunView) -> Grid | None:
    """Margins and the like: base, learned, final of every score that is not a main one."""
    rows: list[tuple[Cell | str, ...]] = []
    for score in view.scores():
        if score in view.main_scores():
            continue
        matrix = view.record.scores[score]
        values, errors = matrix.array(), matrix.errors()
        for when, stages in _moments(view):
            cells = [with_error(values[r, j], errors[r, j], matrix.digits) for j, r in enumerate(stages)]
            if any(cell != DASH for cell in cells):
                rows.append((score_title(score), when, *cells))
    if not rows:
        return None
    return Grid("Margins and other scores", ("score", "when", *view.tasks), tuple(rows), labels=2, minor=True)


def summary_grid(view: RunView, scores: Sequence[str]) -> Grid:
    """Every metric of every main score with its interval."""
    rows = []
    for name, info in METRICS.items():
        if info.needs_single and not view.single.name:
            continue
        rows.append((f"{info.label}", *(_metric_text(view, score, name) for score in scores)))
    notes = []
    if any(view.interval(s, m) is not None for s in scores for m in METRICS):
        notes.append("In brackets: 95 % interval over the test pairs (bootstrap), for this seed.")
    elif view.complete:
        notes.append("Without intervals: they need scores.parquet of every stage in the run's folder.")
    tax = tax_note(view)
    if tax is not None and view.complete:
        notes.append(tax)
    if view.complete and view.single.note:
        notes.append(view.single.note)
    notes += [note for score in scores for note in score_note(view, score)]
    if not view.complete:
        notes.append(f"The run is not complete (status: {view.record.status}): it has no metrics.")
    return Grid("Summary", ("metric", *(score_title(s) for s in scores)), tuple(rows), tuple(notes))


def cost_grid(view: RunView) -> Grid:
    """Time and tokens of every stage."""
    stages = view.record.stages
    parts = [p for p in ("reference", "sft", "train", "score", "generate") if any(p in s.seconds for s in stages)]
    parts += sorted({p for s in stages for p in s.seconds} - set(parts))
    # Speeds of training and of scoring on the stream; tests of general ability are neither.
    rated = [p for p in parts if p != "ability" and any(s.tokens_per_second(p) for s in stages)]
    # What took no time worth showing is in the total all the same.
    parts = [p for p in parts if any(s.seconds.get(p, 0.0) >= _SHORTEST for s in stages)]
    rows: list[tuple[Cell | str, ...]] = []
    for stage in stages:
        label = StageRow(stage.index, stage.index, tuple(stage.tasks)).label
        rows.append(
            (
                label,
                number(stage.pairs, 0) if stage.index else DASH,
                number(stage.steps, 0) if stage.index else DASH,
                number(stage.final_loss, 3),
                *(duration(stage.seconds.get(part)) for part in parts),
                duration(sum(stage.seconds.values())),
                number(sum(stage.tokens.values()), 0),
                " / ".join(number(stage.tokens_per_second(part), 0) for part in rated),
            )
        )
    seconds = [sum(s.seconds.get(part, 0.0) for s in stages) for part in parts]
    everything = sum(sum(s.seconds.values()) for s in stages)
    total = (
        "all",
        number(sum(s.pairs for s in stages), 0),
        number(sum(s.steps for s in stages), 0),
        DASH,
        *(duration(s) for s in seconds),
        duration(everything),
        number(sum(t for s in stages for t in s.tokens.values()), 0),
        DASH,
    )
    peak = view.record.peak_memory_bytes / 2**30
    return Grid(
        "Time and tokens",
        ("stage", "pairs", "steps", "loss", *parts, "total", "tokens", "tokens/s"),
        (*rows, total),
        (
            f"loss: of the last step; tokens/s: {' / '.join(rated) or DASH}.",
            _spent(view),
            *([f"Peak memory {number(peak, 1)} GiB."] if peak else []),
        ),
    )


def _spent(view: RunView) -> str:
    """What training spent in all, as far as the record knows."""
    spent = spent_by(view.record)
    counts = [f"{number(getattr(spent, n), 0)} {n}" for n in ("steps", "pairs", "tokens")]
    known = [text for text in counts if not text.startswith(DASH)]
    known += [f"{operations(spent.flops)} FLOPs"] if not math.isnan(spent.flops) else []
    return f"Training: {', '.join(known)}. {budget_text(budget_of(view.record.config))}"


def _best(column: Sequence[float]) -> float:
    """The largest value; NaN, which marks nothing, where all are the same."""
    known = [value for value in column if not math.isnan(value)]
    return max(known) if len(set(known)) > 1 else math.nan


def _moments(view: RunView) -> list[tuple[str, list[int]]]:
    """(when, row of the matrix for each task) of base, learned, final."""
    last = view.rows[-1].row
    own = {task: row.row for row in view.rows for task in row.tasks}
    moments = [("base", [0] * len(view.tasks))]
    if view.sequential and all(task in own for task in view.tasks):
        moments.append(("learned", [own[task] for task in view.tasks]))
    if last:
        moments.append(("final" if view.complete else "so far", [last] * len(view.tasks)))
    return moments


def _metric_text(view: RunView, score: str, metric: str) -> str:
    value = view.metric(score, metric)
    digits = view.record.scores[score].digits
    interval = view.interval(score, metric)
    return number(value, digits) if interval is None else with_interval(value, interval.low, interval.high, digits)


def _error_notes(view: RunView, score: str) -> list[str]:
    """What ± means, and what it does not say where all test pairs agree."""
    matrix = view.record.scores[score]
    errors, counts = matrix.errors(), np.array(matrix.n)
    known = ~np.isnan(errors)
    if not known.any():
        return []
    sizes = sorted({int(n) for n in counts[known]})
    pairs = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    notes = [f"± is one standard error over the {pairs} test pairs of a task."]
    if matrix.errors_by == "cluster" and any(_repeats(view)):
        notes = [f"± is one standard error over the {pairs} test pairs of a task, those of one cluster as one answer."]
    return notes + agreement_note(matrix)


def _repeats(view: RunView) -> Iterator[bool]:
    """Of every task whether its per-pair scores say that pairs share a cluster; no guess where there are none."""
    for block in next(iter(view.blocks.values()), {}).values():
        yield block.clusters is not None and len(set(block.clusters)) < len(block.clusters)


def render_run(console: Console, view: RunView) -> None:
    """Print all tables of one run."""
    stream, model = view.group
    console.print(
        Text(clean(f"{view.name} on {stream}, {model}, seed {view.seed}, {view.protocol}"), style="bold reverse")
    )
    if not view.complete:
        console.print(Text(clean(f"Status: {view.record.status}. {view.record.error or ''}"), style="yellow"))
    console.print()
    for grid in record_grids(view):
        show_grid(console, grid)


def render_comparison(console: Console, views: Sequence[RunView]) -> None:
    """Print the comparison of several runs, one table for each stream and model."""
    for grid in (*comparison_grids(views), *difference_grids(views)):
        show_grid(console, grid)


def render_plan(console: Console, plan: Plan) -> None:
    """Print what a run would do."""
    for grid in plan_grids(plan):
        show_grid(console, grid)
