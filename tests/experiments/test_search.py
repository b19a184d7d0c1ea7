"""The search for settings: widened until the best lies inside, refined with what is left, the same number for all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifealign_bench.experiments.search import Axis, Point, next_points, positions

RATE = Axis((0.5, 1.0, 2.0), 64.0)
STRENGTH = Axis((0.1, 1.0, 10.0), 1e4)


def searched(axes: Sequence[Axis], value: Callable[[Point], float], trials: int) -> tuple[list[list[Point]], Point]:
    """The rounds of a search that sees these values, and its best."""
    tried: list[Point] = []
    rounds = []
    while points := next_points(axes, tried, max(tried, key=value) if tried else None, trials):
        rounds.append(points)
        tried += points
    return rounds, max(tried, key=value)


def peak(*best: float) -> Callable[[Point], float]:
    """A hill over factors, in logarithms, with its top there."""
    return lambda point: -sum(math.log(x / b) ** 2 for x, b in zip(point, best, strict=True))


def test_the_grid_is_widened_by_the_same_factor_until_the_best_lies_inside() -> None:
    rounds, best = searched([RATE], peak(7.5), 6)
    assert rounds == [[(1.0,), (0.5,), (2.0,)], [(4.0,)], [(8.0,)], [(16.0,)]]
    assert best == (8.0,)
    tried = [point for points in rounds for point in points]
    assert positions([RATE], tried, best) == ["inside"]
    # One trial less, and the best is at an end; the table says so.
    assert positions([RATE], tried[:-1], best) == ["trials"]


def test_the_grid_is_widened_downwards_too() -> None:
    rounds, best = searched([RATE], peak(0.13), 7)
    assert rounds[1:4] == [[(0.25,)], [(0.125,)], [(0.0625,)]] and best == (0.125,)


def test_widening_ends_at_the_bound() -> None:
    near = Axis((0.5, 1.0, 2.0), 4.0)
    rounds, best = searched([near], lambda point: point[0], 6)
    tried = [point for points in rounds for point in points]
    assert max(tried) == (4.0,) == best and positions([near], tried, best) == ["bound"]
    assert len(tried) == 6, "what widening does not need goes between"
    share = Axis((0.5, 1.0, 2.0), 64.0, lambda factor: 0.5 * factor <= 1)  # a share of 0.5 at first
    rounds, best = searched([share], lambda point: point[0], 6)
    assert best == (2.0,) and all(point[0] <= 2 for points in rounds for point in points)


def test_what_is_left_goes_between_the_best_and_its_neighbours() -> None:
    rounds, best = searched([RATE], peak(1.2), 7)
    assert rounds == [[(1.0,), (0.5,), (2.0,)], [(1.41,), (0.707,)], [(1.19,), (1.68,)]]
    assert best == (1.19,)


def test_a_strength_is_tried_at_the_best_rate_and_widened() -> None:
    rounds, best = searched([RATE, STRENGTH], peak(2.0, 0.01), 9)
    assert rounds[0] == [(1.0, 1.0), (0.5, 1.0), (2.0, 1.0)]
    assert rounds[1] == [(2.0, 0.1), (2.0, 10.0)]
    # Along both at once: a rate beyond 2 and below it, a strength below 0.1.
    assert set(rounds[2]) == {(1.0, 0.1), (4.0, 0.1), (2.0, 0.01)}
    assert best == (2.0, 0.01)


@given(
    st.tuples(st.floats(0.02, 50), st.floats(1e-3, 1e3)),
    st.integers(3, 20),
    st.booleans(),
)
def test_every_method_spends_the_same_number_of_trials(top: tuple[float, float], trials: int, strong: bool) -> None:
    axes = [RATE, STRENGTH] if strong else [RATE]
    value = peak(*top[: len(axes)])
    rounds, best = searched(axes, value, trials)
    tried = [point for points in rounds for point in points]
    assert len(tried) == len(set(tried)) == trials
    assert all(axis.allows(factor) for point in tried for axis, factor in zip(axes, point, strict=True))
    assert searched(axes, value, trials) == (rounds, best), "it goes the same way again"
    # A search with fewer trials is the beginning of it, and one with more never ends up with worse.
    assert [p for points in searched(axes, value, max(3, trials - 2))[0] for p in points] == tried[: max(3, trials - 2)]
    for place, where in enumerate(positions(axes, tried, best)):
        line = [p[place] for p in tried if p[:place] + p[place + 1 :] == best[:place] + best[place + 1 :]]
        if where == "inside":
            assert min(line) < best[place] < max(line)


def test_a_search_in_which_nothing_came_out_ends() -> None:
    tried = [(0.5,), (1.0,), (2.0,)]
    assert next_points([RATE], tried, None, 9) == []
    assert next_points([RATE], [], None, 9) == [(1.0,), (0.5,), (2.0,)]


@pytest.mark.parametrize("trials", [3, 4])
def test_no_more_than_what_is_left(trials: int) -> None:
    rounds, _ = searched([RATE, STRENGTH], peak(1.0, 1.0), trials)
    assert sum(map(len, rounds)) == trials
