"""95 % intervals of cells, also from what a record alone holds: mean, standard error, number of test pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lifealign_bench.reporting.figures.figure import UNKNOWN, Estimate
from lifealign_bench.runview import RunView
from lifealign_bench.stats import mean_and_se, wilson_interval

__all__ = ["cell_estimate", "cell_estimates", "mean_of_cells"]

# A share whose spread is at least this part of that of a coin with the same mean is one of right and wrong alone.
_BINARY = 0.95


def cell_estimate(value: float, error: float, n: int, percent: bool) -> Estimate:
    """The mean of one cell with its interval over the test pairs.

    Shares of right and wrong get Wilson's interval, which holds near 0 and 100 and where all pairs agree; other means
    that of Student's t, within 0 to 100 if they are shares. Where all pairs have one and the same other value (a tie
    everywhere) there is nothing to be unsure of: the interval is that value.

    Args:
        value, error: mean and standard error, in percent for shares.
        n: test pairs.
        percent: whether it is a share.
    """
    if math.isnan(value):
        return UNKNOWN
    if math.isnan(error) or n < 2:
        return Estimate(value)
    share = value / 100
    if percent and 0 <= value <= 100 and (error / 100) ** 2 * (n - 1) >= _BINARY * share * (1 - share):
        low, high = wilson_interval(min(max(share * n, 0.0), n), n)
        return Estimate(value, 100 * low, 100 * high)
    half = _student(n) * error
    low, high = value - half, value + half
    return Estimate(value, max(0.0, low), min(100.0, high)) if percent else Estimate(value, low, high)


def cell_estimates(view: RunView, score: str) -> dict[tuple[int, str], Estimate]:
    """(row, task) to the cell with its interval: that of the run's tables where the scores of every pair are at hand,
    else :func:`cell_estimate`."""
    matrix, intervals = view.record.scores[score], view.cell_intervals(score)
    values, errors = matrix.array(), matrix.errors()
    found = {}
    for row in (stage.row for stage in view.rows):
        for j, task in enumerate(view.tasks):
            value, error = float(values[row, j]), float(errors[row, j])
            if (row, task) in intervals and not math.isnan(value):
                found[row, task] = Estimate(value, *intervals[row, task])
            else:
                found[row, task] = cell_estimate(value, error, matrix.n[row][j], matrix.percent)
    return found


def mean_of_cells(values: Sequence[float], errors: Sequence[float], percent: bool) -> Estimate:
    """The mean over tasks, whose test pairs are not the same ones: their errors are independent.

    NaN in any value makes it unknown, as everywhere; without every error there is no interval.
    """
    mean, _ = mean_and_se(list(values))
    if math.isnan(mean):
        return UNKNOWN
    error = math.sqrt(float(np.square(errors).sum())) / len(errors) if len(errors) else math.nan
    if math.isnan(error):
        return Estimate(mean)
    low, high = mean - 1.96 * error, mean + 1.96 * error
    return Estimate(mean, max(0.0, low), min(100.0, high)) if percent else Estimate(mean, low, high)


def _student(n: int) -> float:
    """The 97.5 % quantile of Student's t with ``n - 1`` degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(n - 1, 0.975))
