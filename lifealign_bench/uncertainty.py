"""How sure the metrics of a run are: the bootstrap over its test pairs (Efron 1979), as pure functions.

The cells of a score matrix share their test pairs, so their errors do not add up as independent ones would. Here the
test pairs of each task are drawn again with replacement, the same draw for all stages, and everything is computed anew.
What this leaves out: another seed of training, and other tasks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
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
    """A percentile interval and the bootstrap's standard error; NaN where undefined."""

    low: float
    high: float
    standard_error: float


NOT_DEFINED = Interval(math.nan, math.nan, math.nan)


def resampled_matrices(
    values: Mapping[str, Matrix], scale: float = 1.0, resamples: int = RESAMPLES, seed: int = 0
) -> NDArray[np.float64]:
    """Score matrices of drawn test sets, shape (resamples, stages + 1, tasks).

    Args:
        values: task to its scores per stage and test pair, shape (stages + 1, pairs), in the stream's order; a row of
            NaN where it was not scored. Any NaN in a row makes that cell NaN in every draw.
        scale: factor from a mean to the matrix's unit (100 for shares).
        resamples: number of draws.
        seed: fixes the draws.
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
            means.append(weights @ array.T / pairs)
        columns.append(np.concatenate(means))
    return np.stack(columns, axis=2) * scale


def metric_intervals(
    values: Mapping[str, Matrix],
    scale: float,
    metrics: Mapping[str, Callable[[Matrix], float]],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """The 95 % interval of every metric.

    Args:
        values, scale, resamples, seed: see :func:`resampled_matrices`.
        metrics: name to function of one score matrix, e.g. from ``metrics.METRICS``.
    """
    draws = resampled_matrices(values, scale, resamples, seed)
    intervals = {}
    for name, metric in metrics.items():
        # A metric that is undefined in one draw needs a cell that was not scored: it is so in all of them.
        defined = draws.shape[0] > 0 and not math.isnan(metric(draws[0]))
        intervals[name] = _interval(np.array([metric(draw) for draw in draws])) if defined else NOT_DEFINED
    return intervals


def matrix_intervals(
    values: Mapping[str, Matrix],
    scale: float,
    function: Callable[[Matrix], Mapping[str, Any]],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, list[Interval]]:
    """The same for a function that gives arrays of one value a task, e.g. ``metrics.per_task``."""
    draws = resampled_matrices(values, scale, resamples, seed)
    found = [function(draw) for draw in draws]
    # The bootstrap's spread is that of a population of n; a sample's standard error has n - 1.
    sizes = [np.asarray(scores).shape[1] for scores in values.values()]
    factors = [math.sqrt(n / (n - 1)) if n > 1 else math.nan for n in sizes]
    return {
        name: [
            interval._replace(standard_error=interval.standard_error * factor)
            for interval, factor in zip(
                map(_interval, np.array([f[name] for f in found], dtype=np.float64).T), factors, strict=True
            )
        ]
        for name in (found[0] if found else {})
    }


def _interval(sample: Matrix) -> Interval:
    if sample.size < 2 or bool(np.isnan(sample).any()):
        return NOT_DEFINED
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(sample, [tail, 100 - tail])
    return Interval(float(low), float(high), float(sample.std(ddof=1)))
