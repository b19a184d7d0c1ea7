"""Settings of methods, chosen on validation pairs by the same number of trials for all.

A table holds what every trial reached on pairs that were held out of training; ``lifealign-bench tune`` makes it,
``--tuned`` reads it. A method is compared by ``last``, the mean over all tasks after the last stage; one that starts
anew every stage (``single``) by ``learning``, since only the diagonal belongs to it. Test pairs are not looked at.

Tables of schema 1 were made by another rule: one seed, the learning rate alone, three factors, no guard, and validation
pairs whose answers stand in training pairs. They are read as such.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from lifealign_bench.config import TunedRate, safe_name
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.results.firsttuning import of_first_schema
from lifealign_bench.results.guards import Guard, GuardReading
from lifealign_bench.results.view import SCORE
from lifealign_bench.util.files import read_regular, write_text
from lifealign_bench.util.plainjson import parse_plain

FOLDER = "tuning"  # of tables, below a folder of results
RULE = 2  # how settings are chosen today; 1: as in tables of schema 1
Criterion = Literal["last", "learning"]
# Whether the best has neighbours on both sides that are no better, or why not: the bound of the search, the trials.
Position = Literal["inside", "bound", "trials"]
_MOST_BYTES = 16 << 20  # of a table's file


class _TuningPart(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TuneOrigin(_TuningPart):
    """The run of a trial with one seed."""

    value: float | None = None
    config_hash: str = ""
    finished: str = ""
    commit: str | None = None
    dirty: bool | None = None


class SettingTrial(_TuningPart):
    """Values of what is tuned, and what they reached.

    Args:
        factors: setting to the factor of what the method has on this stream without tuning.
        settings: setting to its value.
        value: the criterion, in percent, on the validation pairs, mean over the seeds; None where training failed (see
            ``error``).
        low, high: its 95 % interval, over seeds and pairs.
        standard_error: likewise.
        tasks: task to its score at the end, in percent (for a method that starts anew: after its own stage).
        guards: what the guards saw, see ``guards``; empty in tables of the old rule.
        runs: seed to its run.
        error: why there is no value.
    """

    factors: dict[str, Annotated[float, Field(gt=0)]]
    settings: dict[str, float]
    value: float | None = None
    low: float | None = None
    high: float | None = None
    standard_error: float | None = None
    tasks: dict[str, float | None] = {}
    guards: tuple[GuardReading, ...] = ()
    runs: dict[str, TuneOrigin] = {}
    error: str | None = None

    @property
    def refused(self) -> tuple[Guard, ...]:
        """The guards that spoke against it."""
        return tuple(reading.guard for reading in self.guards if reading.spoke)


class MethodTuning(_TuningPart):
    """The trials of a method and what is taken.

    Args:
        settings: what was varied, the learning rate first.
        trials: in the order in which they were made.
        chosen: setting to its value.
        without_guards: what would have been chosen if there were none.
        ends: setting to where the chosen value lies among those that were tried. Empty in tables of the old rule.
        given: other settings of the method, without their section, that all trials had and that are not its defaults.
            Empty in tables of before it was written: then it is not known.
    """

    settings: tuple[str, ...] = Field(min_length=1)
    criterion: Criterion
    trials: tuple[SettingTrial, ...] = Field(min_length=1)
    chosen: dict[str, float]
    without_guards: dict[str, float]
    ends: dict[str, Position] = {}
    given: dict[str, JsonValue] = {}

    @model_validator(mode="after")
    def _of_the_same_settings(self) -> Self:
        """Everything that reads a table goes by its names of settings."""
        named = [self.chosen, self.without_guards]
        named += [values for trial in self.trials for values in (trial.settings, trial.factors)]
        if any(set(values) != set(self.settings) for values in named):
            raise ValueError(f"not everywhere the settings {', '.join(self.settings)}")
        return self

    @property
    def taken(self) -> SettingTrial | None:
        """The trial that is taken; None where the table does not have it."""
        return next((trial for trial in self.trials if trial.settings == self.chosen), None)

    @property
    def passed_over(self) -> SettingTrial | None:
        """The better trial that the guards refused; None where they changed nothing."""
        if self.without_guards == self.chosen:
            return None
        return next((trial for trial in self.trials if trial.settings == self.without_guards), None)


class Tuning(_TuningPart):
    """A whole table; see the module's docstring.

    Args:
        rule: how settings were chosen, see ``RULE``.
        seeds: every trial has a run of each.
        factors: of the learning rate, at first.
        trials: of every method; 0 in tables of the old rule.
        bounds: of the guards.
        settings: what else all runs had in common, values before the factors included. Empty in tables of before it was
            written: then it is not known.
        data: task to the digests of its training and its validation pairs.
        versions, hardware: of the first run.
    """

    schema_version: Literal[2] = 2
    rule: Literal[1, 2] = 2
    stream: str
    model: str
    tasks: tuple[str, ...]
    seeds: tuple[int, ...] = Field(min_length=1)
    validation: int
    factors: tuple[float, ...]
    trials: int = Field(ge=0)
    bounds: dict[Guard, float] = {}
    score: str = SCORE
    methods: dict[str, MethodTuning]
    settings: dict[str, str] = {}
    data: dict[str, dict[str, str]] = {}
    versions: dict[str, str] = {}
    hardware: dict[str, Any] = {}


def best(trials: Sequence[SettingTrial], guarded: bool = True) -> SettingTrial:
    """The trial with the highest value of those that no guard refuses; of all, where they refuse all. Of equal ones
    that whose factors are nearest 1, then the smaller.

    Args:
        guarded: False: as if there were no guards.

    Raises:
        BenchError: none has a value.
    """
    known = [trial for trial in trials if trial.value is not None]
    if not known:
        raise BenchError(
            f"No trial gave a result: {'; '.join(dict.fromkeys((t.error or 'no value').rstrip('.') for t in trials))}.",
            "Try smaller factors (--factors), or float32 (--dtype).",
        )
    if guarded:
        known = [trial for trial in known if not trial.refused] or known

    def order(trial: SettingTrial) -> tuple[float, float, list[float]]:
        away = sum(abs(math.log(factor)) for factor in trial.factors.values())
        # Means over tasks that are equal may differ in the last bit.
        return -round(trial.value or 0.0, 9), round(away, 9), list(trial.factors.values())

    return min(known, key=order)


def read_tuning(path: Path) -> tuple[Tuning, str]:
    """A table and the SHA-256 of its file.

    Raises:
        UsageError: no such file, or it is not such a table.
    """
    try:
        content = read_regular(path, _MOST_BYTES)
        return _parsed(parse_plain(content)), hashlib.sha256(content).hexdigest()
    except OSError as error:
        raise UsageError(
            f"The table of tuned settings {path} cannot be read: {error.strerror or error}.",
            "Make one with lifealign-bench tune.",
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"{path} is no table of tuned settings: {place}: {first['msg']}.", "Make it again: lifealign-bench tune."
        ) from error
    except ValueError as error:
        raise UsageError(
            f"{path} is not JSON, so no table of tuned settings: {error}.", "Make it again: lifealign-bench tune."
        ) from error


def _parsed(content: Any) -> Tuning:
    if isinstance(content, dict) and content.get("schema_version", 1) == 1:
        content = of_first_schema(content)
    return Tuning.model_validate(content)


def read_tunings(results: Path) -> tuple[list[Tuning], dict[str, str]]:
    """The tables beside the published records in a folder, by stream and model; and of those that cannot be read the
    place below the folder, with the reason: one of them does not stand in the way of the others."""
    found: list[Tuning] = []
    broken: dict[str, str] = {}
    for path in sorted((results / FOLDER).glob("*/*.json")):
        try:
            found.append(read_tuning(path)[0])
        except UsageError as error:
            broken[path.relative_to(results).as_posix()] = error.message.replace(str(path), path.name).rstrip(".")
    return found, broken


def write_tuning(path: Path, tuning: Tuning) -> None:
    """Write atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(tuning.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def tuning_problems(path: Path, place: str) -> list[str]:
    """What is wrong with a published table.

    Args:
        path: the file.
        place: where it lies, below the folder of tables.
    """
    try:
        tuning, _ = read_tuning(path)
    except UsageError as error:
        return [error.message.replace(str(path), path.name).rstrip(".")]
    wanted = f"{safe_name(tuning.stream)}/{safe_name(tuning.model)}.json"
    found = [] if wanted == place else [f"its stream and model belong to {wanted}"]
    for name, method in tuning.methods.items():
        try:
            right, unguarded = best(method.trials).settings, best(method.trials, guarded=False).settings
        except BenchError:
            found.append(f"{name}: no trial has a value")
            continue
        if right != method.chosen:
            found.append(f"{name}: {_said(method.chosen)} was taken, and {_said(right)} is the best of its trials")
        if unguarded != method.without_guards:
            found.append(f"{name}: without guards it names {_said(method.without_guards)}; {_said(unguarded)} is best")
        if tuning.trials and len(method.trials) > tuning.trials:
            found.append(f"{name}: {len(method.trials)} trials, where every method has {tuning.trials}")
    return found


def _said(settings: Mapping[str, float]) -> str:
    return ", ".join(f"{name} = {value:g}" for name, value in settings.items())


def tuned_rate(path: Path, method: str, variant_of: str | None = None, fixed: Sequence[str] = ()) -> TunedRate:
    """What a table says for a method; an ablation has the settings of its method but for those that it fixes.

    Args:
        fixed: the settings of the method that the ablation fixes.

    Raises:
        UsageError: the table does not know the method, or cannot be read.
    """
    tuning, digest = read_tuning(path)
    found = tuning.methods.get(method) or tuning.methods.get(variant_of or "")
    if found is None:
        raise UsageError(
            f"The table {path} has no settings for {method!r} (it has: {', '.join(sorted(tuning.methods))}).",
            f"Add it: lifealign-bench tune --method {method}.",
        )
    setting = found.settings[0]
    passed = found.passed_over
    return TunedRate(
        setting=setting,
        rates=tuple(sorted({trial.settings[setting] for trial in found.trials})),
        chosen=found.chosen[setting],
        settings={name: value for name, value in found.chosen.items() if name.removeprefix("method.") not in fixed},
        given={name: value for name, value in found.given.items() if name not in fixed},
        stream=tuning.stream,
        model=tuning.model,
        seed=tuning.seeds[0],
        seeds=tuning.seeds,
        validation=tuning.validation,
        score=tuning.score,
        criterion=found.criterion,
        digest=digest,
        rule=tuning.rule,
        guards=() if passed is None else passed.refused,
        without_guards={} if passed is None else dict(found.without_guards),
        trials=tuning.trials,
    )
