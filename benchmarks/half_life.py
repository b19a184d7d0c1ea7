"""How long tasks last while others are trained, and how fast they come back: hidden, or lost?

    python benchmarks/half_life.py runs/forms/smollm2-135m/dpo/seed-0 --out FOLDER
    python benchmarks/half_life.py runs/forms/smollm2-135m/*/seed-* --out FOLDER --pairs 24 --every 8 --stages 3,5
    python benchmarks/half_life.py --out FOLDER          the tables and figures again, of all that was measured there

Every run that is named must be finished. Its folder is read and not written. Stage after stage (the second is the first
that has an earlier task) the checkpoint of the stage before is trained again with the run's own method and settings;
after so many optimizer steps the model is asked about the earlier tasks, which changes nothing of what it becomes, and
at the end it is compared with the run's own. Then every earlier task is trained once more by itself, plainly, from the
end of the run (or of the stage --after), until it has 90 % of what it had after its own stage; and likewise from where
it was first trained, so that one sees what the second time saves.

What is measured is kept in FOLDER, a folder for each run: a run that is there is not measured again. half-life.md,
half-life.json and a figure for each score are made of all of them; ``results.halflife`` has the estimates.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import pandas as pd

from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.reporting.figures.charts import lines
from lifealign_bench.reporting.figures.drawn import write_figures
from lifealign_bench.reporting.figures.figure import Figure
from lifealign_bench.results.halflife import Lasting, median_lasting
from lifealign_bench.results.measuredruns import (
    ABOUT,
    BACK,
    MARGIN,
    READINGS,
    SCORES,
    LostTask,
    MeasuredRun,
    RegainedTask,
    lost_tasks,
    open_measured,
    regained_tasks,
)
from lifealign_bench.results.record import read_record
from lifealign_bench.results.view import score_title
from lifealign_bench.runs.reopening import Reopened, StepReading, reopened
from lifealign_bench.util.files import atomic_path, write_json, write_text
from lifealign_bench.util.process import quieten_libraries
from lifealign_bench.util.text import DASH, number, rounded


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Args:
        pairs: test pairs of each task.
        dense: the model is asked after each of the first so many steps,
        every: and then after every so many.
        stages: that are trained again; empty: all that have an earlier task.
        scorers: what the model is asked.
        after: tasks are trained once more from the end of this stage; None: of the run; 0: they are not.
        threads: on a CPU; None: the run's.
    """

    pairs: int
    dense: int
    every: int
    stages: tuple[int, ...]
    scorers: tuple[str, ...]
    after: int | None
    threads: int | None

    def at(self, step: int) -> bool:
        """Whether the model is asked after so many steps of a stage."""
        return step <= self.dense or step % self.every == 0


def measure(run: Path, out: Path, settings: Settings) -> None:
    """Ask a finished run's model during its stages and while lost tasks are trained again; kept below ``out``.

    Raises:
        BenchError: the run cannot be opened again; a stage has no earlier task.
    """
    folder = out / Path(*run.absolute().parts[-4:])  # stream, model, method, seed
    if (folder / ABOUT).is_file():
        return
    exact: dict[str, bool] = {}
    with (
        tempfile.TemporaryDirectory() as work,
        reopened(run, Path(work) / "work", settings.scorers, settings.pairs, threads=settings.threads) as opened,
    ):
        last = len(opened.plan)
        after = last if settings.after is None else settings.after
        if not 0 <= after <= last:
            raise UsageError(f"{run} has no stage {after}.", f"Its last one is {last}.")
        base = opened.base()
        frames = [_framed("base", 0, [StepReading(0, base)])]
        stages = settings.stages or tuple(range(2, last + 1))
        for task in opened.earlier(max(*stages, after)):
            own = opened.own_stage(task)
            frames.append(_framed("had", own, [StepReading(0, opened.after(own, [task]))]))
        for stage in stages:
            print(f"{run}: stage {stage} of {last}", file=sys.stderr)
            again = opened.train_again(stage, settings.at)
            frames.append(_framed("stage", stage, again.readings))
            exact[str(stage)] = again.exact
        had = pd.concat(frames[1:], ignore_index=True)
        for task in opened.earlier(after) if after else ():
            print(f"{run}: {task} once more", file=sys.stderr)
            frames += _trained_again(opened, task, after, _Whole(_rows(had, "had", task), base[base["task"] == task]))
    record = read_record(run / "record.json")
    about: dict[str, Any] = {"stream": record.config["stream"], "model": record.config["model"]}
    about |= {"method": record.method.name, "seed": record.config["seed"], "tasks": list(record.tasks)}
    with atomic_path(folder / READINGS) as temporary:
        pd.concat(frames, ignore_index=True).to_parquet(temporary, index=False)
    write_json(folder / ABOUT, {**about, "exact": exact})


