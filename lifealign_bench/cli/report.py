"""``lifealign-bench report``: runs -> one HTML page, and figures for a paper."""

from __future__ import annotations

import webbrowser
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from lifealign_bench.cli.doubts import warn
from lifealign_bench.reporting.figures.paper import write_figures
from lifealign_bench.reporting.page.report import ReportRequest, write_page
from lifealign_bench.util.text import clean, file_size

__all__ = ["write_report"]


def write_report(console: Console, paths: Sequence[Path], wish: ReportRequest) -> None:
    """Write the page, and the figures if asked for; say what and how large.

    Raises:
        UsageError: a file is there that no report wrote.
        BenchError: there is no run, or a file of one is broken.
    """
    page = write_page(paths, wish)
    warn(page.doubts)
    size = file_size(wish.out.stat().st_size)
    _say(console, f"Written: {wish.out} ({size}): {page.nature}, {page.subtitle}")
    if wish.figures is not None:
        files = write_figures(page.pictures(), wish.figures, wish.force)
        _say(console, f"Written: {len(files) // 2} figures as PDF and PNG in {wish.figures}")
    if wish.show:
        webbrowser.open(wish.out.resolve().as_uri())


def _say(console: Console, text: str) -> None:
    console.print(Text(clean(text)), soft_wrap=True)
