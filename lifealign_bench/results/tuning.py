"""The learning rates of methods, chosen on validation pairs by the same grid of factors for all.

A table holds what every rate of the grid reached on pairs that were held out of training; ``lifealign-bench tune``
makes it, ``--tuned`` reads it. A method is compared by ``last``, the mean over all tasks after the last stage; one
that starts anew every stage (``single``) by ``learning``, since only the diagonal belongs to it. Test pairs are not
looked at.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lifealign_bench.config import SECTIONS, RunConfig, TunedRate, safe_name
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.methods import effective_settings, method_config
from lifealign_bench.results.record import Record
from lifealign_bench.util.files import read_regular, write_text
from lifealign_bench.util.plainjson import parse_plain

__all__ = [
    "FOLDER",
    "SCORE",
    "MethodTuning",
    "RateTrial",
    "Tuning",
    "best",
    "criterion_of",
    "rate_in",
    "read_tuning",
    "read_tunings",
    "tuned_rate",
    "tuning_problems",
    "with_rate",
    "write_tuning",
]

SCORE = "preference_accuracy"
FOLDER = "tuning"  # of tables, below a folder of results
Criterion = Literal["last", "learning"]
_MOST_BYTES = 16 << 20  # of a table's file


class _TuningPart(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RateTrial(_TuningPart):
    """One rate of the grid and what it reached.

    Args:
        factor, rate: the rate is the factor times what the method has on this stream without tuning.
        value: the criterion, in percent, on the validation pairs; None where training failed (see ``error``).
        standard_error: of it over these pairs.
        tasks: task to its score at the end, in percent (for a method that starts anew: after its own stage).
        config_hash, finished, commit, dirty: of the run.
        error: why there is no value.
    """

    factor: float = Field(gt=0)
    rate: float = Field(gt=0)
    value: float | None = None
    standard_error: float | None = None
    tasks: dict[str, float | None] = {}
    config_hash: str = ""
    finished: str = ""
    commit: str | None = None
    dirty: bool | None = None
    error: str | None = None


class MethodTuning(_TuningPart):
    """The trials of a method, by rate, and the one that is taken."""

    setting: str
    criterion: Criterion
    trials: tuple[RateTrial, ...] = Field(min_length=1)
    chosen: float


class Tuning(_TuningPart):
    """A whole table; see the module's docstring.

    Args:
        settings: what else all runs of the grid had in common, rates before the factors included. Empty in tables of
            before it was written: then it is not known.
        data: task to the digests of its training and its validation pairs.
        versions, hardware: of the first run.
    """

    schema_version: Literal[1] = 1
    stream: str
    model: str
    tasks: tuple[str, ...]
    seed: int
    validation: int
    factors: tuple[float, ...]
    score: str = SCORE
    methods: dict[str, MethodTuning]
    settings: dict[str, str] = {}
    data: dict[str, dict[str, str]] = {}
    versions: dict[str, str] = {}
    hardware: dict[str, Any] = {}


def best(trials: Sequence[RateTrial], level: float = 1.0) -> RateTrial:
    """The trial with the highest value; of equal ones that whose factor is nearest ``level``, then the smaller.

    Raises:
        BenchError: none has a value.
    """
    known = [trial for trial in trials if trial.value is not None]
    if not known:
        raise BenchError(
            f"No rate of the grid gave a result: {'; '.join(t.error or 'no value' for t in trials)}.",
            "Try smaller factors (--factors), or float32 (--dtype).",
        )
    # Means over tasks that are equal may differ in the last bit.
    return min(known, key=lambda t: (-round(t.value or 0.0, 9), abs(math.log(t.factor / level)), t.factor))


def criterion_of(record: Record) -> Criterion:
    """What a run is compared by."""
    return "last" if record.metrics[SCORE].get("last") is not None else "learning"


def with_rate(config: RunConfig, setting: str, rate: float) -> RunConfig:
    """``config`` with another value of the setting (``section.name``, see ``Method.rate_setting``)."""
    section, _, name = setting.partition(".")
    if section == "method":
        return config.model_copy(update={"method_settings": {**config.method_settings, name: rate}})
    return config.model_copy(update={section: getattr(config, section).model_copy(update={name: rate})})


def rate_in(config: RunConfig, setting: str) -> float:
    """The value of the setting in ``config``, a method's default included."""
    section, _, name = setting.partition(".")
    if section in SECTIONS:
        return float(getattr(getattr(config, section), name))
    known = effective_settings(config.method, config.method_settings)
    return float(known.get(name, method_config(config.method).model_fields[name].default))


def read_tuning(path: Path) -> tuple[Tuning, str]:
    """A table and the SHA-256 of its file.

    Raises:
        UsageError: no such file, or it is not such a table.
    """
    try:
        content = read_regular(path, _MOST_BYTES)
        return Tuning.model_validate(parse_plain(content)), hashlib.sha256(content).hexdigest()
    except OSError as error:
        raise UsageError(
            f"The table of learning rates {path} cannot be read: {error.strerror or error}.",
            "Make one with lifealign-bench tune.",
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"{path} is no table of learning rates: {place}: {first['msg']}.", "Make it again: lifealign-bench tune."
        ) from error
    except ValueError as error:
        raise UsageError(
            f"{path} is not JSON, so no table of learning rates: {error}.", "Make it again: lifealign-bench tune."
        ) from error


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
            rate = best(method.trials).rate
        except BenchError:
            found.append(f"{name}: no rate has a value")
            continue
        if rate != method.chosen:
            found.append(f"{name}: the rate {method.chosen:g} was taken, and {rate:g} is the best of its row")
    return found


def tuned_rate(path: Path, method: str, variant_of: str | None = None) -> TunedRate:
    """The rate that a table says for a method; an ablation has that of its method.

    Raises:
        UsageError: the table does not know the method, or cannot be read.
    """
    tuning, digest = read_tuning(path)
    found = tuning.methods.get(method) or tuning.methods.get(variant_of or "")
    if found is None:
        raise UsageError(
            f"The table {path} has no learning rate for {method!r} (it has: {', '.join(sorted(tuning.methods))}).",
            f"Add it: lifealign-bench tune --method {method}.",
        )
    return TunedRate(
        setting=found.setting,
        rates=tuple(trial.rate for trial in found.trials),
        chosen=found.chosen,
        stream=tuning.stream,
        model=tuning.model,
        seed=tuning.seed,
        validation=tuning.validation,
        score=tuning.score,
        criterion=found.criterion,
        digest=digest,
    )
