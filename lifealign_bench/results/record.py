"""The record of a run: one small JSON file that says what was done, with what, and what came out.

It never holds training text. The leaderboard reads records only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lifealign_bench.errors import BenchError
from lifealign_bench.results.statistics import Matrix
from lifealign_bench.util.files import read_regular, write_json
from lifealign_bench.util.plainjson import parse_plain

SCHEMA_VERSION = 2

# The setting that names who judges responses; nobody does where it is empty.
JudgedBy = Literal["", "judge", "reward_model"]

# Turn a record of version n into version n + 1; the key is n.
_MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    # 2 has facts of scorers, units and partial scores, which have defaults.
    1: lambda content: {**content, "schema_version": 2},
}

# Every number has a bound: what is larger is no count of anything, and breaks what is computed from it.
Count = Annotated[int, Field(ge=0, lt=1 << 53)]

Quantity = Annotated[float, Field(ge=0, le=1e15)]

Number = Annotated[float, Field(ge=-1e15, le=1e15)]

Operations = Annotated[float, Field(ge=0, le=1e30)]

Word = Annotated[str, Field(max_length=1000)]

_MOST_BYTES = 64 << 20  # of a record's file; those of large runs have less than one MiB


class _Part(BaseModel):
    # JSON has no NaN and no infinity: an undefined number is None. A text that looks like a number is none.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


def _is_none(value: object) -> bool:
    return value is None


class ScoreMatrix(_Part):
    """One score after every stage on every task: rows 0..N, columns the stream's tasks; None where not evaluated.

    ``value`` is in percent for scores that are shares. ``standard_error`` is that of the mean over the ``n`` test
    pairs, in the same unit: with ``errors_by`` ``cluster`` for pairs that are independent between clusters alone
    (:func:`lifealign_bench.results.clusters.cluster_error`); in records of before that it is None, and each pair counts
    as independent (sample standard deviation / sqrt(n)). A ``partial`` score's ``n`` leaves out pairs that have no
    value, see :class:`lifealign_bench.results.scores.ScoreInfo`. ``unit`` is empty for a plain number. ``judged_by`` is
    the setting of the run that names who judged the responses, empty where nobody did; ``checked``, ``main``,
    ``quality`` and ``scorer`` are likewise what the score says of itself. Records of before these were written down
    have None; ask :func:`lifealign_bench.results.scores.said_of`.
    """

    percent: bool
    unit: str | None = None
    partial: bool = False
    # An old record that is written again stays as it was.
    judged_by: JudgedBy | None = Field(None, exclude_if=_is_none)
    checked: bool | None = Field(None, exclude_if=_is_none)
    main: Count | None = Field(None, exclude_if=_is_none)
    quality: bool | None = Field(None, exclude_if=_is_none)
    scorer: Word | None = Field(None, exclude_if=_is_none)
    errors_by: Literal["cluster"] | None = Field(None, exclude_if=_is_none)
    value: list[list[Number | None]]
    standard_error: list[list[Quantity | None]]
    n: list[list[Count]]

    @model_validator(mode="after")
    def _rectangular(self) -> Self:
        """Three matrices of one shape: everything that reads them goes by it."""
        shapes = {tuple(len(row) for row in rows) for rows in (self.value, self.standard_error, self.n)}
        if len(shapes) > 1 or any(len(set(shape)) > 1 for shape in shapes):
            raise ValueError("value, standard_error and n are no matrices of one shape")
        return self

    @property
    def measured_in(self) -> str:
        """The unit for a heading; records of before it was written down had shares and nats alone."""
        return self.unit if self.unit is not None else "percent" if self.percent else "nats"

    @property
    def scale(self) -> float:
        """Factor from a mean over pairs to ``value``."""
        return 100.0 if self.percent else 1.0

    @property
    def digits(self) -> int:
        """After the point, for people: of percents one, of nats and points two."""
        return 1 if self.percent else 2

    def array(self) -> Matrix:
        """``value`` as a float array of shape (N+1, N), NaN where not evaluated."""
        return np.array([[math.nan if v is None else v for v in row] for row in self.value], dtype=float)

    def errors(self) -> Matrix:
        """``standard_error`` likewise."""
        return np.array([[math.nan if v is None else v for v in row] for row in self.standard_error], dtype=float)


class DataRecord(_Part):
    """The data of one task: how many pairs were used, and hashes of exactly these.

    ``encoded`` is split to the SHA-256 of the pairs' tokens, as the model was given them; ``chosen_longer`` the share
    of the training pairs (0 to 1) whose chosen response has more tokens than the rejected one, a tie counting half.
    Both are None in records of before they were written down.
    """

    version: Count
    train_pairs: Count
    test_pairs: Count
    train_digest: Word
    test_digest: Word
    source_hashes: dict[str, Word]
    cleaning: dict[str, Any]
    test_prompts_in_train: Count
    encoded: dict[str, Word] | None = None
    chosen_longer: Quantity | None = Field(None, exclude_if=_is_none)


class MethodRecord(_Part):
    """The method, its effective settings and the hash of its file."""

    name: Word
    settings: dict[str, Any]
    source_sha256: Word


class ModelRecord(_Part):
    """The base model as it was loaded.

    ``clock`` is the moment that its chat template took for now; None where the template does not ask, and in records of
    before it was fixed.
    """

    name: Word
    revision: Word
    fingerprint: Word
    parameters: Count
    trainable_parameters: Count
    layout: Word
    notices: list[str]
    clock: Word | None = None


class ScorerFacts(_Part):
    """What a reader of a scorer's numbers must know.

    Args:
        run: of the whole run: which judge or model, how good it is.
        stages: stage (as text) to task to counts and the like.
    """

    run: dict[str, Any] = {}
    stages: dict[str, dict[str, dict[str, Any]]] = {}


class AbilityStage(_Part):
    """An ability after one stage, in percent; the change is against stage 0, in percentage points.

    ``standard_error`` is that of the mean over the items; ``change_error`` that of the mean of the items' changes.
    """

    value: Number | None
    standard_error: Quantity | None
    change: Number | None
    change_error: Quantity | None


class AbilityRecord(_Part):
    """A test of general ability.

    Args:
        metric: what is the value of an item, between 0 and 1: acc, acc_norm, exact_match and the like.
        items: how many.
        chance: percent that guessing gives, where it is known.
        digest: SHA-256 of all that was asked.
        chat_template: whether it was asked through the model's chat template; today never.
        stages: stage (as text) to the values.
    """

    metric: Word
    items: Count
    chance: Quantity | None
    digest: Word
    chat_template: bool = False
    stages: dict[str, AbilityStage]


# Seconds under which a part of a stage was not really computed.
_MEASURABLE = 0.2


class StageRecord(_Part):
    """What one stage cost. Seconds are wall clock by part (reference, train, score, generate); tokens likewise.

    ``pairs`` is how many the last phase had to train on, ``seen`` how many were trained on in all phases, each as often
    as it was; ``flops`` are floating-point operations by part (of a phase's training, ``reference``, and the passes
    that the method's ``hooks`` asked for), by the formula of ``models/passcost.py``. ``state_bytes`` is what the method
    keeps beside the adapter after the stage: replayed pairs, Fisher information, old adapters. Records of before these
    were measured have None. ``rollouts`` counts what a method sampled while it trained, see
    :func:`lifealign_bench.results.rollouts.summary_of`; None where it sampled nothing.
    """

    index: Count
    tasks: list[Word]
    pairs: Count
    steps: Count
    final_loss: Number | None
    seconds: dict[str, Quantity]
    tokens: dict[str, Count]
    state_bytes: Count | None = None
    seen: Count | None = Field(None, exclude_if=_is_none)
    flops: dict[str, Operations] | None = Field(None, exclude_if=_is_none)
    rollouts: dict[str, Number | None] | None = Field(None, exclude_if=_is_none)

    def tokens_per_second(self, part: str) -> float | None:
        """Speed of ``train``, ``score`` or ``generate``; None where it was not done or mostly read from the cache."""
        seconds, tokens = self.seconds.get(part, 0.0), self.tokens.get(part, 0)
        return tokens / seconds if tokens and seconds >= _MEASURABLE else None


class Addition(_Part):
    """Scores that were added to the run when it was finished, and with what."""

    scorers: list[Word]
    abilities: list[Word] = []
    finished: Word
    versions: dict[str, Word]
    git: dict[str, Word | bool | None]


class Record(_Part):
    """See the module's docstring. ``status`` is ``complete`` only when every stage was trained and scored; ``tuned``
    says where tuned settings come from (``config.TunedRate``), None where they were said or are the stream's.
    ``extensions`` names the scorers, judges, rewards and methods that are not part of this package: kind (``scorers``)
    to name (of a reward: the task's) to ``source_sha256``, and ``package`` and ``version`` of an installed one.
    ``numbers`` counts the versions that train to other numbers (``runs.resuming.NUMBERS``); 0: not yet counted."""

    schema_version: int = SCHEMA_VERSION
    status: Literal["complete", "failed", "interrupted"]
    created: Word
    finished: Word
    attempts: Count
    config: dict[str, Any]
    config_hash: Word
    method: MethodRecord
    model: ModelRecord
    tuned: dict[str, Any] | None = None
    stream: dict[str, Any]
    data: dict[str, DataRecord]
    stages: list[StageRecord]
    scores: dict[str, ScoreMatrix]
    metrics: dict[str, dict[str, Number | None]]
    facts: dict[str, ScorerFacts] = {}
    extensions: dict[str, dict[str, dict[str, Word]]] = Field({}, exclude_if=lambda value: not value)
    additions: list[Addition] = []
    abilities: dict[str, AbilityRecord] = {}
    abilities_left_out: dict[str, str] = {}
    versions: dict[str, Word]
    numbers: Count = 0
    git: dict[str, Word | bool | None]
    hardware: dict[str, Any]
    peak_memory_bytes: Count
    error: str | None = None

    @property
    def tasks(self) -> list[str]:
        """The stream's tasks in order."""
        return list(self.config["tasks"])

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return self.model_dump(mode="json")


def write_record(path: Path, record: Record) -> None:
    """Write atomically."""
    write_json(path, record.to_json())


def read_record(path: Path) -> Record:
    """Read a record of this or any past schema.

    Raises:
        BenchError: no such file, not a record, or of a future schema.
    """
    try:
        text = read_regular(path, _MOST_BYTES)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise BenchError(f"The record {path} cannot be read: {reason}.", "Is this a run's folder?") from error
    try:
        content = parse_plain(text)
    except ValueError as error:
        raise BenchError(
            f"The record {path} is not JSON: {error}.", "Run the same command again to rebuild it."
        ) from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if type(version) is not int or version < 1:
        raise BenchError(f"The file {path} is not a record: it has no schema_version.", "Name a run's record.json.")
    if version > SCHEMA_VERSION:
        raise BenchError(
            f"The record {path} has schema {version}; this version of lifealign-bench knows up to {SCHEMA_VERSION}.",
            "Update lifealign-bench, or use another --out.",
        )
    for past in range(version, SCHEMA_VERSION):
        content = _MIGRATIONS[past](content)
    try:
        return Record.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])[:200]
        raise BenchError(
            f"The record {path} is broken at {place}: {first['msg']}.", "Run the same command again to rebuild it."
        ) from error


