"""Choosing each method's settings on validation pairs: the runs it takes, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import fmean

from lifealign_bench.config import RunConfig
from lifealign_bench.data.cards import load_stream, stream_names
from lifealign_bench.errors import UsageError
from lifealign_bench.experiments.configfile import read_config_file
from lifealign_bench.experiments.request import Words, build_configs
from lifealign_bench.experiments.search import Axis, Point, next_points, positions
from lifealign_bench.experiments.sweep import Sweep, standing
from lifealign_bench.method import Tuned
from lifealign_bench.methods import load_method
from lifealign_bench.results.guards import bounds_of, end_rows, estimate_at_end, readings, starts_anew
from lifealign_bench.results.sameness import tuning_key, unlike
from lifealign_bench.results.tunes import declared, permits, value_in, with_values
from lifealign_bench.results.tuning import MethodTuning, SettingTrial, TuneOrigin, Tuning, best, read_tuning
from lifealign_bench.results.view import RunView
from lifealign_bench.util.text import known

PAIRS = 100  # held out of each task, where neither the command line nor the stream says how many
SEEDS = "0,1,2"  # where nobody says any
TRIALS = 9
_MOST_TRIALS = 30
# What the guards look at needs responses, of the base model as well.
_SCORERS = ("preference", "reward", "distance")


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


@dataclass
class Search:
    """The trials of one method.

    Args:
        configs: a run with each seed, before anything is varied.
        tuned: what is varied, the learning rate first.
        factors: of the learning rate, at first.
        most: trials in all.
        trials: those that came to an end, by their point.
        failed: folder of a run to why it failed.
    """

    configs: tuple[RunConfig, ...]
    tuned: tuple[Tuned, ...]
    factors: tuple[float, ...]
    most: int
    trials: dict[Point, SettingTrial] = field(default_factory=dict)
    failed: dict[Path, str] = field(default_factory=dict)

    @property
    def config(self) -> RunConfig:
        """The first seed's."""
        return self.configs[0]

    def due(self) -> list[RunConfig]:
        """The runs of the trials that are to be made next; none when the search is over.

        Raises:
            UsageError: another run lies in the folder of one: that is no trial that failed.
        """
        configs = [config for point in self._next() for config in self._runs(point)]
        for config in configs:
            state, why = standing(config)
            if state == "other configuration":
                raise UsageError(why, "Give --out a folder of its own to this search.")
        return configs

    def made(self) -> list[RunConfig]:
        """The runs of all trials so far."""
        return [config for point in self.trials for config in self._runs(point)]

    def take(self) -> None:
        """Take in all trials whose runs have come to an end, as far as the search has got."""
        while points := self._next():
            runs = {point: self._runs(point) for point in points}
            if not all(self._ended(config) for own in runs.values() for config in own):
                return
            for point, own in runs.items():
                self.trials[point] = self._trial(point, own)

    def told(self, sweep: Sweep) -> None:
        """Remember which runs of a sweep failed, and take in what it brought."""
        for run in sweep.of_state("failed"):
            said = run.ended.message if run.ended is not None else ""
            self.failed[run.config.run_directory()] = said or "failed"
        for run in sweep.of_state("complete"):  # else it would be asked for again and again
            if standing(run.config)[0] != "finished":
                self.failed[run.config.run_directory()] = "its record does not hold"
        self.take()

    def outcome(self) -> MethodTuning:
        """What came of it.

        Raises:
            BenchError: no trial gave a result.
        """
        trials = tuple(self.trials.values())
        taken = best(trials)
        point = next(point for point, trial in self.trials.items() if trial is taken)
        where = positions(self._axes, list(self.trials), point)
        settings = tuple(tuned.setting for tuned in self.tuned)
        return MethodTuning(
            settings=settings,
            criterion="learning" if self._anew(taken) else "last",
            trials=trials,
            chosen=taken.settings,
            without_guards=best(trials, guarded=False).settings,
            ends=dict(zip(settings, where, strict=True)),
            given={k: v for k, v in self.config.method_settings.items() if f"method.{k}" not in settings},
        )

    @property
    def _axes(self) -> list[Axis]:
        own = load_method(self.config.method).Config

        def fits(setting: str, factor: float) -> bool:
            return permits(setting, self._value(setting, factor), own)

        return [Axis(tuned.factors, tuned.within, partial(fits, tuned.setting)) for tuned in self.tuned]

    def _value(self, setting: str, factor: float) -> float:
        return float(f"{value_in(self.config, setting) * factor:.6g}")

    def _next(self) -> list[Point]:
        done = [trial for trial in self.trials.values() if trial.value is not None]
        taken = best(done) if done else None
        point = next((point for point, trial in self.trials.items() if trial is taken), None)
        return next_points(self._axes, list(self.trials), point, self.most)

    def _settings(self, point: Point) -> dict[str, float]:
        return {t.setting: self._value(t.setting, f) for t, f in zip(self.tuned, point, strict=True)}

    def _runs(self, point: Point) -> list[RunConfig]:
        folder = f"x{','.join(f'{factor:g}' for factor in point)}"
        return [
            with_values(config.model_copy(update={"out": config.out / folder}), self._settings(point))
            for config in self.configs
        ]

    def _ended(self, config: RunConfig) -> bool:
        return config.run_directory() in self.failed or standing(config)[0] == "finished"

    def _trial(self, point: Point, runs: Sequence[RunConfig]) -> SettingTrial:
        factors = dict(zip((tuned.setting for tuned in self.tuned), point, strict=True))
        settings = self._settings(point)
        errors = [self.failed[c.run_directory()] for c in runs if c.run_directory() in self.failed]
        if errors:
            return SettingTrial(factors=factors, settings=settings, error=errors[0])
        return trial_of(factors, settings, [RunView.open(config.run_directory()) for config in runs])

    def _anew(self, trial: SettingTrial) -> bool:
        point = next(point for point, found in self.trials.items() if found is trial)
        return starts_anew(RunView.open(self._runs(point)[0].run_directory()).record)


