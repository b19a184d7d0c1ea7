"""``lifealign-bench leaderboard`` and ``plan``: the boards in the form that is asked for, and the files made of
them."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from lifealign_bench.cli import options
from lifealign_bench.cli.output import echo_json, json_text, messages_console, results_console
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.reporting.made import leaderboard_markdown, stale_files, write_made_files
from lifealign_bench.reporting.page.content import Page
from lifealign_bench.reporting.page.document import render
from lifealign_bench.reporting.page.report import find_runs
from lifealign_bench.reporting.page.several import table_sections
from lifealign_bench.reporting.tables.export import to_latex
from lifealign_bench.reporting.tables.grid import show_grid
from lifealign_bench.reporting.tables.leaderboard import board_csv, board_grids, board_json, broken_grid
from lifealign_bench.reporting.tables.power import BoardPlan, needs_grid, needs_json, plan_of, power_grid, power_json
from lifealign_bench.results.leaderboard import Apart, Board, make_boards, of_groups
from lifealign_bench.util.files import write_text
from lifealign_bench.util.registry import unknown_name
from lifealign_bench.util.text import clean

FORMATS = ("terminal", "markdown", "html", "csv", "json", "latex")
STALE = 1

_RESULTS = Path("results")
_BY_DEFAULT = "win_rate after both phases with rewards, else preference_accuracy"

app = typer.Typer()


@app.command(
    epilog="Examples:\n\nlifealign-bench leaderboard\n\n"
    "lifealign-bench leaderboard --stream forms --by forgetting --format latex --output table.tex\n\n"
    "lifealign-bench leaderboard --baseline dpo --plan\n\n"
    "lifealign-bench leaderboard --check"
)
def leaderboard(
    results: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of published records or of runs, or single ones.", show_default="results"),
    ] = None,
    stream: Annotated[list[str] | None, typer.Option("--stream", "-s", help="Only these streams.")] = None,
    model: Annotated[list[str] | None, typer.Option("--model", help="Only these models.")] = None,
    score: Annotated[str | None, typer.Option(help="The score to rank by.", show_default=_BY_DEFAULT)] = None,
    by: Annotated[str, typer.Option(help="The metric of that score to rank by.")] = "last",
    baseline: Annotated[
        list[str] | None,
        typer.Option("--baseline", help="Compare all methods with this one.", show_default="dpo, replay"),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Show what differences each board can detect.")] = False,
    form: Annotated[
        str, typer.Option("--format", help="terminal, markdown, html, csv, json or latex.", metavar="FORMAT")
    ] = "terminal",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it to this file.")] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write LEADERBOARD.md in results/ and the tables of the README beside it.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 if one of these is not up to date.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Rank methods for each stream and model: the ranks that each may have, given which differences are significant."""
    folders = list(results) if results else [_RESULTS]
    if write or check:
        raise typer.Exit(maintain(folders, write, messages_console()))
    if plan:
        if form not in ("terminal", "json") or output is not None:
            raise UsageError(
                "--plan has no file and no format but terminal and json.", "Take --json, or leave these out."
            )
        show_power(
            results_console(),
            folders,
            BoardChoice(tuple(stream or ()), tuple(model or ()), score, by, baseline),
            as_json=as_json or form == "json",
        )
        return
    show_leaderboard(
        results_console(),
        folders,
        streams=stream or (),
        models=model or (),
        score=score,
        metric=by,
        baselines=baseline,
        form="json" if as_json else form,
        output=output,
    )


