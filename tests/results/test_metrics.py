"""Metrics of a score matrix: by hand, by property, and against the published code."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from lifealign_bench.results import metrics
from lifealign_bench.results.metrics import METRICS, per_task, summarize
from tests.places import SHARED

GOLDEN = SHARED / "golden" / "metrics.json"
NAN = float("nan")
Matrix = NDArray[np.float64]

# Rows: base, after task 1, 2, 3.
R = np.array(
    [
        [50.0, 40.0, 30.0],
        [80.0, 45.0, 33.0],
        [90.0, 70.0, 36.0],
        [60.0, 64.0, 75.0],
    ]
)
SINGLE = np.array([80.0, 75.0, 85.0])
BY_HAND = {
    "average_performance": (80 + (90 + 70) / 2 + (60 + 64 + 75) / 3) / 3,
    "last": (60 + 64 + 75) / 3,
    "backward_transfer": ((60 - 80) + (64 - 70)) / 2,
    "forgetting": ((90 - 60) + (70 - 64)) / 2,
    "forward_transfer": ((45 - 40) + (36 - 30)) / 2,
    "learning": (80 + 70 + 75) / 3,
    "gain": (60 + 64 + 75) / 3 - (50 + 40 + 30) / 3,
    "intransigence": ((80 - 80) + (75 - 70) + (85 - 75)) / 3,
}
# The entries each metric reads, as (stage, task).
NEEDS = {
    "average_performance": {(k, j) for k in (1, 2, 3) for j in range(1, k + 1)},
    "last": {(3, 1), (3, 2), (3, 3)},
    "backward_transfer": {(3, 1), (1, 1), (3, 2), (2, 2)},
    "forgetting": {(1, 1), (2, 1), (3, 1), (2, 2), (3, 2)},
    "forward_transfer": {(1, 2), (0, 2), (2, 3), (0, 3)},
    "learning": {(1, 1), (2, 2), (3, 3)},
    "gain": {(3, 1), (3, 2), (3, 3), (0, 1), (0, 2), (0, 3)},
    "intransigence": {(1, 1), (2, 2), (3, 3)},
}
matrices = st.integers(1, 6).flatmap(lambda n: arrays(np.float64, (n + 1, n), elements=st.floats(0, 100, width=32)))


def value(name: str, scores: Matrix) -> float:
    """The metric ``name``; intransigence against a single-task score of 90 everywhere."""
    info = METRICS[name]
    return info.function(scores, np.full(scores.shape[1], 90.0)) if info.needs_single else info.function(scores)


@pytest.mark.parametrize("name", METRICS)
def test_three_tasks_by_hand(name: str) -> None:
    assert summarize(R, SINGLE)[name] == pytest.approx(BY_HAND[name], abs=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_nan_where_an_entry_is_needed_and_nowhere_else(name: str) -> None:
    for stage in range(4):
        for task in (1, 2, 3):
            holed = R.copy()
            holed[stage, task - 1] = NAN
            found = summarize(holed, SINGLE)[name]
            if (stage, task) in NEEDS[name]:
                assert math.isnan(found)
            else:
                assert found == pytest.approx(BY_HAND[name], abs=1e-12)


def test_the_table_of_metrics_is_complete_and_in_order() -> None:
    assert list(METRICS) == list(BY_HAND)
    for name, info in METRICS.items():
        assert info.name == name
        assert info.function is getattr(metrics, name)
        assert info.label
        assert info.meaning.endswith(".")
    assert {name for name, info in METRICS.items() if not info.higher_is_better} == {"forgetting", "intransigence"}


def test_summarize_leaves_intransigence_out_without_single() -> None:
    assert list(summarize(R)) == [name for name in METRICS if name != "intransigence"]


@given(matrices, st.floats(-50, 50))
def test_shift(scores: Matrix, shift: float) -> None:
    """Adding a constant to every score moves the levels and leaves the differences."""
    for name in METRICS:
        moved = {"average_performance": shift, "last": shift, "learning": shift, "intransigence": -shift}.get(name, 0)
        assert value(name, scores + shift) == pytest.approx(value(name, scores) + moved, abs=1e-6, nan_ok=True)


@given(matrices, st.floats(0, 3))
def test_scale(scores: Matrix, scale: float) -> None:
    for name in METRICS:
        if name != "intransigence":
            assert value(name, scores * scale) == pytest.approx(value(name, scores) * scale, abs=1e-6, nan_ok=True)


@given(st.integers(2, 6), st.floats(0, 100))
def test_constant_matrix(n: int, score: float) -> None:
    found = summarize(np.full((n + 1, n), score))
    for name in ("average_performance", "last", "learning"):
        assert found[name] == pytest.approx(score)
    for name in ("backward_transfer", "forgetting", "forward_transfer", "gain"):
        assert found[name] == pytest.approx(0, abs=1e-9)


@given(matrices, st.integers(0, 1000))
def test_renaming_tasks(scores: Matrix, seed: int) -> None:
    """The levels at both ends do not depend on the tasks' order; where nothing ever moves, only AP does."""
    n = scores.shape[1]
    order = np.random.default_rng(seed).permutation(n)
    assert metrics.last(scores[:, order]) == pytest.approx(metrics.last(scores), abs=1e-6)
    assert metrics.gain(scores[:, order]) == pytest.approx(metrics.gain(scores), abs=1e-6)
    still = np.tile(scores[:1], (n + 1, 1))
    for name in METRICS:
        if name != "average_performance":
            assert value(name, still[:, order]) == pytest.approx(value(name, still), abs=1e-6, nan_ok=True)


