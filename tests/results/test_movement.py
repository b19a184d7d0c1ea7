"""What a mean hides, by hand."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lifealign_bench.results.history import by_quartile, moved, repetition

MARGINS = arrays(np.float64, st.integers(1, 30), elements=st.floats(-5, 5))


def test_pairs_that_changed_sides() -> None:
    found = moved(np.array([1.0, 1.0, -1.0, -1.0, 0.0, 2.0]), np.array([0.5, -0.5, 0.5, -0.5, 1.0, 0.0]))
    # Right before: 1, 2, 6. Lost: 2, and 6, which is a tie now. Won: 3, and 5, which was a tie.
    assert (found.pairs, found.right_before, found.lost, found.won, found.right_after) == (6, 3, 2, 2, 3)


@given(MARGINS, st.integers(0, 2**31))
def test_what_is_right_at_the_end_is_what_was_right_less_losses_and_more_wins(before: np.ndarray, seed: int) -> None:
    after = np.random.default_rng(seed).normal(size=len(before))
    there, back = moved(before, after), moved(after, before)
    assert there.right_after == there.right_before - there.lost + there.won
    assert (back.lost, back.won) == (there.won, there.lost)
    assert moved(before, before).lost == moved(before, before).won == 0


@pytest.mark.parametrize("after", [np.array([1.0]), np.array([1.0, math.nan])])
def test_margins_of_other_pairs_are_refused(after: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"missing|pairs"):
        moved(np.array([1.0, 2.0]), after)


def test_quartiles_by_hand() -> None:
    base = np.array([4.0, 1.0, 2.0, 3.0, 8.0, 5.0, 6.0, 7.0])
    correct = np.array([0.0, 0.0, 1.0, 1.0, 1.0, 0.5, 1.0, 1.0])
    found = by_quartile(base, correct)
    assert [(s.low, s.high, s.pairs) for s in found] == [(1, 2, 2), (3, 4, 2), (5, 6, 2), (7, 8, 2)]
    assert [s.accuracy for s in found] == [50, 50, 75, 100]
    assert found[0].standard_error == pytest.approx(50)  # of 0 and 1: s = 0.707, / sqrt(2), in percent
    assert found[3].standard_error == 0


@given(MARGINS)
def test_quartiles_share_all_pairs(base: np.ndarray) -> None:
    correct = (base > 0).astype(float)
    found = by_quartile(base, correct)
    assert sum(s.pairs for s in found) == len(base)
    assert max(s.pairs for s in found) - min(s.pairs for s in found) <= 1
    assert sum(s.accuracy * s.pairs for s in found) == pytest.approx(100 * correct.sum())
    assert all(a.high <= b.low for a, b in pairwise(found))


def test_repetition() -> None:
    assert repetition("a b c d e") == 0
    assert repetition("a b c d a b c d") == pytest.approx(1 / 5)  # abcd bcda cdab dabc abcd
    assert repetition("no no no no no no no") == pytest.approx(3 / 4)
    assert math.isnan(repetition("")) and math.isnan(repetition("a b c d"))
