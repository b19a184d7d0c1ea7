"""Standard errors and intervals, against textbook values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifealign_bench.results.statistics import mean_and_se, wilson_interval

NAN = float("nan")


def test_mean_and_se_by_hand() -> None:
    # deviations -3 -1 1 3: variance 20 / 3 with ddof 1, over 4
    mean, se = mean_and_se([1, 3, 5, 7])
    assert mean == 4
    assert se == pytest.approx(math.sqrt(20 / 3 / 4))


def test_mean_and_se_of_little() -> None:
    mean, se = mean_and_se([5.0])
    assert mean == 5
    assert math.isnan(se)
    assert all(math.isnan(v) for v in mean_and_se([]))
    assert all(math.isnan(v) for v in mean_and_se([1.0, NAN, 3.0]))
    assert mean_and_se(np.full(3, 2.0)) == (2.0, 0.0)


def test_wilson_known_values() -> None:
    # Newcombe 1998, table I: 81 of 263 and 15 of 148
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)


def test_wilson_at_the_ends() -> None:
    z2 = 1.959963984540054**2
    low, high = wilson_interval(0, 20)
    assert low == 0
    assert high == pytest.approx(z2 / (20 + z2))
    low, high = wilson_interval(20, 20)
    assert low == pytest.approx(20 / (20 + z2))
    assert high == 1
    assert all(math.isnan(v) for v in wilson_interval(0, 0))


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_is_symmetric(case: tuple[int, int]) -> None:
    successes, n = case
    low, high = wilson_interval(successes, n)
    assert 0 <= low <= successes / n <= high <= 1
    assert wilson_interval(n - successes, n) == pytest.approx((1 - high, 1 - low))
    wider = wilson_interval(successes, n, confidence=0.99)
    assert wider[0] <= low
    assert high <= wider[1]


@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5), (0, -1), (NAN, 5)])
def test_wilson_refuses_impossible_counts(successes: float, n: int) -> None:
    with pytest.raises(ValueError, match="successes"):
        wilson_interval(successes, n)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_confidence_is_a_share(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        wilson_interval(1, 2, confidence)
