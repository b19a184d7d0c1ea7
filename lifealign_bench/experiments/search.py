"""Where to try next: a search for a method's best settings with a fixed number of trials.

Points are factors of the starting values, one for each setting that is tuned. The first setting's factors are tried at
first, then those of each other setting at the best point so far. From then on the best point has to have a neighbour on
both sides along every setting: where it has none, the grid is widened by the same factor, up to the setting's bound.
When it has them all, what trials are left go between the best point and its neighbours. So every method spends the same
number of trials: one with a strength on its strength, one without on the rate.

The search depends on what the trials gave and on nothing else: a search that was stopped goes the same way again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from lifealign_bench.results.tuning import Position

# A factor for each axis.
Point = tuple[float, ...]
_FINEST = 1e-3  # of a step: neighbours that lie closer are not told apart


@dataclass(frozen=True)
class Axis:
    """One setting that is tuned.

    Args:
        factors: at first, smallest first, two or more.
        within: no factor above it is tried, nor one below its inverse.
        permits: whether the setting may have its starting value times a factor.
    """

    factors: tuple[float, ...]
    within: float
    permits: Callable[[float], bool] = lambda factor: True

    def step(self, up: bool) -> float:
        """By which factor the grid is widened on one side: that of its last two there."""
        return self.factors[-1] / self.factors[-2] if up else self.factors[1] / self.factors[0]

    def allows(self, factor: float) -> bool:
        """Whether a factor lies within the bound and gives a value that the setting may have."""
        most = self.within * (1 + 1e-9)
        return 1 / most <= factor <= most and self.permits(factor)


def next_points(axes: Sequence[Axis], tried: Sequence[Point], best: Point | None, trials: int) -> list[Point]:
    """What to try next, all of it at once; nothing when the search is over.

    Args:
        tried: so far, in any order.
        best: of them; None where no trial gave a result.
        trials: to be made in all.
    """
    room = trials - len(tried)
    if room <= 0 or (tried and best is None):
        return []
    if best is None:
        wanted = [_moved((1.0,) * len(axes), 0, factor) for factor in axes[0].factors]
    else:
        wanted = _grid(axes, tried, best) or list(_beyond(axes, tried, best)) or _between(axes, tried, best)
    middle = best or (1.0,) * len(axes)
    new = [point for point in dict.fromkeys(wanted) if point not in tried]
    return sorted(new, key=lambda point: (round(_distance(point, middle), 9), point))[:room]


def positions(axes: Sequence[Axis], tried: Sequence[Point], best: Point) -> list[Position]:
    """Along each axis: whether the best has neighbours on both sides, and if not, what kept the grid from being
    widened: the bound, or the number of trials."""
    found: list[Position] = []
    for place, axis in enumerate(axes):
        wanted = [_widened(axis, best[place], up) for up in _open_sides(tried, best, place)]
        inside: Position = "trials" if any(axis.allows(factor) for factor in wanted) else "bound"
        found.append(inside if wanted else "inside")
    return found


def _moved(point: Point, place: int, factor: float) -> Point:
    """``point`` with another factor on one axis, in no more digits than matter."""
    return (*point[:place], float(f"{factor:.3g}"), *point[place + 1 :])


def _distance(a: Point, b: Point) -> float:
    return sum(abs(math.log(x / y)) for x, y in zip(a, b, strict=True))


def _line(tried: Sequence[Point], best: Point, place: int) -> list[float]:
    """What was tried on one axis with all else as at the best point."""
    same = [p for p in tried if all(a == b for i, (a, b) in enumerate(zip(p, best, strict=True)) if i != place)]
    return sorted(point[place] for point in same)


def _grid(axes: Sequence[Axis], tried: Sequence[Point], best: Point) -> list[Point]:
    """The first axis that was not varied yet: its factors at the best point."""
    for place, axis in enumerate(axes):
        if len({point[place] for point in tried}) == 1:
            return [_moved(best, place, factor) for factor in axis.factors if factor != best[place]]
    return []


def _open_sides(tried: Sequence[Point], best: Point, place: int) -> list[bool]:
    """On which sides, up or not, the best point has no neighbour along an axis."""
    line = _line(tried, best, place)
    return [up for up in (False, True) if best[place] == (line[-1] if up else line[0])]


def _widened(axis: Axis, factor: float, up: bool) -> float:
    return factor * axis.step(up) if up else factor / axis.step(up)


def _beyond(axes: Sequence[Axis], tried: Sequence[Point], best: Point) -> Iterator[Point]:
    """The neighbours that the best point lacks and may have."""
    for place, axis in enumerate(axes):
        for up in _open_sides(tried, best, place):
            factor = _widened(axis, best[place], up)
            if axis.allows(factor):
                yield _moved(best, place, factor)


def _between(axes: Sequence[Axis], tried: Sequence[Point], best: Point) -> list[Point]:
    """Half-way, by factors, to the neighbours along the axis where these are furthest away, in steps of that axis; with
    nothing left there, in the widest gap in line with the best point."""
    near, far = [], []
    for place, axis in enumerate(axes):
        line = _line(tried, best, place)
        gaps = [_gap(axis, best, place, low, high) for low, high in pairwise(line)]
        new = [gap for gap in gaps if gap.width > _FINEST and gap.middle not in tried]
        wide = [gap for gap in new if axis.allows(gap.middle[place])]
        far += wide
        if mine := [gap for gap in wide if gap.beside]:
            near.append((max(gap.width for gap in mine), [gap.middle for gap in mine]))
    if near:
        return max(near, key=lambda found: found[0])[1]  # of equal ones the first axis
    return [max(far, key=lambda gap: gap.width).middle] if far else []


class _Gap(NamedTuple):
    """Between two factors on an axis: how wide, in steps; its middle; whether the best point is one of the two."""

    width: float
    middle: Point
    beside: bool


def _gap(axis: Axis, best: Point, place: int, low: float, high: float) -> _Gap:
    width = math.log(high / low) / math.log(axis.step(low >= best[place]))
    return _Gap(round(width, 6), _moved(best, place, math.sqrt(low * high)), best[place] in (low, high))
