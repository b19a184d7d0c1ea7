"""Paired differences: by hand, by properties, and on simulated data whose truth is known."""

from __future__ import annotations

import math
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifealign_bench.results.metrics import METRICS, backward_transfer, last
from lifealign_bench.results.paired import Difference, PairedRuns, holm

FUNCTIONS = {name: info.function for name, info in METRICS.items() if not info.needs_single}


def paired_difference(first: Any, second: Any, metric: Any, scale: float = 1.0, **settings: Any) -> Difference:
    return PairedRuns({"first": first, "second": second}, scale, **settings).difference("first", "second", metric)


def scores(seed: int, pairs: int = 30, tasks: int = 2, level: float = 0.7) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {f"t{j}": (generator.random((tasks + 1, pairs)) < level).astype(float) for j in range(tasks)}


def test_the_test_equals_all_exchanges_counted() -> None:
    a = {"t": np.array([[0.0] * 6, [3.0, 2.0, 4.0, 1.0, 2.5, -0.5]])}
    b = {"t": np.array([[0.0] * 6, [1.0, 1.5, 1.0, 1.5, 1.0, 0.0]])}
    difference = a["t"][1] - b["t"][1]
    found = paired_difference([a], [b], last, resamples=20000)
    assert found.value == pytest.approx(difference.mean())
    signs = np.array(list(product((1, -1), repeat=6)))
    exact = np.mean(np.abs((signs * difference).mean(axis=1)) >= abs(difference.mean()) - 1e-12)
    assert found.p == pytest.approx(exact, abs=0.015)


def test_the_interval_is_that_of_the_mean_of_differences() -> None:
    generator = np.random.default_rng(0)
    hard = generator.normal(0, 5, 400)  # shared by both methods: it must not widen the interval
    a = {"t": np.vstack([np.zeros(400), hard + generator.normal(1, 1, 400)])}
    b = {"t": np.vstack([np.zeros(400), hard + generator.normal(0, 1, 400)])}
    found = paired_difference([a], [b], last)
    difference = a["t"][1] - b["t"][1]
    error = difference.std(ddof=1) / 20
    assert found.low == pytest.approx(difference.mean() - 1.96 * error, abs=0.25 * error)
    assert found.high == pytest.approx(difference.mean() + 1.96 * error, abs=0.25 * error)
    assert found.p < 0.001


def test_a_run_does_not_differ_from_itself() -> None:
    for metric in FUNCTIONS.values():
        found = paired_difference([scores(1)], [scores(1)], metric, 100.0, resamples=50)
        assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_exchanging_the_methods_turns_the_sign() -> None:
    there = paired_difference([scores(1)], [scores(2)], backward_transfer, 100.0)
    back = paired_difference([scores(2)], [scores(1)], backward_transfer, 100.0)
    assert there.value == -back.value and there.p == back.p
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))


def test_seeds_widen_the_interval() -> None:
    base = scores(1, pairs=200)
    steady = paired_difference([base, base], [base, base], last, 100.0, resamples=500)
    moving = [{task: array * 0 + level for task, array in base.items()} for level in (0.4, 0.8)]
    found = paired_difference(moving, [base, base], last, 100.0, resamples=500)
    assert steady.high == steady.low == 0
    assert found.high - found.low > 30 and found.seeds == (2, 2)


def test_other_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="same pairs"):
        paired_difference([scores(1)], [scores(1, pairs=29)], last)
    with pytest.raises(ValueError, match="run of each"):
        paired_difference([], [scores(1)], last)


def test_an_undefined_metric_has_no_difference() -> None:
    one = {"t0": scores(1)["t0"][:2]}
    found = paired_difference([one], [one], backward_transfer)
    assert math.isnan(found.value) and math.isnan(found.p)


def test_a_null_difference_is_called_significant_one_time_in_twenty() -> None:
    """1,000 comparisons of two methods that are equally good; pairs differ in how hard they are."""
    generator = np.random.default_rng(20261122)
    rejected = {"margins": 0, "right or wrong": 0}
    for _ in range(1000):
        hard = generator.normal(0.5, 1, size=(2, 1, 60))
        a, b = ({f"t{j}": hard[j] + generator.normal(size=(3, 60)) for j in range(2)} for _ in ("first", "second"))
        for kind in rejected:
            left, right = (
                {task: array if kind == "margins" else (array > 0).astype(float) for task, array in side.items()}
                for side in (a, b)
            )
            rejected[kind] += paired_difference([left], [right], last, resamples=99).p <= 0.05
    # Two standard errors of a share of 0.05 in 1,000 are 0.014. Equal differences count against a significant one:
    # with scores of 0 and 1, which have many of them, the test is careful.
    assert 36 <= rejected["margins"] <= 64
    assert 10 <= rejected["right or wrong"] <= 64


def test_the_interval_covers_the_truth_nineteen_times_in_twenty() -> None:
    generator = np.random.default_rng(20261123)
    covered = 0
    for _ in range(1000):
        level = np.clip(generator.beta(4, 2, size=100), 0, 0.9)
        a, b = ({"t": np.vstack([np.zeros(100), generator.random(100) < level + gain])} for gain in (0.1, 0.0))
        found = paired_difference([a], [b], last, 100.0, resamples=200)
        covered += found.low <= 10 <= found.high
    assert 925 <= covered <= 975


def test_holm_by_hand() -> None:
    # Smallest times 4, next times 3, and never below one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    found = holm([0.01, math.nan, 0.02])
    assert found[0] == pytest.approx(0.02) and math.isnan(found[1]) and found[2] == pytest.approx(0.02)
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_keeps_the_order_and_never_helps(p_values: list[float]) -> None:
    found = holm(p_values)
    assert all(p <= c <= 1 for p, c in zip(p_values, found, strict=True))
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    assert all(found[i] <= found[j] for i, j in pairwise(order))


def test_pairs_without_a_judgement_are_left_out_of_both_methods() -> None:
    """A judge gave no answer for a pair of one method: the comparison is over the pairs that both have."""
    generator = np.random.default_rng(0)
    a, b = ({"t": generator.random((3, 20))} for _ in range(2))
    a["t"][2, 4] = b["t"][1, 7] = np.nan
    # Nothing was scored after the first stage: that is no hole in the pairs.
    a["t"][0] = b["t"][0] = np.nan
    whole = [np.delete(side["t"], [4, 7], axis=1) for side in (a, b)]

    def metric(matrices: np.ndarray[Any, np.dtype[np.float64]]) -> Any:
        return matrices[..., 2, :].mean(axis=-1)

    found = paired_difference([a], [b], metric, partial=True)
    assert found.pairs == 18 and found.value == pytest.approx(whole[0][2].mean() - whole[1][2].mean())
    assert found == paired_difference([{"t": whole[0]}], [{"t": whole[1]}], metric)
    assert np.isnan(paired_difference([a], [b], metric).value)
