"""What difference a board can detect, and what it takes to detect a wanted one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from lifealign_bench.results.contributions import Contributions
from lifealign_bench.results.inference import ENOUGH_SEEDS, critical_ratio, share_enlarged, spread_nodes
from lifealign_bench.results.spread import spread_of_differences

POWER = 0.8
_MOST_ITEMS = 10_000_000
_MOST_SEEDS = 1000


@dataclass(frozen=True)
class Components:
    """The three variances of a typical difference between two methods, in squared units of the metric.

    Args:
        seeds: of the difference from seed to seed, on endlessly many items.
        items: of the difference from item to item, in the mean over endlessly many seeds, for one item: divided by
            their number it is what the choice of the items does.
        rest: of one item in one seed, beside both.
    """

    seeds: float
    items: float
    rest: float


@dataclass(frozen=True)
class Design:
    """How a board is measured.

    Args:
        seeds: of every method.
        items: independent ones, of all tasks together.
        tasks: that they are of.
        methods: on the board.
        comparisons: that are corrected for.
    """

    seeds: int
    items: int
    tasks: int = 1
    methods: int = 2
    comparisons: int = 1


class Precision(NamedTuple):
    """How surely comparisons of methods are known.

    Args:
        design: how the methods were measured.
        variances: behind a difference of two of them; None where that is not known.
    """

    design: Design
    variances: Components | None

    @property
    def enough(self) -> bool:
        """Whether a difference can be tested, and how far one moves is known."""
        return self.variances is not None and self.design.seeds >= ENOUGH_SEEDS

    @property
    def known(self) -> Components:
        """The variances.

        Raises:
            ValueError: they are not known.
        """
        if self.variances is None:
            raise ValueError("the variances are not known")
        return self.variances

    def corrected_for(self, comparisons: int) -> Precision:
        """The same of tests that are corrected for so many comparisons."""
        return Precision(replace(self.design, comparisons=comparisons), self.variances)

    def with_design(self, *, seeds: int | None = None, items: int | None = None) -> Precision:
        """The same with other numbers of seeds or independent items; None: those of the design."""
        own = self.design
        return Precision(replace(own, seeds=seeds or own.seeds, items=items or own.items), self.variances)

    def detectable(self) -> float:
        """See :func:`detectable`; infinite where the variances are not known."""
        return math.inf if self.variances is None else detectable(self.variances, self.design)

    def needed_items(self, difference: float) -> int | None:
        """See :func:`needed_items`."""
        return needed_items(difference, self.known, self.design)

    def needed_seeds(self, difference: float) -> int | None:
        """See :func:`needed_seeds`."""
        return needed_seeds(difference, self.known, self.design)


def components(found: Sequence[Contributions], pairs: Sequence[tuple[int, int]], items: int) -> Components:
    """The variances behind the differences of methods, as their means over these.

    Args:
        found: of each method, the same three seeds or more in the same order.
        pairs: positions of the methods that are compared.
        items: independent ones that they were measured on.

    Raises:
        ValueError: fewer than two seeds; no pair.
    """
    seeds = len(found[0].values) if found else 0
    if seeds < 2 or not pairs:
        raise ValueError("variances need two methods with two seeds or more in common")
    parts = spread_of_differences(found, pairs)
    whole, both, rest = (float(np.mean(each)) for each in (parts.seeds, parts.items, parts.rest))
    return Components(
        seeds=seeds * max(0.0, whole - rest), items=items * max(0.0, both - rest), rest=seeds * items * rest
    )


def power(difference: float, variances: Components, design: Design, level: float = 0.05) -> float:
    """The chance that a true difference comes out significant.

    The test is the one of ``inference`` at ``level`` over the number of comparisons: what Holm's correction asks of the
    first. Those after it have it easier.
    """
    return _chances(variances, design, level)(difference)


def _chances(variances: Components, design: Design, level: float) -> Callable[[float], float]:
    """:func:`power` of any difference: the ratio that the test asks for takes nearly all of the time, and is the same
    for all of them."""
    from scipy.special import ndtr

    if design.seeds < ENOUGH_SEEDS:
        return lambda difference: 0.0
    items, rest = variances.items / design.items, variances.rest / (design.seeds * design.items)
    seeds = variances.seeds / design.seeds
    variance = items + rest + seeds
    if variance <= 0:
        return lambda difference: 1.0 if difference else 0.0
    degrees, freedom = design.seeds - 1, max(1, design.items - design.tasks)
    # What the seeds show is by chance more or less than what they do, and the ratio that is asked for goes with it. All
    # that a table of many methods shows of them does not.
    nodes, weights = spread_nodes(degrees)
    own = np.maximum(0.0, (seeds + rest) * nodes - rest)
    careful = np.maximum(own, (seeds + rest) * share_enlarged(degrees, design.methods) - rest)
    whole = careful + items
    share = np.divide(careful, whole, out=np.zeros_like(whole), where=whole > 0)
    asked = critical_ratio(share, degrees, freedom, level / design.comparisons)
    bar = asked * np.sqrt((items + rest + own) / variance)

    def chance(difference: float) -> float:
        moved = abs(difference) / math.sqrt(variance)
        return float((weights * (ndtr(moved - bar) + ndtr(-moved - bar))).sum())

    return chance


def detectable(variances: Components, design: Design, wanted: float = POWER, level: float = 0.05) -> float:
    """The smallest difference that is found with the chance ``wanted``; infinite with fewer than three seeds."""
    if design.seeds < ENOUGH_SEEDS:
        return math.inf
    chance = _chances(variances, design, level)
    high = 1.0
    while chance(high) < wanted:
        high *= 2
    low = 0.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if chance(middle) >= wanted else (middle, high)
    return high


def needed_items(
    difference: float, variances: Components, design: Design, wanted: float = POWER, level: float = 0.05
) -> int | None:
    """How many independent items find ``difference`` with the seeds of ``design``; None: no number of items does."""

    def enough(items: int) -> bool:
        with_items = Design(design.seeds, items, design.tasks, design.methods, design.comparisons)
        return power(difference, variances, with_items, level) >= wanted

    return _smallest(enough, 2 * design.tasks, _MOST_ITEMS)


def needed_seeds(
    difference: float, variances: Components, design: Design, wanted: float = POWER, level: float = 0.05
) -> int | None:
    """How many seeds find ``difference`` with the items of ``design``; None: no number of seeds does."""

    def enough(seeds: int) -> bool:
        with_seeds = Design(seeds, design.items, design.tasks, design.methods, design.comparisons)
        return power(difference, variances, with_seeds, level) >= wanted

    return _smallest(enough, ENOUGH_SEEDS, _MOST_SEEDS)


def _smallest(enough: Callable[[int], bool], fewest: int, most: int) -> int | None:
    """The smallest number that is enough, where every larger one is too."""
    if enough(fewest):
        return fewest
    if not enough(most):
        return None
    low, high = fewest, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
