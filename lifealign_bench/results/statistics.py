"""Numbers of pairs, and how sure what is made of them is: standard errors, spreads and confidence intervals."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lifealign_bench.results.clusters import Clusters, Labels, cluster_sums, count_of
from lifealign_bench.results.contributions import Array, contributions

__all__ = [
    "Array",
    "Interval",
    "Matrix",
    "Spread",
    "cell_means",
    "half_at_zero",
    "matrix_intervals",
    "mean_and_se",
    "metric_intervals",
    "pair_weights",
    "percentiles",
    "resampled_matrices",
    "spread",
    "weighted_means",
    "widened",
    "wilson_interval",
]


# Scores by stage and task; also a stack of such.
Matrix = Array

Values = Sequence[float] | Array

NAN = float("nan")


def half_at_zero(difference: Array) -> Array:
    """1 where positive, 0 where negative, 1/2 at exactly 0: a model that learnt nothing is at chance, not at 0 %."""
    return np.where(difference > 0, 1.0, np.where(difference < 0, 0.0, np.where(np.isnan(difference), np.nan, 0.5)))


def mean_and_se(values: Values) -> tuple[float, float]:
    """Mean and its standard error, ``s / sqrt(n)`` with s the standard deviation of a sample (ddof 1).

    A NaN among the values makes both NaN, and so does an empty list: a missing value is never left out silently. One
    value has a mean and no standard error (NaN).
    """
    array = np.asarray(values, dtype=np.float64).ravel()
    if array.size == 0:
        return NAN, NAN
    mean = float(array.mean())
    if array.size == 1 or math.isnan(mean):
        return mean, NAN
    return mean, float(array.std(ddof=1) / math.sqrt(array.size))


class Spread(NamedTuple):
    """How values lie: mean, standard deviation of a sample (ddof 1), lowest, highest, and how many there are."""

    mean: float
    deviation: float
    low: float
    high: float
    n: int


def spread(values: Values) -> Spread:
    """The spread of ``values``; a NaN among them, or none at all, makes all but ``n`` NaN.

    One value has a mean and no deviation (NaN).
    """
    array = np.asarray(values, dtype=np.float64).ravel()
    if array.size == 0 or bool(np.isnan(array).any()):
        return Spread(NAN, NAN, NAN, NAN, int(array.size))
    deviation = float(array.std(ddof=1)) if array.size > 1 else NAN
    return Spread(float(array.mean()), deviation, float(array.min()), float(array.max()), int(array.size))


def wilson_interval(successes: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share, as (low, high) between 0 and 1.

    Source: Wilson 1927; unlike mean +- 2 standard errors it holds near 0 and 1 and for few trials.

    Args:
        successes: how many of ``n`` trials; a tie may count one half.
        n: trials; 0 gives (NaN, NaN).
        confidence: between 0 and 1.

    Raises:
        ValueError: ``successes`` is not between 0 and ``n``, or ``confidence`` not between 0 and 1.
    """
    from scipy.special import ndtri

    _check_confidence(confidence)
    if n < 0 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} trials")
    if n == 0:
        return NAN, NAN
    z = float(ndtri((1 + confidence) / 2))
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At 0 and n of n the bound is exactly 0 or 1; rounding must not put it beyond.
    return (0.0 if successes == 0 else middle - half), (1.0 if successes == n else middle + half)


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence of {confidence} is not between 0 and 1")


RESAMPLES = 1000

CONFIDENCE = 0.95

# Draws of so many pairs in all, or fewer, are made once and kept.
_KEPT = 200_000

# Bounds the memory of one chunk of draws, whatever the number of test pairs.
_CHUNK = 4_000_000


class Interval(NamedTuple):
    """A 95 % interval (bias-corrected and accelerated) and the bootstrap's standard error; NaN where undefined."""

    low: float
    high: float
    standard_error: float


NOT_DEFINED = Interval(math.nan, math.nan, math.nan)


def pair_weights(
    pairs: int, position: int, resamples: int = RESAMPLES, seed: int = 0, labels: Labels | None = None
) -> Iterator[NDArray[np.float64]]:
    """Shares of the test pairs of one task in drawn test sets, a bounded number of draws at a time: (draws, pairs).

    Args:
        pairs: test pairs of the task.
        position: of the task in the stream; every task has draws of its own.
        resamples: number of draws in all.
        seed: fixes the draws: whatever is drawn with the same numbers is drawn together.
        labels: the clusters of the pairs, which are drawn whole; None: each pair is one.
    """
    if labels is not None and count_of(labels) < pairs:
        for drawn in pair_weights(count_of(labels), position, resamples, seed):
            whole = drawn[:, labels]
            yield whole / whole.sum(axis=1, keepdims=True)
        return
    if pairs * resamples <= _KEPT:
        yield _few_weights(pairs, position, resamples, seed)
        return
    yield from _weights(pairs, position, resamples, seed)


