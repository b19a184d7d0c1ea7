"""Choosing each method's learning rate by one grid: the runs it takes, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.experiments.request import Words, build_configs
from lifealign_bench.experiments.sweep import SweepRun
from lifealign_bench.methods import load_method
from lifealign_bench.results.sameness import tuning_key
from lifealign_bench.results.tuning import (
    SCORE,
    MethodTuning,
    RateTrial,
    Tuning,
    criterion_of,
    rate_in,
    read_tuning,
    with_rate,
)

if TYPE_CHECKING:
    from lifealign_bench.results.record import Record

PAIRS = 100  # held out of each task, where neither the command line nor the stream says how many


@dataclass(frozen=True)
class PlannedTrial:
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


def planned_trials(words: Words, factors: Sequence[float], notice: Callable[[str], None]) -> list[PlannedTrial]:
    choice = build_configs(words)
    for text in choice.notices:
        notice(text)
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
            planned.append(PlannedTrial(trial, factor, rate, setting, settings))
    return planned


def fits_table(table: Path, plan: PlannedTrial, factors: Sequence[float]) -> Tuning | None:
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


def trial_of(plan: PlannedTrial, run: SweepRun, record: Record | None) -> RateTrial:
    if record is None:
        return RateTrial(
            factor=plan.factor, rate=plan.rate, error=run.ended.message if run.ended is not None else "failed"
        )
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
    return RateTrial(
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


def merged_table(
    there: Tuning | None,
    plan: PlannedTrial,
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
