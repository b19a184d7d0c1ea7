"""Two responses to one prompt, and what a judge makes of them in both orders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lifealign_bench.results.statistics import Array
from lifealign_bench.scoring.judging.judge import TIE, Contest, Verdict


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
