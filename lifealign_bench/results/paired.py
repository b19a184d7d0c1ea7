"""Methods on the same test items and seeds: their means over seeds with intervals, and the differences between any two.

The items that two methods are scored on are the same, and an item that is hard for one is hard for the other; so are
the seeds: the same start, the same order of the pairs. So a difference is taken seed by seed and item by item, and what
both methods share falls out of it. ``inference`` says how sure it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lifealign_bench.results.clusters import Clusters, alone, count_of, independent
from lifealign_bench.results.contributions import Contributions, Metric, contributions
from lifealign_bench.results.inference import ENOUGH_SEEDS, critical_ratio, p_value, seeds_share
from lifealign_bench.results.power import Components, components
from lifealign_bench.results.spread import spread_of_differences, spread_of_mean
from lifealign_bench.results.statistics import Array, cell_means, metric_intervals

__all__ = ["Difference", "Estimate", "Metric", "PairedRuns", "TaskScores", "holm"]

# Of one run, task to its scores per stage and test pair, (stages + 1, pairs).
TaskScores = Mapping[str, Array]
RESAMPLES = 2000
_CHUNK = 4_000_000  # bounds the memory of one chunk of exchanges
_FEWEST_SEEDS = 2  # one seed has no spread


@dataclass(frozen=True)
class Estimate:
    """A metric of a method.

    Args:
        value: the mean over its seeds of each run's metric.
        low, high: a 95 % interval: over the test items for one seed, over seeds and test items for several.
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
        value: the mean difference over the seeds that both have (of one run each: of these), in the metric's unit; of a
            single seed in common that of the means over all seeds; NaN where none is.
        low, high: its 95 % interval over items and, with several seeds, over seeds.
        p: two-sided p-value of the same; of one run each that of a randomization test of these two runs; NaN where
            there is none, and ``why`` says why.
        pairs: test pairs in all tasks.
        seeds: runs of each method.
        shared: how many seeds both have.
        standard_error: of ``value``.
        why: there is no p-value; empty where there is one.
    """

    value: float
    low: float
    high: float
    p: float
    pairs: int
    seeds: tuple[int, int]
    shared: int = 1
    standard_error: float = math.nan
    why: str = ""

    def turned(self) -> Difference:
        """The second minus the first."""
        return replace(self, value=-self.value, low=-self.high, high=-self.low, seeds=(self.seeds[1], self.seeds[0]))

    @property
    def apart(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


class PairedRuns:
    """Runs of methods on the same pairs.

    Args:
        runs: method to its runs, one for each seed; everywhere the same tasks and the same pairs in the same order.
        scale: factor from a mean to the matrix's unit (100 for shares).
        partial: whether the score may be missing for a few pairs, see ``cells.ScoreInfo``.
        resamples: exchanges of the test of two runs.
        seed: fixes these.
        clusters: of each task's pairs; None: each pair is a cluster of its own.
        bounded: whether a score of a pair lies between 0 and 1, see ``statistics.metric_intervals``.
        seeds: method to the seeds of its runs; None: counted from 0. Runs of one seed started alike.

    Raises:
        ValueError: the methods were not scored on the same pairs, or one has no run.
    """

    def __init__(
        self,
        runs: Mapping[str, Sequence[TaskScores]],
        scale: float = 1.0,
        *,
        partial: bool = False,
        resamples: int = RESAMPLES,
        seed: int = 0,
        clusters: Clusters | None = None,
        bounded: bool = False,
        seeds: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        if not runs or not all(runs.values()):
            raise ValueError("a comparison needs a run of each method")
        shapes = {tuple((task, array.shape) for task, array in run.items()) for own in runs.values() for run in own}
        if len(shapes) > 1:
            raise ValueError("the runs were not scored on the same pairs of the same tasks")
        sizes = {task: shape[1] for task, shape in next(iter(shapes))}
        self.pairs = sum(sizes.values())
        self.clusters = alone(sizes) if clusters is None else clusters
        self.items = independent(self.clusters)
        self._scale, self._partial, self._resamples, self._seed = scale, partial, resamples, seed
        self.bounded = bounded
        self._seeds = {name: tuple(range(len(own)) if seeds is None else seeds[name]) for name, own in runs.items()}
        # Method to (seeds, rows, pairs) of each task.
        self._scores = {name: _stacked(own) for name, own in runs.items()}
        # Method to (seeds, rows, tasks).
        self.matrices = {name: self._means(scores) for name, scores in self._scores.items()}
        self._known: dict[tuple[str, Metric], Contributions] = {}

    def estimate(self, method: str, metric: Metric) -> Estimate:
        """The mean of ``metric`` over a method's seeds, with its interval; NaN where it is undefined."""
        values = np.asarray(metric(self.matrices[method]))
        count, value = len(values), float(values.mean())
        if count == 1:
            run = {task: array[0] for task, array in self._scores[method].items()}
            found = metric_intervals(
                run,
                self._scale,
                {"alone": metric},
                partial=self._partial,
                clusters=self.clusters,
                bounded=self.bounded,
            )
            return Estimate(value, *found["alone"], 1)
        if math.isnan(value):
            return Estimate(math.nan, math.nan, math.nan, math.nan, count)
        own = self.contributions(method, metric)
        parts = spread_of_mean(own)
        error = math.sqrt(float(parts.total))
        margin = float(critical_ratio(seeds_share(parts, 1), parts.seed_degrees, parts.item_degrees)) * error
        # What a share can be at most, a mean over seeds and items can be at most as well.
        low, high = value + own.pull - margin, value + own.pull + margin
        if not math.isnan(error):
            low, high = min(value, low), max(value, high)
        return Estimate(value, low, high, error, count)

    def contributions(self, method: str, metric: Metric) -> Contributions:
        """``metric`` of a method as a sum over independent items; a method is compared with many others."""
        if (method, metric) not in self._known:
            self._known[method, metric] = contributions(
                self._scores[method], self.matrices[method], metric, self.clusters, self._scale, self.bounded
            )
        return self._known[method, metric]

    def variances(self, pairs: Sequence[tuple[str, str]], metric: Metric) -> Components | None:
        """Where the differences' errors come from, on the mean over pairs of methods; None where all methods in them do
        not share two seeds, or where there is no pair.
        """
        names = list(dict.fromkeys(name for pair in pairs for name in pair))
        shared = tuple(s for s in self._seeds[names[0]] if all(s in self._seeds[n] for n in names)) if names else ()
        if len(shared) < _FEWEST_SEEDS:
            return None
        own = [self._with_seeds(name, shared, metric) for name in names]
        if any(np.isnan(c.values).any() or np.isnan(c.parts).any() for c in own):
            return None
        return components(own, [(names.index(a), names.index(b)) for a, b in pairs], self.items)

    def difference(self, first: str, second: str, metric: Metric) -> Difference:
        """Compare two methods: :meth:`differences` of one pair of them, with a test of the runs where there is one of
        each."""
        (found,) = self.differences([(first, second)], metric)
        if found.seeds != (1, 1) or math.isnan(found.value):
            return found
        return replace(found, p=self._exchanged(first, second, metric), why="")

    def differences(self, pairs: Sequence[tuple[str, str]], metric: Metric) -> list[Difference]:
        """Compare methods, all that stand in one table together.

        The interval and the p-value hold seeds and items, see ``inference``; p is NaN where two methods share fewer
        than three seeds. Methods with other seeds are compared on those that both have, without an interval where that
        is a single one. One run of each is compared on the items alone: what another seed would change is then not in
        it.

        Of a ``partial`` score, pairs that lack a value anywhere where their stage has any are left out, of both methods
        alike; the difference is then that over the pairs which all have.
        """
        found: dict[tuple[str, str], Difference] = {}
        groups: dict[tuple[int, ...], list[tuple[str, str]]] = {}
        for pair in pairs:
            shared = self._shared(*pair)
            if self._partial and self._holes(*pair):
                found[pair] = self._without_holes(*pair).differences([("first", "second")], metric)[0]
            else:
                groups.setdefault(shared, []).append(pair)
        for seeds, own in groups.items():
            found |= self._group(seeds, own, metric)
        return [found[pair] for pair in pairs]

    def _shared(self, first: str, second: str) -> tuple[int, ...]:
        """The seeds that two methods have in common; of one run each there is nothing to match: (-1,)."""
        if len(self._seeds[first]) == len(self._seeds[second]) == 1:
            return (-1,)
        return tuple(seed for seed in self._seeds[first] if seed in self._seeds[second])

    def _group(
        self, shared: tuple[int, ...], pairs: Sequence[tuple[str, str]], metric: Metric
    ) -> dict[tuple[str, str], Difference]:
        """The differences of methods that have these seeds in common."""
        found = {}
        compared = []
        for pair in pairs:
            counts = (len(self._seeds[pair[0]]), len(self._seeds[pair[1]]))
            means = [float(np.mean(metric(self.matrices[name]))) for name in pair]
            few = len(shared) < _FEWEST_SEEDS and counts != (1, 1)
            # Of methods that share no seed nothing is paired.
            value = means[0] - means[1] if shared else math.nan
            if few or math.isnan(value):
                why = _why(len(shared), means[0] - means[1])
                found[pair] = Difference(value, math.nan, math.nan, math.nan, self.pairs, counts, len(shared), why=why)
            else:
                compared.append(pair)
        if not compared:
            return found
        names = list(dict.fromkeys(name for pair in compared for name in pair))
        place = {name: i for i, name in enumerate(names)}
        own = [self._with_seeds(name, shared, metric) for name in names]
        parts = spread_of_differences(own, [(place[a], place[b]) for a, b in compared])
        values = np.array([float(own[place[a]].values.mean() - own[place[b]].values.mean()) for a, b in compared])
        share = seeds_share(parts, len(names))
        error = np.sqrt(parts.total)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(values == 0, 0.0, values / error)
        # What has no spread at all cannot be told from anything.
        p = np.where(
            (error > 0) | (values == 0), p_value(ratio, share, parts.seed_degrees, parts.item_degrees), math.nan
        )
        margin = critical_ratio(share, parts.seed_degrees, parts.item_degrees) * error
        for i, pair in enumerate(compared):
            why = _why(len(shared), float(values[i]))
            found[pair] = Difference(
                float(values[i]),
                float(values[i] - margin[i]),
                float(values[i] + margin[i]),
                math.nan if why else float(p[i]),
                self.pairs,
                (len(self._seeds[pair[0]]), len(self._seeds[pair[1]])),
                len(shared),
                float(error[i]),
                why,
            )
        return found

    def _with_seeds(self, name: str, seeds: tuple[int, ...], metric: Metric) -> Contributions:
        found, own = self.contributions(name, metric), self._seeds[name]
        if seeds in ((-1,), own):
            return found
        chosen = [own.index(seed) for seed in seeds]
        return replace(found, values=found.values[chosen], parts=found.parts[chosen])

    def _holes(self, first: str, second: str) -> bool:
        kept = _kept(self._scores[first], self._scores[second])
        return not all(bool(pairs.all()) for pairs in kept.values())

    def _without_holes(self, first: str, second: str) -> PairedRuns:
        """Both methods on the pairs that all have a value of."""
        a, b = _common(self._scores[first], self._scores[second])
        kept = _kept(self._scores[first], self._scores[second])
        clusters = {
            task: np.unique(labels[kept[task]], return_inverse=True)[1].astype(np.intp)
            for task, labels in self.clusters.items()
        }
        both = {
            name: [{t: v[s] for t, v in side.items()} for s in range(len(next(iter(side.values()))))]
            for name, side in (("first", a), ("second", b))
        }
        return PairedRuns(
            both,
            self._scale,
            resamples=self._resamples,
            seed=self._seed,
            clusters=clusters,
            bounded=self.bounded,
            seeds={"first": self._seeds[first], "second": self._seeds[second]},
        )

    def _means(self, scores: Mapping[str, Array]) -> Array:
        columns = [cell_means(array, self._partial) for array in scores.values()]
        return np.stack(columns, axis=-1) * self._scale

    def _exchanged(self, first: str, second: str, metric: Metric) -> float:
        """Two-sided p-value of Fisher's randomization test of two runs (Noreen 1989).

        It exchanges the runs' scores of a cluster with probability 1/2, all stages together, and counts how often the
        metric's difference is at least as large as the one found, which itself counts as one draw. It is exact for the
        hypothesis that the runs do not differ on any item. Where they trade tasks (one is better on the first, the
        other on the second) it is careful: the interval, which holds the tasks fixed, may then exclude 0 while p is
        above 0.05.
        """
        if self._partial and self._holes(first, second):
            return self._without_holes(first, second)._exchanged("first", "second", metric)
        a, b = (self._scores[name] for name in (first, second))
        moved = []
        for position, (task, labels) in enumerate(self.clusters.items()):
            generator = np.random.default_rng([self._seed, position, 1])
            count, size = count_of(labels), len(labels)
            apart = (b[task][0] - a[task][0]).T / max(1, size)
            pieces = []
            step = max(1, _CHUNK // max(1, size))
            for start in range(0, self._resamples, step):
                swapped = generator.random((min(step, self._resamples - start), count)) < 0.5
                pieces.append(swapped[:, labels].astype(np.float64) @ apart)
            moved.append(np.concatenate(pieces))
        change = np.stack(moved, axis=-1) * self._scale
        left, right = self.matrices[first][0], self.matrices[second][0]
        found = abs(float(metric(left)) - float(metric(right)))
        drawn = np.asarray(metric(left + change)) - np.asarray(metric(right - change))
        # Differences that are equal but for rounding are equal.
        extreme = int((np.abs(drawn) >= found - 1e-9 * max(1.0, self._scale)).sum())
        return (extreme + 1) / (self._resamples + 1)


def _why(shared: int, value: float) -> str:
    if math.isnan(value):
        return "undefined for one of them"
    if shared < ENOUGH_SEEDS:
        return f"{shared} shared {'seed' if shared == 1 else 'seeds'}, and a test of methods needs {ENOUGH_SEEDS}"
    return ""


def _stacked(runs: Sequence[TaskScores]) -> dict[str, Array]:
    """Task to (seeds, stages + 1, pairs)."""
    return {task: np.stack([np.asarray(run[task], dtype=np.float64) for run in runs]) for task in runs[0]}


def _common(a: Mapping[str, Array], b: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
    """Both without the pairs that one of them has no value of."""
    kept = _kept(a, b)
    return {t: v[:, :, kept[t]] for t, v in a.items()}, {t: v[:, :, kept[t]] for t, v in b.items()}


def _kept(a: Mapping[str, Array], b: Mapping[str, Array]) -> dict[str, NDArray[np.bool_]]:
    """Task to which pairs both have values of; a stage without any is no reason to leave pairs out."""
    kept = {}
    for task in a:
        both = np.concatenate([a[task], b[task]])
        scored = ~np.isnan(both).all(axis=2, keepdims=True)
        kept[task] = ~(np.isnan(both) & scored).any(axis=(0, 1))
    return kept


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
