"""How sure the metrics of a run are: the bootstrap over its test pairs (Efron 1979), as pure functions.

The cells of a score matrix share their test pairs, so their errors do not add up as independent ones would. Here the
test pairs of each task are drawn again with replacement, the same draw for all stages, and everything is computed anew.
What this leaves out: another seed of training, and other tasks.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Interval", "matrix_intervals", "metric_intervals", "resampled_matrices"]

Matrix = NDArray[np.float64]
RESAMPLES = 1000
CONFIDENCE = 0.95
# Bounds the memory of one chunk of draws, whatever the number of test pairs.
_CHUNK = 4_000_000


class Interval(NamedTuple):
    """A 95 % interval (bias-corrected and accelerated) and the bootstrap's standard error; NaN where undefined."""

    low: float
    high: float
    standard_error: float


NOT_DEFINED = Interval(math.nan, math.nan, math.nan)


def resampled_matrices(
    values: Mapping[str, Matrix],
    scale: float = 1.0,
    resamples: int = RESAMPLES,
    seed: int = 0,
    partial: bool = False,
) -> NDArray[np.float64]:
    """Score matrices of drawn test sets, shape (resamples, stages + 1, tasks).

    Args:
        values: task to its scores per stage and test pair, shape (stages + 1, pairs), in the stream's order; a row of
            NaN where it was not scored. Any NaN in a row makes that cell NaN in every draw.
        scale: factor from a mean to the matrix's unit (100 for shares).
        resamples: number of draws.
        seed: fixes the draws.
        partial: a cell is the mean over the drawn pairs that have a value, and NaN only where none has.
    """
    columns = []
    for position, scores in enumerate(values.values()):
        array = np.asarray(scores, dtype=np.float64)
        rows, pairs = array.shape
        if pairs == 0:
            columns.append(np.full((resamples, rows), math.nan))
            continue
        generator = np.random.default_rng([seed, position])
        step = max(1, _CHUNK // pairs)
        means = []
        for start in range(0, resamples, step):
            count = min(step, resamples - start)
            drawn = generator.integers(0, pairs, size=(count, pairs))
            drawn += np.arange(count)[:, None] * pairs
            weights = np.bincount(drawn.ravel(), minlength=count * pairs).reshape(count, pairs)
            means.append(_partial_means(weights, array) if partial else weights @ array.T / pairs)
        columns.append(_widened(np.concatenate(means), array))
    return np.stack(columns, axis=2) * scale


def _partial_means(weights: NDArray[Any], array: Matrix) -> Matrix:
    known = ~np.isnan(array)
    count = weights @ known.T
    sums = weights @ np.where(known, array, 0.0).T
    means: Matrix = np.divide(sums, count, out=np.full(sums.shape, math.nan), where=count > 0)
    return means


def _widened(means: Matrix, array: Matrix) -> Matrix:
    """Draws with the spread of a sample's mean: that of the bootstrap is a population's, smaller by (n - 1) / n.

    With two dozen pairs the difference is two points of coverage. No draw leaves the range of the scores themselves.
    """
    pairs = array.shape[1]
    if pairs < 2:
        return means
    known = ~np.isnan(array).all(axis=1)
    low, middle, high = (np.full(len(array), math.nan) for _ in range(3))
    low[known], high[known] = np.nanmin(array[known], axis=1), np.nanmax(array[known], axis=1)
    middle[known] = np.nanmean(array[known], axis=1)
    wide = middle + (means - middle) * math.sqrt(pairs / (pairs - 1))
    clipped: Matrix = np.clip(wide, low, high)
    return clipped


def metric_intervals(
    values: Mapping[str, Matrix],
    scale: float,
    metrics: Mapping[str, Callable[[Matrix], float]],
    resamples: int = RESAMPLES,
    seed: int = 0,
    partial: bool = False,
) -> dict[str, Interval]:
    """The 95 % interval of every metric.

    Args:
        values, scale, resamples, seed, partial: see :func:`resampled_matrices`.
        metrics: name to function of one score matrix, e.g. from ``metrics.METRICS``.
    """
    draws = resampled_matrices(values, scale, resamples, seed, partial)
    whole, without = _left_out(values, scale, partial)
    intervals = {}
    for name, metric in metrics.items():
        value = metric(whole)
        # A metric that is undefined of the whole needs a cell that was not scored: it is so in all draws.
        if draws.shape[0] == 0 or math.isnan(value):
            intervals[name] = NOT_DEFINED
            continue
        sample = np.array([metric(draw) for draw in draws])
        intervals[name] = _interval(sample, value, [np.array([metric(m) for m in task]) for task in without])
    return intervals


def matrix_intervals(
    values: Mapping[str, Matrix],
    scale: float,
    function: Callable[[Matrix], Mapping[str, Any]],
    resamples: int = RESAMPLES,
    seed: int = 0,
    partial: bool = False,
) -> dict[str, list[Interval]]:
    """The same for a function that gives arrays of one value a task, e.g. ``metrics.per_task``."""
    draws = resampled_matrices(values, scale, resamples, seed, partial)
    found = [function(draw) for draw in draws]
    whole, without = _left_out(values, scale, partial)
    value = function(whole)
    others = [[function(m) for m in task] for task in without]
    single = [np.asarray(scores).shape[1] < 2 for scores in values.values()]  # one pair has no spread to draw from
    intervals: dict[str, list[Interval]] = {}
    for name in found[0] if found else {}:
        samples = np.array([f[name] for f in found], dtype=np.float64).T
        intervals[name] = []
        for j, sample in enumerate(samples):
            left_out = [np.array([f[name][j] for f in task], dtype=np.float64) for task in others]
            interval = _interval(sample, float(value[name][j]), left_out)
            intervals[name].append(interval._replace(standard_error=math.nan) if single[j] else interval)
    return intervals


def _left_out(values: Mapping[str, Matrix], scale: float, partial: bool) -> tuple[Matrix, list[NDArray[np.float64]]]:
    """The score matrix, and for each task the matrices without one of its pairs, (pairs, stages + 1, tasks)."""
    arrays = [np.asarray(scores, dtype=np.float64) for scores in values.values()]
    mean = np.nanmean if partial else np.mean
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a row without any value the mean is NaN, as it should be
        whole = np.stack([mean(array, axis=1) for array in arrays], axis=1) * scale
        without = []
        for j, array in enumerate(arrays):
            pairs = array.shape[1]
            matrices = np.repeat(whole[None], pairs if pairs > 1 else 0, axis=0)
            if pairs > 1:
                known = ~np.isnan(array) if partial else np.ones(array.shape, dtype=bool)
                kept = np.where(known, array, 0.0)
                matrices[:, :, j] = (
                    (kept.sum(axis=1)[:, None] - kept) / (known.sum(axis=1)[:, None] - known)
                ).T * scale
            without.append(matrices)
    return whole, without


def _interval(sample: Matrix, value: float, without: Sequence[Matrix]) -> Interval:
    """The bias-corrected and accelerated interval (Efron 1987; of several samples: Davison & Hinkley 1997, section
    5.3): scores near their bounds have lopsided draws, of which plain percentiles miss one side too often.

    Args:
        sample: the metric of every draw.
        value: the metric itself.
        without: for each task the metric without one of its pairs.
    """
    if sample.size < 2 or bool(np.isnan(sample).any()) or math.isnan(value):
        return NOT_DEFINED
    error = float(sample.std(ddof=1))
    influence = [(len(v) - 1) * (v.mean() - v) / len(v) for v in without if len(v)]
    found = np.concatenate(influence) if influence else np.zeros(1)
    squares = float((found**2).sum())
    acceleration = float((found**3).sum()) / (6 * squares**1.5) if squares > 0 else 0.0
    near = np.abs(sample - value) <= 1e-9 * max(1.0, abs(value))
    # Half of the draws that are the value itself lie below it; no share is 0 or 1 for sure.
    share = float(((sample < value) & ~near).mean() + near.mean() / 2)
    share = min(max(share, 0.5 / sample.size), 1 - 0.5 / sample.size)
    bias, bounds = _quantile(share), []
    for tail in ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2):
        moved = bias + _quantile(tail)
        slack = 1 - acceleration * moved
        bounds.append(_probability(bias + moved / slack) if slack > 0 else tail)
    low, high = np.quantile(sample, bounds)
    return Interval(float(low), float(high), error)


_NORMAL = NormalDist()
_quantile, _probability = _NORMAL.inv_cdf, _NORMAL.cdf
