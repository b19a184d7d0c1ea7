"""P-values and intervals over seeds and items: their parts by hand, and what they promise on simulated boards."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from benchmarks.simulate_boards import Truth, board, coverage, false_claims, last, names, power_of, realised, unequal
from lifealign_bench.results.clusters import alone, cluster_sums, count_of, independent, labels_of
from lifealign_bench.results.contributions import contributions, slopes
from lifealign_bench.results.inference import critical_ratio, p_value, seeds_share
from lifealign_bench.results.metrics import METRICS, average_performance, backward_transfer, forgetting
from lifealign_bench.results.paired import PairedRuns
from lifealign_bench.results.power import Components, Design, detectable, needed_items, needed_seeds, power
from lifealign_bench.results.ranksets import rank_sets, undecided
from lifealign_bench.results.spread import Parts, spread_of_differences
from lifealign_bench.results.statistics import metric_intervals

Array = np.ndarray


# Clusters


def test_clusters_by_hand() -> None:
    labels = labels_of(["x", "y", "x", "z"])
    assert labels.tolist() == [0, 1, 0, 2] and count_of(labels) == 3
    assert independent({"a": labels, "b": alone({"b": 5})["b"], "c": labels_of([])}) == 8
    values = np.array([[1.0, 2.0, 4.0, 8.0], [0.0, 1.0, 0.0, 1.0]])
    assert cluster_sums(values, labels).tolist() == [[5.0, 2.0, 8.0], [0.0, 1.0, 1.0]]
    assert cluster_sums(values, np.array([3, 1, 0, 2])).tolist() == [[4.0, 2.0, 8.0, 1.0], [0.0, 1.0, 1.0, 0.0]]


def test_a_pair_that_stands_there_twice_is_no_more_evidence() -> None:
    """Every pair doubled, with its twin as its cluster: errors and intervals stay, where by pair they would shrink."""
    rng = np.random.default_rng(3)
    single = [{"t": (rng.random((2, 40)) < 0.7).astype(float)} for _ in range(6)]
    double = [{"t": np.repeat(run["t"], 2, axis=1)} for run in single]
    twins = {"t": np.repeat(np.arange(40), 2)}

    def found(runs: list[dict[str, Array]], clusters: dict[str, Array] | None) -> list[float]:
        paired = PairedRuns({"a": runs[:3], "b": runs[3:]}, 100.0, clusters=clusters, bounded=True)
        alone_ = PairedRuns({"a": runs[:1], "b": runs[3:4]}, 100.0, clusters=clusters, bounded=True)
        d, own, one = paired.difference("a", "b", last), paired.estimate("a", last), alone_.estimate("a", last)
        both = alone_.difference("a", "b", last)
        return [d.value, d.standard_error, d.low, d.p, own.low, own.standard_error, one.low, one.standard_error, both.p]

    assert found(double, twins) == pytest.approx(found(single, None), rel=1e-9)
    assert found(double, None)[1] < 0.85 * found(single, None)[1]


# Contributions


def test_contributions_are_what_leaving_out_an_item_changes() -> None:
    """The jackknife's variance, by hand, of a metric that is linear in the cells."""
    rng = np.random.default_rng(5)
    run = {f"t{j}": rng.normal(size=(3, 12)) for j in range(2)}
    clusters = {"t0": np.arange(12) // 2, "t1": np.arange(12) // 3}
    matrix = np.stack([array.mean(axis=1) for array in run.values()], axis=-1)
    found = contributions({t: a[None] for t, a in run.items()}, matrix[None], backward_transfer, clusters, 1.0, False)
    variance = 0.0
    for column, (task, labels) in enumerate(clusters.items()):
        count = count_of(labels)
        without = []
        for cluster in range(count):
            changed = matrix.copy()
            changed[:, column] = run[task][:, labels != cluster].mean(axis=1)
            without.append(backward_transfer(changed))
        variance += (count - 1) / count * float(((np.array(without) - np.mean(without)) ** 2).sum())
    assert float((found.parts**2).sum()) == pytest.approx(variance)
    assert (
        found.values.tolist() == pytest.approx([backward_transfer(matrix)]) and found.degrees == 5
    )  # the last task has no later stage


@pytest.mark.parametrize("name", [name for name, info in METRICS.items() if not info.needs_single])
def test_slopes_give_every_metric_back(name: str) -> None:
    """All metrics are sums of cells times slopes; where a maximum lies between two cells, it rises with either."""
    matrices = np.random.default_rng(7).random((3, 5, 4)) * 100
    found = slopes(matrices, METRICS[name].function)
    assert (found * matrices).sum(axis=(1, 2)) == pytest.approx(METRICS[name].function(matrices))


def test_cells_that_were_not_evaluated_have_no_slope() -> None:
    matrices = np.random.default_rng(7).random((2, 4, 3))
    matrices[:, 0] = math.nan
    assert (slopes(matrices, average_performance)[:, 0] == 0).all()
    assert not np.isnan(slopes(matrices, forgetting)).any()


# The distribution


@pytest.mark.parametrize("degrees", [1, 2, 4, 9])
@pytest.mark.parametrize("ratio", [0.5, 2.0, 8.0])
def test_all_from_the_seeds_is_students_and_nothing_from_them_is_the_items(degrees: int, ratio: float) -> None:
    of_seeds = float(p_value(np.array(ratio), np.array(1.0), degrees, 80))
    assert of_seeds == pytest.approx(2 * student.sf(ratio, degrees), rel=1e-3)
    of_items = float(p_value(np.array(ratio), np.array(0.0), degrees, 23))
    assert of_items == pytest.approx(2 * student.sf(ratio, 23), rel=1e-9)


@given(st.floats(0, 1), st.integers(1, 12), st.integers(5, 200), st.floats(0.001, 0.4))
def test_the_critical_ratio_is_where_the_p_value_is_the_level(
    share: float, degrees: int, items: int, level: float
) -> None:
    ratio = critical_ratio(np.array(share), degrees, items, level)
    assert float(p_value(ratio, np.array(share), degrees, items)) == pytest.approx(level, rel=1e-9)


def test_a_ratio_is_as_likely_as_drawing_it_says() -> None:
    rng = np.random.default_rng(11)
    share, degrees = 0.6, 2
    drawn = rng.normal(size=200_000) / np.sqrt(share * rng.chisquare(degrees, 200_000) / degrees + 1 - share)
    for ratio in (1.5, 2.5, 4.0):
        found = float(p_value(np.array(ratio), np.array(share), degrees, 10**6))
        assert found == pytest.approx(float((np.abs(drawn) > ratio).mean()), abs=0.003)


def test_the_seeds_share_is_the_tables_where_that_is_more() -> None:
    parts = Parts(np.array([1.0, 9.0]), np.array([4.0, 4.0]), np.zeros(2), np.zeros(2), True, 2, 50)
    common = 5.0 * (1 + 4 / (2 * 1))
    assert seeds_share(parts, 2).tolist() == pytest.approx([common / (common + 4), common / (common + 4)])
    many = seeds_share(parts, 1000)
    assert many[0] == pytest.approx(5 / 9, rel=0.01) and many[1] == pytest.approx(9 / 13)


# What never happens


def three_seeds(values: list[list[float]]) -> list[dict[str, Array]]:
    return [{"t": np.array([row])} for row in values]


def test_seeds_that_agree_by_chance_have_an_interval() -> None:
    """Each seed answers eight of twelve; each time other ones in the same number, or the same."""
    right = [[1.0] * 8 + [0.0] * 4] * 3
    other = [list(np.roll(right[0], 4 * i)) for i in range(3)]
    for runs in (right, other):
        found = PairedRuns({"a": three_seeds(runs)}, 100.0, bounded=True).estimate("a", last)
        assert found.value == pytest.approx(200 / 3) and found.standard_error > 5
        assert found.low < 60 and found.high > 75


def test_all_right_is_not_sure_of_being_all_right() -> None:
    ones = [[1.0] * 8] * 3
    (one,) = metric_intervals(three_seeds(ones)[0], 100.0, {"m": last}, bounded=True).values()
    assert 55 < one.low < 80 and one.high == pytest.approx(100) and one.standard_error > 0
    paired = PairedRuns({"a": three_seeds(ones), "b": three_seeds(ones)}, 100.0, bounded=True)
    found = paired.estimate("a", last)
    assert 50 < found.low < 80 and found.high >= 100
    difference = paired.difference("a", "b", last)
    assert difference.low < -5 and difference.high > 5 and difference.p == 1
    # More of them make it surer.
    many = PairedRuns({"a": three_seeds([[1.0] * 800] * 3)}, 100.0, bounded=True).estimate("a", last)
    assert 99 < many.low < 100


def test_a_task_of_one_cluster_says_nothing_of_its_spread() -> None:
    runs = three_seeds([[1.0, 0.0, 1.0, 1.0]] * 3)
    found = PairedRuns({"a": runs}, 100.0, clusters={"t": np.zeros(4, dtype=np.intp)}, bounded=True).estimate("a", last)
    assert found.value == 75 and math.isnan(found.low) and math.isnan(found.standard_error)


def test_unequal_spreads_widen_their_own_comparisons_alone() -> None:
    truth = Truth(5, 1.0, wild=15.0, methods=4)
    wide: list[float] = []
    narrow: list[float] = []
    for draw in range(20):
        paired = board(truth, np.random.default_rng(draw))
        for (a, b), d in zip(
            combinations(names(4), 2), paired.differences(list(combinations(names(4), 2)), last), strict=True
        ):
            (wide if "m3" in (a, b) else narrow).append(d.standard_error)
    assert np.median(wide) > 1.5 * np.median(narrow)


def test_many_differences_at_once_are_those_of_two_each() -> None:
    """Their values, errors and seeds; the p-value is careful with the seeds' share of the whole table."""
    paired = board(Truth(3, 4.0, methods=5), np.random.default_rng(1))
    pairs = list(combinations(names(5), 2))
    together = paired.differences(pairs, last)
    for (a, b), one in zip(pairs, together, strict=True):
        own = paired.difference(a, b, last)
        assert (one.value, one.standard_error, one.shared) == (own.value, own.standard_error, own.shared)
        turned = paired.difference(b, a, last)
        assert own.turned() == turned


def test_variances_add_up_as_drawn() -> None:
    """Seeds, items and what is left, of a table with nothing else in it."""
    rng = np.random.default_rng(2)
    found = []
    for _ in range(400):
        seeds, items, rest = rng.normal(0, 2, 5), rng.normal(0, 6, 50), rng.normal(0, 10, (5, 50))
        runs = [{"t": (seeds[s] + items + rest[s])[None]} for s in range(5)]
        nothing = [{"t": np.zeros((1, 50))} for _ in range(5)]
        paired = PairedRuns({"a": runs, "b": nothing})
        parts = spread_of_differences([paired.contributions(n, last) for n in "ab"], [(0, 1)])
        found.append([float(x[0]) for x in (parts.seeds, parts.items, parts.rest)])
    seeds_part, items_part, rest_part = np.mean(found, axis=0)
    assert rest_part == pytest.approx(100 / 250, rel=0.05)
    assert items_part == pytest.approx(36 / 50 + 100 / 250, rel=0.05)
    assert seeds_part == pytest.approx(4 / 5 + 100 / 250, rel=0.1)


# Rank sets


def test_rank_sets_by_hand() -> None:
    sets = rank_sets(["a", "b", "c", "d"], [("a", "c"), ("a", "d"), ("b", "d")])
    assert {name: str(found) for name, found in sets.items()} == {"a": "1-2", "b": "1-3", "c": "2-4", "d": "3-4"}
    assert undecided(sets) == ("a", "b") and sets["d"].better == ("a", "b") and sets["a"].worse == ("c", "d")
    assert str(rank_sets(["a"], [])["a"]) == "1"


@given(st.lists(st.floats(0, 100), min_size=1, max_size=8), st.data())
def test_rank_sets_hold_the_true_ranks_whatever_is_claimed_rightly(truth: list[float], data: st.DataObject) -> None:
    methods = [f"m{i}" for i in range(len(truth))]
    true = [(a, b) for a in methods for b in methods if truth[int(a[1:])] > truth[int(b[1:])]]
    claimed = [pair for pair in true if data.draw(st.booleans())]
    for name, found in rank_sets(methods, claimed).items():
        own = truth[int(name[1:])]
        rank = 1 + sum(other > own for other in truth)
        assert found.best <= rank <= found.worst


# Planning

VARIANCES = Components(seeds=16.0, items=900.0, rest=900.0)


def test_power_grows_with_all_that_it_should_grow_with() -> None:
    design = Design(5, 100, 5, 10, 1)
    assert power(0.0, VARIANCES, design) == pytest.approx(0.05, abs=0.02)
    chances = [power(difference, VARIANCES, design) for difference in (2.0, 5.0, 10.0, 30.0)]
    assert chances == sorted(chances) and chances[-1] > 0.99
    more = (Design(9, 100, 5, 10, 1), Design(5, 300, 5, 10, 1))
    assert all(power(8.0, VARIANCES, d) > power(8.0, VARIANCES, design) for d in more)
    assert power(8.0, VARIANCES, Design(5, 100, 5, 10, 45)) < power(8.0, VARIANCES, design)
    assert power(50.0, VARIANCES, Design(2, 100, 5, 10, 1)) == 0 and detectable(VARIANCES, Design(2, 100)) == math.inf


def test_what_is_needed_is_just_enough() -> None:
    design = Design(10, 100, 5, 10, 9)
    wanted = detectable(VARIANCES, design)
    assert power(wanted, VARIANCES, design) == pytest.approx(0.8, abs=1e-4)
    items = needed_items(6.0, VARIANCES, design)
    assert items is not None
    assert (
        power(6.0, VARIANCES, Design(10, items, 5, 10, 9))
        >= 0.8
        > power(6.0, VARIANCES, Design(10, items - 1, 5, 10, 9))
    )
    seeds = needed_seeds(16.0, VARIANCES, design)
    assert seeds is not None and seeds > 3
    assert power(16.0, VARIANCES, Design(seeds, 100, 5, 10, 9)) >= 0.8
    assert power(16.0, VARIANCES, Design(seeds - 1, 100, 5, 10, 9)) < 0.8
    # Seeds that lie 4 points apart hide 1 point from three of them, on whatever many items.
    assert needed_items(1.0, VARIANCES, Design(3, 100, 5, 10, 1)) is None
    assert needed_seeds(0.1, VARIANCES, design) is None


# What a board promises: small versions of benchmarks/simulate_boards.py, whose bounds are those of a thousand boards
# and the chance of two hundred


@pytest.mark.parametrize("truth", [Truth(3, 7.0), Truth(3, 2.7, wild=7.6)])
def test_boards_of_equal_methods_hardly_ever_name_a_better_one(truth: Truth) -> None:
    until_now = "until now: exchange corrected, interval not"
    found = false_claims(truth, 150, ["in use", until_now])
    # 6 % of a thousand boards; two standard errors more of so few.
    assert found["in use"]["board"] <= 0.06 + 2 * math.sqrt(0.06 * 0.94 / 150)
    assert found["in use"]["board, planned"] <= 0.06 + 2 * math.sqrt(0.06 * 0.94 / 150)
    assert found["in use"]["one comparison"] <= 0.06
    assert found[until_now]["board"] > 0.12  # the simulation sees the error that this is about


def test_they_do_not_either_where_some_methods_have_more_seeds_than_others() -> None:
    shares = unequal(Truth(5, 2.7, wild=7.6), 100)
    assert set(shares) == {"board", "without the plan", "plan"}
    assert all(share <= 0.06 + 2 * math.sqrt(0.06 * 0.94 / 100) for share in shares.values())


@pytest.mark.parametrize("spread", [2.0, 7.0])
def test_power_is_near_that_of_a_test_that_knows_the_variances(spread: float) -> None:
    found = power_of(Truth(5, spread, lead=10.0, level=70.0), 300, ["in use"])
    assert found["in use"]["one comparison"] >= found["knows the variances"]["one comparison"] - 0.12
    assert found["in use"]["planned"] >= found["knows the variances"]["planned"] - 0.15


def test_the_planner_keeps_its_word() -> None:
    assert realised(Truth(5, 4.0), 200)["power"] == pytest.approx(0.8, abs=0.05)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    for kind, share in coverage(120, seeds=(3,), spreads=(4.0,)).items():
        if not kind.startswith("one run, by pair"):
            assert share >= 0.95 - 2 * math.sqrt(0.95 * 0.05 / 120), (kind, share)
