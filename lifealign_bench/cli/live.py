"""What a run shows while it works: a live line on a terminal, plain lines elsewhere, or nothing. Always on stderr."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.progress import TransferSpeedColumn as SpeedColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lifealign_bench.config import RunConfig
from lifealign_bench.data.cards import TaskCard
from lifealign_bench.data.fetch import Fetched, FetchWatch, Wanted
from lifealign_bench.experiments.engines.events import Began, Ended, Event, Noticed
from lifealign_bench.experiments.sweep import Sweep, SweepRun
from lifealign_bench.util.progress import Clock, Meter, Phase, Progress, Work
from lifealign_bench.util.text import clean, duration, file_size

__all__ = [
    "FetchView",
    "PlainBoard",
    "PlainProgress",
    "QuietProgress",
    "RichBoard",
    "RichProgress",
    "StatsView",
    "SweepScreen",
    "choose_board",
    "choose_progress",
]


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


_MARKS = {
    "waiting": ("·", "dim"),
    "running": ("▶", "cyan"),
    "complete": ("✓", "green"),
    "finished before": ("✓", "dim"),
    "failed": ("✗", "bold red"),
    "interrupted": ("‖", "yellow"),
}

# Lines of the terminal that the board leaves to what scrolls by above it.
_ROOM = 6


class SweepScreen(AbstractContextManager["SweepScreen"]):
    """Shows nothing; the others build on it. Within its block the sweep works."""

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        self._said: set[str] = set()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal as it was."""

    def heard(self, run: SweepRun, event: Event) -> None:
        """``run`` said something; the sweep knows it already."""
        if isinstance(event, Noticed):
            # What holds for a task or a model comes from every run: once is enough.
            if event.text not in self._said:
                self._said.add(event.text)
                self.line(f"note: {event.text}", "yellow")
        elif isinstance(event, Ended):
            took = duration(run.meter.clock() - run.meter.began)
            if event.status == "complete":
                self.line(f"complete: {run.title}, {took}", "green")
            elif event.status == "failed":
                self.line(f"failed: {run.title}: {event.message}", "red")
            else:
                self.line(f"stopped: {run.title}: {event.message}", "yellow")

    def tick(self) -> None:
        """Time went by."""

    def line(self, text: str, style: str = "") -> None:
        """One lasting line."""

    def counts(self) -> str:
        """``3 of 12 done, 1 failed, 2 running, 4 min 10 s left``."""
        sweep = self.sweep
        parts = [f"{len(sweep.of_state('complete', 'finished before'))} of {len(sweep.runs)} done"]
        for state in ("failed", "running", "interrupted"):
            count = len(sweep.of_state(state))
            if count:
                parts.append(f"{count} {state}")
        left = sweep.remaining
        if left is not None:
            parts.append(f"{duration(left)} left")
        return ", ".join(parts)


class PlainBoard(SweepScreen):
    """Lines for logs and pipes: when a run begins and ends, and now and then what goes on.

    Args:
        every: seconds between two lines about what goes on.
    """

    def __init__(self, sweep: Sweep, console: Console, every: float = 10.0) -> None:
        super().__init__(sweep)
        self.console = console
        self.every = every
        self.last = sweep.clock()

    def heard(self, run: SweepRun, event: Event) -> None:
        super().heard(run, event)
        if isinstance(event, Began):
            again = "continued" if run.standing == "to be continued" or run.attempts > 1 else "begun"
            self.line(f"{again}: {run.title} (process {event.pid} on {event.host})")

    def tick(self) -> None:
        if self.sweep.clock() - self.last < self.every:
            return
        self.last = self.sweep.clock()
        for run in self.sweep.of_state("running"):
            self.line(f"{run.title}: [{100 * run.meter.share:3.0f} %] {_stage(run)}")
        self.line(f"sweep: {self.counts()}")

    def line(self, text: str, style: str = "") -> None:
        self.console.print(Text(clean(text)), soft_wrap=True)


class RichBoard(SweepScreen):
    """All runs at the bottom of a terminal, as many as fit; notices and ends scroll by above them."""

    def __init__(self, sweep: Sweep, console: Console) -> None:
        super().__init__(sweep)
        self.console = console
        self.live = Live(get_renderable=self.render, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> RichBoard:
        self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()

    def line(self, text: str, style: str = "") -> None:
        self.console.print(Text(clean(text), style=style), soft_wrap=True)

    def render(self) -> RenderableType:
        """The board: running and failed runs first, then those that wait, then those that are done."""
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(width=1)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=3)
        table.add_column(width=12)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=2)
        order = ("running", "failed", "interrupted", "waiting", "complete", "finished before")
        runs = [run for state in order for run in self.sweep.runs if run.state == state]
        room = max(1, self.console.height - _ROOM)
        for run in runs[:room]:
            mark, style = _MARKS[run.state]
            share = 1.0 if run.state in ("complete", "finished before") else run.meter.share
            table.add_row(
                Text(mark, style=style),
                Text(clean(run.title), style=style),
                ProgressBar(total=1.0, completed=share, width=12),
                Text(clean(_stage(run)), style=style),
            )
        more = [Text(f"… and {len(runs) - room} more", style="dim")] if len(runs) > room else []
        return Group(table, *more, Text(self.counts(), style="bold"))