@lru_cache(maxsize=16)
def _few_weights(pairs: int, position: int, resamples: int, seed: int) -> Array:
    """All draws of a small test set at once, kept: the boards of a leaderboard mostly have tasks of one size."""
    found = np.concatenate(list(_weights(pairs, position, resamples, seed)))
    found.setflags(write=False)
    return found


def _weights(pairs: int, position: int, resamples: int, seed: int) -> Iterator[Array]:
    generator = np.random.default_rng([seed, position])
    step = max(1, _CHUNK // max(1, pairs))
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        drawn = generator.integers(0, pairs, size=(count, pairs))
        drawn += np.arange(count)[:, None] * pairs
        counted = np.bincount(drawn.ravel(), minlength=count * pairs)
        yield counted.reshape(count, pairs).astype(np.float64) / pairs


def cell_means(scores: Matrix, partial: bool = False) -> Matrix:
    """Means over all pairs, shape (...), of scores (..., pairs): NaN where a pair has none, or with ``partial`` only
    where no pair has one."""
    missing = np.isnan(scores)
    if not missing.any() and scores.flags.c_contiguous and scores.shape[-1]:
        return np.asarray(scores.sum(axis=-1) / scores.shape[-1])  # the same sums, without the masks
    known = ~missing.all(axis=-1) if partial else ~missing.any(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.where(missing, 0.0, scores).sum(axis=-1) / (~missing).sum(axis=-1)
    return np.where(known, means, math.nan)


def weighted_means(weights: Matrix, scores: Matrix, partial: bool = False) -> Matrix:
    """:func:`cell_means` of scores (rows, pairs) over weighted pairs, shape (draws, rows).

    Args:
        weights: (draws, pairs), every row with the sum 1.
    """
    missing = np.isnan(scores)
    if not missing.any():
        return weights @ scores.T
    share = weights @ (~missing).astype(np.float64).T
    sums = weights @ np.where(missing, 0.0, scores).T
    means = np.divide(sums, share, out=np.full(sums.shape, math.nan), where=share > 0)
    if not partial:
        means[:, missing.any(axis=1)] = math.nan
    return np.asarray(means)


def widened(means: Matrix, scores: Matrix, partial: bool = False, items: int | None = None) -> Matrix:
    """Draws with the spread of a sample's mean: that of the bootstrap is a population's, smaller by (n - 1) / n.

    With two dozen pairs the difference is two points of coverage. No draw leaves the range of the scores themselves.

    Args:
        means: (draws, rows).
        scores: (rows, pairs).
        items: how many were drawn, where that is not the number of pairs.
    """
    pairs = scores.shape[1] if items is None else items
    if pairs < 2:
        return means
    known = ~np.isnan(scores).all(axis=1)
    low, high = np.full(len(scores), math.nan), np.full(len(scores), math.nan)
    low[known], high[known] = np.nanmin(scores[known], axis=1), np.nanmax(scores[known], axis=1)
    middle = cell_means(scores, partial)
    wide: Matrix = means - middle
    wide *= math.sqrt(pairs / (pairs - 1))
    wide += middle
    return np.clip(wide, low, high, out=wide)


def resampled_matrices(
    values: Mapping[str, Matrix],
    scale: float = 1.0,
    resamples: int = RESAMPLES,
    seed: int = 0,
    partial: bool = False,
    clusters: Clusters | None = None,
) -> NDArray[np.float64]:
    """Score matrices of drawn test sets, shape (resamples, stages + 1, tasks).

    Args:
        values: task to its scores per stage and test pair, shape (stages + 1, pairs), in the stream's order; a row of
            NaN where it was not scored. Any NaN in a row makes that cell NaN in every draw.
        scale: factor from a mean to the matrix's unit (100 for shares).
        resamples: number of draws.
        seed: fixes the draws.
        partial: a cell is the mean over the drawn pairs that have a value, and NaN only where none has.
        clusters: of each task's pairs, drawn whole; None: each pair is one.
    """
    columns = []
    for position, (task, scores) in enumerate(values.items()):
        array = np.asarray(scores, dtype=np.float64)
        rows, pairs = array.shape
        if pairs == 0:
            columns.append(np.full((resamples, rows), math.nan))
            continue
        labels = None if clusters is None else clusters[task]
        weights = pair_weights(pairs, position, resamples, seed, labels)
        means = [np.zeros((0, rows)), *(weighted_means(w, array, partial) for w in weights)]
        items = None if labels is None else count_of(labels)
        columns.append(widened(np.concatenate(means), array, partial, items))
    return np.stack(columns, axis=2) * scale


def metric_intervals(
    values: Mapping[str, Matrix],
    scale: float,
    metrics: Mapping[str, Callable[[Matrix], Any]],
    resamples: int = RESAMPLES,
    seed: int = 0,
    partial: bool = False,
    clusters: Clusters | None = None,
    bounded: bool = False,
) -> dict[str, Interval]:
    """The 95 % interval of every metric.

    Args:
        values, scale, resamples, seed, partial, clusters: see :func:`resampled_matrices`.
        metrics: name to function of a stack of score matrices, e.g. from ``metrics.METRICS``.
        bounded: whether a score of a pair lies between 0 and 1. Where all items agree, draws of them say nothing; then
            the interval is that of Agresti and Coull (1998), and never of width 0.
    """
    draws = resampled_matrices(values, scale, resamples, seed, partial, clusters)
    whole, without = _left_out(values, scale, partial, clusters)
    found = {}
    for name, metric in metrics.items():
        left = [np.asarray(metric(task)) for task in without if len(task)]
        interval = _interval(np.asarray(metric(draws)), float(metric(whole)), left)
        found[name] = _never_nothing(interval, values, scale, whole, metric, clusters) if bounded else interval
    return found


def matrix_intervals(
    values: Mapping[str, Matrix],
    scale: float,
    function: Callable[[Matrix], Mapping[str, Any]],
    resamples: int = RESAMPLES,
    seed: int = 0,
    partial: bool = False,
    clusters: Clusters | None = None,
    bounded: bool = False,
) -> dict[str, list[Interval]]:
    """The same for a function that gives arrays of one value a task, (..., tasks), e.g. ``metrics.per_task``."""
    found = function(resampled_matrices(values, scale, resamples, seed, partial, clusters))
    whole, without = _left_out(values, scale, partial, clusters)
    value = function(whole)
    others = [function(task) for task in without if len(task)]
    single = [not len(task) for task in without]  # one item has no spread to draw from
    intervals: dict[str, list[Interval]] = {}
    for name in found:
        samples = np.asarray(found[name], dtype=np.float64).T
        intervals[name] = []
        for j, sample in enumerate(samples):
            left_out = [np.asarray(task[name], dtype=np.float64)[:, j] for task in others]
            interval = _interval(sample, float(value[name][j]), left_out)
            if bounded and not single[j]:

                def metric(matrix: Matrix, name: str = name, j: int = j) -> Any:
                    return np.asarray(function(matrix)[name])[..., j]

                interval = _never_nothing(interval, values, scale, whole, metric, clusters)
            intervals[name].append(interval._replace(standard_error=math.nan) if single[j] else interval)
    return intervals


def _never_nothing(
    interval: Interval,
    values: Mapping[str, Matrix],
    scale: float,
    whole: Matrix,
    metric: Callable[[Matrix], Any],
    clusters: Clusters | None,
) -> Interval:
    """The interval of a share of which draws show no spread."""
    if not interval.standard_error <= 1e-9 * scale:
        return interval
    scores = {task: np.asarray(array, dtype=np.float64)[None] for task, array in values.items()}
    own = clusters or {t: np.arange(array.shape[2], dtype=np.intp) for t, array in scores.items()}
    found = contributions(scores, whole[None], metric, own, scale, bounded=True)
    if found.least <= 0 or not found.degrees:
        return interval
    error, value = math.sqrt(found.least), float(found.values[0])
    middle, margin = value + found.pull, _quantile((1 + CONFIDENCE) / 2) * error
    return Interval(max(middle - margin, found.lowest), min(middle + margin, found.highest), error)


def _left_out(
    values: Mapping[str, Matrix], scale: float, partial: bool, clusters: Clusters | None = None
) -> tuple[Matrix, list[NDArray[np.float64]]]:
    """The score matrix, and for each task the matrices without one of its items, (items, stages + 1, tasks)."""
    arrays = {task: np.asarray(scores, dtype=np.float64) for task, scores in values.items()}
    mean = np.nanmean if partial else np.mean
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a row without any value the mean is NaN, as it should be
        whole = np.stack([mean(array, axis=1) for array in arrays.values()], axis=1) * scale
        without = []
        for j, (task, array) in enumerate(arrays.items()):
            labels = np.arange(array.shape[1], dtype=np.intp) if clusters is None else clusters[task]
            items = count_of(labels)
            matrices = np.repeat(whole[None], items if items > 1 else 0, axis=0)
            if items > 1:
                known = ~np.isnan(array) if partial else np.ones(array.shape, dtype=bool)
                sums = cluster_sums(np.where(known, array, 0.0), labels)
                counts = cluster_sums(known.astype(np.float64), labels)
                matrices[:, :, j] = (
                    (sums.sum(axis=1)[:, None] - sums) / (counts.sum(axis=1)[:, None] - counts)
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


def percentiles(sample: Matrix) -> Interval:
    """The plain percentile interval of draws; undefined where one of them is."""
    if sample.size < 2 or bool(np.isnan(sample).any()):
        return NOT_DEFINED
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(sample, [tail, 100 - tail])
    return Interval(float(low), float(high), float(sample.std(ddof=1)))
