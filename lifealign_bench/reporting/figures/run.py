"""The figures of one run."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from lifealign_bench.reporting.figures.figure import (
    UNKNOWN,
    Bar,
    Bars,
    Box,
    Boxes,
    Dot,
    Figure,
    Heatmap,
    Lines,
    Panel,
    Scatter,
    Series,
)
from lifealign_bench.reporting.tables.scores import score_heads, score_note
from lifealign_bench.results.folder import StageResponses
from lifealign_bench.results.leaderboard import NOT_TRAINING
from lifealign_bench.results.statistics import Matrix, mean_and_se, wilson_interval
from lifealign_bench.results.view import RunView, score_title
from lifealign_bench.util.text import DASH, number, with_error

__all__ = [
    "axis_title",
    "box_of",
    "cell_estimate",
    "cell_estimates",
    "cost_figure",
    "curve_figure",
    "effort_figure",
    "heat_figure",
    "length_figure",
    "margin_figure",
    "mean_of_cells",
    "slug",
    "transfer_figure",
]


QUANTILES = (5, 25, 50, 75, 95)

_MINUTE = 60.0


def slug(name: str) -> str:
    """``name`` as part of an id or of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "unnamed"


def axis_title(view: RunView, score: str) -> str:
    """A score with its unit, for an axis."""
    unit = view.record.scores[score].measured_in
    return f"{score_title(score)} ({unit})" if unit else score_title(score)


def heat_figure(view: RunView, score: str) -> Figure:
    """The score matrix: stages by tasks."""
    matrix = view.record.scores[score]
    rows = [row.row for row in view.rows]
    values, errors = matrix.array()[rows], matrix.errors()[rows]
    digits = matrix.digits
    limits, centre = _colours(values, matrix.percent)
    current = {(i, view.tasks.index(task)) for i, row in enumerate(view.rows) for task in row.tasks}
    drawing = Heatmap(
        row_head="after stage",
        rows=tuple(row.label for row in view.rows),
        columns=score_heads(view, score),
        values=_tuples(values),
        errors=_tuples(errors),
        counts=tuple(tuple(matrix.n[row]) for row in rows),
        current=frozenset(current),
        limits=limits,
        centre=centre,
        unit=matrix.measured_in,
        digits=digits,
    )
    last = ", ".join(
        f"{task} {with_error(float(v), float(e), digits)}"
        for task, v, e in zip(view.tasks, values[-1], errors[-1], strict=True)
    )
    known = values[np.isfinite(values)]
    span = (
        f"from {number(float(known.min()), digits)} to {number(float(known.max()), digits)}" if known.size else "none"
    )
    return Figure(
        id=f"heatmap-{slug(score)}",
        title=f"{score_title(score).capitalize()} after every stage, on every task",
        caption=f"Each cell: mean ± one standard error over {_sizes(matrix.n)} test pairs"
        + (f", in {matrix.measured_in}" if matrix.measured_in else "")
        + f". Outlined: the task that was just trained. {DASH}: not evaluated."
        + "".join(f" {note}" for note in score_note(view, score)),
        alt=f"A table of {len(rows)} stages by {len(view.tasks)} tasks in colours; values {span}. After the last row: "
        f"{last}.",
        drawing=drawing,
    )


def curve_figure(view: RunView, score: str) -> Figure:
    """Every task through the stages."""
    matrix = view.record.scores[score]
    estimates = cell_estimates(view, score)
    own = {task: i for i, row in enumerate(view.rows) for task in row.tasks}
    series = tuple(
        Series(task, tuple(estimates[row.row, task] for row in view.rows), own.get(task) if view.sequential else None)
        for task in view.tasks
    )
    digits = matrix.digits
    said = "; ".join(f"{s.name}: {_course(s, digits)}" for s in series)
    return Figure(
        id=f"curves-{slug(score)}",
        title=f"{score_title(score).capitalize()} of every task through the stages",
        caption=f"Large marks: right after the task's own stage. Whiskers: {_interval(view, score)} "
        f"{_sizes(matrix.n)} test pairs a task.",
        alt=f"One line a task. {said}.",
        drawing=Lines(
            "after stage",
            tuple(row.label for row in view.rows),
            axis_title(view, score),
            series,
            (0.0, 100.0) if matrix.percent else None,
        ),
    )


