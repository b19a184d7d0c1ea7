"""``lifealign-bench tune``: every method's learning rate by the same grid, on pairs held out of training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lifealign_bench.cli import options
from lifealign_bench.cli.asked import RunCommand, takes_settings
from lifealign_bench.cli.output import Output, print_json
from lifealign_bench.cli.sweep import DrySweep, SweepWords, check_words, perform_sweep, show_failures, show_standing
from lifealign_bench.config import RunConfig, safe_name, setting_at
from lifealign_bench.errors import BenchError
from lifealign_bench.experiments.request import Words
from lifealign_bench.experiments.sweep import Sweep
from lifealign_bench.experiments.tuning import (
    PlannedTrial,
    fits_table,
    merged_table,
    parse_factors,
    planned_trials,
    trial_of,
)
from lifealign_bench.reporting.tables.experiments import tuning_grid
from lifealign_bench.reporting.tables.grid import show_grid
from lifealign_bench.results.folder import RunFolder
from lifealign_bench.results.record import read_record
from lifealign_bench.results.tuning import MethodTuning, Tuning, best, criterion_of, read_tuning, write_tuning

if TYPE_CHECKING:
    from lifealign_bench.results.record import Record

app = typer.Typer()

# What a run of the grid is given whatever is asked for, and what says what the grid is to find out.
_FIXED = {"test_limit", "evaluate", "tuned", "report_to"}
_SCORING = {name for name in RunConfig.model_fields if setting_at(name).scoring}


@app.command(
    cls=RunCommand,
    epilog="Examples:\n\n"
    "lifealign-bench tune --method all --stream mini --jobs 2\n\n"
    "lifealign-bench tune --show results/tuning/mini/smollm2-135m.json\n\n"
    "lifealign-bench sweep --method all --seed 0,1,2 --tuned results/tuning/mini/smollm2-135m.json",
)
@takes_settings(without=_FIXED | _SCORING, out=Path("runs/tuning"))
def tune(
    words: Words,
    factors: Annotated[
        str,
        typer.Option(help="The grid: factors of each method's rate on this stream.", rich_help_panel="What"),
    ] = "0.5,1,2",
    jobs: options.Jobs = None,
    engine: options.EngineName = "local",
    address: options.Address = None,
    gpus_per_run: options.GpusPerRun = None,
    memory_per_run: options.MemoryPerRun = None,
    retries: options.Retries = None,
    results: Annotated[
        Path, typer.Option(help="The table goes below this folder, by stream and model.", rich_help_panel="Output")
    ] = Path("results/tuning"),
    show: Annotated[
        Path | None,
        typer.Option(help="Show a table that is there; nothing is trained.", rich_help_panel="Output"),
    ] = None,
    dry_run: DrySweep = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Choose every method's learning rate by the same grid, on pairs held out of training.

    Each method is trained through the stream with every rate of the grid and scored after the last stage on validation
    pairs; test pairs are not looked at. The table says what every rate reached, and [bold]--tuned[/] of run and sweep
    takes each method's best. The same command goes on where it was stopped, and adds methods to a table.
    """
    output = Output.of(quiet, as_json)
    if show is not None:
        _show(read_tuning(show)[0], output)
        return
    wanted = SweepWords(jobs, engine, address, gpus_per_run, memory_per_run, retries)
    raise typer.Exit(execute(words, wanted, parse_factors(factors), results, output, dry_run))


def execute(
    words: Words, wanted: SweepWords, factors: Sequence[float], results: Path, output: Output, dry_run: bool
) -> int:
    """Train every method with every rate, and write down what each reached.

    Returns:
        The exit code, see ``perform`` of ``sweep``.

    Raises:
        BenchError: something in what was asked for that keeps all runs from starting; an older table cannot take these.
    """
    check_words(wanted)
    planned = planned_trials(words, factors, lambda text: output.say(f"note: {text}"))
    first = planned[0].config
    table = results / safe_name(first.stream) / f"{safe_name(first.model)}.json"
    fits_table(table, planned[0], factors)
    configs = [plan.config for plan in planned]
    if dry_run:
        return show_standing(configs, output)

    def conclude(sweep: Sweep, output: Output) -> None:
        _conclude(sweep, planned, factors, table, output)

    return perform_sweep(configs, wanted, output, conclude)


def _conclude(
    sweep: Sweep, planned: Sequence[PlannedTrial], factors: Sequence[float], table: Path, output: Output
) -> None:
    """The table of the methods all of whose rates have come to an end."""
    records: dict[int, Record] = {
        run.number: read_record(RunFolder(run.config.run_directory()).record)
        for run in sweep.of_state("complete", "finished before")
    }
    methods: dict[str, MethodTuning] = {}
    for name in dict.fromkeys(plan.config.method for plan in planned):
        numbers = [i for i, plan in enumerate(planned, start=1) if plan.config.method == name]
        runs = [sweep.runs[i - 1] for i in numbers]
        if any(run.state not in ("complete", "finished before", "failed") for run in runs):
            continue  # stopped: the same command goes on
        known = [records[i] for i in numbers if i in records]
        trials = tuple(trial_of(planned[i - 1], sweep.runs[i - 1], records.get(i)) for i in numbers)
        try:
            chosen = best(trials)
        except BenchError as error:
            output.say(f"{name}: {error.message} {error.remedy}", "yellow")
            continue
        methods[Path(name).stem] = MethodTuning(
            setting=planned[numbers[0] - 1].setting,
            criterion=criterion_of(known[0]),
            trials=trials,
            chosen=chosen.rate,
        )
    if methods:
        tuning = merged_table(fits_table(table, planned[0], factors), planned[0], factors, methods, records)
        write_tuning(table, tuning)
        _show(tuning, output)
        output.say(f"Written: {table}. Use it with: lifealign-bench sweep --tuned {table} ...")
    show_failures(sweep, output)


def _show(tuning: Tuning, output: Output) -> None:
    if output.as_json:
        print_json(output, json.loads(tuning.model_dump_json()))
    else:
        show_grid(output.results, tuning_grid(tuning))
