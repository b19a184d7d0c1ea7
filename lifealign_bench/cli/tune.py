"""``lifealign-bench tune``: every method's rate and strength, by as many trials, on pairs held out of training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from lifealign_bench.cli import options
from lifealign_bench.cli.asked import RunCommand, takes_settings
from lifealign_bench.cli.output import INTERRUPTED, Output, print_json
from lifealign_bench.cli.sweep import DrySweep, SweepWords, check_words, perform_sweep, show_failures, show_standing
from lifealign_bench.config import RunConfig, safe_name, setting_at
from lifealign_bench.data.tasks import load_data
from lifealign_bench.errors import BenchError
from lifealign_bench.experiments.request import Words
from lifealign_bench.experiments.sweep import Sweep
from lifealign_bench.experiments.tunechecks import check_search
from lifealign_bench.experiments.tuning import (
    SEEDS,
    TRIALS,
    Search,
    fits_table,
    in_type_of,
    merged_table,
    parse_factors,
    searches,
)
from lifealign_bench.models.wheel import fetch_for
from lifealign_bench.reporting.tables.grid import show_grid
from lifealign_bench.reporting.tables.tuning import tuning_grids
from lifealign_bench.results.tuning import MethodTuning, Tuning, read_tuning, write_tuning
from lifealign_bench.util.process import quieten_libraries
from lifealign_bench.util.progress import Progress

app = typer.Typer()

# What a run of the search is given whatever is asked for, and what says what the search is to find out.
_FIXED = {"test_limit", "evaluate", "tuned", "report_to"}
_OUT = Path("runs/tuning")
_SCORING = {name for name in RunConfig.model_fields if setting_at(name).scoring}


@app.command(
    cls=RunCommand,
    epilog="Examples:\n\n"
    "lifealign-bench tune --method all --stream forms --jobs 2\n\n"
    "lifealign-bench tune --show results/tuning/forms/smollm2-135m.json\n\n"
    "lifealign-bench sweep --method all --stream forms --seed 0,1,2 --tuned runs/tuning/forms/smollm2-135m.json",
)
@takes_settings(without=_FIXED | _SCORING, help={"seed": f"Seeds, one run each (default: {SEEDS})"}, out=_OUT)
def tune(
    words: Words,
    factors: Annotated[
        str,
        typer.Option(help="The first factors to try for each method's learning rate.", rich_help_panel="What"),
    ] = "0.5,1,2",
    trials: Annotated[
        int,
        typer.Option(help="Trials of each method; each is one run per seed.", rich_help_panel="What"),
    ] = TRIALS,
    jobs: options.Jobs = None,
    engine: options.EngineName = "local",
    address: options.Address = None,
    gpus_per_run: options.GpusPerRun = None,
    memory_per_run: options.MemoryPerRun = None,
    retries: options.Retries = None,
    results: Annotated[
        Path, typer.Option(help="The table goes below this folder, by stream and model.", rich_help_panel="Output")
    ] = _OUT,
    show: Annotated[
        Path | None,
        typer.Option(help="Show a table that is there; nothing is trained.", rich_help_panel="Output"),
    ] = None,
    dry_run: DrySweep = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Choose every method's learning rate and strength by as many trials each, on held-out pairs.

    Each method is trained through the stream with several rates and values of its own strength, with every seed, and
    scored after the last stage on validation pairs; test pairs are not looked at. The grid is widened until the best
    lies inside, and what breaks the responses is not chosen. The table says what every trial reached, and
    [bold]--tuned[/] of run and sweep takes each method's best. The same command goes on where it was stopped, and adds
    methods to a table.
    """
    output = Output.of(quiet, as_json)
    if show is not None:
        _show(read_tuning(show)[0], output)
        return
    wanted = SweepWords(jobs, engine, address, gpus_per_run, memory_per_run, retries)
    own = searches(words, parse_factors(factors), trials, lambda text: output.say(f"note: {text}"))
    raise typer.Exit(execute(own, wanted, results, output, dry_run))


def execute(own: Sequence[Search], wanted: SweepWords, results: Path, output: Output, dry_run: bool) -> int:
    """Make every trial of every method, and write down what each reached.

    Returns:
        The exit code: 130 stopped, else the gravest of ``perform_sweep``.

    Raises:
        BenchError: something in what was asked for that keeps all runs from starting; an older table cannot take these.
    """
    check_words(wanted)
    first = own[0].config
    table = results / safe_name(first.stream) / f"{safe_name(first.model_label or first.model)}.json"
    # All that can be known of the search is said before the first of its many runs.
    there = fits_table(table, own[0])
    check_search(first, table, there, load_data(first, Progress()))
    own = [in_type_of(there, search) for search in own]
    if not dry_run:
        fetch_for([first.model], output.say)
    if wanted.engine == "local":  # a cluster's devices are not those of this machine
        quieten_libraries()
        from lifealign_bench.models.device import require_device

        require_device(first.device)
    for search in own:
        search.take()
    if dry_run:
        output.say(f"These are the next; what follows of {own[0].most} trials a method depends on what they give.")
        return show_standing([config for search in own for config in (*search.made(), *search.due())], output)

    def conclude(sweep: Sweep, output: Output) -> None:
        for search in own:
            search.told(sweep)
        show_failures(sweep, output)

    codes = [0]
    while codes[-1] != INTERRUPTED and (due := [config for search in own for config in search.due()]):
        codes.append(perform_sweep(due, wanted, output, conclude))
    _conclude([search for search in own if not search.due()], table, output)
    # A run that failed is part of the table; 1, a fault, is graver than 2, which the user can mend.
    return codes[-1] if codes[-1] == INTERRUPTED else min((code for code in codes if code), default=0)


def _conclude(done: Sequence[Search], table: Path, output: Output) -> None:
    """The table of the methods all of whose trials have come to an end."""
    methods: dict[str, MethodTuning] = {}
    for search in done:
        try:
            methods[search.config.method_name] = search.outcome()
        except BenchError as error:
            output.say(f"{search.config.method}: {error.message} {error.remedy}", "yellow")
    usable = [search for search in done if search.config.method_name in methods]
    if usable:
        tuning = merged_table(fits_table(table, usable[0]), usable, methods)
        write_tuning(table, tuning)
        _show(tuning, output)
        output.say(f"Written: {table}. Use it with: lifealign-bench sweep --tuned {table} ...")


def _show(tuning: Tuning, output: Output) -> None:
    if output.as_json:
        print_json(output, json.loads(tuning.model_dump_json()))
        return
    for grid in tuning_grids(tuning):
        show_grid(output.results, grid)
