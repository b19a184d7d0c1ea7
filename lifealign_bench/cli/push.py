"""``lifealign-bench push``: a run's adapters or published results, with a card, into a repository of the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.text import Text

from lifealign_bench.cli import options
from lifealign_bench.cli.output import echo_json, messages_console, results_console
from lifealign_bench.errors import UsageError
from lifealign_bench.reporting.sharing.card import checked_licence
from lifealign_bench.reporting.sharing.datarepo import results_push
from lifealign_bench.reporting.sharing.modelrepo import model_push
from lifealign_bench.reporting.tables.grid import Grid, show_grid
from lifealign_bench.results.finding import is_above_runs
from lifealign_bench.results.view import RunView
from lifealign_bench.util.hub import HubPlace, Push, address_of, repository_name, send
from lifealign_bench.util.text import clean, file_size

app = typer.Typer()

_KINDS = {"model": "a model repository", "dataset": "a data set repository"}


@app.command(
    epilog="Examples:\n\nlifealign-bench push runs/forms/smollm2-135m/dpo/seed-0 --to hub:USER/dpo-forms\n\n"
    "lifealign-bench push results --to hub:USER/lifealign-results --yes"
)
def push(
    what: Annotated[
        Path, typer.Argument(metavar="RUN|RESULTS", help="The folder of a finished run, or of published records.")
    ],
    to: Annotated[str, typer.Option("--to", metavar="hub:USER/NAME", help="The repository.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Push it; without this it is only shown.")] = False,
    stages: Annotated[
        Literal["last", "all"], typer.Option("--stages", help="Of a run: the last stage's adapter, or every one.")
    ] = "last",
    benchmark: Annotated[
        str | None,
        typer.Option(
            "--benchmark",
            metavar="USER/NAME",
            help="Of a run: the data set of the hub whose leaderboard its scores are for.",
            show_default=False,
        ),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            "--licence",
            metavar="ID",
            help="As the hub writes it; of a run's adapters the base model's, where that is known.",
            show_default=False,
        ),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Seen by its owner alone, if it is made now.")] = False,
    data_dir: options.DataDir = None,
    as_json: options.AsJson = False,
) -> None:
    """Show, and with --yes push, a run's adapters or published records with a card to the Hugging Face hub.

    The token is that of HF_TOKEN or of hf auth login, and needs to be one that may write. All files go in one commit.
    """
    place = HubPlace.read(to)
    prepared = _prepared(what.expanduser(), place, stages == "all", benchmark, checked_licence(licence), data_dir)
    if not as_json:
        _show(results_console(), prepared, place)
    done = send(prepared, place, private) if yes else None
    if as_json:
        echo_json(_plain(prepared, place, done))
        return
    last = f"Pushed: {done}" if done is not None else "Nothing was pushed: this is what --yes would push."
    results_console().print(Text(clean(last), style="bold"), soft_wrap=True)


def _prepared(
    what: Path, place: HubPlace, every: bool, benchmark: str | None, licence: str | None, data_dir: Path | None
) -> Push:
    """What is to be pushed.

    Raises:
        UsageError: options that do not go together.
        BenchError: the run is not finished, or the records do not hold.
    """
    if is_above_runs(what):
        if benchmark is not None or every:
            raise UsageError("--stages and --benchmark are of a run.", "Leave them out for a folder of records.")
        return results_push(what, data_dir=data_dir, licence=licence)
    if benchmark is not None and not repository_name(benchmark):
        raise UsageError(f"{clean(benchmark)!r} is no data set of the hub.", "Write --benchmark USER/NAME.")
    return model_push(RunView.open(what), place, every=every, benchmark=benchmark, licence=licence)


def _show(console: Console, push: Push, place: HubPlace) -> None:
    """The card, the files, where they go, and what is to be known before."""
    console.print(Text("\n".join(map(clean, push.card.split("\n")))), soft_wrap=True)
    total = file_size(sum(file.size for file in push.files))
    rows = tuple((file.path, file_size(file.size)) for file in push.files)
    title = f"{address_of(place, push.kind)}, {_KINDS[push.kind]}: {len(rows)} files, {total}"
    show_grid(console, Grid(title, ("file", "size"), rows, prose=(0, 1)))
    for note in push.notes:
        messages_console().print(Text(clean(f"note: {note}")), soft_wrap=True)


def _plain(push: Push, place: HubPlace, done: str | None) -> dict[str, Any]:
    return {
        "kind": push.kind,
        "repository": place.repository,
        "address": address_of(place, push.kind),
        "files": [{"path": file.path, "bytes": file.size} for file in push.files],
        "card": push.card,
        "notes": list(push.notes),
        "pushed": done,
    }
