"""What was measured of runs that were opened again: tasks that others wore down, and tasks that were trained once more.

Estimates are those of ``halflife``. A run's readings lie in a folder's Parquet files: ``kind``, ``stage`` and ``step``
beside what ``scores.parquet`` has, and for a stage whether it ended ``exact``, as the run's own did. The kinds are
``base`` (the base model), ``had`` (after the task's own stage), ``stage`` (while another task is trained), ``again``
and ``first`` (while the task itself is trained, from the end and from where it was trained first; their ``stage`` is
the one that they start after).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.results.clusters import labels_of
from lifealign_bench.results.halflife import HALF, Lasting, ScoreCourse, limits
from lifealign_bench.results.pairtable import read_frame
from lifealign_bench.results.view import SCORE, WIN_RATE
from lifealign_bench.util.files import write_json

if TYPE_CHECKING:
    import pandas as pd

ABOUT = "about.json"
_MADE = "made"
BACK = 0.9  # of what a task had: it is back
MARGIN = "preference_margin"
SCORES = (WIN_RATE, "reward", MARGIN, SCORE)
_SCALE = {MARGIN: 1.0}  # nats; the others are percent


@dataclass(frozen=True)
class MeasuredRun:
    """What was measured of a run.

    Args:
        rows: its readings, see the module's docstring.
        config_hash: as in its record.
    """

    stream: str
    model: str
    method: str
    seed: int
    tasks: tuple[str, ...]
    rows: pd.DataFrame
    config_hash: str = ""

    @cached_property
    def scores(self) -> tuple[str, ...]:
        """Those that any task has."""
        return tuple(score for score in SCORES if score in self.rows and self.rows[score].notna().any())

    @cached_property
    def exact(self) -> dict[int, bool]:
        """Stage to whether it ended as the run's own did, to the bit."""
        own = self.rows[self.rows["kind"] == "stage"]
        return {int(stage): bool(own[own["stage"] == stage]["exact"].all()) for stage in sorted(own["stage"].unique())}

    def course(self, kind: str, stage: int, task: str, score: str) -> ScoreCourse | None:
        """A task's score over the steps of a training; None where it was not measured or the task has no such score."""
        own = self._of(task)
        table = own[(own["kind"] == kind) & (own["stage"] == stage)].pivot(
            index="step", columns="pair_id", values=score
        )
        if table.empty or table.isna().any(axis=None):
            return None
        clusters = own.drop_duplicates("pair_id").set_index("pair_id")["cluster"]
        before = own[own["kind"] == "had"].set_index("pair_id")[score]
        base = own[own["kind"] == "base"].set_index("pair_id")[score]
        values = table.to_numpy(dtype=np.float64)
        return ScoreCourse(
            task=task,
            steps=tuple(int(step) for step in table.index),
            values=values,
            base=base[table.columns].to_numpy(dtype=np.float64),
            had=values[0] if kind == "stage" else before[table.columns].to_numpy(dtype=np.float64),
            labels=labels_of([str(clusters[pair]) for pair in table.columns]),
            position=self.tasks.index(task),
            scale=_SCALE.get(score, 100.0),
        )

    def share_of_own(self, task: str, score: str, gained: float) -> float:
        """Percent that ``gained`` is of what a task had after its own stage, in the score's unit; NaN of nothing."""
        own = self._of(task)
        had, base = (float(own.loc[own["kind"] == kind, score].mean()) for kind in ("had", "base"))
        whole = (had - base) * _SCALE.get(score, 100.0)
        return 100 * gained / whole if whole > 0 else math.nan

    def _of(self, task: str) -> pd.DataFrame:
        return self.rows[self.rows["task"] == task]

    def stages(self, kind: str) -> list[tuple[int, str]]:
        """(stage, task) of which there are readings, in order."""
        own = self.rows[self.rows["kind"] == kind]
        found = own[["stage", "task"]].drop_duplicates().itertuples(index=False)
        return sorted(((int(s), str(t)) for s, t in found), key=lambda at: (at[0], self.tasks.index(at[1])))


def keep_about(folder: Path, about: Mapping[str, Any]) -> None:
    """Say whose readings a folder has, and how they were asked for.

    Raises:
        UsageError: it has others.
        BenchError: what it says cannot be read.
    """
    file = folder / ABOUT
    there = _about(file) if file.is_file() else {}
    made = there.pop(_MADE, [])
    if there and there != about:
        raise UsageError(
            f"{folder} has readings of another run, or with other settings.",
            "Write elsewhere with --out, or delete it.",
        )
    write_json(file, {**about, _MADE: made})