def _trained_again(opened: Reopened, task: str, after: int, whole: _Whole) -> Iterator[pd.DataFrame]:
    """A task trained once more, from the end of stage ``after`` and from where it was first trained."""
    for kind, start in (("again", after), ("first", opened.own_stage(task) - 1)):
        yield _framed(kind, start, opened.train_task(task, start, whole.is_back, lambda step: True))


def _rows(frame: pd.DataFrame, kind: str, task: str) -> pd.DataFrame:
    return frame[(frame["kind"] == kind) & (frame["task"] == task)]


class _Whole(NamedTuple):
    """What a task had: rows after its own stage, and of the base model."""

    had: pd.DataFrame
    base: pd.DataFrame

    def is_back(self, readings: Sequence[StepReading]) -> bool:
        """Whether every score has been back at the share BACK of it, each in one of the ``readings``."""
        return all(
            any(self._share(reading.rows, score) >= BACK for reading in readings)
            for score in SCORES
            if score in self.had and self.had[score].mean() > self.base[score].mean()
        )

    def _share(self, rows: pd.DataFrame, score: str) -> float:
        base = float(self.base[score].mean())
        return (float(rows[score].mean()) - base) / (float(self.had[score].mean()) - base)


def _framed(kind: str, stage: int, readings: Sequence[StepReading]) -> pd.DataFrame:
    parts = [reading.rows.assign(kind=kind, stage=stage, step=reading.step) for reading in readings]
    return pd.concat(parts, ignore_index=True)


def report(found: Sequence[MeasuredRun]) -> str:
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
    found = median_of(own)
    yield DASH if found is None else found.said()


def median_of(own: Sequence[LostTask]) -> Lasting | None:
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


def as_json(found: Sequence[MeasuredRun]) -> dict[str, Any]:
    """The same as plain values; a null end of an interval or value is beyond the last step."""
    scores = {}
    for score in _scores(found):
        lost = lost_tasks(found, score)
        medians = {name: median_of(own) for name, own in _by_method(lost).items()}
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


def figures(found: Sequence[MeasuredRun]) -> list[Figure]:
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


def settings_of(words: argparse.Namespace) -> Settings:
    """What the command line asks for."""
    return Settings(
        pairs=words.pairs,
        dense=words.dense,
        every=words.every,
        stages=words.stages,
        scorers=tuple(words.scorer.split(",")),
        after=words.after,
        threads=words.threads,
    )


def main() -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, help="folders of finished runs")
    parser.add_argument("--out", type=Path, required=True, help="folder for what is measured, tables and figures")
    parser.add_argument("--pairs", type=_at_least(2), default=24, help="test pairs a task (default: %(default)s)")
    parser.add_argument("--dense", type=_at_least(0), default=6, help="ask after each of the first steps of a stage")
    parser.add_argument("--every", type=_at_least(1), default=8, help="and then after every so many")
    parser.add_argument("--stages", type=_stages, default=(), help="that are trained again, like 2,5 (default: all)")
    parser.add_argument("--scorer", default="preference,reward", help="preference alone generates no responses")
    parser.add_argument("--after", type=_at_least(0), help="train lost tasks again from the end of this stage; 0: none")
    parser.add_argument("--threads", type=_at_least(1), help="on a CPU (default: the run's)")
    words = parser.parse_args()
    quieten_libraries()
    try:
        for run in words.runs:
            measure(run, words.out, settings_of(words))
        found = open_measured(words.out)
        text = report(found)
        write_text(words.out / "half-life.md", text)
        write_json(words.out / "half-life.json", as_json(found))
        write_figures(figures(found), words.out, force=True)
    except BenchError as error:
        print(f"{error.message}\n{error.remedy}", file=sys.stderr)
        return 2
    print(text, end="")
    return 0


def _at_least(least: int) -> Callable[[str], int]:
    def number_of(word: str) -> int:
        if not word.isdecimal() or int(word) < least:
            raise argparse.ArgumentTypeError(f"{word!r} is no number from {least}")
        return int(word)

    return number_of


def _stages(words: str) -> tuple[int, ...]:
    return tuple(map(_at_least(2), words.split(",")))


if __name__ == "__main__":
    raise SystemExit(main())
