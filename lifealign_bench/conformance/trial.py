"""One run of a method on the fakes, which can be stopped in the middle of a phase and looked at between its stages."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import torch
from safetensors.torch import load_file

from lifealign_bench.config import GenerationConfig, RunConfig, TrainingConfig
from lifealign_bench.conformance.watch import Memory, MethodState, MethodWatch, memory_of
from lifealign_bench.data.tasks import load_data
from lifealign_bench.errors import BenchError, Interrupted
from lifealign_bench.method import Method
from lifealign_bench.methods import load_method
from lifealign_bench.results.folder import RunFolder, StageFolder
from lifealign_bench.results.pairtable import read_frame
from lifealign_bench.runs.resuming import Ledger
from lifealign_bench.runs.run import go_through, held
from lifealign_bench.runs.session import Session
from lifealign_bench.runs.setup import make_method
from lifealign_bench.training.checkpoint import load_state
from lifealign_bench.training.phases import TrainedPhase
from lifealign_bench.util.distributed import join
from lifealign_bench.util.progress import Progress
from lifealign_bench.util.warm import Warm


@dataclass(frozen=True)
class Trial:
    """What a run left on disk, and its session.

    Args:
        stages: the method's training stages.
        finished: False when it was stopped.
    """

    config: RunConfig
    session: Session
    stages: int
    finished: bool

    def folder(self, stage: int) -> StageFolder:
        """Of a stage."""
        return RunFolder(self.config.run_directory()).stage(stage)

    def weights(self, stage: int) -> dict[str, torch.Tensor]:
        """The adapter after a stage."""
        return dict(load_file(self.folder(stage).weights))

    def state(self, stage: int) -> MethodState:
        """The method's state, likewise."""
        return load_state(self.folder(stage).state)

    def scores(self, stage: int) -> pd.DataFrame:
        """The scores per pair after a stage."""
        return read_frame(self.folder(stage).scores)


class _Position(Progress):
    """Where a run is."""

    def __init__(self) -> None:
        self.stage = 0
        self.part = ""

    def phase_started(self, stage: int, name: str, tasks: tuple[str, ...], steps: int) -> None:
        self.stage, self.part = stage, name


@contextmanager
def _torch(threads: int) -> Iterator[None]:
    """``threads`` in torch, and its settings afterwards as they were, whatever a method did to them."""
    before = (torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled())
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.set_default_dtype(before[1])
        torch.set_grad_enabled(before[2])


def prepared(config: RunConfig) -> Session:
    """A session before its first stage, or before it loads what another one saved."""
    join(True)
    with _torch(config.threads or 1):
        return Session.build(config, load_data(config, Progress()), make_method(config), Progress())


def perform(
    config: RunConfig,
    *,
    watch: MethodWatch | None = None,
    last: int | None = None,
    scored: Callable[[int], bool] = lambda stage: True,
    stop_in: tuple[int, TrainedPhase] | None = None,
    after: Callable[[int, Session], None] = lambda stage, session: None,
) -> Trial:
    """Run, or go on with what lies in the run's folder.

    Args:
        watch: looks on.
        last: the last stage; default: the method's.
        scored: whether a stage is scored.
        stop_in: stop after one step in this phase of this stage.
        after: called after every stage that was trained.
    """
    place = _Position()
    join(True)
    part = None if stop_in is None else (stop_in[0], stop_in[1].part)

    def stopped() -> bool:
        return (place.stage, place.part) == part

    with _torch(config.threads or 1), held(config, place) as (directory, method, data):
        if watch is not None:
            watch.attach(method)
        session = Session.build(config, data, method, place)
        stages = len(session.plan())
        ledger = Ledger(directory, stages, place.notice)
        try:
            go_through(session, ledger, stopped, last=last, trained=lambda stage: after(stage, session), scored=scored)
        except Interrupted:
            return Trial(config, session, stages, False)
    return Trial(config, session, stages, True)


T = TypeVar("T")

# Stages of the long trial after which memory is compared: by the first all buffers are full and all lists begun.
MEASURED = (4, 10)


class TrialFailed(Exception):
    """A trial broke.

    Args:
        trial: what it was.
        reason: the error in one line, with its place.
    """

    def __init__(self, trial: str, reason: str) -> None:
        super().__init__(reason)
        self.trial = trial
        self.reason = reason
        self.told = False


