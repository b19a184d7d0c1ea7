"""The figures of several runs: methods beside each other, and the order of the tasks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lifealign_bench.reporting.figures.charts import heat, intervals, lines, orders, points
from lifealign_bench.reporting.figures.figure import UNKNOWN, Bar, Chart, Datum, Figure
from lifealign_bench.reporting.figures.run import axis_title, mean_of_cells, slug, tints
from lifealign_bench.results.budgets import spent_by
from lifealign_bench.results.comparison import estimate, paired_runs
from lifealign_bench.results.inference import ENOUGH_SEEDS
from lifealign_bench.results.leaderboard import LEVEL, NOT_TRAINING, WIN_RATE, Board, corrected_for
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.orders import order_rows
from lifealign_bench.results.paired import PairedRuns
from lifealign_bench.results.record import ScoreMatrix
from lifealign_bench.results.sameness import differing_settings
from lifealign_bench.results.statistics import mean_and_se
from lifealign_bench.results.view import RunView, score_title

# Times that differ by more than this are drawn on a logarithmic axis.
_WIDE = 20

_LAST = "last"
_TERA = 1e12


def group_figures(views: Sequence[RunView], score: str, names: Sequence[str] = ()) -> list[Figure]:
    """Those of complete runs of one stream and model that have this score; none for fewer than two methods.

    Args:
        names: the methods in the order in which they are shown; others follow.
    """
    found = _methods(views, score)
    if len(found) < 2:
        return []
    methods = {name: found[name] for name in dict.fromkeys([*names, *found]) if name in found}
    group = _MethodRuns(score, methods, {name: paired_runs({name: own}, score, _LAST) for name, own in methods.items()})
    figures = [_course(group), _transfer(group), _cost(group), _responses(group), _final(group)]
    return [figure for figure in figures if figure is not None]


def _methods(views: Sequence[RunView], score: str) -> dict[str, list[RunView]]:
    """Method to its runs that can be drawn."""
    found: dict[str, list[RunView]] = {}
    for view in views:
        if view.complete and score in view.scores() and view.tasks == views[0].tasks:
            found.setdefault(view.name, []).append(view)
    return found


def seeds_note(views: Sequence[RunView], score: str) -> str:
    """Of all figures of a group: how many seeds there are, what the intervals are over, and whether there is more that
    is not the same."""
    methods = _methods(views, score)
    counts = [len(own) for own in methods.values()]
    fewest, most = min(counts), max(counts)
    seeds = "one seed" if most == 1 else f"{most} seeds" if fewest == most else f"{fewest} to {most} seeds"
    over = "seeds and test pairs" if fewest > 1 else "test pairs"
    over += ", and over seeds where a method has several" if fewest == 1 < most else ""
    same = not differing_settings([view.record for own in methods.values() for view in own])
    more = "" if same else " The runs differ in more than method and seed: see the notes of the table."
    return f"Each method has {seeds}; intervals are 95 % over {over}.{more}"


@dataclass(frozen=True)
class _MethodRuns:
    """Method to its complete runs of one stream and model, and to their per-pair scores, if they are available."""

    score: str
    methods: dict[str, list[RunView]]
    pairs: dict[str, PairedRuns | None]

    @property
    def first(self) -> RunView:
        """Any of the runs: all have the same tasks and scores."""
        return next(iter(self.methods.values()))[0]

    def metric(self, name: str, metric: str) -> Bar:
        """A method's mean of a metric over its seeds."""
        found = estimate(name, self.methods[name], self.score, metric, self.pairs[name])
        return Bar(found.value, found.low, found.high)


def _course(group: _MethodRuns) -> Figure | None:
    """The mean over all tasks through the stages, a line a method; over those trained so far where that shows more
    methods, as runs may not have been scored on later tasks. None where no method has a mean."""
    score, tasks = group.score, group.first.tasks
    height = max(view.record.scores[score].array().shape[0] for own in group.methods.values() for view in own)
    found = {name: [_mean(group, name, i, tasks) for i in range(height)] for name in group.methods}
    over, caption = "all tasks", f"All {len(tasks)} tasks of the stream, seen or not."
    if not all(_is_line(found[name]) for name, own in group.methods.items() if own[0].sequential):
        so_far = {
            name: [_mean(group, name, i, _trained(own[0], i)) for i in range(height)]
            for name, own in group.methods.items()
        }
        if sum(map(_is_line, so_far.values())) > sum(map(_is_line, found.values())):
            found, over, caption = so_far, "the tasks trained so far", "Tasks count from their own stage on."
    rows = [
        {"series": name, "place": str(i), **point.columns()}
        for name, course in found.items()
        # A method that starts again each time (single) has no mean over all tasks but the base model's.
        if any(point.known for point in course[1:])
        for i, point in enumerate(course)
    ]
    if not rows:
        return None
    return Figure(
        id=f"methods-curves-{slug(score)}",
        title=f"Mean {score_title(score)} over {over}, by tasks trained",
        caption=caption,
        chart=lines("tasks trained", f"mean {axis_title(group.first, score)}"),
        data=tuple(rows),
        series=tuple(group.methods),
    )