def transfer_figure(view: RunView, score: str) -> Figure | None:
    """Learning against forgetting, a point a task; None where the tasks have no stage of their own."""
    found = view.per_task(score)
    errors = view.per_task_errors(score)
    matrix = view.record.scores[score]
    own = {task: row.row for row in view.rows for task in row.tasks}
    cells = cell_estimates(view, score)
    dots = []
    for j, task in enumerate(view.tasks):
        learned, forgotten = float(found["learned"][j]), float(found["forgetting"][j])
        if math.isnan(learned) or math.isnan(forgotten):
            continue
        error = errors["forgetting"][j] if "forgetting" in errors else math.nan
        dots.append(Dot(task, task, cells[own[task], task], _around(forgotten, error)))
    if not dots:
        return None
    digits = matrix.digits
    said = "; ".join(f"{d.name}: learned {number(d.x.value, digits)}, forgot {number(d.y.value, digits)}" for d in dots)
    return Figure(
        id=f"learning-forgetting-{slug(score)}",
        title=f"Learning against forgetting: {score_title(score)}",
        caption="A point a task but the last, which nothing comes after; further right: learned better, lower: kept "
        f"better. Across: {_interval(view, score)} Upright: 1.96 standard errors of the forgetting by bootstrap "
        "over the test pairs, where the scores of every pair are at hand.",
        alt=f"One point a task. {said}.",
        drawing=Scatter(f"{score_title(score)} when learned", "forgetting since", tuple(dots), view.tasks),
    )


def margin_figure(view: RunView, score: str = "preference_margin") -> Figure | None:
    """How a task's margins lie after every stage; None without the scores of every pair."""
    if score not in view.record.scores:
        return None
    pairs = view.pair_scores(score)
    if not pairs:
        return None
    panels = tuple(Panel(task, tuple(box_of(pairs[task][row.row]) for row in view.rows)) for task in view.tasks)
    return Figure(
        id=f"distribution-{slug(score)}",
        title=f"Distribution of the {score_title(score)} after every stage",
        caption=f"Boxes: the middle half of the pairs and the median; whiskers: 5 to 95 %; dot: the mean. "
        f"{_numbers(len(p) for p in (v.T for v in pairs.values()))} test pairs a task. Above 0 the chosen response is "
        "preferred.",
        alt="Medians by stage. " + _medians(panels, 2),
        drawing=Boxes("after stage", tuple(row.label for row in view.rows), axis_title(view, score), panels, zero=True),
    )


def length_figure(view: RunView, responses: StageResponses) -> Figure | None:
    """How long the responses are after every stage; None where nothing was generated."""
    counts: dict[str, list[Box | None]] = {}
    for task in view.tasks:
        said = [responses.get(row.stage, {}).get(task, {}) for row in view.rows]
        words = [np.array([len(text.split()) for text in by_id.values()], dtype=float) for by_id in said]
        if any(array.size for array in words):
            counts[task] = [box_of(array) for array in words]
    if not counts:
        return None
    panels = tuple(Panel(task, tuple(boxes)) for task, boxes in counts.items())
    sizes = _numbers(box.n for panel in panels for box in panel.boxes if box is not None)
    return Figure(
        id="response-lengths",
        title="Length of the responses after every stage",
        caption=f"Words of a response. Boxes: the middle half and the median; whiskers: 5 to 95 %; dot: the mean. "
        f"{sizes} responses a task and stage.",
        alt="Median words by stage. " + _medians(panels, 0),
        drawing=Boxes("after stage", tuple(row.label for row in view.rows), "words", panels),
    )