@app.command(
    epilog="Examples:\n\nlifealign-bench plan --detect 3\n\nlifealign-bench plan --detect 5 --stream forms --json"
)
def plan(
    detect: Annotated[float, typer.Option("--detect", help="The difference to find, in the metric's unit.")],
    results: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of published records or of runs, or single ones.", show_default="results"),
    ] = None,
    stream: Annotated[list[str] | None, typer.Option("--stream", "-s", help="Only these streams.")] = None,
    model: Annotated[list[str] | None, typer.Option("--model", help="Only these models.")] = None,
    score: Annotated[str | None, typer.Option(help="The score.", show_default=_BY_DEFAULT)] = None,
    by: Annotated[str, typer.Option(help="The metric of that score.")] = "last",
    baseline: Annotated[
        list[str] | None,
        typer.Option("--baseline", help="Methods to compare the others with.", show_default="dpo, replay"),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """How many independent test items and seeds a wanted difference needs, judged from published records."""
    show_needs(
        results_console(),
        list(results) if results else [_RESULTS],
        BoardChoice(tuple(stream or ()), tuple(model or ()), score, by, baseline),
        detect,
        as_json=as_json,
    )


@dataclass(frozen=True)
class BoardChoice:
    """Which boards, and of what.

    Args:
        streams, models: only these; all where there are none.
        score, metric: what is ranked by; no score: see ``leaderboard.make_boards``.
        baselines: see ``leaderboard.make_boards``.
    """

    streams: Sequence[str]
    models: Sequence[str]
    score: str | None
    metric: str
    baselines: Sequence[str] | None = None


def show_power(console: Console, folders: Sequence[Path], choice: BoardChoice, *, as_json: bool) -> None:
    """Print what difference each board can detect.

    Raises:
        BenchError: no board says how far seeds and items move a difference.
    """
    plans = _plans(folders, choice)
    if as_json:
        echo_json([power_json(plan) for plan in plans])
        return
    for plan in plans:
        show_grid(console, power_grid(plan))


def show_needs(
    console: Console, folders: Sequence[Path], choice: BoardChoice, difference: float, *, as_json: bool
) -> None:
    """Print what it takes to detect ``difference``.

    Raises:
        UsageError: a difference that is no number above 0.
        BenchError: no board says how far seeds and items move a difference.
    """
    plans = _plans(folders, choice)
    if as_json:
        echo_json([needs_json(plan, difference) for plan in plans])
        return
    for plan in plans:
        show_grid(console, needs_grid(plan, difference))


def _plans(folders: Sequence[Path], choice: BoardChoice) -> list[BoardPlan]:
    """Those of all boards that have one; of the others it is said why they have none."""
    with _uncollected():
        boards, _ = _boards(folders, choice)
    found, refused = [], []
    for board in boards:
        try:
            found.append(plan_of(board))
        except BenchError as error:
            refused.append(error)
    if not found:
        raise refused[0] if refused else BenchError("There are no boards.", "Publish runs: lifealign-bench submit RUN.")
    for refusal in refused:
        messages_console().print(Text(clean(f"note: {refusal.message} {refusal.remedy}")), soft_wrap=True)
    return found


def show_leaderboard(
    console: Console,
    folders: Sequence[Path],
    *,
    streams: Sequence[str],
    models: Sequence[str],
    score: str | None,
    metric: str,
    baselines: Sequence[str] | None = None,
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
        boards, broken = _boards(folders, BoardChoice(streams, models, score, metric, baselines))
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


def _boards(folders: Sequence[Path], choice: BoardChoice) -> tuple[list[Board], list[Apart]]:
    """The boards and the records that cannot be read. All else is let go on the way out, so that no search for cycles
    goes over it."""
    views, broken = find_runs(folders)
    chosen = of_groups(views, choice.streams, choice.models)
    return make_boards(chosen, choice.score, choice.metric, choice.baselines), broken


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
        return render(Page("Leaderboard", "tables alone", "leaderboard", table_sections(grids)))
    if form == "latex":
        return "% needs \\usepackage{booktabs} and, before TeX Live 2018, \\usepackage[utf8]{inputenc}\n" + "\n".join(
            to_latex(grid) for grid in grids
        )
    if form == "csv":
        return board_csv(boards, broken)
    unreadable = [{"record": apart.place, "reason": apart.reason} for apart in broken]
    content = {"boards": [board_json(board) for board in boards], "unreadable": unreadable}
    return json_text(content) + "\n"


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
