"""``lifealign-bench submit``, ``verify``, ``leaderboard``, ``plan`` and ``compare``: published results."""

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
from lifealign_bench.results.verify import RecordState
from lifealign_bench.util.text import clean

__all__ = ["add_results_commands", "state_grid"]


FAILED = 2

_RESULTS = Path("results")

Results = Annotated[Path, typer.Option("--results", help="The folder of published records.")]


def add_results_commands(app: typer.Typer) -> None:
    """Make the commands known to the application."""
    app.command(epilog="Example:\n\nlifealign-bench submit runs/mini/smollm2-135m/dpo/seed-*")(submit)
    app.command(epilog="Example:\n\nlifealign-bench verify results/")(verify)
    app.command(
        epilog="Examples:\n\nlifealign-bench leaderboard\n\n"
        "lifealign-bench leaderboard --stream mini --by forgetting --format latex --output table.tex\n\n"
        "lifealign-bench leaderboard --baseline dpo --plan\n\n"
        "lifealign-bench leaderboard --check"
    )(leaderboard)
    app.command(
        epilog="Examples:\n\nlifealign-bench plan --detect 3\n\nlifealign-bench plan --detect 5 --stream mini --json"
    )(plan)
    app.command(
        epilog="Examples:\n\nlifealign-bench compare runs/mini/smollm2-135m/dpo/seed-0 "
        "runs/mini/smollm2-135m/replay/seed-0\n\n"
        "lifealign-bench compare results/mini/smollm2-135m/{dpo,ewc}/seed-0.json --task mini-facts"
    )(compare)


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
        echo_json(done)
    if failed:
        raise typer.Exit(FAILED)


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
        echo_json([state.as_dict() for state in states])
    else:
        show_grid(results_console(), state_grid(states))
        for line in note_lines(states):
            messages.print(Text(clean(f"note: {line}"), style="dim"), soft_wrap=True)
    for state in states:
        if not state.good:
            show_error(messages, BenchError(f"{folder / state.place}: {'; '.join(state.problems)}."))
    if not all(state.good for state in states):
        raise typer.Exit(FAILED)


def leaderboard(
    results: Annotated[
        list[Path] | None, typer.Argument(help="Folders of published records.", show_default="results")
    ] = None,
    stream: Annotated[list[str] | None, typer.Option("--stream", "-s", help="Only these streams.")] = None,
    model: Annotated[list[str] | None, typer.Option("--model", help="Only these models.")] = None,
    score: Annotated[str, typer.Option(help="The score that is ranked.")] = "preference_accuracy",
    by: Annotated[str, typer.Option(help="The metric of it that is ranked by.")] = "last",
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
    """Rank methods, for each stream and model: which ranks each may have, as far as the differences are significant."""
    from lifealign_bench.cli.leaderboard import Choice, maintain, show_leaderboard, show_power

    folders = list(results) if results else [_RESULTS]
    if write or check:
        raise typer.Exit(maintain(folders, write, messages_console()))
    if plan:
        show_power(
            results_console(),
            folders,
            Choice(tuple(stream or ()), tuple(model or ()), score, by, baseline),
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


def plan(
    detect: Annotated[float, typer.Option("--detect", help="The difference to find, in the metric's unit.")],
    results: Annotated[
        list[Path] | None, typer.Argument(help="Folders of published records.", show_default="results")
    ] = None,
    stream: Annotated[list[str] | None, typer.Option("--stream", "-s", help="Only these streams.")] = None,
    model: Annotated[list[str] | None, typer.Option("--model", help="Only these models.")] = None,
    score: Annotated[str, typer.Option(help="The score.")] = "preference_accuracy",
    by: Annotated[str, typer.Option(help="The metric of it.")] = "last",
    baseline: Annotated[
        list[str] | None,
        typer.Option("--baseline", help="Methods that the others are compared with.", show_default="dpo, replay"),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """How many independent test items and seeds a wanted difference needs, judged from published records."""
    from lifealign_bench.cli.leaderboard import Choice, show_needs

    show_needs(
        results_console(),
        list(results) if results else [_RESULTS],
        Choice(tuple(stream or ()), tuple(model or ()), score, by, baseline),
        detect,
        as_json=as_json,
    )


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, or records; the first is compared with each.")],
    score: Annotated[str, typer.Option(help="The score to compare.")] = "preference_accuracy",
    task: Annotated[
        str | None, typer.Option("--task", help="Show the pairs of this task on which they disagree.", metavar="TASK")
    ] = None,
    limit: Annotated[int, typer.Option(help="Show so many pairs; 0: all.", min=0)] = 10,
    data_dir: options.DataDir = None,
    as_json: options.AsJson = False,
) -> None:
    """Compare runs on the same test pairs: every task, stage and metric with intervals, settings, pairs that differ."""
    from lifealign_bench.cli.compare import show_comparison

    show_comparison(
        results_console(), runs, score=score, task=task, limit=limit or None, data_dir=data_dir, as_json=as_json
    )


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