def cost_figure(view: RunView) -> Figure | None:
    """Where the time of every stage went; None where none was counted."""
    stages = view.record.stages
    parts = [
        p for p in ("reference", "sft", "hooks", "train", "score", "generate") if any(p in s.seconds for s in stages)
    ]
    parts += sorted({p for s in stages for p in s.seconds} - set(parts))
    total = sum(sum(s.seconds.values()) for s in stages)
    if total <= 0:
        return None
    # What nobody could see in the bars would only make the legend longer; the tables have it.
    parts = [p for p in parts if sum(s.seconds.get(p, 0.0) for s in stages) >= 0.003 * total]
    labels = {row.stage: row.label for row in view.rows}
    names = tuple(labels.get(s.index, str(s.index)) for s in stages)
    values = tuple(tuple(s.seconds.get(part, 0.0) / _MINUTE for part in parts) for s in stages)
    said = ", ".join(f"{part} {number(sum(row[i] for row in values))}" for i, part in enumerate(parts))
    return Figure(
        id="time-by-stage",
        title="Time of every stage",
        caption="Wall clock in minutes, by part; what the cache gave took none. Parts of less than 0.3 % are left out.",
        alt=f"One bar a stage. Minutes in all: {said}.",
        drawing=Bars("minutes", names, tuple(parts), values),
    )


def effort_figure(view: RunView, score: str) -> Figure | None:
    """Cost against quality within the run: the mean score over all tasks by the time trained so far."""
    matrix = view.record.scores[score]
    seconds = {s.index: sum(v for k, v in s.seconds.items() if k not in NOT_TRAINING) for s in view.record.stages}
    values, errors = matrix.array(), matrix.errors()
    dots, so_far = [], 0.0
    for row in view.rows:
        so_far += seconds.get(row.stage, 0.0) if row.stage else 0.0
        mean = mean_of_cells(values[row.row].tolist(), errors[row.row].tolist(), matrix.percent)
        if mean.known:
            dots.append(Dot(row.label, row.label, Bar(so_far / _MINUTE), mean))
    if len(dots) < 2 or so_far <= 0:
        return None
    digits = matrix.digits
    said = "; ".join(f"{d.name}: {number(d.x.value)} minutes, {number(d.y.value, digits)}" for d in dots)
    return Figure(
        id=f"cost-quality-{slug(score)}",
        title=f"Cost against quality: mean {score_title(score)} over all {len(view.tasks)} tasks",
        caption="By the minutes of training so far (scoring left out). Whiskers: 95 % intervals over the test pairs "
        f"({_sizes(matrix.n)} a task), the tasks' errors taken as independent; one seed.",
        alt=f"A path through the stages. {said}.",
        drawing=Scatter(
            "minutes of training",
            f"mean {axis_title(view, score)}",
            tuple(dots),
            tuple(dot.group for dot in dots),
            path=True,
        ),
    )


def box_of(values: Matrix) -> Box | None:
    """Quantiles of ``values``, (P,); None where there are none or one is missing."""
    if not values.size or bool(np.isnan(values).any()):
        return None
    low, first, middle, third, high = (float(v) for v in np.percentile(values, QUANTILES))
    return Box((low, first, middle, third, high), float(values.mean()), int(values.size))


def _interval(view: RunView, score: str) -> str:
    """What the whiskers of cells are."""
    how = (
        "by bootstrap, Wilson's where all pairs agree"
        if view.pair_scores(score)
        else "from their means alone: Wilson's where a pair is right or wrong, Student's t otherwise"
    )
    return f"95 % intervals over a task's test pairs ({how}); another seed of training is not in them."


def _around(value: float, error: float) -> Bar:
    return Bar(value) if math.isnan(error) else Bar(value, value - 1.96 * error, value + 1.96 * error)


def _colours(values: Matrix, percent: bool) -> tuple[tuple[float, float], float | None]:
    """The ends of the colours: all of 0 to 100 for shares; both signs alike around 0; else what is there."""
    known = values[np.isfinite(values)]
    if percent:
        return (0.0, 100.0), None
    if not known.size:
        return (0.0, 1.0), None
    low, high = float(known.min()), float(known.max())
    if low < 0 < high:
        far = max(-low, high)
        return (-far, far), 0.0
    return ((low, high) if low < high else (low - 1, high + 1)), None


