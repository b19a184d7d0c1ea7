"""How long tasks last and what brings them back, as tables in Markdown, as JSON and as figures."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from lifealign_bench.reporting.figures.charts import lines
from lifealign_bench.reporting.figures.figure import Figure
from lifealign_bench.results.halflife import Lasting, median_lasting
from lifealign_bench.results.measuredruns import (
    BACK,
    MARGIN,
    SCORES,
    LostTask,
    MeasuredRun,
    RegainedTask,
    lost_tasks,
    regained_tasks,
)
from lifealign_bench.results.view import score_title
from lifealign_bench.util.text import DASH, number, rounded


def half_life_text(found: Sequence[MeasuredRun]) -> str:
    """Tables as Markdown: of every score the half-lives, their medians, and the steps back."""
    text = ["# Half-lives of tasks", "", _exactness(found), ""]
    for score in _scores(found):
        unit = "nats" if score == MARGIN else "points"
        lost, regained = lost_tasks(found, score), regained_tasks(found, score)
        text += [f"## {score_title(score).capitalize()}", ""]
        heads = ("method", "seed", "stage", "task", f"had, {unit}", *_LOST_HEADS)
        text += _lines(heads, [_lost_row(row) for row in lost])
        text += _lines(
            ("method", "tasks in stages", "lost half", "median steps to half"),
            [tuple(_median_row(name, own)) for name, own in _by_method(lost).items()],
        )
        text += _lines(
            ("method", "seed", "after stage", "task", f"had, {unit}", "left, %", *_BACK_HEADS),
            [(*_place(row), *_regained_cells(row)) for row in regained],
        )
    return "\n".join([*text, *_NOTES]) + "\n"


_LOST_HEADS = ("of its own, %", "left, %", "steps to half", "of steps")
_BACK_HEADS = ("steps back to half", f"to {BACK:.0%}", "first time to half", f"to {BACK:.0%}", "saved, %")
_NOTES = (
    "had: above the base model at the stage's start (of tasks trained once more: after their own stage). of its own: "
    "share of what the task had after its own stage. left: share of had at the stage's end. steps to half: "
    "until half of that is lost first, straight lines between the steps at which the model was asked; > n: not by step "
    "n, the stage's last. In brackets: 95 % interval over test pairs (clusters drawn whole). —: what it had is not "
    "surely above 0, or nothing was measured.",
    "",
    "median: Kaplan and Meier's over a method's tasks in stages, in which > n counts as lasting longer; tasks that had "
    "less than half of their own at the stage's start were lost before and do not count. 95 % interval over stages and "
    "test pairs.",
    "",
    "steps back: of plain training on the task's own pairs, with the phases and rates of its stage; first time: the "
    "same from the model before its stage. Training stops when the means of all scores are back: drawn test sets that "
    "are not by then leave an interval open. saved: share of the first time's steps that the second does without.",
)


def _exactness(found: Sequence[MeasuredRun]) -> str:
    stages = [same for run in found for same in run.exact.values()]
    return (
        f"{len(found)} runs on {found[0].stream}, {found[0].model}. {sum(stages)} of {len(stages)} stages that were "
        "trained again ended with the run's own weights to the bit."
    )


def _scores(found: Sequence[MeasuredRun]) -> list[str]:
    return [score for score in SCORES if any(score in run.scores for run in found)]


def _lines(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    body = [f"| {' | '.join(row)} |" for row in rows]
    return [f"| {' | '.join(heads)} |", "| --- |" + " --- |" * (len(heads) - 1), *body, ""]


def _place(row: LostTask | RegainedTask) -> tuple[str, ...]:
    return row.run.method, str(row.run.seed), str(row.stage), row.task


def _lost_row(row: LostTask) -> tuple[str, ...]:
    shares = (number(row.begun, 0), number(row.left, 0))
    return (*_place(row), number(row.had), *shares, row.half.said(), str(row.half.last))


def _median_row(method: str, own: Sequence[LostTask]) -> Iterator[str]:
    known = [row for row in own if row.counts]
    yield from (method, str(len(known)), str(sum(row.half.came for row in known)))
    found = median_half_life(own)
    yield DASH if found is None else found.said()


def median_half_life(own: Sequence[LostTask]) -> Lasting | None:
    """The median half-life over tasks in stages; tasks of one stage of one run go together."""
    stages: dict[Hashable, list[Lasting]] = {}
    for row in own:
        if row.counts:
            stages.setdefault((row.run.seed, row.stage), []).append(row.half)
    return median_lasting(stages)


def _by_method(rows: Sequence[LostTask]) -> Mapping[str, list[LostTask]]:
    return {name: [r for r in rows if r.run.method == name] for name in dict.fromkeys(r.run.method for r in rows)}


def _regained_cells(row: RegainedTask) -> tuple[str, ...]:
    times = (row.half, row.most, row.first_half, row.first_most)
    value, *ends = row.saved
    low, high = (number(end, 0) if math.isfinite(end) else "open" for end in ends)
    saved = DASH if math.isnan(value) else f"{number(value, 0)} [{low}, {high}]"
    return (number(row.had), number(row.left, 0), *(DASH if one is None else one.said() for one in times), saved)


def half_life_json(found: Sequence[MeasuredRun]) -> dict[str, Any]:
    """The same as plain values; a null end of an interval or value is beyond the last step."""
    scores = {}
    for score in _scores(found):
        lost = lost_tasks(found, score)
        medians = {name: median_half_life(own) for name, own in _by_method(lost).items()}
        scores[score] = {
            "lost": [
                {**_plain_place(row), "of_its_own_percent": rounded(row.begun), "steps_to_half": _plain(row.half)}
                for row in lost
            ],
            "median_steps_to_half": {name: _plain(found) for name, found in medians.items()},
            "trained_again": [
                {
                    **_plain_place(row),
                    "steps_to_half": _plain(row.half),
                    "steps_back": _plain(row.most),
                    "first_steps_to_half": _plain(row.first_half),
                    "first_steps_back": _plain(row.first_most),
                    "saved_percent": [rounded(value) if math.isfinite(value) else None for value in row.saved],
                }
                for row in regained_tasks(found, score)
            ],
        }
    exact = {f"{run.method} {run.seed}": {str(stage): same for stage, same in run.exact.items()} for run in found}
    return {"stream": found[0].stream, "model": found[0].model, "exact": exact, "scores": scores}


def _plain_place(row: LostTask | RegainedTask) -> dict[str, Any]:
    place = {"method": row.run.method, "seed": row.run.seed, "stage": row.stage, "task": row.task}
    return {**place, "had": rounded(row.had), "left_percent": rounded(row.left)}


def _plain(lasting: Lasting | None) -> dict[str, Any] | None:
    if lasting is None or math.isnan(lasting.value):
        return None
    ends = {name: getattr(lasting, name) for name in ("value", "low", "high")}
    return {**{k: rounded(v) if math.isfinite(v) else None for k, v in ends.items()}, "last": lasting.last}


def half_life_figures(found: Sequence[MeasuredRun]) -> list[Figure]:
    """Of every score the share that is kept over the steps of a stage."""
    methods = tuple(dict.fromkeys(run.method for run in found))
    caption = "Median over the tasks in stages that were not lost before, at steps at which all were asked about."
    drawn = []
    for score in _scores(found):
        data = [
            {"series": name, "place": str(step), "value": share}
            for name, own in _by_method(lost_tasks(found, score)).items()
            for step, share in _kept_by_step(own, score)
        ]
        if data:
            data.sort(key=lambda row: int(str(row["place"])))
            drawn.append(
                Figure(
                    id=f"half-life-{score.replace('_', '-')}",
                    title=f"What is kept of an earlier task's {score_title(score)}",
                    caption=caption,
                    chart=lines("optimizer steps of another task", "kept (percent)"),
                    data=tuple(data),
                    series=methods,
                )
            )
    return drawn


def _kept_by_step(own: Sequence[LostTask], score: str) -> Iterator[tuple[int, float]]:
    """Step and the median of the percentages that are kept."""
    kept: dict[int, list[float]] = {}
    rows = [row for row in own if row.counts]
    for row in rows:
        course = row.run.course("stage", row.stage, row.task, score)
        if course is not None:
            for step, share in zip(course.steps, course.kept.tolist(), strict=True):
                kept.setdefault(step, []).append(100 * share)
    yield from ((step, median(shares)) for step, shares in sorted(kept.items()) if len(shares) == len(rows))
