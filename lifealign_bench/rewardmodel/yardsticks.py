"""What a reward model says of responses that are known: how often it is right, and what good and bad ones get."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lifealign_bench.pairs import Pair
from lifealign_bench.results.statistics import Array, half_at_zero, mean_and_se
from lifealign_bench.scoring.rewardmodel.model import RewardModel

__all__ = ["measure"]


def measure(model: RewardModel, pairs: Sequence[Pair]) -> dict[str, Any]:
    """The model's accuracy on ``pairs`` and its rewards of their responses, as plain JSON values.

    Returns:
        ``n`` pairs; ``accuracy`` (percent of them whose chosen response has the higher reward, a tie counts half) with
        ``accuracy_error``; ``ties``; ``chosen`` and ``rejected`` (mean reward) with ``chosen_error`` and
        ``rejected_error``; ``cut``: of the 2 n responses with their prompts, how many are beyond the cut-off. Errors
        are standard errors, None of a single pair.
    """
    chosen = [(pair.prompt, pair.chosen) for pair in pairs]
    rejected = [(pair.prompt, pair.rejected) for pair in pairs]
    # One call: the two are then in the same batches.
    rewards = model.rewards([*chosen, *rejected])
    difference = rewards[: len(pairs)] - rewards[len(pairs) :]
    return {
        "n": len(pairs),
        **_mean("accuracy", 100 * half_at_zero(difference)),
        "ties": int((difference == 0).sum()),
        **_mean("chosen", rewards[: len(pairs)]),
        **_mean("rejected", rewards[len(pairs) :]),
        "cut": model.cut([*chosen, *rejected]),
    }


def _mean(name: str, values: Array) -> dict[str, float | None]:
    mean, error = mean_and_se(values)
    return {name: mean, f"{name}_error": None if math.isnan(error) else error}