def _tuples(values: Matrix) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(v) for v in row) for row in values)


def _sizes(counts: Iterable[Iterable[int]]) -> str:
    return _numbers(n for row in counts for n in row if n)


def _numbers(found: Iterable[int]) -> str:
    """``24``, or ``20 to 24``."""
    sizes = sorted(set(found))
    if not sizes:
        return "no"
    return str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"


def _course(series: Series, digits: int) -> str:
    known = [p.value for p in series.points if p.known]
    if not known:
        return "not evaluated"
    text = f"{number(known[0], digits)} at first, {number(known[-1], digits)} at the end"
    if series.marked is not None and series.points[series.marked].known:
        text += f", {number(series.points[series.marked].value, digits)} when learned"
    return text


def _medians(panels: Iterable[Panel], digits: int) -> str:
    show: Callable[[Box | None], str] = lambda box: DASH if box is None else number(box.quantiles[2], digits)  # noqa: E731
    return "; ".join(f"{p.name}: {', '.join(map(show, p.boxes))}" for p in panels) + "."


# A share whose spread is at least this part of that of a coin with the same mean is one of right and wrong alone.
_BINARY = 0.95


def cell_estimate(value: float, error: float, n: int, percent: bool) -> Bar:
    """The mean of one cell with its interval over the test pairs.

    Shares of right and wrong get Wilson's interval, which holds near 0 and 100 and where all pairs agree; other means
    that of Student's t, within 0 to 100 if they are shares. Where all pairs have one and the same other value (a tie
    everywhere) there is nothing to be unsure of: the interval is that value.

    Args:
        value, error: mean and standard error, in percent for shares.
        n: test pairs.
        percent: whether it is a share.
    """
    if math.isnan(value):
        return UNKNOWN
    if math.isnan(error) or n < 2:
        return Bar(value)
    share = value / 100
    if percent and 0 <= value <= 100 and (error / 100) ** 2 * (n - 1) >= _BINARY * share * (1 - share):
        low, high = wilson_interval(min(max(share * n, 0.0), n), n)
        return Bar(value, 100 * low, 100 * high)
    half = _student(n) * error
    low, high = value - half, value + half
    return Bar(value, max(0.0, low), min(100.0, high)) if percent else Bar(value, low, high)


def cell_estimates(view: RunView, score: str) -> dict[tuple[int, str], Bar]:
    """(row, task) to the cell with its interval: that of the run's tables where the scores of every pair are at hand,
    else :func:`cell_estimate`."""
    matrix, intervals = view.record.scores[score], view.cell_intervals(score)
    values, errors = matrix.array(), matrix.errors()
    found = {}
    for row in (stage.row for stage in view.rows):
        for j, task in enumerate(view.tasks):
            value, error = float(values[row, j]), float(errors[row, j])
            if (row, task) in intervals and not math.isnan(value):
                found[row, task] = Bar(value, *intervals[row, task])
            else:
                found[row, task] = cell_estimate(value, error, matrix.n[row][j], matrix.percent)
    return found


def mean_of_cells(values: Sequence[float], errors: Sequence[float], percent: bool) -> Bar:
    """The mean over tasks, whose test pairs are not the same ones: their errors are independent.

    NaN in any value makes it unknown, as everywhere; without every error there is no interval.
    """
    mean, _ = mean_and_se(list(values))
    if math.isnan(mean):
        return UNKNOWN
    error = math.sqrt(float(np.square(errors).sum())) / len(errors) if len(errors) else math.nan
    if math.isnan(error):
        return Bar(mean)
    low, high = mean - 1.96 * error, mean + 1.96 * error
    return Bar(mean, max(0.0, low), min(100.0, high)) if percent else Bar(mean, low, high)


def _student(n: int) -> float:
    """The 97.5 % quantile of Student's t with ``n - 1`` degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(n - 1, 0.975))
