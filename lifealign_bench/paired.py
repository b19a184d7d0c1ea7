"""Differences between two methods on the same test pairs: interval, test, and a correction for many comparisons.

The pairs that two methods are scored on are the same, and a pair that is hard for one is hard for the other; so the
pairs are the units, each with all its scores through the stages by both methods. Runs of several seeds count as the
mean over the seeds: the interval draws seeds as well (as many as there are, from each method by itself), the test does
not, which :class:`Difference` says by its ``seeds``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Difference", "holm", "paired_difference"]

Array = NDArray[np.float64]
Metric = Callable[[Array], float]
RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """A metric of the first method minus that of the second.

    Args:
        value: the difference, in the metric's unit.
        low, high: its 95 % percentile interval over pairs and, with several seeds, over seeds.
        p: two-sided p-value of the randomization test over pairs; NaN where the metric is undefined.
        pairs: test pairs in all tasks.
        seeds: runs of each method.
    """

    value: float
    low: float
    high: float
    p: float
    pairs: int
    seeds: tuple[int, int]


def paired_difference(
    first: Sequence[Mapping[str, Array]],
    second: Sequence[Mapping[str, Array]],
    metric: Metric,
    scale: float = 1.0,
    resamples: int = RESAMPLES,
    seed: int = 0,
    partial: bool = False,
) -> Difference:
    """Compare two methods.

    The test (Fisher's randomization test; Noreen 1989) exchanges the two methods' scores of a pair with probability
    1/2, all stages of it together, and counts how often the metric's difference is at least as large as the one found,
    which itself counts as one draw. It is exact for the hypothesis that the methods do not differ on any pair. Where
    they trade tasks (one is better on the first, the other on the second) it is careful: the interval, which holds the
    tasks fixed, may then exclude 0 while p is above 0.05.

    Args:
        first, second: for each seed, task to the scores per stage and test pair, (stages + 1, pairs), the same tasks
            and the same pairs in the same order everywhere.
        metric: a function of a score matrix (stages + 1, tasks), e.g. from ``metrics.METRICS``.
        scale: factor from a mean to the matrix's unit (100 for shares).
        resamples: draws of the interval and of the test.
        seed: fixes the draws.
        partial: pairs that lack a value anywhere where their stage has any are left out, of both methods alike; the
            difference is then that over the pairs which all have.

    Raises:
        ValueError: the methods were not scored on the same pairs, or there is no run.
    """
    if not first or not second:
        raise ValueError("a comparison needs a run of each method")
    shapes = {tuple((task, array.shape) for task, array in run.items()) for run in (*first, *second)}
    if len(shapes) > 1:
        raise ValueError("the runs were not scored on the same pairs of the same tasks")
    a, b = _stacked(first), _stacked(second)
    if partial:
        a, b = _common(a, b)
    pairs = sum(array.shape[2] for array in a.values())
    seeds = (len(first), len(second))

    def of(matrices: Array) -> Array:
        return np.array([metric(matrix * scale) for matrix in matrices])

    def whole(side: dict[str, Array]) -> float:
        return float(metric(np.stack([array.mean(axis=(0, 2)) for array in side.values()], axis=1) * scale))

    value = whole(a) - whole(b)
    if math.isnan(value):
        return Difference(math.nan, math.nan, math.nan, math.nan, pairs, seeds)
    generator = np.random.default_rng(seed)
    drawn_a, drawn_b = _drawn(a, b, resamples, generator)
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(of(drawn_a) - of(drawn_b), [tail, 100 - tail])
    exchanged_a, exchanged_b = _exchanged(a, b, resamples, generator)
    # Differences that are equal but for rounding are equal.
    extreme = int((np.abs(of(exchanged_a) - of(exchanged_b)) >= abs(value) - 1e-9 * max(1.0, scale)).sum())
    return Difference(value, float(low), float(high), (extreme + 1) / (resamples + 1), pairs, seeds)


def _stacked(runs: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Task to (seeds, stages + 1, pairs)."""
    return {task: np.stack([np.asarray(run[task], dtype=np.float64) for run in runs]) for task in runs[0]}


def _common(a: dict[str, Array], b: dict[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
    """Both without the pairs that one of them has no value of; a stage without any is no reason to leave pairs out."""
    kept = {}
    for task in a:
        both = np.concatenate([a[task], b[task]])
        scored = ~np.isnan(both).all(axis=2, keepdims=True)
        kept[task] = ~(np.isnan(both) & scored).any(axis=(0, 1))
    return {t: v[:, :, kept[t]] for t, v in a.items()}, {t: v[:, :, kept[t]] for t, v in b.items()}


def _drawn(
    a: dict[str, Array], b: dict[str, Array], resamples: int, generator: np.random.Generator
) -> tuple[Array, Array]:
    """Bootstrap score matrices of both methods, (resamples, stages + 1, tasks): drawn seeds of each, and of each task
    the same drawn pairs for both."""
    seeds = [_weights(next(iter(side.values())).shape[0], resamples, generator) for side in (a, b)]
    columns: tuple[list[Array], list[Array]] = ([], [])
    for task in a:
        weights = _weights(a[task].shape[2], resamples, generator)
        for column, side, of_seeds in zip(columns, (a, b), seeds, strict=True):
            by_seed = np.stack([weights @ run.T for run in side[task]])  # (seeds, resamples, stages + 1)
            # A sample's spread, not a population's; see ``uncertainty``.
            middle = side[task].mean(axis=2)[:, None, :]
            by_seed = middle + (by_seed - middle) * _spread_factor(weights.shape[1])
            column.append(np.einsum("rs,srk->rk", of_seeds, by_seed))
    return np.stack(columns[0], axis=2), np.stack(columns[1], axis=2)


def _spread_factor(pairs: int) -> float:
    return math.sqrt(pairs / (pairs - 1)) if pairs > 1 else 1.0


def _weights(size: int, resamples: int, generator: np.random.Generator) -> Array:
    """Shares of ``size`` things in draws with replacement, (resamples, size); one thing is always all of it."""
    drawn = generator.integers(0, size, (resamples, size)) + np.arange(resamples)[:, None] * size
    return np.bincount(drawn.ravel(), minlength=resamples * size).reshape(resamples, size) / size


def _exchanged(
    a: dict[str, Array], b: dict[str, Array], resamples: int, generator: np.random.Generator
) -> tuple[Array, Array]:
    """Score matrices after the methods' scores of about half of the pairs have changed places, as :func:`_drawn`."""
    left, right = [], []
    for task in a:
        own, other = a[task].mean(axis=0), b[task].mean(axis=0)  # (stages + 1, pairs)
        moved = (generator.random((resamples, own.shape[1])) < 0.5) @ (other - own).T / own.shape[1]
        left.append(own.mean(axis=1) + moved)
        right.append(other.mean(axis=1) - moved)
    return np.stack(left, axis=2), np.stack(right, axis=2)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Holm 1979): p-values that may each be held against the level of a single test.

    NaN stays NaN and does not count as a comparison.
    """
    order = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    corrected = [math.nan] * len(p_values)
    so_far = 0.0
    for rank, (p, i) in enumerate(order):
        so_far = max(so_far, min(1.0, (len(order) - rank) * p))
        corrected[i] = so_far
    return corrected
