"""One run of a sweep in a process of its own: ``python -m lifealign_bench.worker JOB``.

The job is JSON; what happens is said on standard output, one event a line (see ``events``). Whatever else the run or
the libraries print goes to standard error. The process ends when the one that started it does.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import TextIO

import psutil
from pydantic import BaseModel, ConfigDict

from lifealign_bench.config import RunConfig
from lifealign_bench.consoles import is_silent
from lifealign_bench.errors import Interrupted
from lifealign_bench.events import Advanced, Began, Ended, Entered, Event, Noticed, Planned
from lifealign_bench.failures import as_bench_error
from lifealign_bench.interrupt import stop_on_interrupt
from lifealign_bench.progress import Progress, Work
from lifealign_bench.redaction import redact, redacted_streams
from lifealign_bench.rundir import RunInUse

__all__ = ["Job", "main", "starter"]

Tell = Callable[[Event], None]
_WATCH_SECONDS = 0.2
_REPORT_SECONDS = 0.3
_TRY_AGAIN_SECONDS = 0.5


class Job(BaseModel):
    """What a worker is to do.

    Args:
        config: the run.
        parent: process id and start time of the process that started this one.
        patience: seconds to wait for a run's folder that another process holds: one that was killed a moment ago, or
            on a node that died, may hold it still.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: RunConfig
    parent: tuple[int, float]
    patience: float = 5.0


def starter() -> tuple[int, float]:
    """This process, as a :class:`Job` names it."""
    return os.getpid(), psutil.Process().create_time()


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

    def run_finished(self) -> None:
        self._flush()

    def _flush(self) -> None:
        if self.sum.work:
            self.tell(self.sum)
        self.sum, self.last = Advanced(work=0.0), self.clock()


def main() -> None:
    """Do the job; exit code 0 whenever the end was told."""
    said = _keep_standard_output()
    job = Job.model_validate_json(sys.argv[1])
    _end_with(job.parent)
    silent = is_silent()  # one process of a run's several speaks

    def tell(event: Event) -> None:
        if not silent:
            said.write(redact(event.model_dump_json()) + "\n")
            said.flush()

    with redacted_streams(), stop_on_interrupt(lambda: None) as stopped:
        tell(Began(pid=os.getpid(), host=socket.gethostname()))
        tell(_do(job, ReportingProgress(tell), stopped))


def _do(job: Job, progress: Progress, stopped: Callable[[], bool]) -> Ended:
    try:
        _run(job, progress, stopped)
    except (Interrupted, KeyboardInterrupt) as error:
        return Ended(status="interrupted", message=error.message if isinstance(error, Interrupted) else "Stopped.")
    except Exception as error:  # noqa: BLE001 - becomes the run's error, which the sweep shows
        known = as_bench_error(error)
        if known is not None:
            return Ended(status="failed", message=known.message, remedy=known.remedy)
        trace = "".join(traceback.format_exception(error))
        return Ended(status="failed", message=f"{type(error).__name__}: {error}", foreseen=False, trace=trace)
    return Ended(status="complete")


def _run(job: Job, progress: Progress, stopped: Callable[[], bool]) -> None:
    from lifealign_bench.run_command import quieten_libraries

    quieten_libraries()
    from lifealign_bench.run import run
    from lifealign_bench.tables import RunView, write_tables

    until = time.monotonic() + job.patience
    while True:
        try:
            record = run(job.config, progress, stopped)
            break
        except RunInUse:
            if time.monotonic() >= until or stopped():
                raise
            time.sleep(_TRY_AGAIN_SECONDS)
    if not is_silent():
        directory = job.config.run_directory()
        write_tables(RunView(record, directory), directory)


def _keep_standard_output() -> TextIO:
    """Standard output for events alone; what anything else writes there goes to standard error."""
    kept = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return kept


def _end_with(parent: tuple[int, float]) -> None:
    """End this process soon after ``parent`` has ended, however that happened."""

    def watch() -> None:
        while _lives(*parent):
            time.sleep(_WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _lives(pid: int, since: float) -> bool:
    """Whether the process that began at ``since`` is there; its number may be another's by now."""
    try:
        process = psutil.Process(pid)
        return bool(process.create_time() == since and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


if __name__ == "__main__":
    main()
