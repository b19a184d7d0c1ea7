"""Every command that shows a run says where it is not what its files give."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text

from lifealign_bench.cli.output import messages_console
from lifealign_bench.results.runcheck import doubts_of
from lifealign_bench.results.view import RunView
from lifealign_bench.util.text import clean


def say_doubts(views: Iterable[RunView]) -> None:
    """Say it on the error stream: standard output belongs to what is shown."""
    warn(doubts_of(views))


def warn(lines: Iterable[str]) -> None:
    """Say what may be wrong on the error stream."""
    console = messages_console()
    for line in lines:
        console.print(Text(clean(f"warning: {line}."), style="yellow"), soft_wrap=True)
