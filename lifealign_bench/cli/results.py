"""``lifealign-bench submit``, ``verify`` and ``leaderboard``: published results."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from lifealign_bench.cli import options
from lifealign_bench.cli.output import messages_console, results_console, show_error
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.reporting.made import leaderboard_markdown, stale_files, write_made_files
from lifealign_bench.reporting.tables.export import to_html, to_latex
from lifealign_bench.reporting.tables.grid import Grid, show_grid
from lifealign_bench.reporting.tables.leaderboard import board_csv, board_grids, board_json, broken_grid
from lifealign_bench.results.leaderboard import Apart, Board, make_boards, open_published
from lifealign_bench.results.verify import RecordState
from lifealign_bench.util.files import write_text
from lifealign_bench.util.process import is_silent
from lifealign_bench.util.redaction import redact
from lifealign_bench.util.registry import unknown_name
from lifealign_bench.util.text import clean

__all__ = ["FORMATS", "app", "rendered", "state_grid"]


FAILED = 2

_RESULTS = Path("results")

Results = Annotated[Path, typer.Option("--results", help="The folder of published records.")]


app = typer.Typer()


@app.command(epilog="Example:\n\nlifealign-bench submit runs/mini/smollm2-135m/dpo/seed-*")
def submit(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs.")],
    results: Results = _RESULTS,
    data_dir: options.DataDir = None,
    as_json: options.AsJson = False,
) -> None:
    """Check finished runs and add their records and per-pair scores to the published results.

    Nothing is written of a run that is not whole and untouched, and nothing is overwritten.
    """
    from lifealign_bench.results.origins import Origins
    from lifealign_bench.results.verify import submit_run

    origins, messages = Origins(data_dir), messages_console()
    done: list[dict[str, Any]] = []
    failed = False
    for run in runs:
        try:
            found = submit_run(run, results, origins)
        except BenchError as error:
            show_error(messages, error)
            done.append({"run": str(run), "state": "refused", "error": str(error)})
            failed = True
            continue
        done.append({"run": str(run), "state": found.state, "record": str(found.place), "notes": found.notes})
        if not as_json:
            results_console().print(Text(clean(f"{found.state}: {found.place}")), soft_wrap=True)
        for note in found.notes:
            messages.print(Text(clean(f"note: {note}")), soft_wrap=True)
    if as_json:
        _print_json(done)
    if failed:
        raise typer.Exit(FAILED)


@app.command(epilog="Example:\n\nlifealign-bench verify results/")
def verify(
    folder: Annotated[Path, typer.Argument(help="The folder of published records.")] = _RESULTS,
    data_dir: options.DataDir = None,
    as_json: options.AsJson = False,
) -> None:
    """Check published records: whole, as they were published, every number computed again from the per-pair scores."""
    from lifealign_bench.results.origins import Origins
    from lifealign_bench.results.verify import check_results, note_lines

    states = check_results(folder, Origins(data_dir))
    if not states:
        raise UsageError(f"There are no records in {folder}.", "Publish one: lifealign-bench submit RUN.")
    messages = messages_console()
    if as_json:
        _print_json([state.as_dict() for state in states])
    else:
        show_grid(results_console(), state_grid(states))
        for line in note_lines(states):
            messages.print(Text(clean(f"note: {line}"), style="dim"), soft_wrap=True)
    for state in states:
        if not state.good:
            show_error(messages, BenchError(f"{folder / state.place}: {'; '.join(state.problems)}."))
    if not all(state.good for state in states):
        raise typer.Exit(FAILED)


@app.command(
    epilog="Examples:\n\nlifealign-bench leaderboard\n\n"
    "lifealign-bench leaderboard --stream mini --by forgetting --format latex --output table.tex\n\n"
    "lifealign-bench leaderboard --check"
)
def leaderboard(
    results: Annotated[
        list[Path] | None, typer.Argument(help="Folders of published records.", show_default="results")
    ] = None,
    stream: Annotated[list[str] | None, typer.Option("--stream", "-s", help="Only these streams.")] = None,
    model: Annotated[list[str] | None, typer.Option("--model", help="Only these models.")] = None,
    score: Annotated[str, typer.Option(help="The score that is ranked.")] = "preference_accuracy",
    by: Annotated[str, typer.Option(help="The metric of it that is ranked by.")] = "last",
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
    """Rank methods, for each stream and model; methods whose difference is not significant share a rank."""
    folders = list(results) if results else [_RESULTS]
    if write or check:
        raise typer.Exit(maintain(folders, write, messages_console()))
    show_leaderboard(
        results_console(),
        folders,
        streams=stream or (),
        models=model or (),
        score=score,
        metric=by,
        form="json" if as_json else form,
        output=output,
    )


def _print_json(content: Any) -> None:
    if not is_silent():
        typer.echo(redact(json.dumps(content, indent=2, allow_nan=False)))


def state_grid(states: Sequence[RecordState]) -> Grid:
    """One row a record."""
    rows = tuple((state.place, state.word) for state in states)
    finished = [state for state in states if not state.unfinished]
    good = sum(state.good for state in finished)
    notes = (
        f"{good} of {len(finished)} right: whole, as published, and every score and metric computed again from the "
        "per-pair scores. A digest finds edits; it is no signature.",
    )
    return Grid("Published records", ("record", "state"), rows, notes, prose=(0,))


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
    for what, wanted, position in (("stream", streams, 0), ("model", models, 1)):
        known = {view.group[position] for view in views}
        for name in wanted:
            if name not in known:
                raise unknown_name(f"{what} of these records", name, sorted(known))
        views = [view for view in views if not wanted or view.group[position] in wanted]
    return make_boards(views, score, metric), broken


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
