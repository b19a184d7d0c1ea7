"""``lifealign-bench tune``: every method's learning rate by the same grid, on pairs held out of training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lifealign_bench.cli.output import Output, print_json
from lifealign_bench.cli.sweep import SweepWords, check_words, perform, show_failures, show_standing
from lifealign_bench.config import RunConfig, safe_name
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.experiments.request import Words, build_configs
from lifealign_bench.experiments.sweep import Sweep, SweepRun
from lifealign_bench.reporting.tables.experiments import tuning_grid
from lifealign_bench.reporting.tables.grid import show_grid
from lifealign_bench.results.sameness import tuning_key
from lifealign_bench.results.tuning import (
    SCORE,
    MethodTuning,
    Trial,
    Tuning,
    best,
    criterion_of,
    rate_in,
    read_tuning,
    with_rate,
    write_tuning,
)

if TYPE_CHECKING:
    from lifealign_bench.results.record import Record

__all__ = ["execute", "parse_factors", "show_table"]

PAIRS = 100  # held out of each task, where neither the command line nor the stream says how many


@dataclass(frozen=True)
class _Planned:
    """A run of the grid: what it is, and its rate.

    Args:
        settings: what it has in common with the others of the grid, see ``tuning_key``.
    """

    config: RunConfig
    factor: float
    rate: float
    setting: str
    settings: Mapping[str, str]


def parse_factors(text: str) -> tuple[float, ...]:
    """``0.5,1,2`` as numbers, smallest first.

    Raises:
        UsageError: not two or more different positive numbers.
    """
    try:
        factors = sorted({float(word) for word in text.split(",")})
    except ValueError:
        factors = []
    if len(factors) < 2 or not all(0 < f < float("inf") for f in factors):
        raise UsageError(
            f"--factors {text!r} are not two or more different positive numbers.", "Write them like 0.5,1,2."
        )
    return tuple(factors)


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
    planned = _planned(words, factors, output)
    first = planned[0].config
    table = results / safe_name(first.stream) / f"{safe_name(first.model)}.json"
    _fits(table, planned[0], factors)
    configs = [plan.config for plan in planned]
    if dry_run:
        return show_standing(configs, output)

    def conclude(sweep: Sweep, output: Output) -> None:
        _conclude(sweep, planned, factors, table, output)

    return perform(configs, wanted, output, conclude)


def _planned(words: Words, factors: Sequence[float], output: Output) -> list[_Planned]:
    from lifealign_bench.methods import load_method

    choice = build_configs(words)
    for notice in choice.notices:
        output.say(f"note: {notice}")
    if len({(c.stream, c.seed) for c in choice.configs}) > 1:
        raise UsageError("Learning rates are chosen on one stream with one seed.", "Name one --stream and one --seed.")
    planned = []
    for config in choice.configs:
        setting = load_method(config.method).rate_setting
        start = rate_in(config, setting)
        settings = tuning_key(config)
        for factor in factors:
            common = {
                "validation": config.validation or config.test_limit or PAIRS,
                "evaluate": "last",
                "scorers": ("preference",),
                "out": config.out / f"x{factor:g}",
            }
            rate = float(f"{start * factor:.6g}")
            trial = with_rate(config.model_copy(update=common), setting, rate)
            planned.append(_Planned(trial, factor, rate, setting, settings))
    return planned


def _fits(table: Path, plan: _Planned, factors: Sequence[float]) -> Tuning | None:
    """The table that is there already, if these runs can be added to it.

    Raises:
        UsageError: it was made otherwise, or is none.
    """
    if not table.exists():
        return None
    there, _ = read_tuning(table)
    config = plan.config
    here = {"seed": config.seed, "validation": config.validation, "factors": tuple(factors), "tasks": config.tasks}
    differing = [name for name, value in here.items() if getattr(there, name) != value]
    if there.settings:  # else the table is of before they were written
        names = there.settings.keys() | plan.settings.keys()
        differing += sorted(name for name in names if there.settings.get(name) != plan.settings.get(name))
    if differing:
        raise UsageError(
            f"{table} was made with other {' and '.join(differing)}.",
            "Choose as it was chosen, or write elsewhere with --results, or delete it.",
        )
    return there


def _conclude(sweep: Sweep, planned: Sequence[_Planned], factors: Sequence[float], table: Path, output: Output) -> None:
    """The table of the methods all of whose rates have come to an end."""
    from lifealign_bench.results.record import read_record

    records: dict[int, Record] = {
        run.number: read_record(run.config.run_directory() / "record.json")
        for run in sweep.of_state("complete", "finished before")
    }
    methods: dict[str, MethodTuning] = {}
    for name in dict.fromkeys(plan.config.method for plan in planned):
        numbers = [i for i, plan in enumerate(planned, start=1) if plan.config.method == name]
        runs = [sweep.runs[i - 1] for i in numbers]
        if any(run.state not in ("complete", "finished before", "failed") for run in runs):
            continue  # stopped: the same command goes on
        known = [records[i] for i in numbers if i in records]
        trials = tuple(_trial(planned[i - 1], sweep.runs[i - 1], records.get(i)) for i in numbers)
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
        tuning = _merged(_fits(table, planned[0], factors), planned[0], factors, methods, records)
        write_tuning(table, tuning)
        _show(tuning, output)
        output.say(f"Written: {table}. Use it with: lifealign-bench sweep --tuned {table} ...")
    show_failures(sweep, output)


def _trial(plan: _Planned, run: SweepRun, record: Record | None) -> Trial:
    if record is None:
        return Trial(factor=plan.factor, rate=plan.rate, error=run.ended.message if run.ended is not None else "failed")
    criterion = criterion_of(record)
    matrix = record.scores[SCORE]
    own = {task: number for number, task in enumerate(record.data, start=1)}
    rows = {task: len(matrix.value) - 1 if criterion == "last" else own[task] for task in record.data}
    cells = [(rows[task], j) for j, task in enumerate(record.data)]
    errors = [matrix.standard_error[i][j] for i, j in cells]
    known = [e for e in errors if e is not None]
    # Tasks have pairs of their own, so the errors of their means are independent.
    error = sum(e * e for e in known) ** 0.5 / len(cells) if len(known) == len(cells) else None
    commit = record.git.get("commit")
    return Trial(
        factor=plan.factor,
        rate=plan.rate,
        value=record.metrics[SCORE][criterion],
        standard_error=error,
        tasks={task: matrix.value[i][j] for task, (i, j) in zip(record.data, cells, strict=True)},
        config_hash=record.config_hash,
        finished=record.finished,
        commit=None if commit is None else str(commit),
        dirty=bool(record.git.get("dirty")),
    )


def _merged(
    there: Tuning | None,
    plan: _Planned,
    factors: Sequence[float],
    methods: dict[str, MethodTuning],
    records: dict[int, Record],
) -> Tuning:
    first = records[min(records)]
    data = {task: {"train": d.train_digest, "validation": d.test_digest} for task, d in first.data.items()}
    if there is not None and there.data != data:
        raise UsageError(
            "The table that is there was made with other pairs.", "Write elsewhere with --results, or delete it."
        )
    config = plan.config
    everything = {**(there.methods if there is not None else {}), **methods}
    return Tuning(
        stream=config.stream,
        model=config.model,
        tasks=config.tasks,
        seed=config.seed,
        validation=config.validation or 0,
        factors=tuple(factors),
        methods={name: everything[name] for name in sorted(everything)},
        settings=there.settings if there is not None else dict(plan.settings),
        data=data,
        versions=there.versions if there is not None else first.versions,
        hardware=there.hardware if there is not None else first.hardware,
    )


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
