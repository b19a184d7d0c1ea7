"""What a mean hides: pairs that went from right to wrong and back, and where in the base model's margins they lay.

A pair is right when its margin is above 0; a tie is neither right nor wrong, so the base model has no right pairs by
its own implicit reward (all margins are 0 there).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lifealign_bench.results.statistics import mean_and_se

__all__ = ["Movement", "Share", "by_quartile", "moved", "repetition"]

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Movement:
    """Pairs of one task between two stages: how many were right before and after, and how many changed sides."""

    pairs: int
    right_before: int
    lost: int
    won: int
    right_after: int


@dataclass(frozen=True)
class Share:
    """Accuracy in percent with its standard error over ``pairs`` pairs; ``low`` and ``high`` bound the margins."""

    low: float
    high: float
    pairs: int
    accuracy: float
    standard_error: float


def moved(before: Array, after: Array) -> Movement:
    """Which pairs changed sides.

    Args:
        before, after: (P,) margins of the same pairs.

    Raises:
        ValueError: the shapes differ, or a margin is NaN.
    """
    if before.shape != after.shape:
        raise ValueError(f"margins of {before.shape} and {after.shape} pairs")
    if np.isnan(before).any() or np.isnan(after).any():
        raise ValueError("a margin is missing")
    was, is_now = before > 0, after > 0
    return Movement(
        pairs=len(before),
        right_before=int(was.sum()),
        lost=int((was & ~is_now).sum()),
        won=int((~was & is_now).sum()),
        right_after=int(is_now.sum()),
    )


def by_quartile(base: Array, correct: Array) -> list[Share]:
    """Accuracy in each quarter of the pairs, ordered by the base model's margin, the hardest first.

    Args:
        base: (P,) the base model's own margins (``policy_margin`` of stage 0).
        correct: (P,) 1, 0 or 1/2 of the same pairs.

    Returns:
        Four shares; equal in size up to one pair, since the pairs are counted and not the margins divided. Fewer than
        four pairs make fewer shares.
    """
    order = np.argsort(base, kind="stable")
    shares = []
    for part in np.array_split(order, 4):
        if not len(part):
            continue
        mean, error = mean_and_se(correct[part])
        shares.append(Share(float(base[part].min()), float(base[part].max()), len(part), 100 * mean, 100 * error))
    return shares


def repetition(text: str, size: int = 4) -> float:
    """Share of a text's word n-grams that it has said before, 0 to 1; NaN for fewer than ``size`` + 1 words."""
    words: Sequence[str] = text.split()
    grams = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
    if len(grams) < 2:
        return math.nan
    return 1 - len(set(grams)) / len(grams)
