"""Methods on the same test pairs: their means over seeds with intervals, and the differences between any two.

The pairs that two methods are scored on are the same, and a pair that is hard for one is hard for the other; so the
pairs are the units, each with all its scores through the stages by all methods, and one draw of pairs serves all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lifealign_bench.results.statistics import (
    Array,
    Interval,
    cell_means,
    metric_intervals,
    pair_weights,
    percentiles,
    residual_variance,
    seeds_margin,
    weighted_means,
    widened,
)

__all__ = ["Difference", "Estimate", "PairedRuns", "Run", "holm"]

# A function of a stack of score matrices (..., stages + 1, tasks) -> (...), e.g. from ``metrics.METRICS``.
Metric = Callable[[Array], Any]
# Of one run, task to its scores per stage and test pair, (stages + 1, pairs).
Run = Mapping[str, Array]
RESAMPLES = 2000
_CHUNK = 4_000_000  # bounds the memory of one chunk of exchanges


@dataclass(frozen=True)
class Estimate:
    """A metric of a method.

    Args:
        value: the mean over its seeds of each run's metric.
        low, high: a 95 % interval: over the test pairs for one seed, over seeds and test pairs for several.
        standard_error: likewise.
        seeds: how many runs.
    """

    value: float
    low: float
    high: float
    standard_error: float
    seeds: int


@dataclass(frozen=True)
class Difference:
    """A metric of the first method minus that of the second.

    Args:
        value: the difference of the means over seeds, in the metric's unit.
        low, high: its 95 % interval over pairs and, with several seeds, over seeds.
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

    @property
    def apart(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class _DrawnMean:
    """A metric of a method in every draw of pairs: its mean over the seeds, (resamples,), and what of that mean's
    variance the seeds do not share, see ``uncertainty.residual_variance``."""

    means: Array
    residual: float


class PairedRuns:
    """Runs of methods on the same pairs, resampled together.

    Args:
        runs: method to its runs, one for each seed; everywhere the same tasks and the same pairs in the same order.
        scale: factor from a mean to the matrix's unit (100 for shares).
        partial: whether the score may be missing for a few pairs, see ``cells.ScoreInfo``.
        resamples: draws of the test; the intervals have those of ``uncertainty``, so that the interval of one run is
            the same wherever it is shown.
        seed: fixes the draws of the test.

    Raises:
        ValueError: the methods were not scored on the same pairs, or one has no run.
    """

    def __init__(
        self,
        runs: Mapping[str, Sequence[Run]],
        scale: float = 1.0,
        *,
        partial: bool = False,
        resamples: int = RESAMPLES,
        seed: int = 0,
    ) -> None:
        if not runs or not all(runs.values()):
            raise ValueError("a comparison needs a run of each method")
        shapes = {tuple((task, array.shape) for task, array in run.items()) for own in runs.values() for run in own}
        if len(shapes) > 1:
            raise ValueError("the runs were not scored on the same pairs of the same tasks")
        sizes = [shape[1] for _, shape in next(iter(shapes))]
        self.pairs = sum(sizes)
        self._scale, self._partial, self._resamples, self._seed = scale, partial, resamples, seed
        # Method to (seeds, rows, pairs) of each task.
        self._scores = {name: _stacked(own) for name, own in runs.items()}
        # Method to (seeds, rows, tasks); to (resamples, seeds, rows, tasks).
        self.matrices = {name: self._means(scores) for name, scores in self._scores.items()}
        self._draws = self._drawn()
        self._swaps: dict[str, Array] | None = None
        self._known: dict[tuple[str, Metric], _DrawnMean] = {}

    def estimate(self, method: str, metric: Metric) -> Estimate:
        """The mean of ``metric`` over a method's seeds, with its interval; NaN where it is undefined."""
        values = np.asarray(metric(self.matrices[method]))
        count, value = len(values), float(values.mean())
        if count == 1:
            run = {task: array[0] for task, array in self._scores[method].items()}
            alone = metric_intervals(run, self._scale, {"alone": metric}, partial=self._partial)
            return Estimate(value, *alone["alone"], 1)
        drawn = self._drawn_mean(method, metric)
        seeds = float(values.var(ddof=1)) / count
        pairs = float(drawn.means.var(ddof=1)) - drawn.residual
        return Estimate(value, *_around(value, seeds, count - 1, pairs), count)

    def difference(self, first: str, second: str, metric: Metric) -> Difference:
        """Compare two methods.

        The interval is by resampling the pairs (percentiles) for one run of each. With several seeds of a method the
        spread over seeds, pooled over the two methods, is charged to both, see ``uncertainty.seeds_margin``.

        The test (Fisher's randomization test; Noreen 1989) exchanges the two methods' scores of a pair with probability
        1/2, all stages of it together, and counts how often the metric's difference is at least as large as the one
        found, which itself counts as one draw. It is exact for the hypothesis that the methods do not differ on any
        pair. Where they trade tasks (one is better on the first, the other on the second) it is careful: the interval,
        which holds the tasks fixed, may then exclude 0 while p is above 0.05. Runs of several seeds take part in it as
        the mean over the seeds; what another seed would change is not in it.

        Of a ``partial`` score, pairs that lack a value anywhere where their stage has any are left out, of both methods
        alike; the difference is then that over the pairs which all have.
        """
        if self._partial:
            a, b = _common(self._scores[first], self._scores[second])
            if any(a[task].shape != self._scores[first][task].shape for task in a):
                both = {
                    name: [{t: v[s] for t, v in side.items()} for s in range(len(next(iter(side.values()))))]
                    for name, side in (("first", a), ("second", b))
                }
                runs = PairedRuns(both, self._scale, resamples=self._resamples, seed=self._seed)
                return runs.difference("first", "second", metric)
        return self._difference(first, second, metric)

    def _difference(self, first: str, second: str, metric: Metric) -> Difference:
        a, b = (np.asarray(metric(self.matrices[name])) for name in (first, second))
        value, seeds = float(a.mean() - b.mean()), (len(a), len(b))
        if math.isnan(value):
            return Difference(math.nan, math.nan, math.nan, math.nan, self.pairs, seeds)
        drawn = [self._drawn_mean(name, metric) for name in (first, second)]
        together = drawn[0].means - drawn[1].means
        degrees = sum(seeds) - 2
        if degrees == 0:
            low, high, _ = percentiles(together)
        else:
            pooled = sum(float(((side - side.mean()) ** 2).sum()) for side in (a, b)) / degrees
            pairs = float(together.var(ddof=1)) - sum(side.residual for side in drawn)
            low, high, _ = _around(value, pooled * (1 / seeds[0] + 1 / seeds[1]), degrees, pairs)
        return Difference(value, low, high, self._p(first, second, metric), self.pairs, seeds)

    def _drawn_mean(self, method: str, metric: Metric) -> _DrawnMean:
        """``metric`` in every draw; a method is compared with many others."""
        if (method, metric) not in self._known:
            draws = np.asarray(metric(self._draws[method]))  # (resamples, seeds)
            self._known[method, metric] = _DrawnMean(draws.mean(axis=1), residual_variance(draws))
        return self._known[method, metric]

    def _means(self, scores: Mapping[str, Array]) -> Array:
        columns = [cell_means(array, self._partial) for array in scores.values()]
        return np.stack(columns, axis=-1) * self._scale

    def _drawn(self) -> dict[str, Array]:
        columns: dict[str, list[Array]] = {name: [] for name in self._scores}
        for position, task in enumerate(next(iter(self._scores.values()))):
            pieces: dict[str, list[Array]] = {name: [] for name in self._scores}
            for weights in pair_weights(next(iter(self._scores.values()))[task].shape[2], position):
                for name, scores in self._scores.items():
                    array = scores[task]
                    pieces[name].append(weighted_means(weights, array.reshape(-1, array.shape[2]), self._partial))
            for name, column in columns.items():
                array = self._scores[name][task]
                wide = widened(np.concatenate(pieces[name]), array.reshape(-1, array.shape[2]), self._partial)
                column.append(wide.reshape(len(wide), *array.shape[:2]))
        return {name: _draws_last(column, self._scale) for name, column in columns.items()}

    def _p(self, first: str, second: str, metric: Metric) -> float:
        swaps = self._swaps = self._exchanges() if self._swaps is None else self._swaps
        a, b = swaps[first], swaps[second]
        moved = b[1:] - a[1:]
        found = abs(float(metric(a[0])) - float(metric(b[0])))
        drawn = np.asarray(metric(a[0] + moved)) - np.asarray(metric(b[0] - moved))
        # Differences that are equal but for rounding are equal.
        extreme = int((np.abs(drawn) >= found - 1e-9 * max(1.0, self._scale)).sum())
        return (extreme + 1) / (self._resamples + 1)

    def _exchanges(self) -> dict[str, Array]:
        """For each method, (1 + resamples, rows, tasks): the score matrix of the mean over its seeds, then what of it
        comes from the pairs that change places in each exchange."""
        columns: dict[str, list[Array]] = {name: [] for name in self._scores}
        for position, task in enumerate(next(iter(self._scores.values()))):
            size = next(iter(self._scores.values()))[task].shape[2]
            means = {name: scores[task].mean(axis=0) for name, scores in self._scores.items()}
            generator = np.random.default_rng([self._seed, position, 1])
            parts: dict[str, list[Array]] = {name: [m.mean(axis=1)[None]] for name, m in means.items()}
            step = max(1, _CHUNK // max(1, size))
            for start in range(0, self._resamples, step):
                moved = (generator.random((min(step, self._resamples - start), size)) < 0.5).astype(np.float64)
                for name, mean in means.items():
                    parts[name].append(moved @ mean.T / size)
            for name, column in columns.items():
                column.append(np.concatenate(parts[name]))
        return {name: _draws_last(column, self._scale) for name, column in columns.items()}


def _draws_last(columns: Sequence[Array], scale: float) -> Array:
    """The tasks' arrays (draws, ...) times ``scale`` as one, (draws, ..., tasks), in which the draws are neighbours in
    memory: a metric runs over a few stages and tasks of thousands of draws."""
    whole = np.empty((*columns[0].shape[1:], len(columns), columns[0].shape[0]))
    for j, column in enumerate(columns):
        np.multiply(np.moveaxis(column, 0, -1), scale, out=whole[..., j, :])
    return np.moveaxis(whole, -1, 0)


def _around(value: float, seeds_variance: float, degrees: int, pairs_variance: float) -> Interval:
    if math.isnan(value):
        return Interval(math.nan, math.nan, math.nan)
    margin = seeds_margin(seeds_variance, degrees, pairs_variance)
    return Interval(value - margin, value + margin, math.sqrt(seeds_variance + max(0.0, pairs_variance)))


def _stacked(runs: Sequence[Run]) -> dict[str, Array]:
    """Task to (seeds, stages + 1, pairs)."""
    return {task: np.stack([np.asarray(run[task], dtype=np.float64) for run in runs]) for task in runs[0]}


def _common(a: Mapping[str, Array], b: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
    """Both without the pairs that one of them has no value of; a stage without any is no reason to leave pairs out."""
    kept = {}
    for task in a:
        both = np.concatenate([a[task], b[task]])
        scored = ~np.isnan(both).all(axis=2, keepdims=True)
        kept[task] = ~(np.isnan(both) & scored).any(axis=(0, 1))
    return {t: v[:, :, kept[t]] for t, v in a.items()}, {t: v[:, :, kept[t]] for t, v in b.items()}


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