class Bench:
    """One method under examination.

    Args:
        method: a name or the path of a file.
        folder: an empty folder for the trials' runs.
        warm: what processes are started from; None for one of their own.
    """

    def __init__(self, method: str, folder: Path, warm: Warm | None = None) -> None:
        self.method = method
        self.folder = folder
        self.warm = warm
        self.watch = MethodWatch()
        self.memory: dict[int, Memory] = {}
        self._failed: dict[str, TrialFailed] = {}

    @cached_property
    def cls(self) -> type[Method]:
        """The method's class.

        Raises:
            TrialFailed: it cannot be loaded.
        """
        return self._try("loading", lambda: load_method(self.method))

    @cached_property
    def whole(self) -> Trial:
        """Three tasks, both phases, one after the other; watched and scored."""
        config = configuration(self.method, self.folder / "whole")
        return self._run("the run with both phases", lambda: perform(config, watch=self.watch))

    def seen(self, what: Callable[[MethodWatch], list[str]]) -> list[str]:
        """What was seen of the whole trial, also where it broke: it may have broken over just that.

        Raises:
            TrialFailed: it broke, and nothing of the kind was seen.
        """
        try:
            _ = self.whole
        except TrialFailed:
            if not what(self.watch):
                raise
        return what(self.watch)

    @cached_property
    def regrouped(self) -> Trial:
        """The same with all pairs of a step in one pass, to the second stage."""
        config = configuration(self.method, self.folder / "regrouped", token_budget=ROOMY_BUDGET)
        return self._run("the run with larger passes", lambda: perform(config, last=2, scored=lambda stage: stage > 0))

    @cached_property
    def long(self) -> Trial:
        """Ten tasks, the preference phase alone; memory is measured, the first stage and the last are scored."""
        config = configuration(self.method, self.folder / "long", tasks=LONG, sft=False, train_limit=4)

        def measure(stage: int, session: Session) -> None:
            if stage in MEASURED:
                self.memory[stage] = memory_of(session)

        return self._run(
            "the run of ten stages in the preference phase",
            # A method may have one stage for all tasks.
            lambda: perform(config, scored=lambda stage: stage in (1, len(LONG)), after=measure),
        )

    def resumed(self, stage: int, phase: TrainedPhase, last: int) -> Trial:
        """The whole trial again from what it left before ``stage``, stopped in ``phase`` of it and continued up to
        stage ``last``.

        Both attempts have a new instance of the method, which knows what was saved and nothing else.

        Raises:
            TrialFailed: it breaks, or does not stop.
        """
        whole = self.whole
        config = configuration(self.method, self.folder / f"resumed-{phase.name}")
        target = RunFolder(config.run_directory())
        target.path.mkdir(parents=True)
        shutil.copy(RunFolder(whole.config.run_directory()).config, target.config)
        for done in range(stage):
            shutil.copytree(whole.folder(done).path, target.stage(done).path)

        def attempts() -> Trial:
            if perform(config, stop_in=(stage, phase)).finished:
                raise BenchError(f"the {phase.name} phase of stage {stage} had a single step and could not be stopped")
            return perform(config, last=last)

        return self._run(f"the run that is stopped in its {phase.name} phase and continued", attempts)

    def _run(self, trial: str, make: Callable[[], T]) -> T:
        _ = self.cls  # what does not load cannot run, and is told once
        return self._try(trial, make)

    def _try(self, trial: str, make: Callable[[], T]) -> T:
        if trial in self._failed:
            raise self._failed[trial]
        try:
            return make()
        except TrialFailed:
            raise
        except Exception as error:
            self._failed[trial] = TrialFailed(trial, f"{trial}: {in_one_line(error)}")
            raise self._failed[trial] from error


def in_one_line(error: Exception) -> str:
    """An error with the place that raised it; of the project's own errors what they say."""
    if isinstance(error, BenchError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno}, in {frames[-1].name})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"


# Questions of a wording and answers of a form that no other of them has; their cards lie with the fakes.
LONG = tuple(f"made-up-{n}" for n in range(1, 11))

SHORT = LONG[:3]

# Tokens a pass: about two pairs, so that a step takes several passes; and all pairs of a step at once.
TIGHT_BUDGET = 50

ROOMY_BUDGET = 1000


def configuration(method: str, out: Path, **changes: Any) -> RunConfig:
    """A run of ``method`` on the fake model that takes about a second; keywords override."""
    settings: dict[str, Any] = {
        "method": method,
        "stream": "conformance",
        "tasks": SHORT,
        "model": "fake",
        "dtype": "float32",
        "device": "cpu",
        "threads": 1,
        "out": out,
        "sft": True,
        "train_limit": 6,  # one whole step and one that is not
        "test_limit": 2,
        "scorers": ("preference",),
        "token_budget": TIGHT_BUDGET,
        "training": TrainingConfig(learning_rate=2e-3, batch_size=4),
        "generation": GenerationConfig(max_new_tokens=4),
    }
    return RunConfig.model_validate(settings | changes)
