"""Whether two scores, or two models, put methods in the same order: rank correlations with intervals.

Kendall's tau-b (Kendall 1945): of every two methods, how many stand in the same order on both sides minus how many do
not, divided by the geometric mean of the pairs that are no tie on either side. Spearman's rho: the correlation of the
ranks, equal values sharing the mean of theirs. Both are 1 for the same order, -1 for the opposite one and 0 where one
order says nothing of the other.

The interval is that of a bootstrap over methods: whole methods are drawn with replacement, and of each drawn method its
seeds, so it is about other methods like these and about other seeds. A method that is drawn twice is the same both
times, a tie that counts nowhere. With a handful of methods it is wide, and it should be. Where every draw has the same
order, as it has where both sides agree in all, draws say nothing and there is no interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lifealign_bench.results.statistics import CONFIDENCE, RESAMPLES, Array
from lifealign_bench.results.view import RunView

FEWEST_METHODS = 4  # three have six orders: a correlation of 1 comes by chance in one of six
# Method to one value a seed.
MethodValues = Mapping[str, Sequence[float]]


class RankCorrelation(NamedTuple):
    """A rank correlation with its 95 % interval; NaN where it is not defined."""

    value: float
    low: float
    high: float

    def said(self) -> str:
        """``0.67 [0.20, 0.92]``, or the value alone."""
        return f"{self.value:.2f}" + ("" if math.isnan(self.low) else f" [{self.low:.2f}, {self.high:.2f}]")


UNDEFINED = RankCorrelation(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class RankAgreement:
    """How far two sides agree in the order of the methods that both have.

    Args:
        methods: these, by name.
        kendall, spearman: tau-b and rho.
        why: there is no number; empty where there is one.
    """

    methods: tuple[str, ...]
    kendall: RankCorrelation = UNDEFINED
    spearman: RankCorrelation = UNDEFINED
    why: str = ""


def rank_agreement(
    first: MethodValues, second: MethodValues, *, same_runs: bool, resamples: int = RESAMPLES, seed: int = 0
) -> RankAgreement:
    """The rank correlations of the methods' means over their seeds.

    Args:
        first, second: more is better on both sides, or on neither. A method with a value that is NaN is left out.
        same_runs: the n-th value of a method is of the same run on both sides, so that seeds are drawn together.
        seed: fixes the draws.

    Raises:
        ValueError: ``same_runs``, and a method has not as many values on one side as on the other.
    """
    methods = tuple(
        sorted(name for name in first.keys() & second.keys() if _known(first[name]) and _known(second[name]))
    )
    if len(methods) < FEWEST_METHODS:
        have = f"only {len(methods)} {'method has' if len(methods) == 1 else 'methods have'} values on both sides"
        return RankAgreement(methods, why=f"{have}, and it takes {FEWEST_METHODS}")
    one, two = (np.array([[np.mean(side[name]) for name in methods]]) for side in (first, second))
    drawn = _draws([first[name] for name in methods], [second[name] for name in methods], same_runs, resamples, seed)
    kendall, spearman = (
        RankCorrelation(float(function(one, two)[0]), *_interval(function(*drawn))) for function in (taus, rhos)
    )
    if math.isnan(kendall.value):
        return RankAgreement(methods, why="all methods are equal on one side")
    return RankAgreement(methods, kendall, spearman)


def score_agreement(
    methods: Mapping[str, Sequence[RunView]], first: str, second: str, metric: str
) -> RankAgreement | None:
    """:func:`rank_agreement` of two scores of the same runs; None where no method has both.

    Args:
        metric: of each score.
    """
    one, two = (_values(methods, score, metric) for score in (first, second))
    return rank_agreement(one, two, same_runs=True) if one.keys() & two.keys() else None


def model_agreement(
    first: Mapping[str, Sequence[RunView]], second: Mapping[str, Sequence[RunView]], score: str, metric: str
) -> RankAgreement:
    """:func:`rank_agreement` of two models' runs of the same stream, by one score's metric."""
    return rank_agreement(_values(first, score, metric), _values(second, score, metric), same_runs=False)


def _values(methods: Mapping[str, Sequence[RunView]], score: str, metric: str) -> dict[str, list[float]]:
    """Of the methods of which every run has a value."""
    found = {
        name: [view.metric(score, metric) if score in view.record.scores else math.nan for view in own]
        for name, own in methods.items()
    }
    return {name: values for name, values in found.items() if _known(values)}


def taus(first: Array, second: Array) -> Array:
    """Kendall's tau-b of every row of two arrays (D, M); NaN where a row is all ties."""
    return _correlations(_pairwise(first), _pairwise(second))