def _is_line(course: Sequence[Bar]) -> bool:
    """Whether there is more than a point after the base model's."""
    return sum(point.known for point in course[1:]) > 1


def _trained(view: RunView, row: int) -> tuple[str, ...]:
    """The tasks that have been trained on in a row of the matrices."""
    return tuple(task for stage in view.rows if stage.row <= row for task in stage.tasks)


def _mean(group: _MethodRuns, name: str, row: int, tasks: Sequence[str]) -> Bar:
    """A method's mean over ``tasks`` in one row of the matrices; unknown where a run has no such row, or of no task."""
    own, matrix = group.methods[name], group.first.record.scores[group.score]
    if not tasks or any(row not in {r.row for r in view.rows} for view in own):
        return UNKNOWN
    at, pairs = [group.first.tasks.index(task) for task in tasks], group.pairs[name]
    if pairs is not None:
        found = pairs.estimate(name, lambda m: m[..., row, at].mean(axis=-1))
        low, high = (0.0, 100.0) if matrix.percent else (-math.inf, math.inf)
        return Bar(found.value, max(found.low, low), min(found.high, high))
    matrices = [view.record.scores[group.score] for view in own]
    if len(own) == 1:
        return mean_of_cells(
            matrices[0].array()[row, at].tolist(), matrices[0].errors()[row, at].tolist(), matrix.percent
        )
    return Bar(mean_and_se([float(m.array()[row, at].mean()) for m in matrices])[0])


def _points(
    group: _MethodRuns, name: str, title: str, caption: str, chart: Chart, dots: dict[str, tuple[Bar, Bar]]
) -> Figure | None:
    """A point a method, of those that have both numbers; None where none has."""
    rows = [
        {"name": method, "note": _seeds(group.methods[method]), **x.columns("x"), **y.columns("y")}
        for method, (x, y) in dots.items()
        if x.known and y.known
    ]
    figure_id = f"methods-{name}-{slug(group.score)}"
    return Figure(figure_id, title, caption, chart, tuple(rows), tuple(group.methods)) if rows else None


def _transfer(group: _MethodRuns) -> Figure | None:
    """Learning against forgetting."""
    return _points(
        group,
        "learning-forgetting",
        f"Learning against forgetting: {score_title(group.score)}",
        "Further right: learned better; lower: less forgotten.",
        points("learning: mean score after a task's own stage", "forgetting: mean loss since the best"),
        {name: (group.metric(name, "learning"), group.metric(name, "forgetting")) for name in group.methods},
    )


def _cost(group: _MethodRuns) -> Figure | None:
    """Cost against quality: by operations where all runs have counted them, since the clock also measures the machine
    and what else ran there."""

    def mean(spending: Callable[[RunView], float]) -> dict[str, float]:
        return {name: mean_and_se([spending(view) for view in own])[0] for name, own in group.methods.items()}

    spent = mean(lambda view: spent_by(view.record).flops / _TERA)
    title = "operations of training (1e12)"
    caption = "By formula, mean over seeds: of training, the reference and what a method asks for; scoring left out."
    if any(math.isnan(value) for value in spent.values()):
        spent = mean(lambda view: _training_seconds(view) / 60)
        title = "minutes of training"
        caption = "Wall clock, scoring left out, mean over seeds. Only runs on the same machine can be compared."
    known = {name: value for name, value in spent.items() if value > 0}
    wide = max(known.values(), default=0) > _WIDE * min(known.values(), default=1)
    return _points(
        group,
        "cost-quality",
        f"Cost against quality: {score_title(group.score)}",
        caption,
        points(title, "mean over all tasks at the end", log=wide),
        {name: (Bar(value), group.metric(name, _LAST)) for name, value in known.items()},
    )


