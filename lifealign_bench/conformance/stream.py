"""What methods are tried on: ten made-up tasks, and the configurations of the trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lifealign_bench.config import GenerationConfig, RunConfig, TrainingConfig
from lifealign_bench.data.cards import EXTRA_TASKS, TaskCard
from lifealign_bench.data.sources import InlineSource

__all__ = ["LONG", "ROOMY_BUDGET", "SHORT", "TIGHT_BUDGET", "configuration"]

LONG = tuple(f"made-up-{n}" for n in range(1, 11))
SHORT = LONG[:3]

_COLOURS = ("red", "blue", "green", "pink", "grey", "black", "white", "brown")
# Tokens a pass: about two pairs, so that a step takes several passes; and all pairs of a step at once.
TIGHT_BUDGET = 50
ROOMY_BUDGET = 1000


def configuration(method: str, out: Path, **changes: Any) -> RunConfig:
    """A run of ``method`` on the fake model that takes about a second; keywords override."""
    settings: dict[str, Any] = {
        "method": method,
        "stream": "conformance",
        "tasks": SHORT,
        "model": "fake",
        "dtype": "float32",
        "device": "cpu",
        "threads": 1,
        "out": out,
        "sft": True,
        "train_limit": 6,  # one whole step and one that is not
        "test_limit": 2,
        "scorers": ("preference",),
        "token_budget": TIGHT_BUDGET,
        "training": TrainingConfig(learning_rate=2e-3, batch_size=4),
        "generation": GenerationConfig(max_new_tokens=4),
    }
    return RunConfig.model_validate(settings | changes)


def _card(number: int) -> TaskCard:
    """Questions of a wording and answers of a form that no other of the tasks has."""
    rows = tuple(
        {
            "prompt": f"{number}: {colour}",
            "chosen": f"{colour[:number]}{number}",
            "rejected": f"{colour} {n}",
        }
        for n, colour in enumerate(_COLOURS)
    )
    return TaskCard(
        name=LONG[number - 1],
        title="Made for the conformance suite",
        description="Made-up words; the numbers mean nothing.",
        kind="fake",
        license="Apache-2.0",
        source=InlineSource(train=rows[:6], test=rows[6:]),
    )


for _number, _name in enumerate(LONG, start=1):
    EXTRA_TASKS.add(_name, _card(_number))
