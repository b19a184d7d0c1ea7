"""What a run shows while it works: a live line on a terminal, plain lines elsewhere, or nothing. Always on stderr."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lifealign_bench.config import RunConfig
from lifealign_bench.grid import clean, duration
from lifealign_bench.progress import Progress, Work

__all__ = ["Meter", "PlainProgress", "QuietProgress", "RichProgress", "choose_progress"]

Clock = Callable[[], float]


@dataclass
class Phase:
    """The part of a stage that is going on."""

    stage: int
    name: str
    tasks: tuple[str, ...]
    steps: int
    began: float
    step: int | None = None
    loss: float | None = None
    tokens: int = 0


class Meter:
    """Adds up a run's events: how far it is, how fast, how long still. Shows nothing.

    Args:
        clock: gives seconds.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self.clock = clock
        self.title = ""
        self.work = Work(0.0, 0)
        self.done = 0.0
        self.began = clock()
        self.phase: Phase | None = None

    def start(self, config: RunConfig, work: Work) -> None:
        """A run begins."""
        self.title = clean(f"{config.method} on {config.stream}, {config.model}, seed {config.seed}")
        self.work, self.done, self.began, self.phase = work, 0.0, self.clock(), None

    def enter(self, stage: int, name: str, tasks: tuple[str, ...], steps: int) -> Phase | None:
        """A phase begins; gives the one that ended."""
        ended, self.phase = self.phase, Phase(stage, name, tasks, steps, self.clock())
        return ended

    def advance(self, work: float, step: int | None, loss: float | None, tokens: int) -> None:
        """Work was done."""
        self.done += work
        if self.phase is not None:
            self.phase.step = step if step is not None else self.phase.step
            self.phase.loss = loss if loss is not None else self.phase.loss
            self.phase.tokens += tokens

    @property
    def share(self) -> float:
        """Of the whole run, 0 to 1; never quite 1 before the end, since the total is an estimate."""
        if self.work.total <= 0:
            return 0.0
        return min(0.999, (self.work.done + self.done) / self.work.total)

    @property
    def remaining(self) -> float | None:
        """Seconds until the end of the run at the speed of this attempt; None before there is one."""
        elapsed = self.clock() - self.began
        if self.done <= 0 or elapsed <= 0:
            return None
        return max(0.0, self.work.total - self.work.done - self.done) * elapsed / self.done

    @property
    def speed(self) -> float | None:
        """Tokens a second in this phase."""
        if self.phase is None or not self.phase.tokens:
            return None
        elapsed = self.clock() - self.phase.began
        return self.phase.tokens / elapsed if elapsed > 0 else None

    def heading(self) -> str:
        """``stage 2/5 train mini-brief``."""
        if self.phase is None:
            return "loading"
        tasks = self.phase.tasks
        what = clean(tasks[0]) if len(tasks) == 1 else f"{len(tasks)} tasks"
        return f"stage {self.phase.stage}/{self.work.stages} {clean(self.phase.name)} {what}"

    def details(self) -> list[str]:
        """Step, loss and speed, as far as they are known."""
        if self.phase is None:
            return []
        parts = []
        if self.phase.steps:
            parts.append(f"step {self.phase.step or 0}/{self.phase.steps}")
        if self.phase.loss is not None and math.isfinite(self.phase.loss):
            parts.append(f"loss {self.phase.loss:.3f}")
        if self.speed is not None:
            parts.append(f"{self.speed:,.0f} tokens/s")
        return parts


class QuietProgress(Progress):
    """Shows nothing: results and errors are all that is printed."""


