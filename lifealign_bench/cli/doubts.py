"""Every command that shows a run says where it is not what its files give."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text

from lifealign_bench.cli.output import messages_console
from lifealign_bench.results.runcheck import view_problems
from lifealign_bench.results.view import RunView
from lifealign_bench.util.text import clean

__all__ = ["doubts_of", "say_doubts"]

_MOST = 3  # of a run; verify tells all


def doubts_of(views: Iterable[RunView]) -> list[str]:
    """What is wrong with the runs, the first things of each: its place, and what."""
    lines = []
    for view in views:
        problems = view_problems(view)
        place = view.published or view.directory
        lines += [f"{place}: {problem}" for problem in problems[:_MOST]]
        if len(problems) > _MOST:
            lines.append(f"{place}: and {len(problems) - _MOST} more")
    return lines


def say_doubts(views: Iterable[RunView]) -> None:
    """Say it on the error stream: standard output belongs to what is shown."""
    console = messages_console()
    for line in doubts_of(views):
        console.print(Text(clean(f"warning: {line}."), style="yellow"), soft_wrap=True)