def trial_of(factors: Mapping[str, float], settings: Mapping[str, float], views: Sequence[RunView]) -> SettingTrial:
    """What the runs of one setting say, one for each seed: by the score that such runs are ranked by."""
    score = views[0].ranked_by
    criterion = "learning" if starts_anew(views[0].record) else "last"
    values = {view.seed: view.metric(score, criterion) for view in views}
    found = estimate_at_end(views, score)
    rows = end_rows(views[0])
    cells = [view.record.scores[score].array() for view in views]
    return SettingTrial(
        factors=dict(factors),
        settings=dict(settings),
        value=known(fmean(values.values())),
        low=known(found.low),
        high=known(found.high),
        standard_error=known(found.standard_error),
        tasks={task: known(fmean(c[rows[task], j] for c in cells)) for j, task in enumerate(views[0].tasks)},
        guards=readings(views),
        runs={str(view.seed): _origin(view, values[view.seed]) for view in views},
    )


def _origin(view: RunView, value: float) -> TuneOrigin:
    record = view.record
    commit = record.git.get("commit")
    return TuneOrigin(
        value=known(value),
        config_hash=record.config_hash,
        finished=record.finished,
        commit=None if commit is None else str(commit),
        dirty=bool(record.git.get("dirty")),
    )


def searches(words: Words, factors: Sequence[float], most: int, notice: Callable[[str], None]) -> list[Search]:
    """One search for each method that was asked for.

    Raises:
        UsageError: several streams, or too few trials.
        BenchError: a method's declaration cannot be followed.
    """
    if not len(factors) <= most <= _MOST_TRIALS:
        raise UsageError(
            f"{most} trials a method are {'fewer than the factors' if most < len(factors) else 'too many'}.",
            f"Give --trials a number from {len(factors)} to {_MOST_TRIALS}.",
        )
    choice = build_configs(words if _says_seeds(words) else words.but(seed=[SEEDS]))
    for text in choice.notices:
        notice(text)
    if len({config.stream for config in choice.configs}) > 1:
        raise UsageError("Settings are chosen on one stream.", "Name one --stream.")
    found: dict[str, list[RunConfig]] = {}
    for config in choice.configs:
        common = {
            "validation": config.validation or _held_out(config, words) or config.test_limit or PAIRS,
            "evaluate": "ends",
            "scorers": _SCORERS,
        }
        found.setdefault(config.method, []).append(config.model_copy(update=common))
    if len({tuple(config.seed for config in own) for own in found.values()}) > 1:
        raise UsageError("The methods are asked for with different seeds.", "Give all the same: --seed 0,1,2.")
    return [
        Search(tuple(own), declared(load_method(name), own[0], tuple(factors)), tuple(factors), most)
        for name, own in found.items()
    ]


