"""Where the command line writes: results to standard output, everything else to standard error."""

from __future__ import annotations

import os

from rich.console import Console

from lifealign_bench.util.process import is_silent

__all__ = ["messages_console", "results_console"]


# Room for a stream of six tasks in one piece; a file or pipe has no width of its own.
_WIDTH_OF_FILES = 120


def results_console() -> Console:
    """Standard output."""
    console = Console(quiet=is_silent())
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDTH_OF_FILES
    return console


def messages_console() -> Console:
    """Standard error."""
    return Console(stderr=True, quiet=is_silent())
