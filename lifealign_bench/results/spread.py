"""How much of a mean comes from the seeds and how much from the test items, for every two methods at once.

A method's metric is measured with S seeds on C clusters of test items, all seeds on the same items: a table of two
crossed factors. Its variance has three parts: what the seeds do to all items alike, what items do in all seeds alike,
and what is left. The spread over seeds holds the first and the last, the spread over items the second and the last; so
the last, which can be told from the table, must not count twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lifealign_bench.results.contributions import Contributions
from lifealign_bench.results.statistics import Array

_NOTHING = 1e-9


@dataclass(frozen=True)
class Parts:
    """Variances of means over S seeds and C clusters, as arrays of one shape: one value an estimate.

    Args:
        seeds: of the mean as the seeds show it, s**2 / S; 0 for a single seed.
        items: of the mean over the seeds as the clusters show it.
        rest: what of either is neither the seeds' nor the items' own.
        least: what a variance of items is at least, see :attr:`floor`.
        level: whether these are levels, or differences of levels.
        seed_degrees: S - 1.
        item_degrees: of freedom of ``items``.
    """

    seeds: Array
    items: Array
    rest: Array
    least: Array
    level: bool
    seed_degrees: int
    item_degrees: int

    @property
    def floor(self) -> Array:
        """Below which no variance is believed. A level near its bound has too small a variance in most samples, for
        which the few right answers show no wrong one; a change is near nothing, and has that where it shows no spread
        at all.
        """
        if self.level:
            return self.least
        return np.where(self.items <= _NOTHING * self.least, self.least, 0.0)

    @property
    def shared(self) -> Array:
        """What items do in all seeds alike: never less than nothing."""
        return np.maximum(0.0, self.items - self.rest)

    @property
    def own(self) -> Array:
        """What seeds do to all items alike: never less than nothing."""
        return np.maximum(0.0, self.seeds - self.rest)

    @property
    def total(self) -> Array:
        """The variance of the means. Seeds that agree by chance take nothing from what the items show, and items that
        were all answered alike do not make it 0."""
        return np.maximum(self.items + self.own, self.floor)


def spread_of_mean(found: Contributions) -> Parts:
    """Of the mean of one method over its seeds, as arrays of shape ()."""
    seeds, items, rest = _grams([found])
    return Parts(
        np.asarray(seeds[0, 0]),
        np.asarray(items[0, 0]),
        np.asarray(rest[0, 0]),
        np.asarray(found.least),
        found.level,
        len(found.values) - 1,
        found.degrees,
    )


def spread_of_differences(found: Sequence[Contributions], pairs: Sequence[tuple[int, int]]) -> Parts:
    """Of the differences of methods, paired by seed and by item: arrays of shape (pairs,).

    Args:
        found: of each method, the same seeds in the same order.
        pairs: positions of first and second.

    Unequal spreads need no care: only the differences' own spread counts. The work is three matrix products for all
    pairs together.
    """
    first, second = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    seeds, items, rest = (_of_differences(gram, first, second) for gram in _grams(found))
    # Of two levels: Agresti and Min add half an answer to each of the four outcomes of a pair of answers, which, where
    # the methods agree on all items, is half of what Agresti and Coull's four answers leave of one method.
    least = np.array([c.least for c in found]) / 2
    return Parts(
        seeds,
        items,
        rest,
        np.sqrt(least[first] * least[second]),
        all(c.level for c in found),
        len(found[0].values) - 1,
        max(c.degrees for c in found),
    )


def _of_differences(gram: Array, first: NDArray[np.intp], second: NDArray[np.intp]) -> Array:
    """The variances of differences, of the covariances of all methods."""
    own = np.diag(gram)
    return np.maximum(0.0, own[first] + own[second] - 2 * gram[first, second])


def _grams(found: Sequence[Contributions]) -> tuple[Array, Array, Array]:
    """Of methods with the same seeds: the covariances (methods, methods) of their means that seeds, items, and the rest
    show."""
    values = np.stack([c.values for c in found])
    parts = np.stack([c.parts for c in found])
    seeds = values.shape[1]
    mean = parts.mean(axis=1)
    items = mean @ mean.T
    if seeds < 2:
        return np.zeros_like(items), items, np.zeros_like(items)
    moved = values - values.mean(axis=1, keepdims=True)
    left = (parts - mean[:, None]).reshape(len(parts), -1)
    count = seeds * (seeds - 1)
    return moved @ moved.T / count, items, left @ left.T / count
