"""What runs show while they work: a live view on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lifealign_bench.config import RunConfig
from lifealign_bench.experiments.engines.events import Began, Ended, Event, Noticed
from lifealign_bench.experiments.sweep import Sweep, SweepRun
from lifealign_bench.reporting.story import Story
from lifealign_bench.util.progress import CurrentPart, Meter, Progress, ShownAnswer, Stopwatch, Work
from lifealign_bench.util.text import clean, duration


class QuietProgress(Progress):
    """Shows nothing: results and errors are all that is printed."""


class PlainProgress(Progress):
    """Lines for logs and pipes: one when a phase begins, and now and then one in between.

    Args:
        console: where to write.
        every: seconds between two lines of a phase.
        clock: gives seconds.
    """

    def __init__(self, console: Console, every: float = 10.0, clock: Stopwatch = time.monotonic) -> None:
        self.console = console
        self.every = every
        self.meter = Meter(clock)
        self.last = -math.inf
        self.story = Story(0)

    def run_started(self, config: RunConfig, work: Work) -> None:
        self.meter.start(config, work)
        self.story = Story(work.stages)
        again = f", continued at {100 * self.meter.share:.0f} %" if work.done else ""
        self._line(f"{self.meter.title}: {work.stages} stages{again}")

    def phase_started(self, stage: int, name: str, tasks: tuple[str, ...], steps: int) -> None:
        self.meter.enter(stage, name, tasks, steps)
        self._status()

    def sampled(self, count: int, of: int) -> None:
        self.meter.sample(count, of)

    def advanced(self, work: float, *, step: int | None = None, loss: float | None = None, tokens: int = 0) -> None:
        self.meter.advance(work, step, loss, tokens)
        if self.meter.clock() - self.last >= self.every:
            self._status()

    def answered(self, stage: int, answers: Mapping[str, ShownAnswer]) -> None:
        self.story.answered(answers)

    def scored(self, stage: int, values: Mapping[str, Mapping[str, float]]) -> None:
        for line in self.story.scored(stage, self.meter.trained.get(stage, ()), values):
            self._line(line)

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

    def __init__(self, console: Console, clock: Stopwatch = time.monotonic) -> None:
        self.console = console
        self.meter = Meter(clock)
        self.live: Live | None = None
        self.story = Story(0)

    def __enter__(self) -> RichProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def run_started(self, config: RunConfig, work: Work) -> None:
        self.meter.start(config, work)
        self.story = Story(work.stages)
        self._stop()
        self.live = Live(get_renderable=self._render, console=self.console, refresh_per_second=4, transient=True)
        self.live.start()

    def phase_started(self, stage: int, name: str, tasks: tuple[str, ...], steps: int) -> None:
        self._tell(self.meter.enter(stage, name, tasks, steps))

    def advanced(self, work: float, *, step: int | None = None, loss: float | None = None, tokens: int = 0) -> None:
        self.meter.advance(work, step, loss, tokens)

    def sampled(self, count: int, of: int) -> None:
        self.meter.sample(count, of)

    def answered(self, stage: int, answers: Mapping[str, ShownAnswer]) -> None:
        self.story.answered(answers)

    def scored(self, stage: int, values: Mapping[str, Mapping[str, float]]) -> None:
        for line in self.story.scored(stage, self.meter.trained.get(stage, ()), values):
            self.console.print(Text(line), soft_wrap=True)

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

    def _tell(self, ended: CurrentPart | None) -> None:
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
