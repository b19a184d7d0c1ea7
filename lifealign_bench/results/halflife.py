"""How many optimizer steps a task lasts while others are trained, and how many bring it back.

What a task *had* is how far its score lay above the base model's (preference accuracy and win rate: above 50, the
preference margin: above 0). The share of it that is *kept* begins at 1. The **half-life** is the number of steps after
which it first is at 1/2, with straight lines between the steps at which the model was asked. A task that keeps more up
to the last step is *censored* there: all that is known is that it lasts longer. The same holds the other way round for
the steps that bring a lost task back.

The interval of one task is that of a bootstrap over its test pairs, clusters drawn whole and the same draw at all
steps. Over several (task, stage) pairs the median is that of Kaplan and Meier (1958), which uses what censored ones
say. Its interval draws whole stages with replacement, since the tasks that a stage wears down have it in common, and in
them the test pairs.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from lifealign_bench.results.clusters import Labels, count_of
from lifealign_bench.results.statistics import CONFIDENCE, RESAMPLES, Array, pair_weights, weighted_means, widened

HALF = 0.5
_TAIL = (1 - CONFIDENCE) / 2


class Lasting(NamedTuple):
    """Optimizer steps until something has come, with their 95 % interval.

    Args:
        value, low, high: infinite where it has not come by the ``last`` step; NaN where it is not defined.
        last: the last step at which the model was asked.
        draws: (D,) likewise, of drawn test sets.
    """

    value: float
    low: float
    high: float
    last: int
    draws: Array

    @property
    def came(self) -> bool:
        """Whether it has come by the last step; else it is censored."""
        return math.isfinite(self.value)

    def said(self) -> str:
        """``12.5 [9.0, > 40]``; a dash where it is not defined."""
        if math.isnan(self.value):
            return "—"
        ends = [f"> {self.last}" if math.isinf(end) else f"{end:.1f}" for end in (self.value, self.low, self.high)]
        return f"{ends[0]} [{ends[1]}, {ends[2]}]"


@dataclass(frozen=True)
class ScoreCourse:
    """A score of one task's P test pairs over the steps of a training.

    Args:
        task: its name.
        steps: (T,) at which the model was asked, rising; the first is 0.
        values: (T, P).
        base, had: (P,) of the base model, and of the model that had learned the task.
        labels: (P,) the clusters of the pairs.
        position: of the task in the stream: all courses of a task are drawn with the same test pairs.
        scale: factor from a mean to the score's unit.
    """

    task: str
    steps: tuple[int, ...]
    values: Array
    base: Array
    had: Array
    labels: Labels
    position: int = 0
    scale: float = 1.0

    @property
    def gained(self) -> float:
        """What the task had, in the score's unit."""
        return float(self.had.mean() - self.base.mean()) * self.scale

    @cached_property
    def kept(self) -> Array:
        """(T,) the share of it at each step; NaN where it had nothing."""
        means = self.values.mean(axis=1)[None]
        return np.asarray(_share(means, np.array([[self.had.mean()]]), np.array([[self.base.mean()]]))[0])

    @property
    def surely_had(self) -> bool:
        """Whether the 95 % interval of what it had lies above 0: of nothing no half can be lost."""
        if count_of(self.labels) < 2:
            return self.gained > 0
        had, base = self._drawn[:, -1], self._drawn[:, -2]
        return self.gained > 0 and float((had <= base).mean()) <= _TAIL

    def until(self, level: float, *, falling: bool) -> Lasting:
        """Steps until the share that is kept first is at ``level``, from above (``falling``) or from below."""
        value = float(crossings(self.steps, self.kept[None], level, falling=falling)[0])
        drawn = _share(self._drawn[:, :-2], self._drawn[:, -1:], self._drawn[:, -2:-1])
        draws = crossings(self.steps, drawn, level, falling=falling)
        if not self.surely_had:
            return Lasting(math.nan, math.nan, math.nan, self.steps[-1], np.full(len(draws), math.nan))
        return Lasting(value, *limits(draws), self.steps[-1], draws)

    @cached_property
    def _drawn(self) -> Array:
        """(D, T + 2): means over drawn test pairs at each step, of the base model, and of the one that had learned."""
        rows = np.vstack([self.values, self.base, self.had])
        weights = pair_weights(rows.shape[1], self.position, RESAMPLES, 0, self.labels)
        return widened(np.concatenate([weighted_means(w, rows) for w in weights]), rows, items=count_of(self.labels))


def crossings(steps: Sequence[int], kept: Array, level: float, *, falling: bool) -> Array:
    """(D,) where rows (D, T) of values at (T,) steps first reach a level, straight lines between; infinite where they
    do not, NaN where a row has no value."""
    at = np.asarray(steps, dtype=np.float64)
    reached = kept <= level if falling else kept >= level
    first = reached.argmax(axis=1)
    rows = np.arange(len(kept))
    before = np.maximum(first - 1, 0)
    high, low = kept[rows, before], kept[rows, first]
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.where(first > 0, (high - level) / (high - low), 1.0)
    found = at[before] + part * (at[first] - at[before])
    found = np.where(reached.any(axis=1), found, math.inf)
    return np.where(np.isnan(kept).any(axis=1), math.nan, found)


def limits(draws: Array) -> tuple[float, float]:
    """The 95 % percentile interval of draws, of which some may be infinite; those that are undefined are left out."""
    known = draws[~np.isnan(draws)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.quantile(known, [_TAIL, 1 - _TAIL], method="inverted_cdf")  # between infinite ones is no number
    return float(low), float(high)


def kaplan_meier_median(times: Sequence[float], came: Sequence[bool]) -> float:
    """The first time at which half or fewer still last, by the product-limit estimate; infinite where more than half
    last to the end.

    Args:
        times: at which something came, or up to which it had not.
        came: which of the two; of equal times those that came are taken first.
    """
    at, events = np.asarray(times, dtype=np.float64), np.asarray(came, dtype=bool)
    left = 1.0
    for time in np.unique(at[events]):
        left *= 1 - float((events & (at == time)).sum()) / float((at >= time).sum())
        if left <= HALF + 1e-12:
            return float(time)
    return math.inf


def median_lasting(found: Mapping[Hashable, Sequence[Lasting]]) -> Lasting | None:
    """The median over several (task, stage) pairs; None where there is none.

    Args:
        found: a stage, whatever names it, to what was found of its tasks; what is undefined is left out.
    """
    stages = [own for all_own in found.values() if (own := [one for one in all_own if not math.isnan(one.value)])]
    if not stages:
        return None
    generator = np.random.default_rng(0)
    picks = generator.integers(0, len(stages), size=(len(stages[0][0].draws), len(stages)))
    medians = []
    for number, picked in enumerate(picks):
        drawn = [(one.draws[number], one.last) for place in picked for one in stages[place]]
        medians.append(_median([(value, last) for value, last in drawn if not math.isnan(value)]))
    whole = [(one.value, one.last) for own in stages for one in own]
    draws = np.array(medians)
    return Lasting(_median(whole), *limits(draws), max(last for _, last in whole), draws)


def _median(found: Sequence[tuple[float, int]]) -> float:
    times = [min(value, last) for value, last in found]
    return kaplan_meier_median(times, [math.isfinite(value) for value, _ in found]) if found else math.nan


def _share(means: Array, had: Array, base: Array) -> Array:
    """(D, T) shares that are kept; NaN in rows that had nothing."""
    gained = had - base
    return np.asarray(np.divide(means - base, gained, out=np.full(means.shape, math.nan), where=gained > 0))
