"""The figures of several runs: methods beside each other, and the order of the tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lifealign_bench.reporting.figures.figure import UNKNOWN, Bar, Dot, Figure, Heatmap, Lines, Ranges, Scatter, Series
from lifealign_bench.reporting.figures.run import axis_title, mean_of_cells, slug
from lifealign_bench.results.comparison import estimate, paired_runs
from lifealign_bench.results.inference import ENOUGH_SEEDS
from lifealign_bench.results.leaderboard import LEVEL, NOT_TRAINING, WIN_RATE, Board
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.orders import order_rows
from lifealign_bench.results.paired import PairedRuns
from lifealign_bench.results.sameness import differing_settings
from lifealign_bench.results.statistics import mean_and_se
from lifealign_bench.results.view import RunView, score_title
from lifealign_bench.util.text import number

__all__ = ["difference_figure", "group_figures", "order_figures"]


_SEEDS = (
    "Intervals: 95 %; over seeds and test pairs where a method has several seeds, else over the test pairs of its one "
    "seed, without what another seed would change; none where the scores of every pair are not at hand."
)

# Times that differ by more than this are drawn on a logarithmic axis.
_WIDE = 20

_LAST = "last"


def group_figures(views: Sequence[RunView], score: str) -> list[Figure]:
    """Those of complete runs of one stream and model that have this score; none for fewer than two methods."""
    methods: dict[str, list[RunView]] = {}
    for view in views:
        if view.complete and score in view.scores() and view.tasks == views[0].tasks:
            methods.setdefault(view.name, []).append(view)
    if len(methods) < 2:
        return []
    group = _Methods(score, methods, {name: paired_runs({name: own}, score, _LAST) for name, own in methods.items()})
    found = [_course(group), _transfer(group), _cost(group), _responses(group), _final(group)]
    return [figure for figure in found if figure is not None]


@dataclass(frozen=True)
class _Methods:
    """Method to its complete runs of one stream and model, and to their per-pair scores, if they are at hand."""

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


def _runs(methods: dict[str, list[RunView]]) -> str:
    """How many seeds, and whether there is more that is not the same."""
    several = [f"{name} {len(own)}" for name, own in methods.items() if len(own) > 1]
    text = f"Seeds: {', '.join(several)}; all others one." if several else "One seed each."
    same = not differing_settings([view.record for own in methods.values() for view in own])
    return text if same else f"{text} The runs differ in more than method and seed: see below the table."


def _course(group: _Methods) -> Figure:
    """The mean over all tasks through the stages, a line a method."""
    score, matrix = group.score, group.first.record.scores[group.score]
    height = max(view.record.scores[score].array().shape[0] for own in group.methods.values() for view in own)
    lines = [Series(name, tuple(_mean(group, name, i) for i in range(height))) for name in group.methods]
    # A method that starts again each time (single) has no mean over all tasks but the base model's.
    series = [line for line in lines if any(point.known for point in line.points[1:])]
    digits = matrix.digits
    known = {s.name: [p.value for p in s.points if p.known] for s in series}
    said = "; ".join(f"{name}: {number(v[-1], digits)} at the end" for name, v in known.items() if v)
    tasks = len(group.first.tasks)
    return Figure(
        id=f"methods-curves-{slug(score)}",
        title=f"Mean {score_title(score)} over all tasks, by tasks trained",
        caption=f"All {tasks} tasks of the stream, seen or not. {_SEEDS} {_runs(group.methods)}",
        alt=f"One line a method. {said}.",
        drawing=Lines(
            "tasks trained",
            tuple(str(i) for i in range(height)),
            f"mean {axis_title(group.first, score)}",
            tuple(series),
            groups=tuple(group.methods),
        ),
    )


def _mean(group: _Methods, name: str, row: int) -> Bar:
    """A method's mean over all tasks in one row of the matrices; unknown where a run has no such row."""
    own, matrix = group.methods[name], group.first.record.scores[group.score]
    if any(row not in {r.row for r in view.rows} for view in own):
        return UNKNOWN
    pairs = group.pairs[name]
    if pairs is not None:
        found = pairs.estimate(name, lambda m: m[..., row, :].mean(axis=-1))
        low, high = (0.0, 100.0) if matrix.percent else (-math.inf, math.inf)
        return Bar(found.value, max(found.low, low), min(found.high, high))
    matrices = [view.record.scores[group.score] for view in own]
    if len(own) == 1:
        return mean_of_cells(matrices[0].array()[row].tolist(), matrices[0].errors()[row].tolist(), matrix.percent)
    return Bar(mean_and_se([float(m.array()[row].mean()) for m in matrices])[0])


