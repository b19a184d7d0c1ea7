"""What a sweep shows while it works: one live board on a terminal, plain lines elsewhere, or nothing. On stderr."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lifealign_bench.events import Began, Ended, Event, Noticed
from lifealign_bench.sweep import Sweep, SweepRun
from lifealign_bench.util.text import clean, duration

__all__ = ["Board", "PlainBoard", "RichBoard", "choose_board"]

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


class Board(AbstractContextManager["Board"]):
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


class PlainBoard(Board):
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


class RichBoard(Board):
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


def choose_board(sweep: Sweep, console: Console, *, quiet: bool) -> Board:
    """The board that suits ``console``."""
    if quiet:
        return Board(sweep)
    live = console.is_terminal and not console.is_dumb_terminal
    return RichBoard(sweep, console) if live else PlainBoard(sweep, console)
