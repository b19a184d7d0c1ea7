"""What ``data stats`` shows while it works: one live bar on a terminal, a line a task elsewhere. Always on stderr."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from lifealign_bench.cards import TaskCard
from lifealign_bench.util.text import clean

__all__ = ["StatsView"]


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
        self.bars = Progress(words, BarColumn(), TimeElapsedColumn(), console=console, transient=True) if live else None
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