def _transfer(group: _Methods) -> Figure | None:
    """Learning against forgetting, a point a method."""
    dots = [
        Dot(name, name, group.metric(name, "learning"), group.metric(name, "forgetting"), _seeds(own))
        for name, own in group.methods.items()
    ]
    dots = [dot for dot in dots if dot.x.known and dot.y.known]
    if not dots:
        return None
    said = "; ".join(f"{d.name}: learning {number(d.x.value)}, forgetting {number(d.y.value)}" for d in dots)
    return Figure(
        id=f"methods-learning-forgetting-{slug(group.score)}",
        title=f"Learning against forgetting: {score_title(group.score)}",
        caption="Further right: learned better; lower: kept better. Methods without a stage of its own for every task "
        f"(joint) or that start again each time (single) are not in it. {_SEEDS} {_runs(group.methods)}",
        alt=f"One point a method. {said}.",
        drawing=Scatter(
            "learning: mean score when learned", "forgetting: mean loss since", tuple(dots), tuple(group.methods)
        ),
    )


def _cost(group: _Methods) -> Figure | None:
    """Cost against quality, a point a method."""
    dots = []
    for name, own in group.methods.items():
        minutes, _ = mean_and_se([_training_seconds(view) / 60 for view in own])
        quality = group.metric(name, _LAST)
        if quality.known and minutes > 0:
            dots.append(Dot(name, name, Bar(minutes), quality, _seeds(own)))
    if not dots:
        return None
    said = "; ".join(f"{d.name}: {number(d.x.value)} minutes, {number(d.y.value)}" for d in dots)
    spent = [dot.x.value for dot in dots]
    return Figure(
        id=f"methods-cost-quality-{slug(group.score)}",
        title=f"Cost against quality: {score_title(group.score)}",
        caption="Wall clock of training, scoring left out, mean over seeds. Only runs on the same machine can be "
        f"compared. {_SEEDS} {_runs(group.methods)}",
        alt=f"One point a method: minutes, mean over all tasks at the end. {said}.",
        drawing=Scatter(
            "minutes of training",
            "mean over all tasks at the end",
            tuple(dots),
            tuple(group.methods),
            log_x=max(spent) > _WIDE * min(spent),
        ),
    )


def _responses(group: _Methods) -> Figure | None:
    """What is ranked by against what the responses are worth, a point a method."""
    if group.score == WIN_RATE:
        return None
    dots = []
    for name, own in group.methods.items():
        if all(WIN_RATE in view.scores() for view in own):
            found = estimate(name, own, WIN_RATE, _LAST, paired_runs({name: own}, WIN_RATE, _LAST))
            wins = Bar(found.value, found.low, found.high)
            dots.append(Dot(name, name, group.metric(name, _LAST), wins, _seeds(own)))
    dots = [dot for dot in dots if dot.x.known and dot.y.known]
    if not dots:
        return None
    said = "; ".join(f"{d.name}: {number(d.x.value)}, win rate {number(d.y.value)}" for d in dots)
    return Figure(
        id=f"methods-responses-{slug(group.score)}",
        title=f"Win rate against {score_title(group.score)}",
        caption="Mean over all tasks after the last stage. Win rate: responses against the base model's by the tasks' "
        f"rewards; 50 is as good as the base model. {_SEEDS} {_runs(group.methods)}",
        alt=f"One point a method. {said}.",
        drawing=Scatter(axis_title(group.first, group.score), "win rate (percent)", tuple(dots), tuple(group.methods)),
    )


def _final(group: _Methods) -> Figure:
    """Every method on every task after the last stage."""
    first, matrix = group.first, group.first.record.scores[group.score]
    rows = [[_end(group, name, j) for j in range(len(first.tasks))] for name in group.methods]
    values = tuple(tuple(value for value, _ in row) for row in rows)
    last = first.rows[-1].row
    known = [v for row in values for v in row if math.isfinite(v)]
    digits = matrix.digits
    limits = (0.0, 100.0) if matrix.percent else (min(known, default=0.0), max(known, default=1.0))
    best = {
        task: max(
            ((row[j], name) for row, name in zip(values, group.methods, strict=True) if math.isfinite(row[j])),
            default=None,
        )
        for j, task in enumerate(first.tasks)
    }
    said = "; ".join(f"{task}: {b[1]} {number(b[0], digits)}" for task, b in best.items() if b is not None)
    return Figure(
        id=f"methods-final-{slug(group.score)}",
        title=f"{score_title(group.score).capitalize()} after the last stage, every method on every task",
        caption="Each cell: mean ± one standard error, over seeds and test pairs where a method has several seeds, "
        f"else over the test pairs. {_runs(group.methods)}",
        alt=f"A table of {len(values)} methods by {len(first.tasks)} tasks in colours. The best of each: {said}.",
        drawing=Heatmap(
            row_head="method",
            rows=tuple(group.methods),
            columns=first.tasks,
            values=values,
            errors=tuple(tuple(error for _, error in row) for row in rows),
            counts=tuple(tuple(own[0].record.scores[group.score].n[last]) for own in group.methods.values()),
            current=frozenset(),
            limits=limits if limits[0] < limits[1] else (limits[0] - 1, limits[1] + 1),
            centre=None,
            unit=matrix.measured_in,
            digits=digits,
        ),
    )


