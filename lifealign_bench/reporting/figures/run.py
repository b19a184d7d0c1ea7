"""The figures of one run."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

import numpy as np

from lifealign_bench.reporting.figures.charts import boxes, heat, lines, parts, points
from lifealign_bench.reporting.figures.figure import UNKNOWN, Bar, Datum, Figure
from lifealign_bench.reporting.tables.scores import score_heads, score_note
from lifealign_bench.results.folder import StageResponses
from lifealign_bench.results.leaderboard import NOT_TRAINING
from lifealign_bench.results.statistics import Matrix, mean_and_se, wilson_interval
from lifealign_bench.results.view import RunView, score_title

_MINUTE = 60.0
_PARTS = ("reference", "sft", "hooks", "train", "score", "generate")  # of a stage, in the order in which they are drawn
# Deep colours for differences that are nothing would be a claim of their own: the least that is drawn at full strength.
_PALE = 20.0  # percentage points


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
    values, errors = matrix.array(), matrix.errors()
    tinted = tints(values, values[0], matrix.percent)
    heads = score_heads(view, score)
    rows = [
        {
            **{"row": stage.label, "column": heads[j], "value": float(values[stage.row, j])},
            **{"error": float(errors[stage.row, j]), "n": matrix.n[stage.row][j]},
            **{"tint": float(tinted[stage.row, j]), "current": task in stage.tasks},
        }
        for stage in view.rows
        for j, task in enumerate(view.tasks)
    ]
    return Figure(
        id=f"heatmap-{slug(score)}",
        title=f"{score_title(score).capitalize()} after every stage, on every task",
        caption=f"Each cell: mean ± one standard error over {_sizes(matrix.n)} test pairs"
        + (f", in {matrix.measured_in}" if matrix.measured_in else "")
        + ". Blue: above the base model on that task; orange: below. Outlined: the task that was just trained."
        + "".join(f" {note}" for note in score_note(view, score)),
        chart=heat("after stage", "task", digits=matrix.digits),
        data=tuple(rows),
    )


def tints(values: Matrix, centre: Matrix | float, percent: bool) -> Matrix:
    """The colours of ``values`` from -1 to 1, with 0 at ``centre``; NaN where there is no value."""
    away = values - centre
    far = max(float(np.nanmax(np.abs(away), initial=0.0)), _PALE if percent else 0.0)
    return np.asarray(away / far if far else away)


def curve_figure(view: RunView, score: str) -> Figure:
    """Every task through the stages."""
    matrix, cells = view.record.scores[score], cell_estimates(view, score)
    rows = [
        {"series": task, "place": row.label, **cells[row.row, task].columns()}
        | {"own": view.sequential and task in row.tasks}
        for task in view.tasks
        for row in view.rows
    ]
    return Figure(
        id=f"curves-{slug(score)}",
        title=f"{score_title(score).capitalize()} of every task through the stages",
        caption=f"Large marks: right after the task's own stage. Whiskers: {_interval(view, score)} "
        f"{_sizes(matrix.n)} test pairs a task.",
        chart=lines("after stage", axis_title(view, score), (0.0, 100.0) if matrix.percent else None),
        data=tuple(rows),
        series=view.tasks,
    )


def transfer_figure(view: RunView, score: str) -> Figure | None:
    """Learning against forgetting, a point a task; None where the tasks have no stage of their own."""
    found, errors = view.per_task(score), view.per_task_errors(score)
    own = {task: row.row for row in view.rows for task in row.tasks}
    cells = cell_estimates(view, score)
    rows: list[Datum] = []
    for j, task in enumerate(view.tasks):
        forgotten = float(found["forgetting"][j])
        if math.isfinite(forgotten) and math.isfinite(float(found["learned"][j])):
            error = errors["forgetting"][j] if "forgetting" in errors else math.nan
            rows.append({"name": task, **cells[own[task], task].columns("x"), **_around(forgotten, error).columns("y")})
    if not rows:
        return None
    return Figure(
        id=f"learning-forgetting-{slug(score)}",
        title=f"Learning against forgetting: {score_title(score)}",
        caption="One point per task but the last, after which nothing is trained; further right: learned better, "
        f"lower: less forgotten. Horizontal bars: {_interval(view, score)} Vertical: 1.96 standard errors of the "
        "forgetting by bootstrap over the test pairs.",
        chart=points(f"{score_title(score)} when learned", "forgetting since"),
        data=tuple(rows),
        series=view.tasks,
    )


def margin_figure(view: RunView, score: str = "preference_margin") -> Figure | None:
    """How a task's margins lie after every stage; None without the scores of every pair."""
    pairs = view.pair_scores(score) if score in view.record.scores else {}
    if not pairs:
        return None
    rows = [_box(task, row.label, pairs[task][row.row]) for task in view.tasks for row in view.rows]
    return Figure(
        id=f"distribution-{slug(score)}",
        title=f"Distribution of the {score_title(score)} after every stage",
        caption=f"{_BOXES} {_numbers(v.shape[1] for v in pairs.values())} test pairs a task. Above 0 the chosen "
        "response is preferred.",
        chart=boxes("after stage", axis_title(view, score), zero=True),
        data=tuple(rows),
        series=view.tasks,
    )


