"""Steps until half of a task is lost, and until it is back."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import CensoredData, ecdf

from lifealign_bench.results.clusters import labels_of
from lifealign_bench.results.halflife import (
    Lasting,
    ScoreCourse,
    crossings,
    kaplan_meier_median,
    limits,
    median_lasting,
)


def course(
    means: Sequence[float], steps: Sequence[int], base: float = 50.0, had: float | None = None, spread: float = 0.0
) -> ScoreCourse:
    """Eight pairs with these means; ``spread``: how far the pairs lie apart at the steps after the first."""
    shape = np.array([-1.0, 1.0] * 4)
    values = np.array([mean + (spread * shape if i else 0 * shape) for i, mean in enumerate(means)])
    end = np.full(8, means[0] if had is None else had)
    return ScoreCourse("a", tuple(steps), values, np.full(8, base), end, np.arange(8))


def lasting(value: float, last: int, spread: float = 0.0) -> Lasting:
    draws = value + spread * np.linspace(-1, 1, 1000) if math.isfinite(value) else np.full(1000, math.inf)
    return Lasting(value, *limits(draws), last, draws)


def test_the_half_life_by_hand() -> None:
    # It had 40 points over the base model: half is 70, which lies three quarters of the way from 85 to 65.
    found = course([90, 85, 65, 52], [0, 4, 8, 16]).until(0.5, falling=True)
    assert (found.value, found.low, found.high) == pytest.approx((7, 7, 7))
    assert found.came and found.said() == "7.0 [7.0, 7.0]"
    assert course([90, 85, 65, 52], [0, 4, 8, 16]).kept == pytest.approx([1, 35 / 40, 15 / 40, 2 / 40])
    # What comes back later was lost all the same; on a step itself it is that step.
    assert course([90, 70, 95], [0, 3, 6]).until(0.5, falling=True).value == 3


def test_what_lasts_to_the_end_is_censored_there() -> None:
    found = course([90, 80, 75], [0, 5, 10]).until(0.5, falling=True)
    assert math.isinf(found.value) and not found.came
    assert found.said() == "> 10 [> 10, > 10]"
    # At 71 of 70 some drawn test sets have lost half and others not: the interval is open on one side.
    near = course([90, 80, 71], [0, 5, 10], spread=8).until(0.5, falling=True)
    assert math.isinf(near.value) and near.low < 10 and math.isinf(near.high)
    assert near.said().endswith(", > 10]")


def test_a_task_that_had_nothing_has_no_half_life() -> None:
    for base in (90.0, 95.0):
        found = course([90, 80], [0, 5], base=base).until(0.5, falling=True)
        assert math.isnan(found.value) and found.said() == "—" and np.isnan(found.draws).all()
    # Above the base model on the whole, and not surely: half of its pairs lie below.
    unsure = ScoreCourse("a", (0, 5), np.zeros((2, 8)), np.zeros(8), np.array([-9.0, 10.0] * 4), np.arange(8))
    assert unsure.gained == 0.5 and not unsure.surely_had
    assert math.isnan(unsure.until(0.5, falling=True).value)


def test_coming_back_by_hand() -> None:
    again = course([52, 60, 90], [0, 1, 2], had=90)
    # It had 40 points; half is at 70, a third of the way from 60 to 90, and nine tenths at 86.
    assert again.until(0.5, falling=False).value == pytest.approx(1 + 1 / 3)
    assert again.until(0.9, falling=False).value == pytest.approx(1 + 26 / 30)
    assert course([80, 90], [0, 1], had=90).until(0.5, falling=False).value == 0
    assert math.isinf(course([52, 60], [0, 1], had=90).until(0.5, falling=False).value)


def test_clusters_are_drawn_whole_and_all_courses_of_a_task_together() -> None:
    generator = np.random.default_rng(1)
    values = np.array([np.full(24, 1.0), generator.random(24), generator.random(24) / 4])
    alone = ScoreCourse("a", (0, 5, 10), values, np.zeros(24), np.ones(24), np.arange(24))
    later = ScoreCourse("a", (0, 5, 10), values, np.zeros(24), np.ones(24), np.arange(24), position=1)
    assert not np.array_equal(alone.until(0.5, falling=True).draws, later.until(0.5, falling=True).draws)
    repeated = np.repeat(values, 3, axis=1)
    triples = ScoreCourse("a", (0, 5, 10), repeated, np.zeros(72), np.ones(72), labels_of([i // 3 for i in range(72)]))
    # Every pair thrice in one cluster is no more evidence than every pair once.
    assert triples.until(0.5, falling=True).draws == pytest.approx(alone.until(0.5, falling=True).draws)


def test_crossings_of_many_rows() -> None:
    kept = np.array([[1, 0.4, 0.2], [1, 0.9, 0.6], [0.3, 0.9, 0.9], [math.nan] * 3])
    found = crossings((0, 6, 12), kept, 0.5, falling=True)
    assert found[0] == pytest.approx(5) and math.isinf(found[1]) and found[2] == 0 and math.isnan(found[3])


def test_the_median_of_kaplan_and_meier() -> None:
    # Four lost and one that was looked at up to 3 alone: 4/5, then 2 of 3 left of it, then 1 of 2: 0.267 at 7.
    assert kaplan_meier_median([2, 3, 5, 7, 9], [True, False, True, True, True]) == 7
    assert kaplan_meier_median([2, 4, 6], [True, True, True]) == 4
    assert kaplan_meier_median([2, 4], [True, True]) == 2
    assert math.isinf(kaplan_meier_median([2, 4, 4, 4], [True, False, False, False]))
    generator = np.random.default_rng(0)
    for _ in range(20):
        times, came = generator.integers(1, 9, size=12), generator.random(12) < 0.7
        survival = ecdf(CensoredData(uncensored=times[came], right=times[~came])).sf
        below = survival.quantiles[survival.probabilities <= 0.5 + 1e-12]
        assert kaplan_meier_median(times.tolist(), came.tolist()) == (below[0] if len(below) else math.inf)


def test_the_median_over_stages() -> None:
    found = median_lasting({2: [lasting(4, 20)], 3: [lasting(8, 20), lasting(math.inf, 20)], 4: [lasting(math.nan, 9)]})
    assert found is not None and found.value == 8 and found.last == 20
    assert found.low == 4 and found.high == 8  # a draw of stage 3 alone has its median at 8
    assert median_lasting({2: [lasting(math.nan, 9)]}) is None
    # One stage alone shows the test pairs' spread and nothing of other stages.
    alone = median_lasting({2: [lasting(10, 20, spread=2)]})
    assert (
        alone is not None and alone.low == pytest.approx(8.1, abs=0.05) and alone.high == pytest.approx(11.9, abs=0.05)
    )
