"""A finished run opened again: a stage of it is trained anew, or a task once more, and the model is asked meanwhile.

The run's own folder is read and never written: what is trained here goes on from copies of its checkpoints. Asking a
model in the middle of its training changes nothing of what it becomes: no weight, no state of the optimizer, of the
method or of a generator of random numbers (:func:`untouched`).
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.method import Method, MethodConfig, Phase
from lifealign_bench.results.folder import RunFolder, StageFolder, read_marker
from lifealign_bench.runs.rescoring import run_of
from lifealign_bench.runs.resuming import Ledger, claim_tokens, claim_training, move_to, weights_hash
from lifealign_bench.runs.run import held
from lifealign_bench.runs.session import Session
from lifealign_bench.runs.setup import resolved
from lifealign_bench.runs.stages import train_one
from lifealign_bench.scoring.evidence import Exam
from lifealign_bench.scoring.stage import score_stage
from lifealign_bench.training.phases import PHASES, TrainedPhase
from lifealign_bench.training.trainer import StageTraining, train_stage
from lifealign_bench.util.clock import Clock
from lifealign_bench.util.distributed import join, world_size
from lifealign_bench.util.progress import Progress, Several
from lifealign_bench.util.seeds import derive_seed

if TYPE_CHECKING:
    import pandas as pd
    from peft import PeftModel

_MEND = "Delete its record.json and run its command again, which makes what is missing."
_BETWEEN = -1  # of Session.position: the weights are those of no checkpoint


class StepReading(NamedTuple):
    """What a model says after so many optimizer steps: ``rows`` are as in ``scores.parquet``, one a test pair."""

    step: int
    rows: pd.DataFrame


class StageAgain(NamedTuple):
    """A stage that was trained again.

    Args:
        readings: before its first step, after steps, and at its end, what the method does after training included.
        exact: whether it ended with the run's own weights and method's state, to the bit.
    """

    readings: list[StepReading]
    exact: bool


class PlainTraining(Method):
    """Training on a task's own pairs and nothing else, of the parameters and at the rates of another method."""

    def __init__(self, method: Method) -> None:
        super().__init__(MethodConfig())
        self.method = method

    def trained(self, model: PeftModel) -> list[torch.nn.Parameter]:
        """The other method's."""
        return self.method.trained(model)

    def learning_rate(self, phase: Phase, chosen: float) -> float:
        """The other method's."""
        return self.method.learning_rate(phase, chosen)


class _AfterSteps(Several):
    """Passes events on, and calls ``taken`` after every optimizer step."""

    def __init__(self, listener: Progress) -> None:
        super().__init__((listener,))
        self.taken: Callable[[], None] = lambda: None

    def logged(self, stage: int, phase: str, step: int, values: Mapping[str, float]) -> None:
        super().logged(stage, phase, step, values)
        self.taken()


@contextmanager
def untouched(model: torch.nn.Module) -> Iterator[None]:
    """Ask ``model``, in evaluation mode, in the middle of its training.

    Its modes, which of its parameters are trained, and the generators of random numbers are afterwards as they were.
    """
    modes = [(module, module.training) for module in model.modules()]
    trained = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    numbers, python = np.random.get_state(), random.getstate()
    with torch.random.fork_rng():
        model.eval()
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training
            for parameter, is_trained in trained:
                parameter.requires_grad_(is_trained)
            np.random.set_state(numbers)
            random.setstate(python)