def _responses(group: _MethodRuns) -> Figure | None:
    """What is ranked by against what the responses are worth."""
    if group.score == WIN_RATE:
        return None
    dots = {}
    for name, own in group.methods.items():
        if all(WIN_RATE in view.scores() for view in own):
            found = estimate(name, own, WIN_RATE, _LAST, paired_runs({name: own}, WIN_RATE, _LAST))
            dots[name] = (group.metric(name, _LAST), Bar(found.value, found.low, found.high))
    return _points(
        group,
        "responses",
        f"Win rate against {score_title(group.score)}",
        "Mean over all tasks after the last stage. Win rate: responses against the base model's by the tasks' rewards; "
        "50 is as good as the base model.",
        points(axis_title(group.first, group.score), "win rate (percent)"),
        dots,
    )


def _final(group: _MethodRuns) -> Figure:
    """Every method on every task after the last stage, below the base model."""
    first, matrix = group.first, group.first.record.scores[group.score]
    last, tasks = first.rows[-1].row, first.tasks
    found = {name: [_end(group, name, j) for j in range(len(tasks))] for name in group.methods}
    # A method that starts again each time (single) knows its last task alone.
    found = {name: cells for name, cells in found.items() if np.isfinite([v for v, _ in cells]).mean() >= 0.5}
    started = _base_matrix(group)
    base = started.array()[0]
    found = {_BASE: list(zip(base.tolist(), started.errors()[0].tolist(), strict=True)), **found}
    tinted = tints(np.array([[value for value, _ in cells] for cells in found.values()]), base, matrix.percent)
    counts = {_BASE: started.n[0]} | {n: own[0].record.scores[group.score].n[last] for n, own in group.methods.items()}
    rows: list[Datum] = []
    for (name, cells), tint in zip(found.items(), tinted.tolist(), strict=True):
        for j, (value, error) in enumerate(cells):
            place = {"row": name, "column": tasks[j]}
            rows.append({**place, "value": value, "error": error, "n": counts[name][j], "tint": tint[j]})
    return Figure(
        id=f"methods-final-{slug(group.score)}",
        title=f"{score_title(group.score).capitalize()} after the last stage, every method on every task",
        caption="Blue: above the base model on that task; orange: below. Each cell: mean ± one standard error.",
        chart=heat("method", "task", digits=matrix.digits),
        data=tuple(rows),
    )


_BASE = "base model"


def _base_matrix(group: _MethodRuns) -> ScoreMatrix:
    """One in which the base model was scored on every task; a run of one stage (joint) may have none of it."""
    matrices = [view.record.scores[group.score] for own in group.methods.values() for view in own]
    return next((m for m in matrices if np.isfinite(m.array()[0]).all()), matrices[0])


def _end(group: _MethodRuns, name: str, column: int) -> tuple[float, float]:
    """A method's score on one task after the last stage, and its standard error."""
    own, pairs = group.methods[name], group.pairs[name]
    last = own[0].rows[-1].row
    if len(own) > 1 and pairs is not None:
        found = pairs.estimate(name, lambda m: m[..., last, column])
        return found.value, found.standard_error
    cells = [view.record.scores[group.score] for view in own]
    if len(own) > 1:
        return mean_and_se([float(cell.array()[last, column]) for cell in cells])
    return float(cells[0].array()[last, column]), float(cells[0].errors()[last, column])


def _training_seconds(view: RunView) -> float:
    """As the leaderboard counts them."""
    stages = view.record.stages
    return sum(seconds for stage in stages for part, seconds in stage.seconds.items() if part not in NOT_TRAINING)


def _seeds(own: Sequence[RunView]) -> str:
    return f"seed {own[0].seed}" if len(own) == 1 else f"{len(own)} seeds"


def order_figures(
    views: Sequence[RunView], score: str, metrics: Sequence[str] = ("last", "backward_transfer")
) -> list[Figure]:
    """How much the order of the tasks moves each metric, for each model and set of tasks run in two orders or more."""
    rows = order_rows(views)
    figures = []
    for place, key in enumerate(dict.fromkeys((row.model, row.tasks) for row in rows), start=1):
        own = [row for row in rows if (row.model, row.tasks) == key]
        for metric in metrics:
            spreads = [(row, row.spreads[score, metric]) for row in own if (score, metric) in row.spreads]
            label = METRICS[metric].label
            data = [
                {"name": row.method, "label": order, "value": value, "mean": spread.mean, "deviation": spread.deviation}
                for row, spread in spreads
                if math.isfinite(spread.mean)
                for order, value in zip(
                    row.orders, _by_order(views, row.method, row.orders, row.model, score, metric), strict=True
                )
            ]
            if not data:
                continue
            figures.append(
                Figure(
                    id=f"orders-{place}-{slug(metric)}-{slug(score)}",
                    title=f"Order sensitivity: {label} of {score_title(score)}, {key[0]}",
                    caption="One point per order (its seeds averaged); tick: the mean over the orders, bar: one "
                    f"standard deviation to each side. Tasks: {', '.join(key[1])}.",
                    chart=orders(f"{label}, {score_title(score)}"),
                    data=tuple(data),
                )
            )
    return figures


