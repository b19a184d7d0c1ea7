"""One run of a method on the fakes, which can be stopped in the middle of a phase and looked at between its stages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file

from lifealign_bench.config import RunConfig
from lifealign_bench.conformance.watch import State, Watch
from lifealign_bench.data.tasks import TaskData
from lifealign_bench.errors import Interrupted
from lifealign_bench.method import Method, Phase
from lifealign_bench.runs.directory import RunDirectory
from lifealign_bench.runs.recording import run_identity
from lifealign_bench.runs.session import Session
from lifealign_bench.runs.setup import load_data, make_method
from lifealign_bench.runs.stages import Ledger, score_one, train_one
from lifealign_bench.scoring.stage import SCORES
from lifealign_bench.training.checkpoint import load_state
from lifealign_bench.util.distributed import join
from lifealign_bench.util.progress import Progress

__all__ = ["Trial", "perform", "prepared"]


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

    def folder(self, stage: int) -> Path:
        """Of a stage."""
        return self.config.run_directory() / f"stage-{stage}"

    def weights(self, stage: int, phase: Phase | None = None) -> dict[str, torch.Tensor]:
        """The adapter after a stage, or after a phase of a stage that is not finished."""
        folder = self.folder(stage) / phase if phase else self.folder(stage)
        return dict(load_file(folder / "adapter" / "adapter_model.safetensors"))

    def state(self, stage: int, phase: Phase | None = None) -> State:
        """The method's state, likewise."""
        folder = self.folder(stage) / phase if phase else self.folder(stage)
        return load_state(folder / "method.safetensors")

    def scores(self, stage: int) -> pd.DataFrame:
        """The scores per pair after a stage."""
        return pd.read_parquet(self.folder(stage) / SCORES)


class _Place(Progress):
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
    place = _Place()
    method, data = _begin(config, place)
    with _torch(config.threads or 1):
        return Session.build(config, data, method, place)


def _begin(config: RunConfig, place: _Place) -> tuple[Method, dict[str, TaskData]]:
    join(True)
    return make_method(config), load_data(config, place)


def perform(
    config: RunConfig,
    *,
    watch: Watch | None = None,
    last: int | None = None,
    scored: Callable[[int], bool] = lambda stage: True,
    stop_in: tuple[int, Phase] | None = None,
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
    place = _Place()
    method, data = _begin(config, place)
    if watch is not None:
        watch.attach(method)
    part = None if stop_in is None else (stop_in[0], "sft" if stop_in[1] == "sft" else "train")

    def stopped() -> bool:
        return (place.stage, place.part) == part

    with _torch(config.threads or 1), RunDirectory.open(config, run_identity(config, method, data)) as directory:
        session = Session.build(config, data, method, place)
        stages = len(session.plan())
        ledger = Ledger(directory, stages, place.notice)
        try:
            for index in range(min(last or stages, stages) + 1):
                if index not in ledger.trained:
                    train_one(session, ledger, index, stopped)
                    after(index, session)
                if scored(index) and index not in ledger.scored:
                    score_one(session, ledger, index, stopped)
        except Interrupted:
            return Trial(config, session, stages, False)
    return Trial(config, session, stages, True)
