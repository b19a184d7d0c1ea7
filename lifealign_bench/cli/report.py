"""``lifealign-bench report``: runs -> one HTML page, and figures for a paper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from lifealign_bench.cli import options
from lifealign_bench.cli.doubts import warn
from lifealign_bench.cli.output import results_console
from lifealign_bench.errors import UsageError
from lifealign_bench.reporting.figures.drawn import KINDS, write_figures
from lifealign_bench.reporting.page.report import ReportRequest, usual_place, write_page
from lifealign_bench.reporting.sharing.space import INDEX, README, write_space
from lifealign_bench.util.text import clean, file_size

app = typer.Typer()


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, records, or folders above them.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The page to write.", show_default="report.html beside the run, of several here"),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(
            "--figures", help="Also write every figure as PDF, PNG and SVG into this folder.", show_default=False
        ),
    ] = None,
    space: Annotated[
        Path | None,
        typer.Option(
            "--space",
            help="Write the page into this folder as a static Space of the hub: index.html and README.md.",
            show_default=False,
        ),
    ] = None,
    title: Annotated[str | None, typer.Option("--title", help="Title of the page.", show_default=False)] = None,
    data_dir: options.DataDir = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite any file, also reports of other runs.")] = False,
) -> None:
    """Write one HTML page about a run, a comparison of several, or a whole folder of results.

    The page is one self-contained file that needs no network.
    """
    if space is not None and out is not None:
        raise UsageError("--out and --space name two places for one page.", "Leave one of them out.")
    place = usual_place(runs) if out is None else out.expanduser()
    if space is not None:
        place = space.expanduser() / INDEX
    wish = ReportRequest(place, figures and figures.expanduser(), title, data_dir, force)
    write_report(results_console(), runs, wish, as_space=space is not None)


def write_report(console: Console, paths: Sequence[Path], wish: ReportRequest, as_space: bool = False) -> None:
    """Write the page, and the figures if asked for; say what and how large.

    Args:
        as_space: with the README of a static Space beside it.

    Raises:
        UsageError: a file is there that no report wrote, or one of other runs.
        BenchError: there is no run, or a file of one is broken.
    """
    page = write_space(paths, wish) if as_space else write_page(paths, wish)
    warn(page.doubts)
    size = file_size(wish.out.stat().st_size)
    _say(console, f"Written: {wish.out} ({size}): {page.nature}, {page.subtitle}")
    if as_space:
        _say(console, f"Written: {wish.out.with_name(README)}: upload the folder as a static Space")
    if wish.figures is not None:
        files = write_figures(page.pictures(), wish.figures, wish.force)
        _say(console, f"Written: {len(files) // len(KINDS)} figures as PDF, PNG and SVG in {wish.figures}")


def _say(console: Console, text: str) -> None:
    console.print(Text(clean(text)), soft_wrap=True)
