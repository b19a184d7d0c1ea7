"""One run of a sweep as a process of its own."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import TextIO

from lifealign_bench.errors import Interrupted, as_bench_error
from lifealign_bench.experiments.engines.events import Began, Ended, Event
from lifealign_bench.experiments.engines.job import Job, ReportingProgress
from lifealign_bench.reporting.tables.files import write_tables
from lifealign_bench.results.view import RunView
from lifealign_bench.runs.directory import RunInUse
from lifealign_bench.util.alive import lives
from lifealign_bench.util.process import is_silent, quieten_libraries, stop_on_interrupt
from lifealign_bench.util.progress import Progress
from lifealign_bench.util.redaction import redact, redacted_streams

_WATCH_SECONDS = 0.2

_TRY_AGAIN_SECONDS = 0.5

_RUN = ("lifealign_bench.reporting.tables.files", "lifealign_bench.results.view", "lifealign_bench.runs.run")
# What nearly every run imports on its way, besides what the runs' own modules do at their top.
_LATE = (
    "lifealign_bench.models.fake",
    "pandas.core.arrays.arrow.extension_types",
    "peft.utils.transformers_weight_conversion",
    "safetensors.numpy",
    "torch.utils.serialization",
    "transformers.models.llama.modeling_llama",
)


def prepare() -> None:
    """Import all that :func:`main` will need, and do nothing; for a process that others are forked from."""
    quieten_libraries()
    for module in (*_RUN, *_LATE):
        import_module(module)


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
    quieten_libraries()
    from lifealign_bench.runs.run import run

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
        while lives(*parent):
            time.sleep(_WATCH_SECONDS)
        with suppress(OSError):
            os.write(2, b"The process that started this run has ended, so this one ends.\n")
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main()
