"""Budgets as records have them: which one a run had, and what its training spent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lifealign_bench.results.record import Record
from lifealign_bench.util.text import number, operations

# Parts of a stage that are no training.
NOT_TRAINING = ("score", "generate", "distance", "ability")
# A part of training whose tokens are generated; what of them is trained on counts where it is.
_SAMPLED = "rollout"
OPERATIONS = "FLOPs"
# What a stage of one method may spend more than that of another under a budget, for pairs are not divided.
_TOLERANCE = 0.01


@dataclass(frozen=True)
class TrainingTotals:
    """What training spent; NaN where it is not known.

    Args:
        steps: of the optimizer.
        pairs: trained on, each as often as it was.
        tokens: of these.
        flops: floating-point operations of training, of the reference, of responses that a phase generates and of the
            passes that a method asked for.
    """

    steps: float
    pairs: float
    tokens: float
    flops: float


def spent_by(record: Record) -> TrainingTotals:
    """The sums over a run's stages. Records of before pairs and operations were counted do not know them."""
    stages = record.stages
    other = (*NOT_TRAINING, _SAMPLED)
    tokens = [n for stage in stages for part, n in stage.tokens.items() if part not in other]
    return TrainingTotals(
        sum(stage.steps for stage in stages),
        _total(stage.seen for stage in stages),
        sum(tokens),
        _total(None if stage.flops is None else sum(stage.flops.values()) for stage in stages),
    )


def _total(values: Iterable[float | None]) -> float:
    return sum(math.nan if value is None else value for value in values)


def budget_of(config: Mapping[str, Any]) -> str:
    """The name of the budget in a record's configuration."""
    unit, factor = config.get("budget"), config.get("budget_factor", 1.0)
    return budget_name(unit if isinstance(unit, str) else None, factor if isinstance(factor, int | float) else 1.0)


def budget_name(unit: str | None, factor: float = 1.0) -> str:
    """``tokens``, ``tokens x 1.4``; empty for none."""
    return "" if unit is None else unit if factor == 1 else f"{unit} x {factor:g}"


def budget_option(name: str) -> str:
    """What a command says for a budget of that name."""
    if not name:
        return "without --budget"
    unit, _, factor = name.partition(" x ")
    return f"with --budget {unit}" + (f" --budget-factor {factor}" if factor else "")


def budget_text(name: str) -> str:
    """What a budget of that name means, in one sentence."""
    if not name:
        return "No budget: every method trains on what it asks for."
    unit, _, factor = name.partition(" x ")
    much = f"{factor} times as many {unit} as" if factor else f"as many {unit} as"
    return f"Budget of {name}: every stage of every method trains on {much} plain training of its own pairs would."


def elsewhere_text(budget: str, others: Sequence[str]) -> tuple[str, ...]:
    """Where runs with ``others`` than a board's budget are, and how one comes to it; nothing where there are none."""
    if not others:
        return ()
    names = ", ".join(f"budget of {other}" if other else "no budget" for other in others)
    return (
        f"Runs of this stream and model with another budget have a board of their own ({names}): methods compare where "
        f"they spend alike. To have one here, run it {budget_option(budget)}, in an --out of its own.",
    )


def range_text(spent: Mapping[str, Sequence[float]], unit: str) -> str:
    """What runs spent, from least to most; says so where that is more than 1 % apart under a budget.

    Args:
        spent: ``steps``, ``pairs``, ``tokens``, ``FLOPs`` to what each method spent a run; NaN where it is not known.
        unit: of the budget; empty where there is none.
    """
    phrases = []
    for name, values in spent.items():
        known = [value for value in values if not math.isnan(value)]
        if known:
            ends = dict.fromkeys(
                operations(value) if name == OPERATIONS else number(value, 0) for value in (min(known), max(known))
            )
            phrases.append(f"{' to '.join(ends)} {name}")
    text = f"Spent per run: {', '.join(phrases)}."
    own = [value for value in spent.get(unit, ()) if not math.isnan(value)]
    if own and max(own) > min(own) * (1 + _TOLERANCE):
        text += f" The {unit} are more than 1 % apart: stages of so few pairs cannot be brought nearer."
    return text