class PlainProgress(Progress):
    """Lines for logs and pipes: one when a phase begins, and now and then one in between.

    Args:
        console: where to write.
        every: seconds between two lines of a phase.
        clock: gives seconds.
    """

    def __init__(self, console: Console, every: float = 10.0, clock: Clock = time.monotonic) -> None:
        self.console = console
        self.every = every
        self.meter = Meter(clock)
        self.last = -math.inf

    def run_started(self, config: RunConfig, work: Work) -> None:
        self.meter.start(config, work)
        again = f", continued at {100 * self.meter.share:.0f} %" if work.done else ""
        self._line(f"{self.meter.title}: {work.stages} stages{again}")

    def phase_started(self, stage: int, name: str, tasks: tuple[str, ...], steps: int) -> None:
        self.meter.enter(stage, name, tasks, steps)
        self._status()

    def advanced(self, work: float, *, step: int | None = None, loss: float | None = None, tokens: int = 0) -> None:
        self.meter.advance(work, step, loss, tokens)
        if self.meter.clock() - self.last >= self.every:
            self._status()

    def notice(self, text: str) -> None:
        self._line(f"note: {clean(text)}")

    def prepared(self, text: str) -> None:
        self._line(clean(text))

    def run_finished(self) -> None:
        self._line(f"{self.meter.title}: {duration(self.meter.clock() - self.meter.began)}")

    def _status(self) -> None:
        left = self.meter.remaining
        parts = [f"[{100 * self.meter.share:3.0f} %] {self.meter.heading()}", *self.meter.details()]
        if left is not None:
            parts.append(f"{duration(left)} left")
        self._line(", ".join(parts))
        self.last = self.meter.clock()

    def _line(self, text: str) -> None:
        # A log line stays one line, however narrow the terminal is said to be.
        self.console.print(Text(text), soft_wrap=True)


class RichProgress(Progress):
    """Two live lines at the bottom of a terminal; notices and finished stages scroll by above them.

    Args:
        console: a terminal.
        clock: gives seconds.
    """

    def __init__(self, console: Console, clock: Clock = time.monotonic) -> None:
        self.console = console
        self.meter = Meter(clock)
        self.live: Live | None = None
        self.finished: list[str] = []

    def __enter__(self) -> RichProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def run_started(self, config: RunConfig, work: Work) -> None:
        self.meter.start(config, work)
        self._stop()
        self.live = Live(get_renderable=self._render, console=self.console, refresh_per_second=4, transient=True)
        self.live.start()

    def phase_started(self, stage: int, name: str, tasks: tuple[str, ...], steps: int) -> None:
        self._tell(self.meter.enter(stage, name, tasks, steps))

    def advanced(self, work: float, *, step: int | None = None, loss: float | None = None, tokens: int = 0) -> None:
        self.meter.advance(work, step, loss, tokens)

    def notice(self, text: str) -> None:
        self.console.print(Text("note: ", style="yellow"), Text(clean(text)), sep="")

    def prepared(self, text: str) -> None:
        self.console.print(Text(clean(text), style="dim"))

    def run_finished(self) -> None:
        self._tell(self.meter.phase)
        self.meter.phase = None
        self._stop()

    def _stop(self) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None

    def _tell(self, ended: Phase | None) -> None:
        """One lasting line for each stage's training."""
        if ended is None or ended.name != "train":
            return
        tasks = clean(ended.tasks[0]) if len(ended.tasks) == 1 else f"{len(ended.tasks)} tasks"
        parts = [f"stage {ended.stage}/{self.meter.work.stages} {tasks}: {ended.step or 0} steps"]
        if ended.loss is not None:
            parts.append(f"loss {ended.loss:.3f}")
        parts.append(duration(self.meter.clock() - ended.began))
        self.console.print(Text(", ".join(parts), style="dim"))

    def _render(self) -> RenderableType:
        left = self.meter.remaining
        line = Table.grid(padding=(0, 1), expand=True)
        line.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        line.add_column(width=20)
        line.add_column(no_wrap=True, justify="right")
        eta = f"{100 * self.meter.share:.0f} %, {duration(left)} left" if left is not None else "starting"
        line.add_row(
            Text(self.meter.title, style="bold"),
            ProgressBar(total=1.0, completed=self.meter.share, width=20),
            Text(eta),
        )
        status = Text(" · ".join([self.meter.heading(), *self.meter.details()]), style="cyan", no_wrap=True)
        status.overflow = "ellipsis"
        return Group(line, status)


def choose_progress(console: Console, *, quiet: bool) -> Progress:
    """The progress that suits ``console``: live on a terminal, plain lines elsewhere, none when ``quiet``."""
    if quiet:
        return QuietProgress()
    return RichProgress(console) if console.is_terminal and not console.is_dumb_terminal else PlainProgress(console)
