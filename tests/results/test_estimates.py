"""Means over seeds: by hand, by properties, and by simulation of what is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t as student

from lifealign_bench.results.metrics import METRICS, forgetting, last
from lifealign_bench.results.paired import PairedRuns
from lifealign_bench.results.statistics import metric_intervals

Run = dict[str, np.ndarray]


def run_of(generator: np.random.Generator, hard: np.ndarray, shift: float) -> Run:
    """Two tasks; pairs differ in how hard they are, runs by ``shift``."""
    return {
        f"t{j}": np.vstack([np.zeros((2, hard.shape[1])), hard[j] + shift + generator.normal(size=hard.shape[1])])
        for j in range(2)
    }


def test_one_seed_has_the_interval_of_a_run() -> None:
    generator = np.random.default_rng(1)
    run = {f"t{j}": (generator.random((3, 30)) < 0.7).astype(float) for j in range(2)}
    for info in METRICS.values():
        if info.needs_single:
            continue
        (alone,) = metric_intervals(run, 100.0, {"m": info.function}).values()
        both = PairedRuns({"a": [run], "b": [run, run]}, 100.0)
        found = both.estimate("a", info.function)
        assert (found.low, found.high, found.standard_error) == alone and found.seeds == 1


def test_seeds_that_agree_on_every_pair_have_the_error_over_pairs_alone() -> None:
    generator = np.random.default_rng(2)
    run = {"t": np.vstack([np.zeros(50), generator.normal(size=50)])}
    found = PairedRuns({"a": [run] * 4}).estimate("a", last)
    error = run["t"][1].std(ddof=1) / math.sqrt(50)
    assert found.standard_error == pytest.approx(error, rel=0.1)
    assert found.high - found.value == pytest.approx(1.96 * error, rel=0.1)


def test_seeds_that_differ_on_every_pair_alike_have_students_interval() -> None:
    levels = [1.0, 2.0, 4.0]
    runs = [{"t": np.vstack([np.zeros(50), np.full(50, level)])} for level in levels]
    found = PairedRuns({"a": runs}).estimate("a", last)
    error = float(np.std(levels, ddof=1)) / math.sqrt(3)
    assert found.value == pytest.approx(7 / 3) and found.standard_error == pytest.approx(error)
    assert found.high - found.value == pytest.approx(student.ppf(0.975, 2) * error)


def test_the_mean_is_that_of_the_runs_metrics_and_not_the_metric_of_the_mean() -> None:
    """Forgetting has a maximum in it: the mean matrix forgets less than the runs."""
    flat = np.ones((4, 10))
    one, two = flat.copy(), flat.copy()
    one[2, :], two[1, :] = 3.0, 3.0
    runs = [{"a": m, "b": flat, "c": flat} for m in (one, two)]
    paired = PairedRuns({"m": runs})
    assert paired.estimate("m", forgetting).value == 1.0
    assert forgetting(paired.matrices["m"].mean(axis=0)) == 0.5


def test_a_partial_score_leaves_out_what_is_missing_and_an_undefined_one_is_nothing() -> None:
    values = np.tile([1.0, 0.0], 10)
    holes = values.copy()
    holes[:2] = math.nan
    run = {"t": np.vstack([values, holes])}
    found = PairedRuns({"a": [run], "b": [{"t": np.vstack([values, values])}]}, 100.0, partial=True)
    assert found.estimate("a", last).value == 50.0 and found.estimate("a", last).low < 50
    difference = found.difference("a", "b", last)
    assert difference.value == 0.0 and difference.p == 1.0
    whole = PairedRuns({"a": [run]}, 100.0).estimate("a", last)
    assert math.isnan(whole.value) and math.isnan(whole.low)


def test_methods_that_share_one_seed_have_a_difference_and_nothing_that_says_how_sure_it_is() -> None:
    level = np.zeros((2, 30))
    runs = [{"t": level + shift} for shift in (0.0, 1.0, 2.0)]
    found = PairedRuns({"a": [{"t": level + 3.0}], "b": runs}).difference("a", "b", last)
    assert found.value == 2.0 and math.isnan(found.low) and math.isnan(found.p)
    assert found.why == "1 shared seed, and a test of methods needs 3" and not found.apart


@pytest.mark.parametrize(("seeds", "most"), [(3, 1.0), (5, 0.97)])
@pytest.mark.parametrize("between", [0.05, 0.3])
def test_the_interval_over_seeds_covers_the_truth(seeds: int, most: float, between: float) -> None:
    """1,000 simulated methods: at least 93 % even for three seeds, 93 to 97 % from five on."""
    generator = np.random.default_rng([20261123, seeds, round(100 * between)])
    covered = apart = 0
    for _ in range(1000):
        hard = generator.normal(size=(2, 30))
        names = "ab" if seeds == 3 else "a"
        runs = {
            name: [run_of(generator, hard, shift) for shift in generator.normal(0, between, seeds)] for name in names
        }
        paired = PairedRuns(runs, resamples=1)
        found = paired.estimate("a", last)
        covered += found.low <= 0 <= found.high
        apart += len(names) > 1 and paired.difference("a", "b", last).apart
    # Two standard errors of a share of 0.95 in 1,000 are 0.014.
    assert 0.93 <= covered / 1000 <= most + 0.007
    assert apart / 1000 <= 0.07