MODEL_REWARD = "model_reward"

# Percent of test pairs in which a reward model must be right before its rewards say much; chance is 50.
WEAK = 60.0

_SCORER = "reward_model"


def reward_model_facts(record: Record) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """What a record says of its reward model, and task to its yardsticks; empty where there is none.

    Of a task: see :func:`lifealign_bench.scoring.scorers.reward_model.measure_pairs`.
    """
    found = record.facts.get(_SCORER)
    if found is None:
        return {}, {}
    model, tasks = found.run.get("model"), found.run.get("tasks")
    return (
        model if isinstance(model, dict) else {},
        {str(k): v for k, v in tasks.items() if isinstance(v, dict)} if isinstance(tasks, dict) else {},
    )


def reward_model_of(record: Record) -> str | None:
    """Names its reward model: rewards are comparable where it is the same; None where there is none.

    It is the fingerprint of a given one, and of a trained one what it was made of: one that was made on another machine
    differs by rounding.
    """
    model = reward_model_facts(record)[0]
    mark = model.get("recipe", model.get("fingerprint"))
    return mark if isinstance(mark, str) else None


def weak_tasks(record: Record) -> frozenset[str]:
    """Tasks on whose test pairs the reward model is right too rarely: its rewards there say little."""
    _, tasks = reward_model_facts(record)
    return frozenset(name for name, said in tasks.items() if not value_of(said, "accuracy") >= WEAK)


def value_of(said: Mapping[str, Any], name: str) -> float:
    """A number of a record; NaN where it is none."""
    value = said.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