@dataclass
class Reopened:
    """A finished run whose stages can be trained again. Made by :func:`reopened`.

    Args:
        run: the run's own folder.
        session: in memory, with what is trained in a folder below ``work``.
        exam: what the model is asked: a part of every task's test pairs.
        asked: how often it was.
    """

    run: RunFolder
    work: Path
    session: Session
    ledger: Ledger
    exam: Exam
    steps: _AfterSteps
    asked: int = field(default=0, init=False)

    @property
    def plan(self) -> list[tuple[str, ...]]:
        """The tasks of every stage."""
        return self.session.plan()

    @property
    def tasks(self) -> list[str]:
        """All of them, in the stream's order."""
        return list(self.session.data)

    def own_stage(self, task: str) -> int:
        """The stage in which a task is trained."""
        return next(index for index, tasks in enumerate(self.plan, start=1) if task in tasks)

    def earlier(self, stage: int) -> list[str]:
        """The tasks of the stages before one."""
        return [task for tasks in self.plan[: stage - 1] for task in tasks]

    def base(self) -> pd.DataFrame:
        """What the base model says of all tasks; kept, so that no later reading has to put the adapter aside."""
        return self._ask(self.tasks, 0)

    def after(self, stage: int, tasks: Sequence[str]) -> pd.DataFrame:
        """What the run's model after a stage says."""
        move_to(self.session, self.ledger, stage)
        return self._ask(tasks, stage)

    def train_again(self, stage: int, at: Callable[[int], bool]) -> StageAgain:
        """Train a stage with the run's own method and settings, and ask for the earlier tasks.

        Args:
            at: whether the model is asked after so many optimizer steps, counted over all phases of the stage.

        Raises:
            UsageError: there is no earlier task.
            BenchError: the loss is not finite.
        """
        tasks = self.earlier(stage) if 0 < stage <= len(self.plan) else []
        if not tasks:
            raise UsageError(
                f"Before stage {stage} of {self.run.path} no task was trained that could be lost.",
                f"Name stages from 2 to {len(self.plan)}.",
            )
        readings = {0: self.after(stage - 1, tasks)}
        count = 0

        def taken() -> None:
            nonlocal count
            count += 1
            if at(count):
                readings[count] = self._ask(tasks, stage)

        self.steps.taken = taken
        try:
            train_one(self.session, self.ledger, stage, lambda: False)
        finally:
            self.steps.taken = lambda: None
        readings[count] = self._ask(tasks, stage)  # what the method does after its last step is part of the stage
        here = self.ledger.directory.stage(stage)
        own, found = (read_marker(folder.trained, self.session.progress.notice) for folder in (self._own(stage), here))
        exact = own is not None and found is not None and weights_hash(own) == weights_hash(found)
        _copy_stage(self._own(stage), here)
        self.session.position = _BETWEEN
        return StageAgain([StepReading(step, rows) for step, rows in sorted(readings.items())], exact)

    def train_task(
        self, task: str, after: int, enough: Callable[[Sequence[StepReading]], bool], at: Callable[[int], bool]
    ) -> list[StepReading]:
        """Train a task's own pairs plainly, from the run's model after a stage, and ask for that task alone.

        It has the phases, rates, schedule and order of pairs of the task's own stage; neither the method's loss nor
        what it mixes in. A phase that samples has no pairs and is left out; where no other is there, the preference
        phase is taken.

        Args:
            enough: whether no further step is needed; asked before the first one and after every one.
            at: whether the model is asked after so many steps.

        Raises:
            BenchError: the loss is not finite.
        """
        move_to(self.session, self.ledger, after)
        self.session.position = _BETWEEN
        readings = [StepReading(0, self._ask([task], after))]
        for phase in [p for p in self.session.phases() if not p.samples] or [PHASES.get("preference")]:
            if enough(readings):
                break
            self._train_phase(task, phase, readings, enough, at)
        return readings

    def _train_phase(
        self,
        task: str,
        phase: TrainedPhase,
        readings: list[StepReading],
        enough: Callable[[Sequence[StepReading]], bool],
        at: Callable[[int], bool],
    ) -> None:
        session, index, before = self.session, self.own_stage(task), readings[-1].step
        config, method = session.config, session.method
        moving = method.reference(config.training.reference) == "previous"
        refer = session.references_now if moving else session.references

        def taken(step: int, loss: float, tokens: int) -> None:
            if at(before + step) and not enough(readings):
                readings.append(StepReading(before + step, self._ask([task], index)))

        folder = self.work / "once-more"
        shutil.rmtree(folder, ignore_errors=True)
        training = StageTraining(
            index=index,
            phase=phase,
            pairs=[phase.form(pair) for pair in session.train[task]],
            reference=refer([task]) if phase.refers else {},
            folder=folder,
            resume=None,
            seed=derive_seed(config.seed, "order", index, *phase.order),
            on_step=taken,
            on_log=lambda entry: None,
            on_checkpoint=lambda checkpoint: None,
            notice=session.progress.notice,
            stopped=lambda: enough(readings),
        )
        result = train_stage(session.speaker, PlainTraining(method), config, training)
        if result.complete and readings[-1].step < before + result.steps:
            readings.append(StepReading(before + result.steps, self._ask([task], index)))

    def _ask(self, tasks: Sequence[str], stage: int) -> pd.DataFrame:
        self.asked += 1
        folder = self.work / "asked" / str(self.asked)
        with untouched(self.session.model):
            _, rows = score_stage(self.exam, tasks, stage, folder, f"reading {self.asked}", lambda: False)
        shutil.rmtree(folder)
        return rows

    def _own(self, stage: int) -> StageFolder:
        return self.run.stage(stage)


