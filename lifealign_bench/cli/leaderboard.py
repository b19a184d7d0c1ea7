"""``lifealign-bench leaderboard``: the boards in the form that is asked for, and the files made of them."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.text import Text

from lifealign_bench.errors import UsageError
from lifealign_bench.reporting.made import leaderboard_markdown, stale_files, write_made_files
from lifealign_bench.reporting.tables.export import to_html, to_latex
from lifealign_bench.reporting.tables.grid import show_grid
from lifealign_bench.reporting.tables.leaderboard import board_csv, board_grids, board_json, broken_grid
from lifealign_bench.results.leaderboard import Apart, Board, make_boards, of_groups, open_published
from lifealign_bench.util.files import write_text
from lifealign_bench.util.registry import unknown_name
from lifealign_bench.util.text import clean

__all__ = ["FORMATS", "maintain", "rendered", "show_leaderboard"]

FORMATS = ("terminal", "markdown", "html", "csv", "json", "latex")
STALE = 1


def show_leaderboard(
    console: Console,
    folders: Sequence[Path],
    *,
    streams: Sequence[str],
    models: Sequence[str],
    score: str,
    metric: str,
    form: str,
    output: Path | None,
) -> None:
    """Print the boards, or write them to ``output``.

    Raises:
        UsageError: an unknown form, stream, model, score or metric.
        BenchError: no records; one that is there twice.
    """
    if form not in FORMATS:
        raise unknown_name("format", form, FORMATS)
    with _uncollected():
        boards, broken = _boards(folders, streams, models, score, metric)
    if form == "terminal":
        if output is not None:
            raise UsageError("A terminal's table is not written to a file.", "Give --format markdown or another.")
        for grid in [g for board in boards for g in board_grids(board)] + ([broken_grid(broken)] if broken else []):
            show_grid(console, grid)
        return
    text = rendered(boards, broken, form)
    if output is not None:
        write_text(output, text)
    elif not console.quiet:
        console.file.write(text)


def _boards(
    folders: Sequence[Path], streams: Sequence[str], models: Sequence[str], score: str, metric: str
) -> tuple[list[Board], list[Apart]]:
    """The boards and the records that cannot be read. All else is let go on the way out, so that no search for cycles
    goes over it."""
    views, broken = open_published(folders)
    return make_boards(of_groups(views, streams, models), score, metric), broken


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without Python's search for cycles: over a million values that stay anyway it takes a third of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def rendered(boards: Sequence[Board], broken: Sequence[Apart], form: str) -> str:
    """The boards as a text of a form other than ``terminal``."""
    grids = [grid for board in boards for grid in board_grids(board)] + ([broken_grid(broken)] if broken else [])
    if form == "markdown":
        return leaderboard_markdown(boards, broken)
    if form == "html":
        return to_html("lifealign-bench leaderboard", grids)
    if form == "latex":
        return "% needs \\usepackage{booktabs} and, before TeX Live 2018, \\usepackage[utf8]{inputenc}\n" + "\n".join(
            to_latex(grid) for grid in grids
        )
    if form == "csv":
        return board_csv(boards, broken)
    unreadable = [{"record": apart.place, "reason": apart.reason} for apart in broken]
    content = {"boards": [board_json(board) for board in boards], "unreadable": unreadable}
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def maintain(folders: Sequence[Path], write: bool, messages: Console) -> int:
    """``--write`` and ``--check``: the files that are made from a folder of results.

    Returns:
        The exit code: 1 where a file is stale and was not to be written.

    Raises:
        UsageError: several folders.
    """
    if len(folders) != 1:
        raise UsageError("--write and --check are for one folder of results.", "Name one.")
    (results,) = folders
    if write:
        for path in write_made_files(results):
            messages.print(Text(clean(f"written: {path}")), soft_wrap=True)
        return 0
    stale = stale_files(results)
    for path in stale:
        messages.print(
            Text(clean(f"{path} does not show what the records say: lifealign-bench leaderboard {results} --write")),
            soft_wrap=True,
        )
    return STALE if stale else 0
