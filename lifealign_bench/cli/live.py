"""What the commands about data show while they work: bars on a terminal, plain lines elsewhere. Always on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

from lifealign_bench.data.cards import TaskCard
from lifealign_bench.data.fetch import Fetched, FetchWatch, Wanted
from lifealign_bench.util.text import clean, duration, file_size


class _View:
    """Bars on a terminal, lines elsewhere; nothing where it is quiet."""

    def __init__(self, console: Console, quiet: bool, *columns: ProgressColumn) -> None:
        self.console = console
        self.quiet = quiet
        live = console.is_terminal and not console.is_dumb_terminal and not quiet
        # The description holds a task's name, which is not markup.
        words = TextColumn("{task.description}", markup=False)
        self.bars = Bars(words, BarColumn(), *columns, console=console, transient=True) if live else None

    def __enter__(self) -> Self:
        if self.bars is not None:
            self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bars is not None:
            self.bars.stop()

    def _line(self, text: str, style: str = "") -> None:
        if not self.quiet:
            self.console.print(Text(text, style=style), soft_wrap=True)


class FetchView(_View, FetchWatch):
    """One line a file, and how far it is while bytes come.

    Args:
        console: standard error.
        quiet: show nothing.
        every: seconds between two plain lines of one file.
    """

    def __init__(self, console: Console, *, quiet: bool = False, every: float = 10.0) -> None:
        super().__init__(
            console, quiet, DownloadColumn(binary_units=True), TransferSpeedColumn(), TimeRemainingColumn()
        )
        self.every = every
        self.name = ""
        self.have = self.fresh = 0
        self.total: int | None = None
        self.since = self.last = 0.0
        self.row: TaskID | None = None

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
        elif result.state == "available":
            self._line(f"{self.name}: available and verified, not fetched again ({clean(result.path)})", "dim")
        else:
            self._line(f"{self.name}: failed", "red")

    def _state(self) -> str:
        speed = self.fresh / max(1e-9, time.monotonic() - self.since)
        parts = [f"{file_size(self.have)} of {file_size(self.total) if self.total else 'unknown size'}"]
        parts.append(f"{file_size(round(speed))}/s")
        if self.total and speed:
            parts.append(f"{duration((self.total - self.have) / speed)} left")
        return ", ".join(parts)


class StatsView(_View):
    """How many of the splits are measured.

    Args:
        console: standard error.
        cards: the tasks to come.
        quiet: show nothing.
    """

    def __init__(self, console: Console, cards: Sequence[TaskCard], *, quiet: bool = False) -> None:
        super().__init__(console, quiet, TimeElapsedColumn())
        self.done = -1
        self.row = self.bars.add_task("loading", total=2 * len(cards)) if self.bars is not None else None

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