def _held_out(config: RunConfig, words: Words) -> int | None:
    """The pairs a task that the stream's card gives for choosing; None where it does not say."""
    named = config.stream if config.stream in stream_names(fakes=True) else next(iter(words.listed("stream")), None)
    return None if named is None else load_stream(named).validation


def _says_seeds(words: Words) -> bool:
    filed = read_config_file(words.config) if words.config is not None else ()
    return "seed" in words.said or any(block.seeds for block in filed)


def fits_table(table: Path, search: Search) -> Tuning | None:
    """The table that is there already, if this search can be added to it.

    Raises:
        UsageError: it was made otherwise, or is none.
    """
    if not table.exists():
        return None
    there, _ = read_tuning(table)
    if there.rule == 1:
        raise UsageError(
            f"{table} was made by the old rule: one seed, the rate alone, no guard, and answers that are trained on.",
            "Write elsewhere with --results, or delete it and choose for all methods again.",
        )
    config = search.config
    here = {
        "seeds": tuple(config.seed for config in search.configs),
        "validation": config.validation,
        "factors": search.factors,
        "trials": search.most,
        "bounds": bounds_of(config.sft),
        "tasks": config.tasks,
    }
    differing = [name for name, value in here.items() if getattr(there, name) != value]
    differing += sorted(unlike((there.settings, tuning_key(config))).keys() - {"dtype"})
    if "auto" not in (config.dtype, _type_of(there)) and config.dtype != _type_of(there):
        differing.append("dtype")
    if differing:
        raise UsageError(
            f"{table} was made with other {' and '.join(differing)}.",
            "Choose as it was chosen, or write elsewhere with --results, or delete it.",
        )
    return there


def _type_of(table: Tuning) -> str:
    """The type of the weights in which a table was made; ``auto``: it does not say."""
    return str(table.hardware.get("dtype", "auto"))


def in_type_of(table: Tuning | None, search: Search) -> Search:
    """The search in the type of weights in which the table that is there was made, where nobody asks for one: which is
    the faster one is this machine's matter, and numbers of two types are not compared."""
    if table is None or search.config.dtype != "auto" or _type_of(table) == "auto":
        return search
    return replace(search, configs=tuple(c.model_copy(update={"dtype": _type_of(table)}) for c in search.configs))


def merged_table(there: Tuning | None, done: Sequence[Search], methods: Mapping[str, MethodTuning]) -> Tuning:
    """The table that is there with the methods that were searched for.

    Raises:
        UsageError: it was made with other pairs, or runs have weights of several types.
        BenchError: a run's record cannot be read.
    """
    search = done[0]
    config = search.config
    folder = next(c.run_directory() for c in search.made() if c.run_directory() not in search.failed)
    view = RunView.open(folder)
    first = view.record
    data = {task: {"train": d.train_digest, "validation": d.test_digest} for task, d in first.data.items()}
    if there is not None and there.data != data:
        raise UsageError(
            "The table that is there was made with other pairs.", "Write elsewhere with --results, or delete it."
        )
    made = [c.run_directory() for s in done for c in s.made() if c.run_directory() not in s.failed]
    types = {str(RunView.open(place).record.hardware.get("dtype", "auto")) for place in made}
    types |= {_type_of(there)} - {"auto"} if there is not None else set()
    if len(types) > 1:
        raise UsageError(
            f"The trials have weights of different types, {' and '.join(sorted(types))}: they cannot be compared.",
            "Say --dtype, and give --out a folder of its own.",
        )
    everything = {**(there.methods if there is not None else {}), **methods}
    return Tuning(
        stream=config.stream,
        model=config.model_label or config.model,
        tasks=config.tasks,
        seeds=tuple(own.seed for own in search.configs),
        validation=config.validation or 0,
        factors=search.factors,
        trials=search.most,
        bounds=bounds_of(config.sft),
        score=view.ranked_by,
        methods={name: everything[name] for name in sorted(everything)},
        settings=there.settings if there is not None else tuning_key(config),
        data=data,
        versions=there.versions if there is not None else first.versions,
        hardware=there.hardware if there is not None else first.hardware,
    )