def _by_order(
    views: Sequence[RunView], method: str, orders: Sequence[str], model: str, score: str, metric: str
) -> tuple[float, ...]:
    """The mean over seeds of each order, as ``orders.order_rows`` takes it."""
    found = []
    for order in orders:
        own = {
            v.seed: v.metric(score, metric)
            for v in views
            if v.complete and v.name == method and v.group == (order, model)
        }
        found.append(mean_and_se(list(own.values()))[0])
    return tuple(found)


def board_figures(board: Board) -> list[Figure]:
    """The ranking with its intervals, and methods against each other; best first."""
    return [figure for figure in (_ranking(board), _differences(board)) if figure is not None]


_PANELS = {"forgetting": None, "win_rate": 50.0}  # beside what is ranked by; where each is as good as the base model


def _ranking(board: Board) -> Figure | None:
    """What is ranked by, forgetting and win rate of every method with their intervals, in the order of the ranking."""
    label = f"{score_title(board.score)}, {METRICS[board.metric].label}"
    panels = {board.metric: f"{label} ({board.unit})" if board.unit else label, **dict.fromkeys(_PANELS, "")}
    evens = dict(_PANELS)
    if board.score == WIN_RATE and board.metric == _LAST:  # what is ranked by is the win rate itself
        del panels["win_rate"]
        evens[_LAST] = evens["win_rate"]
    rows: list[Datum] = []
    for name, title in panels.items():
        found = {e.method: e.estimates[name] for e in board.entries if name in e.estimates}
        if any(math.isfinite(value.value) for value in found.values()):
            shown = title or name.replace("_", " ")
            rows += [
                {"name": method, "panel": shown, "even": evens.get(name), **Bar(v.value, v.low, v.high).columns()}
                for method, v in found.items()
            ]
    if not rows:
        return None
    return Figure(
        id=f"methods-ranking-{slug(board.score)}",
        title="The ranking with its intervals",
        caption=f"Bars: 95 % intervals over the same {board.pairs} test pairs and, with several seeds, over seeds "
        f"({' or '.join(map(str, sorted({len(e.seeds) for e in board.entries})))} here). "
        "Best mean first. Methods whose intervals overlap may still differ significantly: they are compared pair by "
        "pair." + (" Dashed: as good as the base model." if any(row["even"] for row in rows) else ""),
        chart=intervals(),
        data=tuple(rows),
        series=tuple(entry.method for entry in board.entries),
    )


def _differences(board: Board) -> Figure | None:
    """Methods against each other, bounds left out; None for fewer than two."""
    names = [entry.method for entry in board.entries if not entry.bound]
    if len(names) < 2 or not board.differences:
        return None
    better = {(c.better, c.second if c.better == c.first else c.first) for c in board.differences if c.better}
    found = {
        (c.first, c.second): (c.difference.value, (c.difference.high - c.difference.low) / 2) for c in board.differences
    }
    found |= {(b, a): (-value, half) for (a, b), (value, half) in found.items()}
    nothing = (math.nan, math.nan)
    values = np.array([[found.get((a, b), nothing)[0] for b in names] for a in names])
    tinted = tints(values, 0.0, board.unit == "percent")
    rows = [
        {"row": a, "column": b, "value": float(values[i, j]), "error": found.get((a, b), nothing)[1], "n": board.pairs}
        | {"tint": float(tinted[i, j]), "current": (a, b) in better}
        for i, a in enumerate(names)
        for j, b in enumerate(names)
    ]
    seeds = sorted({c.difference.shared for c in board.differences})
    return Figure(
        id=f"methods-differences-{slug(board.score)}",
        title=f"Differences between methods: {METRICS[board.metric].label} of {score_title(board.score)}",
        caption=f"Row minus column{', in ' + board.unit if board.unit else ''}, best method first. ±: half the "
        f"width of the 95 % interval, over the same {board.pairs} test pairs and, with several seeds, over the seeds "
        f"that both have ({' or '.join(map(str, seeds))} here). Outlined: the row's method is significantly better, as "
        f"the ranks count it: at {LEVEL:g} after Holm's correction for {len(corrected_for(board.differences))} "
        f"comparisons, with at least {ENOUGH_SEEDS} seeds in common.",
        chart=heat("method", "minus", "half of the 95 % interval", 1 if board.unit == "percent" else 2),
        data=tuple(rows),
    )
