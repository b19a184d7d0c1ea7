"""Two responses to one prompt, and what a judge makes of them in both orders."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lifealign_bench.pairs import Message
from lifealign_bench.results.statistics import Array

__all__ = ["LOSS", "TIE", "WIN", "Contest", "Tally", "Verdict", "differences_of", "tally", "values_of"]

WIN, TIE, LOSS = 1.0, 0.5, 0.0


@dataclass(frozen=True)
class Contest:
    """A test pair's response against its opponent's.

    Args:
        prompt: the dialogue so far.
        ours: the response of the model that is scored.
        theirs: the opponent's.
        check: what the task's checking function needs to know of the pair.
    """

    prompt: tuple[Message, ...]
    ours: str
    theirs: str
    check: Mapping[str, Any]

    @property
    def identical(self) -> bool:
        """Whether there is nothing to judge."""
        return self.ours == self.theirs


@dataclass(frozen=True)
class Verdict:
    """What a judge said of a contest: :data:`WIN`, :data:`TIE` or :data:`LOSS` of ours in each order.

    Args:
        ours_first: with our response shown first; None where the answer was not usable.
        theirs_first: with the opponent's shown first.
        said_ours_first, said_theirs_first: the judge's own words, where it uses any.
    """

    ours_first: float | None
    theirs_first: float | None
    said_ours_first: str | None = None
    said_theirs_first: str | None = None

    @classmethod
    def both(cls, outcome: float | None) -> Verdict:
        """The same in both orders: identical texts, or a judge that looks at one response at a time."""
        return cls(outcome, outcome)

    @property
    def value(self) -> float:
        """The mean of both orders; NaN unless both were usable."""
        if self.ours_first is None or self.theirs_first is None:
            return math.nan
        return (self.ours_first + self.theirs_first) / 2

    @property
    def disagrees(self) -> bool:
        """Whether the order changed the outcome."""
        return not math.isnan(self.value) and self.ours_first != self.theirs_first

    @property
    def favours_first(self) -> bool:
        """Whether the order changed the outcome in favour of what was shown first."""
        if self.ours_first is None or self.theirs_first is None:
            return False
        return self.ours_first > self.theirs_first


@dataclass(frozen=True)
class Tally:
    """Counts of a task's contests. wins + losses + ties + reversed + unusable = pairs.

    Args:
        pairs: contests.
        wins, losses: with a value above and below a half, also where one order was a tie.
        ties: a tie in both orders; identical texts are ties.
        identical: contests of identical texts, which nobody is asked about.
        reversed: each order has another winner; such a pair counts a half.
        disagreements: the order changed the outcome: the reversed ones, and those with a tie in one order.
        first_favoured: disagreements in favour of the response that was shown first.
        unusable: an order without a usable answer; such a pair has no value.
    """

    pairs: int
    wins: int
    losses: int
    ties: int
    identical: int
    reversed: int
    disagreements: int
    first_favoured: int
    unusable: int


def values_of(verdicts: Sequence[Verdict]) -> Array:
    """(P,) the values of the verdicts."""
    return np.array([verdict.value for verdict in verdicts], dtype=float)


def differences_of(contests: Sequence[Contest]) -> Array:
    """(P,) how many characters ours is longer than theirs: the length that alpaca-eval controls for."""
    return np.array([len(contest.ours) - len(contest.theirs) for contest in contests], dtype=float)


def tally(contests: Sequence[Contest], verdicts: Sequence[Verdict]) -> Tally:
    """Count the verdicts."""
    usable = [v for v in verdicts if not math.isnan(v.value)]
    even = [v for v in usable if v.value == TIE]
    disagreeing = [v for v in usable if v.disagrees]
    return Tally(
        pairs=len(contests),
        wins=sum(v.value > TIE for v in usable),
        losses=sum(v.value < TIE for v in usable),
        ties=sum(not v.disagrees for v in even),
        identical=sum(c.identical for c in contests),
        reversed=sum(v.disagrees for v in even),
        disagreements=len(disagreeing),
        first_favoured=sum(v.favours_first for v in disagreeing),
        unusable=len(verdicts) - len(usable),
    )