@contextmanager
def reopened(
    path: Path,
    work: Path,
    scorers: Sequence[str],
    pairs: int,
    progress: Progress | None = None,
    data_dir: Path | None = None,
    threads: int | None = None,
) -> Iterator[Reopened]:
    """Open the finished run in folder ``path``.

    Args:
        work: an empty folder for what is trained.
        scorers: say what the model is asked; see ``list scorers``.
        pairs: test pairs of each task that it is asked about, spread evenly over the task's.
        threads: on a CPU; none: as many as the run had, without which nothing is the same to the bit.

    Raises:
        UsageError: it has no earlier tasks, or several processes were launched.
        BenchError: it is not finished, lacks the checkpoint of a stage, or its data, method or tokens are others now.
    """
    steps = _AfterSteps(progress or Progress())
    run, config = RunFolder(path), run_of(path, data_dir)
    join(config.device == "cpu")
    if world_size() > 1:
        raise UsageError("A run is opened again by one process.", "Start it without accelerate launch or torchrun.")
    config = config.model_copy(update={"out": work})
    _copy_run(run, RunFolder(config.run_directory()))
    config = resolved(config)
    with held(config, steps) as (directory, method, data):
        stages = len(method.plan(list(data)))
        if method.restarts or stages < 2:
            raise UsageError(
                f"The method {config.method_name} trains no task after another.", "Name runs of methods that do."
            )
        for index in range(stages):
            _copy_stage(run.stage(index), directory.stage(index))
        ledger = Ledger(directory, stages, steps.notice)
        claim_training(method, config.method_name, ledger)  # asks while a stage is still to be trained
        _copy_stage(run.stage(stages), directory.stage(stages))
        if config.device == "cpu":
            torch.set_num_threads(threads or directory.threads(torch.get_num_threads()))
        clock = directory.clock(Clock.of(config.clock).text())
        # What an engine outside this process is given are the checkpoints of stages, and between them there are none.
        now = {"clock": clock, "scorers": tuple(scorers), "generation_engine": "batches"}
        session = Session.build(config.model_copy(update=now), data, method, steps)
        claim_tokens(session, directory)
        some = {name: [own[i] for i in spread_evenly(len(own), pairs)] for name, own in session.test.items()}
        yield Reopened(run, work, session, ledger, replace(session.exam, pairs=some), steps)


def spread_evenly(count: int, wanted: int) -> list[int]:
    """So many places of ``count``, or all, as evenly as they can lie, the first and the last among them."""
    if wanted >= count:
        return list(range(count))
    return sorted({round(place) for place in np.linspace(0, count - 1, wanted).tolist()})


def _copy_run(run: RunFolder, to: RunFolder) -> None:
    to.path.mkdir(parents=True)
    for own, there in (
        (run.config, to.config),
        (run.threads_file, to.threads_file),
        (run.clock_file, to.clock_file),
        (run.places_file, to.places_file),
    ):
        if own.is_file():
            shutil.copyfile(own, there)


def _copy_stage(own: StageFolder, to: StageFolder) -> None:
    """The checkpoint of a stage, in the place of what is there.

    Raises:
        BenchError: it is not there, or damaged.
    """
    if read_marker(own.trained, lambda text: None) is None:
        raise BenchError(f"The run in {own.path.parent} has no whole checkpoint of {own.path.name} any more.", _MEND)
    shutil.rmtree(to.path, ignore_errors=True)
    to.path.mkdir()
    shutil.copytree(own.adapter, to.adapter)
    for file, there in ((own.state, to.state), (own.trained, to.trained)):
        shutil.copyfile(file, there)