def _end(group: _Methods, name: str, column: int) -> tuple[float, float]:
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
    for number_, key in enumerate(dict.fromkeys((row.model, row.tasks) for row in rows), start=1):
        own = [row for row in rows if (row.model, row.tasks) == key]
        for metric in metrics:
            shown = [(row, row.spreads[score, metric]) for row in own if (score, metric) in row.spreads]
            shown = [(row, spread) for row, spread in shown if math.isfinite(spread.mean)]
            if not shown:
                continue
            label = METRICS[metric].label
            points = [_by_order(views, row.method, row.orders, row.model, score, metric) for row, _ in shown]
            said = "; ".join(
                f"{row.method}: {number(s.mean)}, from {number(s.low)} to {number(s.high)} over {s.n} orders"
                for row, s in shown
            )
            figures.append(
                Figure(
                    id=f"orders-{number_}-{slug(metric)}-{slug(score)}",
                    title=f"Order sensitivity: {label} of {score_title(score)}, {key[0]}",
                    caption="A point an order (its seeds averaged); tick: the mean over the orders, bar: one standard "
                    f"deviation to each side. Tasks: {', '.join(key[1])}.",
                    alt=f"One row a method. {said}.",
                    drawing=Ranges(
                        f"{label}, {score_title(score)}",
                        tuple(row.method for row, _ in shown),
                        tuple(points),
                        tuple(s.mean for _, s in shown),
                        tuple(s.deviation for _, s in shown),
                        tuple(row.orders for row, _ in shown),
                    ),
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


_PALE = 20.0  # percentage points at the end of the colours, at least


def difference_figure(board: Board) -> Figure | None:
    """Methods against each other, best first, bounds left out; None for fewer than two."""
    ranked = [entry for entry in board.entries if not entry.bound]
    if len(ranked) < 2 or not board.differences:
        return None
    names = tuple(entry.method for entry in ranked)
    values, halves = _matrices(board, names)
    better = {(c.better, c.second if c.better == c.first else c.first) for c in board.differences if c.better}
    # Deep colours for differences that are nothing would be a claim of their own.
    least = _PALE if board.unit == "percent" else 0.0
    far = max((abs(value) for row in values for value in row if math.isfinite(value)), default=0.0)
    label = METRICS[board.metric].label
    won = {name: [loser for winner, loser in sorted(better) if winner == name] for name in names}
    said = "; ".join(f"{name} over {', '.join(losers)}" for name, losers in won.items() if losers)
    seeds = sorted({len(entry.seeds) for entry in ranked})
    return Figure(
        id=f"methods-differences-{slug(board.score)}",
        title=f"Differences between methods: {label} of {score_title(board.score)}",
        caption=f"Row minus column{', in ' + board.unit if board.unit else ''}, best method first. ±: half the "
        f"width of their 95 % interval, over the same {board.pairs} test pairs and, with several seeds, over "
        f"seeds ({' or '.join(map(str, seeds))} here). Outlined: the row's method is significantly better, as the "
        "ranks "
        f"count it: at {LEVEL:g} after Holm's correction for {len(board.differences)} comparisons, with {ENOUGH_SEEDS} "
        "seeds or more that both have.",
        alt=f"A table of {len(names)} by {len(names)} methods in colours. "
        + (f"Significantly better: {said}." if said else "No difference is significant."),
        drawing=Heatmap(
            row_head="method",
            rows=names,
            columns=names,
            values=values,
            errors=halves,
            counts=((board.pairs,) * len(names),) * len(names),
            current=frozenset((names.index(a), names.index(b)) for a, b in better),
            limits=(-max(far, least), max(far, least)) if far or least else (-1.0, 1.0),
            centre=0.0,
            unit=board.unit,
            digits=1 if board.unit == "percent" else 2,
            column_head="minus",
            error_head="half of the 95 % interval",
        ),
    )


def _matrices(
    board: Board, names: tuple[str, ...]
) -> tuple[tuple[tuple[float, ...], ...], tuple[tuple[float, ...], ...]]:
    """Differences and half widths of their intervals, (methods, methods); NaN on the diagonal."""
    found = {
        (a, b): (d.value, (d.high - d.low) / 2)
        for a, b, d in ((c.first, c.second, c.difference) for c in board.differences)
    }
    found |= {(b, a): (-value, half) for (a, b), (value, half) in found.items()}
    nothing = (math.nan, math.nan)
    values, halves = (tuple(tuple(found.get((a, b), nothing)[part] for b in names) for a in names) for part in (0, 1))
    return values, halves