_BOXES = "Boxes: the middle half and the median; whiskers: 5 to 95 %; dot: the mean."


def length_figure(view: RunView, responses: StageResponses) -> Figure | None:
    """How long the responses are after every stage; None where nothing was generated."""
    counts = {
        (task, row.label): np.array([len(text.split()) for text in responses.get(row.stage, {}).get(task, {}).values()])
        for task in view.tasks
        for row in view.rows
    }
    said = {task for (task, _), array in counts.items() if array.size}
    rows = [_box(task, label, array) for (task, label), array in counts.items() if task in said]
    if not rows:
        return None
    return Figure(
        id="response-lengths",
        title="Length of the responses after every stage",
        caption=f"Words of a response. {_BOXES} {_numbers(array.size for array in counts.values())} responses a task "
        "and stage.",
        chart=boxes("after stage", "words"),
        data=tuple(rows),
        series=view.tasks,
    )


def _box(task: str, place: str, values: Matrix) -> Datum:
    return {"panel": task, "place": place, **quantiles(values)}


def quantiles(values: Matrix) -> Datum:
    """Those of ``values``, (P,), with mean and number; NaN where there are none or one is missing."""
    if not values.size or np.isnan(values).any():
        return dict.fromkeys(_QUANTILES, math.nan) | {"mean": math.nan, "n": 0}
    found = map(float, np.percentile(values, list(_QUANTILES.values())))
    return dict(zip(_QUANTILES, found, strict=True)) | {"mean": float(values.mean()), "n": int(values.size)}


_QUANTILES = {f"p{q}": q for q in (5, 25, 50, 75, 95)}


def cost_figure(view: RunView) -> Figure | None:
    """Where the time of every stage went; None where none was counted."""
    stages = view.record.stages
    spent = {part: sum(stage.seconds.get(part, 0.0) for stage in stages) for part in _PARTS}
    for part in sorted({part for stage in stages for part in stage.seconds} - set(_PARTS)):
        spent[part] = sum(stage.seconds.get(part, 0.0) for stage in stages)
    # What nobody could see in the bars would only make the legend longer; the tables have it.
    shown = [part for part, seconds in spent.items() if seconds > 0.003 * sum(spent.values())]
    labels = {row.stage: row.label for row in view.rows}
    rows = [
        {"name": labels.get(s.index, str(s.index)), "part": part, "value": s.seconds.get(part, 0.0) / _MINUTE}
        for s in stages
        for part in shown
    ]
    if not rows:
        return None
    return Figure(
        id="time-by-stage",
        title="Time of every stage",
        caption="Wall clock in minutes, by part; what came from the cache took none. Parts below 0.3 % are left out.",
        chart=parts("minutes"),
        data=tuple(rows),
    )


def effort_figure(view: RunView, score: str) -> Figure | None:
    """Cost against quality within the run: the mean score over all tasks by the time trained so far."""
    matrix = view.record.scores[score]
    seconds = {s.index: sum(v for k, v in s.seconds.items() if k not in NOT_TRAINING) for s in view.record.stages}
    values, errors = matrix.array(), matrix.errors()
    rows: list[Datum] = []
    so_far = 0.0
    for row in view.rows:
        so_far += seconds.get(row.stage, 0.0) if row.stage else 0.0
        mean = mean_of_cells(values[row.row].tolist(), errors[row.row].tolist(), matrix.percent)
        if mean.known:
            x, y = Bar(so_far / _MINUTE).columns("x"), mean.columns("y")
            rows.append({"name": row.label, "at": len(rows), **x, **y})
    if len(rows) < 2 or so_far <= 0:
        return None
    return Figure(
        id=f"cost-quality-{slug(score)}",
        title=f"Cost against quality: mean {score_title(score)} over all {len(view.tasks)} tasks",
        caption="By the minutes of training so far (scoring left out). Whiskers: 95 % intervals over the test pairs "
        f"({_sizes(matrix.n)} a task), the tasks' errors taken as independent; one seed.",
        chart=points("minutes of training", f"mean {axis_title(view, score)}", path=True),
        data=tuple(rows),
    )


def _interval(view: RunView, score: str) -> str:
    """What the whiskers of cells are."""
    how = (
        "by bootstrap, Wilson's where all pairs agree"
        if view.pair_scores(score)
        else "from their means alone: Wilson's where a pair is right or wrong, Student's t otherwise"
    )
    return f"95 % intervals over a task's test pairs ({how}); the variation between training seeds is not included."


def _around(value: float, error: float) -> Bar:
    return Bar(value) if math.isnan(error) else Bar(value, value - 1.96 * error, value + 1.96 * error)


def _sizes(counts: Iterable[Iterable[int]]) -> str:
    return _numbers(n for row in counts for n in row if n)


def _numbers(found: Iterable[int]) -> str:
    """``24``, or ``20 to 24``."""
    sizes = sorted(set(found))
    if not sizes:
        return "no"
    return str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"


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
    """(row, task) to the cell with its interval: that of the run's tables where the scores of every pair are available,
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
