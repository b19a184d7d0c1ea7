"""Where the command line writes: results to standard output, everything else to standard error."""

from __future__ import annotations

import os

from rich.console import Console

from lifealign_bench.launchenv import speaks

__all__ = ["is_silent", "messages_console", "results_console"]

# Room for a stream of six tasks in one piece; a file or pipe has no width of its own.
_WIDTH_OF_FILES = 120


def is_silent() -> bool:
    """Whether this is a process other than the first of a launch: it works, and says nothing."""
    return not speaks()


def results_console() -> Console:
    """Standard output."""
    console = Console(quiet=is_silent())
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDTH_OF_FILES
    return console


def messages_console() -> Console:
    """Standard error."""
    return Console(stderr=True, quiet=is_silent())
