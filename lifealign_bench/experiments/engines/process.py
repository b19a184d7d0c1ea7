"""A worker process, seen from the one that started it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from lifealign_bench.config import RunConfig
from lifealign_bench.experiments.engines.events import Began, Ended, Event, read_event
from lifealign_bench.experiments.engines.job import Job, starter
from lifealign_bench.util.warm import Child, FreshChild, Order, Warm

WORKER = "lifealign_bench.cli.worker"
LOG = "worker.log"
_LAST_LINES = 3


class WorkerProcess:
    """Starts one run in a process (or several, one a GPU) and listens to it.

    Args:
        config: the run.
        tell: takes its events, in a thread of its own; the end comes from :meth:`ended` alone.
        environment: variables that are set for it.
        processes: how many processes share the run.
        patience: see :class:`Job`.
        warm: what a single process is started from; without it the process loads everything itself.

    Raises:
        OSError: no process can be started.
    """

    def __init__(
        self,
        config: RunConfig,
        tell: Callable[[Event], None],
        *,
        environment: Mapping[str, str] | None = None,
        processes: int = 1,
        patience: float = 5.0,
        warm: Warm | None = None,
    ) -> None:
        self.tell = tell
        self.log = config.run_directory() / LOG
        self._pid: int | None = None
        self._said: Ended | None = None
        self._asked = False
        job = Job(config=config, parent=starter(), patience=patience)
        heard, said = os.pipe()
        with _opened(self.log) as log, os.fdopen(said, "wb") as output:
            self._log_starts = log.tell()
            order = Order(WORKER, (job.model_dump_json(),), output.fileno(), log.fileno(), dict(environment or {}))
            try:
                self._process = _begun(order, processes, warm)
            except OSError:
                os.close(heard)
                raise
        self._heard = os.fdopen(heard, "rb")
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def ended(self) -> Ended | None:
        """How the run ended; None while it goes on."""
        code = self._process.poll()
        if code is None:
            return None
        self._reader.join(timeout=2.0)
        with suppress(OSError):
            if not self.log.stat().st_size:
                self.log.unlink()
        return self._said or self._silent_end(code)

    def stop(self) -> None:
        """Ask it to stop at its next checkpoint."""
        self._asked = True
        with suppress(ProcessLookupError):
            if self._process.poll() is not None:
                return
            if self._pid is not None:
                os.kill(self._pid, signal.SIGTERM)
            else:
                # It is only being loaded: there is nothing to lose.
                self._process.signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it now, with all that it started."""
        self._asked = True
        self._process.signal(signal.SIGKILL)
        self._process.wait()

    def _read(self) -> None:
        with self._heard:
            for line in self._heard:
                event = read_event(line)
                if isinstance(event, Ended):
                    self._said = event
                elif event is not None:
                    if isinstance(event, Began):
                        self._pid = event.pid
                    self.tell(event)

    def _silent_end(self, code: int) -> Ended:
        """The process is gone and did not say why."""
        if self._asked:
            return Ended(status="interrupted", message="Stopped.")
        last = " / ".join(self._last_lines())
        words = f" Its last words: {last}" if last else ""
        if code < 0:
            name = signal.Signals(-code).name
            memory = " Did the machine run out of memory?" if -code == signal.SIGKILL else ""
            return Ended(
                status="failed",
                message=f"The process of the run was killed ({name}).{memory}{words}",
                remedy="The same command continues it; fewer --jobs need less memory.",
                died=True,
            )
        return Ended(
            status="failed",
            message=f"The process of the run ended by itself with exit code {code}, before the run did.{words}",
            remedy=f"What it printed is in {self.log}.",
            foreseen=False,
        )

    def _last_lines(self) -> list[str]:
        """The last that this process wrote; the log may hold more, of earlier attempts."""
        try:
            written = self.log.read_bytes()[self._log_starts :].decode("utf-8", errors="replace")
        except OSError:
            return []
        return [line.strip() for line in written.splitlines() if line.strip()][-_LAST_LINES:]


def _begun(order: Order, processes: int, warm: Warm | None) -> Child:
    if processes > 1:
        return FreshChild(order, ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)))
    if warm is None:
        return FreshChild(order)
    return warm.start(order.words, order.output, order.errors, order.environment)


def _opened(log: Path) -> IO[bytes]:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return log.open("ab")
    except OSError:
        # The worker finds the same and says it as the run's error.
        return Path(os.devnull).open("ab")
