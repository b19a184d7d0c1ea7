"""What every independent item adds to a metric: the metric as a sum, from which all its errors follow.

A metric of a score matrix is, near that matrix, a weighted sum of the cells (exactly so for most; forgetting has a
maximum in it, which is taken where it lies), and a cell is a mean over test pairs. So a metric is a sum over pairs,
and over clusters of pairs, once it is known how steeply it goes up with each cell. That takes one evaluation of the
metric on a stack of matrices, whatever the number of pairs: no draw, and nothing that grows with the number of
comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifealign_bench.results.clusters import Clusters, Labels, cluster_sums, count_of

Array = NDArray[np.float64]
# A function of a stack of score matrices (..., stages + 1, tasks) -> (...), e.g. from ``metrics.METRICS``.
Metric = Callable[[Array], Any]
# Answers of each extreme that are added, shared by the tasks: Agresti and Coull's four to a level, of which half are
# right; Agresti and Min's two to a change, of which a quarter goes up and a quarter down.
_FEW_OF_LEVEL, _FEW_OF_CHANGE = 2.0, 0.5
_STEP = 2.0**-8  # of a score's unit; metrics are piecewise linear, so that the size matters only beside rounding


@dataclass(frozen=True)
class Contributions:
    """A metric of the runs of one method, one for each seed.

    Args:
        values: the metric of each run, (seeds,).
        parts: what each cluster adds to it, from its task's mean, (seeds, clusters of all tasks). The sum of their
            squares is the variance of the metric over the choice of the clusters.
        pull: what lack of spread in a sample hides: how far a little of both extreme answers in each task would move
            the metric (0 for scores without bounds), in its unit.
        least: the variance that these few answers leave where all that were seen agree.
        level: whether the metric rises with every cell, as a mean score does, or is a change between cells.
        degrees: of freedom of the variance over clusters.
        lowest, highest: what the metric can be at most, if scores have bounds, given how it goes up with the cells.
    """

    values: Array
    parts: Array
    pull: float
    least: float
    level: bool
    degrees: int
    lowest: float
    highest: float


def slopes(matrices: Array, metric: Metric) -> Array:
    """How steeply ``metric`` goes up with each cell of each matrix: the shape of ``matrices``, (seeds, rows, tasks).

    At a kink it is the mean of both sides. A cell that was not evaluated has none.
    """
    seeds, rows, tasks = matrices.shape
    steps = np.eye(rows * tasks).reshape(1, rows * tasks, rows, tasks) * _STEP
    up = np.asarray(metric(matrices[:, None] + steps), dtype=np.float64)
    down = np.asarray(metric(matrices[:, None] - steps), dtype=np.float64)
    found: Array = ((up - down) / (2 * _STEP)).reshape(seeds, rows, tasks)
    found[np.isnan(matrices)] = 0.0
    return found


def contributions(
    scores: Mapping[str, Array], matrices: Array, metric: Metric, clusters: Clusters, scale: float, bounded: bool
) -> Contributions:
    """``metric`` of the runs of one method as a sum over clusters.

    Args:
        scores: task to (seeds, rows, pairs); NaN where a pair has none.
        matrices: their means times ``scale``, (seeds, rows, tasks).
        metric: of stacks of such matrices.
        clusters: of every task's pairs.
        scale: factor from a mean to the matrix's unit.
        bounded: whether a score of a pair lies between 0 and 1.

    Where the metric is undefined, the values are NaN and nothing else is said. A task with a single cluster has an
    unknown spread: the parts are NaN.
    """
    values = np.asarray(metric(matrices), dtype=np.float64)
    steep = slopes(matrices, metric) * scale
    used = [bool(steep[:, :, column].any()) for column in range(len(scores))]
    level = bool((steep >= 0).all() or (steep <= 0).all())
    few = (_FEW_OF_LEVEL if level else _FEW_OF_CHANGE) / max(1, sum(used))
    columns = [
        _column(array, clusters[task], steep[:, :, column], few if used[column] else 0.0)
        for column, (task, array) in enumerate(scores.items())
    ]
    parts = np.concatenate([column.parts for column in columns], axis=1)
    lowest, highest = sum(c.low for c in columns), sum(c.high for c in columns)
    return Contributions(
        values,
        parts,
        pull=sum(column.pull for column in columns) if bounded else 0.0,
        least=sum(column.least for column in columns) if bounded else 0.0,
        level=level,
        degrees=sum(column.degrees for column in columns),
        lowest=lowest if bounded else -math.inf,
        highest=highest if bounded else math.inf,
    )


@dataclass(frozen=True)
class _Column:
    """What one task adds; see :class:`Contributions`."""

    parts: Array
    pull: float
    least: float
    degrees: int
    low: float
    high: float


def _column(scores: Array, labels: Labels, slope: Array, few: float) -> _Column:
    """Of scores (seeds, rows, pairs) and the slopes (seeds, rows) of their means.

    Args:
        few: answers of either extreme to add.
    """
    missing = np.isnan(scores)
    count = np.maximum(1, (~missing).sum(axis=2))
    means = np.where(missing, 0.0, scores).sum(axis=2) / count
    moved = np.where(missing, 0.0, scores - means[:, :, None]) / count[:, :, None]
    average = slope.mean(axis=0)
    low, high = float(np.minimum(average, 0).sum()), float(np.maximum(average, 0).sum())
    items = count_of(labels)
    if not slope.any():
        return _Column(np.zeros((len(scores), items)), 0.0, 0.0, 0, 0.0, 0.0)
    if items < 2:
        return _Column(np.full((len(scores), items), np.nan), 0.0, 0.0, 0, low, high)
    parts = cluster_sums(np.einsum("sk,skp->sp", slope, moved), labels) * math.sqrt(items / (items - 1))
    middle, share = float((average * means.mean(axis=0)).sum()), few / (items + 2 * few)
    least = (high - low) ** 2 * share * (1 - share) / (items + 2 * few)
    return _Column(parts, share * (low + high - 2 * middle), least, items - 1, low, high)
