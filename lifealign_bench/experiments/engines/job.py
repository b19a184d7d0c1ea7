"""One run of a sweep in a process of its own: ``python -m lifealign_bench.experiments.engines.job JOB``.

The job is JSON; what happens is said on standard output, one event a line (see ``events``). Whatever else the run or
the libraries print goes to standard error. The process ends when the one that started it does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict

from lifealign_bench.config import RunConfig
from lifealign_bench.experiments.engines.events import Advanced, Entered, Event, Noticed, Planned, Prepared
from lifealign_bench.util.alive import begun
from lifealign_bench.util.progress import Progress, Work

Tell = Callable[[Event], None]

_REPORT_SECONDS = 0.3


class Job(BaseModel):
    """What a worker is to do.

    Args:
        config: the run.
        parent: number and start (see :func:`lifealign_bench.util.alive.begun`) of the process that started this one.
        patience: seconds to wait for a run's folder that another process holds: one that was killed a moment ago, or
            on a node that died, may hold it still.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: RunConfig
    parent: tuple[int, float]
    patience: float = 5.0


def starter() -> tuple[int, float]:
    """This process, as a :class:`Job` names it."""
    return os.getpid(), begun()


class ReportingProgress(Progress):
    """Turns a run's progress into events, a few a second at most."""

    def __init__(self, tell: Tell, clock: Callable[[], float] = time.monotonic) -> None:
        self.tell = tell
        self.clock = clock
        self.last = clock()
        self.sum = Advanced(work=0.0)

    def run_started(self, config: RunConfig, work: Work) -> None:
        self.tell(Planned(total=work.total, stages=work.stages, done=work.done))

    def phase_started(self, stage: int, name: str, tasks: tuple[str, ...], steps: int) -> None:
        self._flush()
        self.tell(Entered(stage=stage, name=name, tasks=tasks, steps=steps))

    def advanced(self, work: float, *, step: int | None = None, loss: float | None = None, tokens: int = 0) -> None:
        before = self.sum
        self.sum = Advanced(
            work=before.work + work,
            step=before.step if step is None else step,
            loss=before.loss if loss is None else loss,
            tokens=before.tokens + tokens,
        )
        if self.clock() - self.last >= _REPORT_SECONDS:
            self._flush()

    def notice(self, text: str) -> None:
        self.tell(Noticed(text=text))

    def prepared(self, text: str) -> None:
        self.tell(Prepared(text=text))

    def run_finished(self) -> None:
        self._flush()

    def _flush(self) -> None:
        if self.sum.work:
            self.tell(self.sum)
        self.sum, self.last = Advanced(work=0.0), self.clock()