def keep_circumstances(folder: Path, made: Mapping[str, Any]) -> None:
    """Say in which code, with which versions and on which machine readings are made; each once."""
    file = folder / ABOUT
    about = _about(file)
    if made not in about[_MADE]:
        write_json(file, {**about, _MADE: [*about[_MADE], dict(made)]})


def open_measured(out: Path) -> list[MeasuredRun]:
    """All that was measured in a folder.

    Raises:
        BenchError: nothing was, or a file is damaged.
    """
    import pandas as pd

    found = []
    for file in sorted(out.rglob(ABOUT)):
        about = _about(file)
        try:
            names = (str(about["stream"]), str(about["model"]), str(about["method"]), int(about["seed"]))
            tasks = tuple(map(str, about["tasks"]))
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(file, error) from error
        frames = [read_frame(part) for part in sorted(file.parent.glob("*.parquet"))]
        if frames:
            rows = pd.concat(frames, ignore_index=True)
            found.append(MeasuredRun(*names, tasks, rows, str(about.get("config_hash", ""))))
    if not found:
        raise UsageError(f"Nothing was measured in {out}.", "Name folders of finished runs.")
    if len({(m.stream, m.model) for m in found}) > 1:
        raise UsageError(f"{out} has runs of several streams or models.", "Give each a folder of its own: --out.")
    return found


def _about(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(file, error) from error


def _damaged(file: Path, error: Exception) -> BenchError:
    return BenchError(f"{file} is damaged: {error}.", "Delete its folder and measure the run again.")


class LostTask(NamedTuple):
    """A task while another one was trained.

    Args:
        had: above the base model at the stage's start, in the score's unit.
        begun: what percentage that is of what it had after its own stage; NaN where it had nothing.
        left: what percentage of ``had`` is left at the stage's end.
        half: how long half of it lasted.
    """

    run: MeasuredRun
    stage: int
    task: str
    had: float
    begun: float
    left: float
    half: Lasting

    @property
    def counts(self) -> bool:
        """Whether it stands for how long tasks last: it surely had something, and had not lost half of it before."""
        return not math.isnan(self.half.value) and self.begun >= 100 * HALF


class RegainedTask(NamedTuple):
    """A task trained once more: what percentage was left before, and the steps to half and to nine tenths of what it
    had, now and at first."""

    run: MeasuredRun
    stage: int
    task: str
    had: float
    left: float
    half: Lasting
    most: Lasting
    first_half: Lasting | None
    first_most: Lasting | None

    @property
    def saved(self) -> tuple[float, float, float]:
        """Percent of the first time's steps to nine tenths that the second does without, with its 95 % interval
        (Ebbinghaus' savings); NaN where either did not get there, or needed no step."""
        if self.first_most is None or not (self.most.came and self.first_most.came):
            return math.nan, math.nan, math.nan
        if min(self.most.value, self.first_most.value) <= 0:  # there was nothing to bring back
            return math.nan, math.nan, math.nan
        with np.errstate(divide="ignore", invalid="ignore"):
            draws = 100 * (1 - self.most.draws / self.first_most.draws)
        return 100 * (1 - self.most.value / self.first_most.value), *limits(draws)


def lost_tasks(found: Sequence[MeasuredRun], score: str) -> list[LostTask]:
    """Every earlier task in every stage that was trained again."""
    rows = []
    for run in found:
        for stage, task in run.stages("stage"):
            course = run.course("stage", stage, task, score)
            if course is not None:
                half = course.until(HALF, falling=True)
                begun = run.share_of_own(task, score, course.gained)
                rows.append(LostTask(run, stage, task, course.gained, begun, 100 * float(course.kept[-1]), half))
    return rows


def regained_tasks(found: Sequence[MeasuredRun], score: str) -> list[RegainedTask]:
    """Every task that was trained once more."""
    rows = []
    for run in found:
        firsts = {task: stage for stage, task in run.stages("first")}
        for stage, task in run.stages("again"):
            now = run.course("again", stage, task, score)
            first = run.course("first", firsts[task], task, score) if task in firsts else None
            if now is None:
                continue
            half, most = (now.until(level, falling=False) for level in (HALF, BACK))
            begun = (None, None) if first is None else tuple(first.until(x, falling=False) for x in (HALF, BACK))
            rows.append(RegainedTask(run, stage, task, now.gained, 100 * float(now.kept[0]), half, most, *begun))
    return rows
