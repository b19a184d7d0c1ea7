"""Tables of tuned settings of schema 1, in the words of today: one setting a method, one seed, no guards."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _First(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _FirstTrial(_First):
    """A rate, what it reached, and its run."""

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


class _FirstMethod(_First):
    setting: str
    criterion: Literal["last", "learning"]
    trials: tuple[_FirstTrial, ...] = Field(min_length=1)
    chosen: float


class _FirstTable(_First):
    schema_version: Literal[1] = 1
    stream: str
    model: str
    tasks: tuple[str, ...]
    seed: int
    validation: int
    factors: tuple[float, ...]
    score: str
    methods: dict[str, _FirstMethod]
    settings: dict[str, str] = {}
    data: dict[str, dict[str, str]] = {}
    versions: dict[str, str] = {}
    hardware: dict[str, Any] = {}


def of_first_schema(content: Any) -> dict[str, Any]:
    """What such a table says, for ``tuning.Tuning``, under the rule of then.

    Raises:
        ValidationError: it is no such table.
    """
    table = _FirstTable.model_validate(content)
    said = table.model_dump(exclude={"schema_version", "seed", "methods"})
    methods = {name: _method(method, str(table.seed)) for name, method in table.methods.items()}
    return {**said, "rule": 1, "seeds": (table.seed,), "trials": 0, "methods": methods}


def _method(method: _FirstMethod, seed: str) -> dict[str, Any]:
    name = method.setting
    chosen = {name: method.chosen}
    trials = [
        {
            **trial.model_dump(include={"value", "standard_error", "tasks", "error"}),
            "factors": {name: trial.factor},
            "settings": {name: trial.rate},
            "runs": {seed: trial.model_dump(include={"value", "config_hash", "finished", "commit", "dirty"})},
        }
        for trial in method.trials
    ]
    return {
        "settings": (name,),
        "criterion": method.criterion,
        "trials": trials,
        "chosen": chosen,
        "without_guards": chosen,
    }
