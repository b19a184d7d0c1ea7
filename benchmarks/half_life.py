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

What is measured is kept in FOLDER, a folder for each run, stage by stage: the same command goes on where it was
stopped, and what is there is not measured again. half-life.md, half-life.json and a figure for each score are made of
all that is there; ``results.halflife`` has the estimates.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.reporting.figures.drawn import write_figures
from lifealign_bench.reporting.halflife import half_life_figures, half_life_json, half_life_text
from lifealign_bench.results.measuredruns import BACK, SCORES, keep_about, keep_circumstances, open_measured
from lifealign_bench.results.record import read_record
from lifealign_bench.runs.recording import git_state, hardware, versions
from lifealign_bench.runs.reopening import Reopened, StepReading, reopened
from lifealign_bench.util.files import atomic_path, write_json, write_text
from lifealign_bench.util.process import quieten_libraries


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Args:
        pairs: test pairs of each task.
        dense: the model is asked after each of the first so many steps of a stage,
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

    def asked(self) -> dict[str, Any]:
        """What must be the same in all parts of a run."""
        return {"pairs": self.pairs, "dense": self.dense, "every": self.every, "scorers": list(self.scorers)}

    def at(self, step: int) -> bool:
        """Whether the model is asked after so many steps of a stage."""
        return step <= self.dense or step % self.every == 0


def measure(run: Path, out: Path, settings: Settings) -> None:
    """Ask a finished run's model during its stages and while lost tasks are trained again; kept below ``out``, part by
    part, so that the same call goes on where it was stopped.

    Raises:
        BenchError: the run cannot be opened again; a stage has no earlier task; parts of other settings are there.
    """
    record = read_record(run / "record.json")
    last = len(record.stages) - 1
    after = last if settings.after is None else settings.after
    stages = settings.stages or tuple(range(2, last + 1))
    if not all(0 <= stage <= last for stage in (*stages, after)):
        raise UsageError(f"{run} has no stage {max((*stages, after))}.", f"Its last one is {last}.")
    if last < 2:
        raise UsageError(f"{run} trains no task after another.", "Name runs of methods that do.")
    folder = out / Path(*run.absolute().parts[-4:])  # stream, model, method, seed
    parts = [(_stage, stage) for stage in stages] + [(_once_more, own, after) for own in range(1, after)]
    missing = [part for part in parts if not _file(folder, part).is_file()]
    about: dict[str, Any] = {"stream": record.config["stream"], "model": record.config["model"]}
    about |= {"method": record.method.name, "seed": record.config["seed"], "tasks": list(record.tasks)}
    keep_about(folder, about | {"config_hash": record.config_hash, "asked": settings.asked()})
    if not missing:
        return
    with (
        tempfile.TemporaryDirectory() as work,
        reopened(run, Path(work) / "work", settings.scorers, settings.pairs, threads=settings.threads) as opened,
    ):
        keep_circumstances(folder, _circumstances(opened))
        base = opened.base()
        if not _file(folder, (_whole,)).is_file():
            _keep(_file(folder, (_whole,)), _whole(opened, base))
        for kind, *places in missing:
            print(f"{run}: {_file(folder, (kind, *places)).stem} of {last} stages", file=sys.stderr)
            _keep(_file(folder, (kind, *places)), kind(opened, settings, *places))


def _circumstances(opened: Reopened) -> dict[str, Any]:
    """What a record says of them."""
    config = opened.session.config
    machine = hardware(config.device, config.dtype, opened.session.speaker.layout)
    return {"git": git_state(), "versions": versions(config.quantization is not None), "hardware": machine}


def _file(folder: Path, part: tuple[Any, ...]) -> Path:
    kind, *places = part
    return folder / f"{'-'.join([kind.__name__.strip('_'), *map(str, places)])}.parquet"


def _keep(file: Path, frame: pd.DataFrame) -> None:
    with atomic_path(file) as temporary:
        frame.to_parquet(temporary, index=False)


def _whole(opened: Reopened, base: pd.DataFrame) -> pd.DataFrame:
    """What the base model says, and the run's after each task's own stage."""
    had = [
        _framed("had", own, [StepReading(0, opened.after(own, [task]))])
        for task in opened.tasks
        for own in [opened.own_stage(task)]
    ]
    return pd.concat([_framed("base", 0, [StepReading(0, base)]), *had], ignore_index=True)


def _stage(opened: Reopened, settings: Settings, stage: int) -> pd.DataFrame:
    """A stage trained again."""
    again = opened.train_again(stage, settings.at)
    return _framed("stage", stage, again.readings).assign(exact=again.exact)


def _once_more(opened: Reopened, settings: Settings, own: int, after: int) -> pd.DataFrame:
    """The tasks of stage ``own`` trained once more, from the end of stage ``after`` and from where they were first."""
    frames = []
    base = opened.base()
    for task in opened.plan[own - 1]:
        whole = _Whole(opened.after(own, [task]), base[base["task"] == task])
        for kind, start in (("again", after), ("first", own - 1)):
            frames.append(_framed(kind, start, opened.train_task(task, start, whole.is_back, lambda step: True)))
    return pd.concat(frames, ignore_index=True)


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
        text = half_life_text(found)
        write_text(words.out / "half-life.md", text)
        write_json(words.out / "half-life.json", half_life_json(found))
        write_figures(half_life_figures(found), words.out, force=True)
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
