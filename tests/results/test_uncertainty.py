"""The bootstrap over test pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lifealign_bench.results.metrics import METRICS, last, per_task
from lifealign_bench.results.statistics import matrix_intervals, metric_intervals, resampled_matrices

FUNCTIONS = {name: info.function for name, info in METRICS.items() if not info.needs_single}


def scores(tasks: int = 3, pairs: int = 40, seed: int = 1) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {f"t{j}": (generator.random((tasks + 1, pairs)) < 0.7).astype(float) for j in range(tasks)}


def test_draws_have_the_shape_and_the_mean_of_the_scores() -> None:
    values = scores()
    draws = resampled_matrices(values, 100.0)
    assert draws.shape == (1000, 4, 3)
    truth = np.array([array.mean(axis=1) for array in values.values()]).T * 100
    assert np.abs(draws.mean(axis=0) - truth).max() < 1.0


def test_the_interval_of_a_mean_is_the_normal_one() -> None:
    values = {"a": np.vstack([np.zeros(400), np.random.default_rng(0).normal(5, 2, 400)])}
    found = metric_intervals(values, 1.0, {"last": last})["last"]
    mean, error = values["a"][1].mean(), values["a"][1].std(ddof=1) / math.sqrt(400)
    assert found.low == pytest.approx(mean - 1.96 * error, abs=0.25 * error)
    assert found.high == pytest.approx(mean + 1.96 * error, abs=0.25 * error)
    assert found.standard_error == pytest.approx(error, rel=0.1)


def test_stages_share_the_draw() -> None:
    """A pair that is hard is hard after every stage: the difference of two equal rows has no spread at all."""
    row = (np.random.default_rng(3).random(30) < 0.5).astype(float)
    values = {"a": np.vstack([row, row, row]), "b": np.vstack([row, row, row])}
    found = metric_intervals(values, 100.0, FUNCTIONS)
    assert found["last"].standard_error > 1
    assert tuple(found["backward_transfer"]) == (0.0, 0.0, 0.0)
    assert tuple(found["gain"]) == (0.0, 0.0, 0.0)


def test_tasks_are_drawn_apart() -> None:
    row = (np.random.default_rng(3).random(30) < 0.5).astype(float)
    draws = resampled_matrices({"a": np.vstack([row, row]), "b": np.vstack([row, row])})
    assert abs(np.corrcoef(draws[:, 0, 0], draws[:, 0, 1])[0, 1]) < 0.1


def test_the_same_scores_give_the_same_interval_however_often() -> None:
    values = scores()
    assert metric_intervals(values, 100.0, FUNCTIONS) == metric_intervals(values, 100.0, FUNCTIONS)
    assert metric_intervals(values, 100.0, FUNCTIONS, seed=1) != metric_intervals(values, 100.0, FUNCTIONS)


def test_what_is_not_scored_has_no_interval() -> None:
    values = scores()
    for stage, task in ((0, "t1"), (0, "t2"), (1, "t2")):  # --evaluate seen
        values[task][stage] = math.nan
    found = metric_intervals(values, 100.0, FUNCTIONS)
    assert math.isnan(found["forward_transfer"].low) and math.isnan(found["gain"].standard_error)
    assert not math.isnan(found["last"].low)
    empty = metric_intervals({"a": np.zeros((2, 0))}, 1.0, FUNCTIONS)
    assert all(math.isnan(interval.low) for interval in empty.values())


def test_one_nan_spoils_its_cell_in_every_draw() -> None:
    values = scores()
    values["t0"][3, 5] = math.nan
    assert np.isnan(resampled_matrices(values)[:, 3, 0]).all()
    assert math.isnan(metric_intervals(values, 1.0, {"last": last})["last"].low)


def test_large_test_sets_are_drawn_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = scores(pairs=50)
    whole = resampled_matrices(values, resamples=64)
    monkeypatch.setattr("lifealign_bench.results.statistics._CHUNK", 50 * 10)
    assert np.array_equal(whole, resampled_matrices(values, resamples=64))


def test_errors_of_single_tasks_are_those_of_the_paired_difference() -> None:
    values = scores(tasks=2, pairs=60)
    found = matrix_intervals(values, 100.0, per_task)
    difference = values["t0"][2] - values["t0"][1]
    expected = 100 * difference.std(ddof=1) / math.sqrt(60)
    assert found["change"][0].standard_error == pytest.approx(expected, rel=0.1)
    assert math.isnan(found["forgetting"][1].low)  # undefined for the last task


def test_a_partial_score_is_the_mean_over_the_drawn_pairs_that_have_one() -> None:
    full = np.vstack([np.arange(6.0), np.ones(6)])
    holes = full.copy()
    holes[0, 2] = math.nan
    draws = resampled_matrices({"a": holes}, resamples=400, partial=True)
    assert not np.isnan(draws).any() and (draws[:, 1, 0] == 1).all()
    # By hand: the same draws without the third pair.
    generator = np.random.default_rng([0, 0])
    drawn = generator.integers(0, 6, size=(400, 6))
    means = np.array([np.mean([full[0, i] for i in row if i != 2]) for row in drawn])
    middle = np.mean([0, 1, 3, 4, 5])
    expected = middle + (means - middle) * math.sqrt(6 / 5)  # a sample's spread
    assert np.allclose(draws[:, 0, 0], expected.clip(0, 5))
    nothing = {"a": np.vstack([np.full(6, math.nan), np.ones(6)])}
    assert np.isnan(resampled_matrices(nothing, partial=True)[:, 0, 0]).all()


def test_a_partial_score_without_holes_is_as_any_other() -> None:
    values = scores()
    assert np.allclose(resampled_matrices(values, 100.0), resampled_matrices(values, 100.0, partial=True))


def test_intervals_of_a_run_cover_the_truth_nineteen_times_in_twenty() -> None:
    """Preference accuracy of five tasks, 24 pairs each, two stages that share their pairs; 1,000 simulated runs."""
    generator = np.random.default_rng(5)
    chance = np.array([0.9, 0.7, 0.8, 0.6, 0.85])
    kept = 0.8  # of the pairs that were right, after the second stage
    metric = {"last": lambda m: m[..., 1, :].mean(-1), "change": lambda m: (m[..., 1, :] - m[..., 0, :]).mean(-1)}
    truth = {"last": 100 * kept * chance.mean(), "change": 100 * (kept - 1) * chance.mean()}
    hits = dict.fromkeys(metric, 0)
    for _ in range(1000):
        values = {}
        for task, p in enumerate(chance):
            first = generator.random(24) < p
            values[str(task)] = np.vstack([first, first & (generator.random(24) < kept)]).astype(float)
        found = metric_intervals(values, 100.0, metric, resamples=500)
        for name, interval in found.items():
            hits[name] += interval.low <= truth[name] <= interval.high
    assert all(930 <= count <= 970 for count in hits.values()), hits
