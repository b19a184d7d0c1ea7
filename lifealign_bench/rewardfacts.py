"""What a record says of its reward model: which one it is, and on which tasks it is not to be believed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lifealign_bench.results.record import Record

__all__ = ["MODEL_REWARD", "WEAK", "by_reward_model", "reward_model_facts", "reward_model_of", "value_of", "weak_tasks"]

MODEL_REWARD = "model_reward"
# Percent of test pairs in which a reward model must be right before its rewards say much; chance is 50.
WEAK = 60.0
_SCORER = "reward_model"


def reward_model_facts(record: Record) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """What a record says of its reward model, and task to its yardsticks; empty where there is none.

    Of a task: see :func:`lifealign_bench.rewardmodel.yardsticks.measure`.
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


def by_reward_model(record: Record, score: str) -> bool:
    """Whether a score is what the reward model says: its rewards, and win-rates that it judges."""
    return score == MODEL_REWARD or (score.startswith("judged_") and record.config.get("judge") == "reward")


def weak_tasks(record: Record) -> frozenset[str]:
    """Tasks on whose test pairs the reward model is right too rarely: its rewards there say little."""
    _, tasks = reward_model_facts(record)
    return frozenset(name for name, said in tasks.items() if not value_of(said, "accuracy") >= WEAK)


def value_of(said: Mapping[str, Any], name: str) -> float:
    """A number of a record; NaN where it is none."""
    value = said.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
