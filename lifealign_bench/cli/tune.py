"""``lifealign-bench tune``: every method's learning rate by the same grid, on pairs held out of training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lifealign_bench.cli.output import Output, print_json
from lifealign_bench.cli.sweep import SweepWords, check_words, perform, show_failures, show_standing
from lifealign_bench.config import safe_name
from lifealign_bench.errors import BenchError
from lifealign_bench.experiments.request import Words
from lifealign_bench.experiments.sweep import Sweep
from lifealign_bench.experiments.tuning import PlannedTrial, fits_table, merged_table, planned_trials, trial_of
from lifealign_bench.reporting.tables.experiments import tuning_grid
from lifealign_bench.reporting.tables.grid import show_grid
from lifealign_bench.results.folder import RunFolder
from lifealign_bench.results.tuning import MethodTuning, Tuning, best, criterion_of, read_tuning, write_tuning

if TYPE_CHECKING:
    from lifealign_bench.results.record import Record

__all__ = ["execute", "show_table"]


def execute(
    words: Words, wanted: SweepWords, factors: Sequence[float], results: Path, output: Output, dry_run: bool
) -> int:
    """Train every method with every rate, and write down what each reached.

    Returns:
        The exit code, see ``sweep_command.execute``.

    Raises:
        BenchError: something in what was asked for that keeps all runs from starting; an older table cannot take these.
    """
    check_words(wanted)
    planned = planned_trials(words, factors, output.say)
    first = planned[0].config
    table = results / safe_name(first.stream) / f"{safe_name(first.model)}.json"
    fits_table(table, planned[0], factors)
    configs = [plan.config for plan in planned]
    if dry_run:
        return show_standing(configs, output)

    def conclude(sweep: Sweep, output: Output) -> None:
        _conclude(sweep, planned, factors, table, output)

    return perform(configs, wanted, output, conclude)


def _conclude(
    sweep: Sweep, planned: Sequence[PlannedTrial], factors: Sequence[float], table: Path, output: Output
) -> None:
    """The table of the methods all of whose rates have come to an end."""
    from lifealign_bench.results.record import read_record

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


def show_table(path: Path, output: Output) -> int:
    """A table that is there; returns the exit code.

    Raises:
        UsageError: it cannot be read.
    """
    _show(read_tuning(path)[0], output)
    return 0


def _show(tuning: Tuning, output: Output) -> None:
    if output.as_json:
        print_json(output, json.loads(tuning.model_dump_json()))
    else:
        show_grid(output.results, tuning_grid(tuning))
