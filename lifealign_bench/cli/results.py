"""``lifealign-bench submit`` and ``verify``: a run's way into the published results, and a look at all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from lifealign_bench.cli import options
from lifealign_bench.cli.output import echo_json, messages_console, results_console, show_error
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.reporting.tables.grid import Grid, show_grid
from lifealign_bench.results.origins import Origins
from lifealign_bench.results.verify import RecordState, check_results, note_lines, submit_run
from lifealign_bench.util.text import clean

FAILED = 2

_RESULTS = Path("results")

Results = Annotated[Path, typer.Option("--results", help="The folder of published records.")]


app = typer.Typer()


@app.command(epilog="Example:\n\nlifealign-bench submit runs/forms/smollm2-135m/dpo/seed-*")
def submit(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs.")],
    results: Results = _RESULTS,
    data_dir: options.DataDir = None,
    as_json: options.AsJson = False,
) -> None:
    """Check finished runs and add their records and per-pair scores to the published results.

    A run that is incomplete or was edited is refused, and nothing is overwritten.
    """
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
        echo_json(done)
    if failed:
        raise typer.Exit(FAILED)


@app.command(epilog="Example:\n\nlifealign-bench verify results/")
def verify(
    folder: Annotated[Path, typer.Argument(help="The folder of published records.")] = _RESULTS,
    data_dir: options.DataDir = None,
    as_json: options.AsJson = False,
) -> None:
    """Check published records: complete, unedited, every number recomputed from the per-pair scores."""
    states = check_results(folder, Origins(data_dir))
    if not states:
        raise UsageError(f"There are no records in {folder}.", "Publish one: lifealign-bench submit RUN.")
    messages = messages_console()
    if as_json:
        echo_json([state.as_dict() for state in states])
    else:
        console = results_console()
        good = all(state.good for state in states)
        console.print(Text(verdict(states), style="bold green" if good else "bold red"))
        show_grid(console, state_grid(states))
        for line in note_lines(states):
            messages.print(Text(clean(f"note: {line}"), style="dim"), soft_wrap=True)
    for state in states:
        if not state.good:
            show_error(messages, BenchError(f"{folder / state.place}: {'; '.join(state.problems)}."))
    if not all(state.good for state in states):
        raise typer.Exit(FAILED)


def verdict(states: Sequence[RecordState]) -> str:
    """All records in one line."""
    finished = [state for state in states if not state.unfinished]
    unfinished = len(states) - len(finished)
    more = f"; {unfinished} not finished" if unfinished else ""
    return f"Verdict: {sum(state.good for state in finished)} of {len(finished)} right{more}."


def state_grid(states: Sequence[RecordState]) -> Grid:
    """One row a record."""
    rows = tuple((state.place, state.word) for state in states)
    notes = (
        "right: whole, as published, and every score and metric computed again from the per-pair scores. A digest "
        "finds edits; it is no signature.",
    )
    return Grid("Published records", ("record", "state"), rows, notes, prose=(0,))