def _stage(run: SweepRun) -> str:
    """What a run does, or how it ended."""
    if run.state == "running":
        parts = [run.meter.heading(), *run.meter.details()]
        left = run.meter.remaining
        if left is not None and math.isfinite(left):
            parts.append(f"{duration(left)} left")
        return " · ".join(parts)
    return run.ended.message if run.ended is not None and run.ended.message else run.state


def choose_board(sweep: Sweep, console: Console, *, quiet: bool) -> SweepScreen:
    """The board that suits ``console``."""
    if quiet:
        return SweepScreen(sweep)
    live = console.is_terminal and not console.is_dumb_terminal
    return RichBoard(sweep, console) if live else PlainBoard(sweep, console)


class FetchView(FetchWatch):
    """One line a file, and how far it is while bytes come.

    Args:
        console: standard error.
        quiet: show nothing.
        every: seconds between two plain lines of one file.
    """

    def __init__(self, console: Console, *, quiet: bool = False, every: float = 10.0) -> None:
        self.console = console
        self.quiet = quiet
        self.every = every
        self.name = ""
        self.have = self.fresh = 0
        self.total: int | None = None
        self.since = self.last = 0.0
        self.row: TaskID | None = None
        live = console.is_terminal and not console.is_dumb_terminal and not quiet
        # The description holds a task's name, which is not markup.
        words = TextColumn("{task.description}", markup=False)
        columns = (words, BarColumn(), DownloadColumn(binary_units=True), SpeedColumn(), TimeRemainingColumn())
        self.bars = Bars(*columns, console=console, transient=True) if live else None

    def __enter__(self) -> FetchView:
        if self.bars is not None:
            self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bars is not None:
            self.bars.stop()

    def began(self, wanted: Wanted, number: int, of: int) -> None:
        self.name = clean(f"[{number}/{of}] {wanted.card.name} {wanted.split}")
        self.fresh = 0
        self.since = self.last = time.monotonic()
        if self.bars is not None:
            self.row = self.bars.add_task(self.name, total=None)

    def receiving(self, have: int, total: int | None) -> None:
        self.have, self.total = have, total
        if have:
            self._line(f"{self.name}: going on at {file_size(have)}")
        if self.bars is not None and self.row is not None:
            self.bars.update(self.row, completed=have, total=total)

    def received(self, count: int) -> None:
        self.have += count
        self.fresh += count
        if self.bars is not None and self.row is not None:
            self.bars.update(self.row, completed=self.have)
        elif time.monotonic() - self.last >= self.every:
            self.last = time.monotonic()
            self._line(f"{self.name}: {self._state()}")

    def notice(self, text: str) -> None:
        self._line(f"{self.name}: {clean(text)}", "yellow")

    def ended(self, result: Fetched) -> None:
        if self.bars is not None and self.row is not None:
            self.bars.remove_task(self.row)
            self.row = None
        if result.state == "fetched":
            took = duration(time.monotonic() - self.since)
            self._line(f"{self.name}: {file_size(result.bytes)} fetched and verified in {took}")
        elif result.state == "at hand":
            self._line(f"{self.name}: at hand and verified, not fetched again ({clean(result.path)})", "dim")
        else:
            self._line(f"{self.name}: failed", "red")

    def _state(self) -> str:
        speed = self.fresh / max(1e-9, time.monotonic() - self.since)
        parts = [f"{file_size(self.have)} of {file_size(self.total) if self.total else 'unknown size'}"]
        parts.append(f"{file_size(round(speed))}/s")
        if self.total and speed:
            parts.append(f"{duration((self.total - self.have) / speed)} left")
        return ", ".join(parts)

    def _line(self, text: str, style: str = "") -> None:
        if not self.quiet:
            self.console.print(Text(text, style=style), soft_wrap=True)


class StatsView:
    """How many of the splits are measured.

    Args:
        console: standard error.
        cards: the tasks to come.
        quiet: show nothing.
    """

    def __init__(self, console: Console, cards: Sequence[TaskCard], *, quiet: bool = False) -> None:
        self.console = console
        self.quiet = quiet
        self.done = -1
        live = console.is_terminal and not console.is_dumb_terminal and not quiet
        words = TextColumn("{task.description}", markup=False)
        self.bars = Bars(words, BarColumn(), TimeElapsedColumn(), console=console, transient=True) if live else None
        self.row = self.bars.add_task("loading", total=2 * len(cards)) if self.bars is not None else None

    def __enter__(self) -> StatsView:
        if self.bars is not None:
            self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bars is not None:
            self.bars.stop()

    def notice(self, text: str) -> None:
        """Something that the user should know."""
        self._line(f"note: {clean(text)}")

    def advancer(self, card: TaskCard) -> Callable[[str, int, int], None]:
        """What hears (split, pairs done, pairs of the split) of one task."""

        def advance(split: str, done: int, of: int) -> None:
            if of == 0:
                self.done += 1
                if self.bars is None:
                    self._line(clean(f"measuring {card.name} {split}"))
            if self.bars is not None and self.row is not None:
                share = done / of if of else 0.0
                text = clean(f"{card.name} {split} {done:,}/{of:,}")
                self.bars.update(self.row, completed=self.done + share, description=text)

        return advance

    def _line(self, text: str) -> None:
        if not self.quiet:
            self.console.print(Text(text), soft_wrap=True)
