"""The length-controlled win-rate against scikit-learn, the bootstrap and judges whose taste is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from lifealign_bench.results.statistics import Array
from lifealign_bench.scoring.winrate.lengthcontrol import (
    FEWEST,
    at_equal_length,
    length_controlled,
    plain_rate,
    pseudo_values,
)


def by_scikit_learn(values: Array, differences: Array) -> float:
    """The same regression: each pair once as won and once as lost, weighted by its value."""
    features = np.tanh(differences / differences.std(ddof=1))
    model = LogisticRegression(C=1.0, tol=1e-12, max_iter=10_000)
    labels = np.repeat([1, 0], len(values))
    model.fit(np.tile(features, 2)[:, None], labels, sample_weight=np.concatenate([values, 1 - values]))
    return float(1 / (1 + np.exp(-model.intercept_[0])))


def simulated(
    count: int, seed: int, shift: float = 0.3, taste: float = 1.0, better: float = 0.5
) -> tuple[Array, Array]:
    """Values of a judge with a ``taste`` for length, of responses that are longer by ``shift`` deviations."""
    generator = np.random.default_rng(seed)
    differences = np.round(100 * (generator.normal(size=count) + shift))
    chance = 1 / (1 + np.exp(-(better + taste * np.tanh(differences / 100))))
    # Two orders, each with its own verdict.
    return ((generator.random((2, count)) < chance).mean(axis=0), differences)


@pytest.mark.parametrize("count", [5, 24, 200])
def test_it_is_scikit_learns_regression(count: int) -> None:
    values, differences = simulated(count, seed=count)
    estimate = length_controlled(values, differences)
    assert estimate.value == pytest.approx(by_scikit_learn(values, differences), abs=1e-6)
    assert estimate.low <= estimate.value <= estimate.high and not estimate.note


def test_every_pair_left_out_is_scikit_learns_regression_without_it() -> None:
    values, differences = simulated(24, seed=1)
    without = at_equal_length(values, differences, 1.0 - np.eye(24))
    expected = [by_scikit_learn(np.delete(values, i), np.delete(differences, i)) for i in range(24)]
    assert without == pytest.approx(expected, abs=1e-6)


def test_a_weight_of_two_is_the_pair_twice() -> None:
    values, differences = simulated(20, seed=2)
    weights = np.ones((1, 20))
    weights[0, 3] = 2
    twice = by_scikit_learn(np.append(values, values[3]), np.append(differences, differences[3]))
    assert at_equal_length(values, differences, weights)[0] == pytest.approx(twice, abs=1e-6)


@pytest.mark.parametrize("count", [10, 24, 100])
def test_contributions_have_the_estimate_as_their_mean_and_the_jackknifes_error(count: int) -> None:
    values, differences = simulated(count, seed=3)
    found = pseudo_values(values, differences)
    assert found.mean() == pytest.approx(length_controlled(values, differences).value, abs=1e-12)
    without = at_equal_length(values, differences, 1.0 - np.eye(count))
    jackknife = math.sqrt((count - 1) / count * ((without - without.mean()) ** 2).sum())
    assert found.std(ddof=1) / math.sqrt(count) == pytest.approx(jackknife, rel=1e-9)


def test_the_interval_is_about_that_of_fitting_every_draw_anew() -> None:
    for seed in range(4):
        values, differences = simulated(100, seed=seed)
        draws = np.random.default_rng(seed).multinomial(100, np.full(100, 0.01), size=1000).astype(float)
        low, high = np.percentile(at_equal_length(values, differences, draws), [2.5, 97.5])
        estimate = length_controlled(values, differences)
        assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=0.02)


@pytest.mark.parametrize(("shift", "taste", "better"), [(0.3, 1.0, 0.5), (0.0, 0.5, 2.5)])
def test_the_interval_covers_the_truth(shift: float, taste: float, better: float) -> None:
    def sample(count: int, seed: int) -> tuple[Array, Array]:
        return simulated(count, seed, shift, taste, better)

    truth = float(at_equal_length(*sample(50_000, 0), np.ones((1, 50_000)))[0])
    inside = [low <= truth <= high for _, low, high, _ in (length_controlled(*sample(24, s)) for s in range(1, 81))]
    assert sum(inside) >= 70


def test_a_judge_that_only_looks_at_length_says_nothing() -> None:
    half = np.arange(1.0, 51.0) * 7
    differences = np.concatenate([half, -half])
    values = (differences > 0).astype(float)
    assert length_controlled(values, differences).value == pytest.approx(0.5, abs=1e-9)
    # Where more of ours are longer, the plain win-rate takes length for merit; here, with a penalty on what may be put
    # down to length, a part of that is gone.
    longer = np.concatenate([half, -half[::2]])
    values = (longer > 0).astype(float)
    assert plain_rate(values).value == pytest.approx(2 / 3)
    assert 0.5 < length_controlled(values, longer).value < 0.62


def test_a_judge_that_is_blind_to_length_has_its_plain_win_rate() -> None:
    differences = np.concatenate([np.arange(1.0, 51.0), -np.arange(1.0, 51.0)])
    values = np.tile([1.0, 1.0, 0.0, 1.0, 0.5], 20)
    assert plain_rate(values).value == 0.7
    assert length_controlled(values, differences).value == pytest.approx(0.7, abs=0.01)


def test_swapping_the_models_turns_it_round() -> None:
    values, differences = simulated(40, seed=5)
    there, back = length_controlled(values, differences), length_controlled(1 - values, -differences)
    assert there.value == pytest.approx(1 - back.value, abs=1e-9)
    assert (there.low, there.high) == pytest.approx((1 - back.high, 1 - back.low), abs=1e-9)
    assert pseudo_values(values, differences) == pytest.approx(1 - pseudo_values(1 - values, -differences), abs=1e-8)


def test_permuting_the_pairs_permutes_the_contributions() -> None:
    values, differences = simulated(40, seed=6)
    order = np.random.default_rng(0).permutation(40)
    found = pseudo_values(values, differences)
    assert pseudo_values(values[order], differences[order]) == pytest.approx(found[order], abs=1e-8)


def test_the_unit_of_length_does_not_matter() -> None:
    values, differences = simulated(40, seed=7)
    assert length_controlled(values, differences).value == pytest.approx(
        length_controlled(values, 1000 * differences).value, abs=1e-9
    )


def test_all_ties_are_a_half_and_all_wins_are_all() -> None:
    differences = np.arange(24.0) - 5
    for value in (0.0, 0.5, 1.0):
        estimate = length_controlled(np.full(24, value), differences)
        assert (estimate.value, estimate.low, estimate.high) == pytest.approx((value, value, value), abs=1e-9)
        assert pseudo_values(np.full(24, value), differences) == pytest.approx(np.full(24, value), abs=1e-8)


def test_one_loss_among_wins_is_finite_and_unsure() -> None:
    values = np.ones(24)
    values[3] = 0
    estimate = length_controlled(values, np.arange(24.0) - 5)
    assert 0.85 < estimate.value < 1 and estimate.low < 0.9 and estimate.value < estimate.high <= 1
    assert np.isfinite(pseudo_values(values, np.arange(24.0) - 5)).all()


def test_without_a_difference_in_length_it_is_the_plain_win_rate() -> None:
    values = np.array([1.0, 0.0, 0.5, 1.0, 1.0, 0.75])
    estimate = length_controlled(values, np.zeros(6))
    assert estimate[:3] == pytest.approx(plain_rate(values)[:3], abs=1e-9)
    assert pseudo_values(values, np.zeros(6)).mean() == pytest.approx(values.mean(), abs=1e-9)


@pytest.mark.parametrize(
    ("values", "differences", "note"),
    [
        ([], [], "fewer than 5 pairs"),
        ([1.0] * (FEWEST - 1), [1.0, -1.0, 2.0, 0.0], "fewer than 5 pairs"),
        ([1.0, 0.0, 1.0, 0.0, 1.0], [30.0] * 5, "all pairs differ by the same length"),
    ],
)
def test_where_it_says_nothing_it_says_why(values: list[float], differences: list[float], note: str) -> None:
    found = length_controlled(np.array(values), np.array(differences))
    assert math.isnan(found.value) and math.isnan(found.low) and found.note == note
    single = pseudo_values(np.array(values), np.array(differences))
    assert len(single) == len(values) and np.isnan(single).all()


def test_the_plain_interval_is_the_bootstraps() -> None:
    values = np.repeat([1.0, 0.0], [60, 40])
    estimate = plain_rate(values)
    error = math.sqrt(0.6 * 0.4 / 100)
    assert estimate.value == 0.6
    assert (estimate.low, estimate.high) == pytest.approx((0.6 - 1.96 * error, 0.6 + 1.96 * error), abs=0.02)
    assert plain_rate(values) == estimate  # the draws are fixed
    assert math.isnan(plain_rate(np.zeros(0)).value)