def rhos(first: Array, second: Array) -> Array:
    """Spearman's rho of every row of two arrays (D, M), likewise."""
    return _correlations(_centred_ranks(first), _centred_ranks(second))


def agreement_text(agreement: RankAgreement, what: str) -> str:
    """A sentence of it, which begins with ``what``."""
    if agreement.why:
        return f"{what}: no rank correlation, since {agreement.why}."
    kendall, spearman = (
        f"{name} {found.said()}"
        for name, found in (("Kendall's tau", agreement.kendall), ("Spearman's rho", agreement.spearman))
    )
    over = f"over {len(agreement.methods)} methods (95 % intervals over methods and seeds)"
    return f"{what}: {kendall}, {spearman}, {over}."


def _known(values: Sequence[float]) -> bool:
    return len(values) > 0 and not any(map(math.isnan, values))


def _pairwise(values: Array) -> Array:
    """The signs of all differences, (D, M * M)."""
    return _signs(values).reshape(len(values), -1)


def _centred_ranks(values: Array) -> Array:
    """Half the sum of the signs of a value's differences is its rank, ties shared, minus the mean rank."""
    return np.asarray(_signs(values).sum(axis=2) / 2)


def _signs(values: Array) -> Array:
    """(D, M, M): 1 where the first is larger; what the order of a sum may change is a tie."""
    return np.asarray(np.sign(np.round(values[:, :, None] - values[:, None, :], 9)))


def _correlations(first: Array, second: Array) -> Array:
    """Of rows whose means are 0."""
    norm = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    together = (first * second).sum(axis=1)
    return np.asarray(np.divide(together, norm, out=np.full(len(first), math.nan), where=norm > 0))


def _draws(
    first: Sequence[Sequence[float]], second: Sequence[Sequence[float]], same_runs: bool, resamples: int, seed: int
) -> tuple[Array, Array]:
    """Means of drawn seeds of drawn methods on both sides, (D, M) each."""
    generator = np.random.default_rng(seed)
    methods = generator.integers(0, len(first), size=(resamples, len(first)))
    means: tuple[list[Array], list[Array]] = ([], [])
    for one, two in zip(first, second, strict=True):
        if same_runs and len(one) != len(two):
            raise ValueError(f"{len(one)} runs on one side and {len(two)} on the other")
        seeds = _of(generator, len(one), resamples)
        means[0].append(np.asarray(one)[seeds].mean(axis=1))
        means[1].append(np.asarray(two)[seeds if same_runs else _of(generator, len(two), resamples)].mean(axis=1))
    rows = np.arange(resamples)[:, None]
    return np.stack(means[0], axis=1)[rows, methods], np.stack(means[1], axis=1)[rows, methods]


def _of(generator: np.random.Generator, count: int, resamples: int) -> NDArray[np.intp]:
    return generator.integers(0, count, size=(resamples, count), dtype=np.intp)


def _interval(drawn: Array) -> tuple[float, float]:
    """Percentiles of the draws in which there is an order at all: one method drawn every time has none."""
    known = drawn[~np.isnan(drawn)]
    if not len(known) or float(np.ptp(known)) < 1e-9:
        return math.nan, math.nan
    low, high = np.quantile(known, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