@given(matrices)
def test_relations_between_metrics(scores: Matrix) -> None:
    n, found = scores.shape[1], summarize(scores)
    if n > 1:
        assert found["forgetting"] >= -found["backward_transfer"] - 1e-6
        lost = found["backward_transfer"] * (n - 1) / n
        assert found["last"] == pytest.approx(found["learning"] + lost, abs=1e-6)
    else:
        assert found["last"] == found["learning"] == found["average_performance"] == scores[1, 0]


def test_one_task_has_no_transfer() -> None:
    found = summarize([[50.0], [80.0]])
    assert all(math.isnan(found[name]) for name in ("backward_transfer", "forgetting", "forward_transfer"))
    assert (found["average_performance"], found["last"], found["learning"], found["gain"]) == (80, 80, 80, 30)


def test_joint_has_only_its_first_and_last_row() -> None:
    joint = np.full((4, 3), NAN)
    joint[0], joint[3] = R[0], R[3]
    found = summarize(joint)
    assert found["last"] == pytest.approx(BY_HAND["last"])
    assert found["gain"] == pytest.approx(BY_HAND["gain"])
    for name in ("average_performance", "backward_transfer", "forgetting", "forward_transfer", "learning"):
        assert math.isnan(found[name])
    tasks = per_task(joint)
    np.testing.assert_array_equal(tasks["base"], R[0])
    np.testing.assert_array_equal(tasks["final"], R[3])
    np.testing.assert_array_equal(tasks["learned"], [NAN, NAN, 75])
    np.testing.assert_array_equal(tasks["forgetting"], [NAN, NAN, NAN])
    np.testing.assert_array_equal(tasks["change"], [NAN, NAN, 0])


def test_per_task_by_hand() -> None:
    tasks = per_task(R)
    np.testing.assert_array_equal(tasks["base"], [50, 40, 30])
    np.testing.assert_array_equal(tasks["learned"], [80, 70, 75])
    np.testing.assert_array_equal(tasks["final"], [60, 64, 75])
    np.testing.assert_array_equal(tasks["forgetting"], [30, 6, NAN])
    np.testing.assert_array_equal(tasks["change"], [-20, -6, 0])


def test_results_do_not_share_memory_with_the_matrix() -> None:
    scores = R.copy()
    for values in per_task(scores).values():
        values[:] = -1
    np.testing.assert_array_equal(scores, R)


@pytest.mark.parametrize("shape", [(3, 3), (1, 0), (4,), (3, 4), (2, 2, 2)])
def test_a_wrong_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"shape \(N \+ 1, N\)"):
        metrics.last(np.zeros(shape))


def test_a_stack_has_the_values_of_its_matrices() -> None:
    stack = np.random.default_rng(0).normal(50, 20, size=(3, 4, 6, 5))
    stack[1, 2, 3] = NAN
    single = stack[..., 0, :] + 1
    for name, info in metrics.METRICS.items():
        arguments = (stack, single) if info.needs_single else (stack,)
        found = np.asarray(info.function(*arguments))
        assert found.shape == (3, 4)
        for i, j in np.ndindex(3, 4):
            assert found[i, j] == pytest.approx(info.function(*(a[i, j] for a in arguments)), nan_ok=True), name
    for name, values in per_task(stack).items():
        np.testing.assert_array_equal(values[2, 1], per_task(stack[2, 1])[name])


def test_single_scores_of_a_wrong_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="single-task scores"):
        metrics.intransigence(R, [1.0, 2.0])


@pytest.mark.skipif(not GOLDEN.is_file(), reason=f"the published code's numbers are not at {GOLDEN}")
def test_the_published_codes_numbers() -> None:
    for case in json.loads(GOLDEN.read_text()):
        scores = np.array(case["scores"])
        n = scores.shape[1]
        r = np.vstack([np.full(n, NAN), scores])
        assert np.diagonal(scores).tolist() == case["diagonal"]
        for k in range(1, n + 1):
            seen = r[: k + 1, :k]
            # Rounding to two decimals of a number that was itself a mean of such numbers.
            assert metrics.last(seen) == pytest.approx(case["last_per_stage"][k - 1], abs=0.00501)
            assert metrics.average_performance(seen) == pytest.approx(case["ap_per_stage"][k - 1], abs=0.00501)
            if k == 1:
                # The published code says 0 where there is no earlier task; here that is undefined.
                assert case["bwt_per_stage"][0] == 0
                assert math.isnan(metrics.backward_transfer(seen))
            else:
                assert metrics.backward_transfer(seen) == pytest.approx(case["bwt_per_stage"][k - 1], abs=0.00501)
