"""Where the names of a chart's points stand, so that they lie upon no point, whisker, line or other name.

Each name has the cheapest of some hundred places: beside its point, or farther away with a line to it. Names are placed
one after another and then a few times again, each with all others where they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lifealign_bench.reporting.figures.figure import Datum
from lifealign_bench.results.statistics import Array

_LETTER, _TALL = 6.5, 13.0  # pixels
_ROUNDS = 4
_NAME_ON_NAME = 8.0  # how much worse that is than a name on a point or a whisker
_THIN: Array = np.array([-1.0, -1.0, 1.0, 1.0])  # around a whisker

# Where a name's end may stand from its point, in pixels across and down, and which end it is: right of it, left of it,
# above and below; then farther away, on either side, in rows as tall as a name.
_NEAR = ((9.0, 1.0, "left"), (-9.0, 1.0, "right"), (0.0, -11.0, "center"), (0.0, 13.0, "center"))
_FAR = tuple(
    (side * across, _TALL * row, align)
    for across in (22.0, 40.0, 64.0, 92.0)
    for row in range(-8, 9)
    for side, align in ((1, "left"), (-1, "right"))
)
_PLACES = (*_NEAR, *_FAR)
_OFFSETS: Array = np.array([place[:2] for place in _PLACES])
_PART: Array = np.array([{"left": 0.0, "right": 1.0, "center": 0.5}[align] for _, _, align in _PLACES])
_LENGTHS: Array = np.hypot(*_OFFSETS.T)
_IS_FAR = np.arange(len(_PLACES)) >= len(_NEAR)
# Along the line to a name, from where its point no longer covers it: (places, spots, 2).
_LINES: Array = _OFFSETS[:, None] * np.linspace(0.3, 0.9, 7)[None, :, None]


def placed(rows: Sequence[Datum], width: float, height: float, log: bool = False) -> list[Datum]:
    """``rows`` with the place of each one's name: ``dx``, ``dy`` and ``align``, and ``line``, whether it needs one.

    Args:
        rows: with ``name``, ``x`` and ``y``, and the ends of their whiskers or None.
        width: of the plot, in pixels, as is ``height``.
        log: the x axis is logarithmic.
    """
    across, down = _pixels(rows, "x", width, log), _pixels(rows, "y", -height, log=False)
    spots = np.stack([across[:, 0], down[:, 0]], axis=1)
    whiskers = [
        (across.min(1), down[:, 0], across.max(1), down[:, 0]),
        (spots[:, 0], down.min(1), spots[:, 0], down.max(1)),
    ]
    fixed = np.concatenate([_boxes(spots, 6, 6), *(np.stack(ends, axis=1) + _THIN for ends in whiskers)])
    names = np.array([_names(row["name"]) for row in rows]) + np.tile(spots, 2)[:, None]  # (points, places, 4)
    lines = _LINES + spots[:, None, None]  # (points, places, spots, 2)
    chosen = np.full(len(rows), -1)
    for _ in range(_ROUNDS):
        before = chosen.copy()
        for i in range(len(rows)):
            others = [k for k in np.flatnonzero(chosen >= 0) if k != i]
            boxes = np.concatenate([names[others, chosen[others]], fixed])
            weights = np.where(np.arange(len(boxes)) < len(others), _NAME_ON_NAME, 1.0)
            drawn = lines[others, chosen[others]][_IS_FAR[chosen[others]]].reshape(-1, 2)
            chosen[i] = np.argmin(_costs(names[i], lines[i], boxes, weights, drawn, (width, height)))
        if (chosen == before).all():
            break
    keys = ("dx", "dy", "align")
    return [
        {**row, **dict(zip(keys, _PLACES[at], strict=True)), "line": bool(_IS_FAR[at])}
        for row, at in zip(rows, chosen.tolist(), strict=True)
    ]


def _pixels(rows: Sequence[Datum], axis: str, size: float, log: bool) -> Array:
    """Where the points are on an axis that shows all whiskers, each with the ends of its own: (points, 3). A negative
    size is of an axis that begins at the other end."""
    found = [[row[axis], row[f"{axis}_low"], row[f"{axis}_high"]] for row in rows]
    known = np.array([[v if isinstance(v, float) else ends[0] for v in ends] for ends in found], dtype=float)
    scaled = np.log(known) if log else known
    shares = (scaled - scaled.min()) / (np.ptp(scaled) or 1.0)
    pixels: Array = size * shares + max(0.0, -size)
    return pixels


def _boxes(middles: Array, across: float, down: float) -> Array:
    """Boxes as left, top, right, bottom."""
    half = np.array([across, down])
    return np.concatenate([middles - half, middles + half], axis=1)


def _names(name: str) -> Array:
    """What a name covers at each place, from its point: (places, 4)."""
    wide = _LETTER * len(name)
    middles = _OFFSETS + np.stack([wide * (0.5 - _PART), np.zeros(len(_PLACES))], axis=1)
    return _boxes(middles, wide / 2, _TALL / 2)


def _costs(names: Array, lines: Array, boxes: Array, weights: Array, drawn: Array, size: tuple[float, float]) -> Array:
    """Of each place, about the square pixels that a name covers with its line: of boxes, of drawn lines, of what is
    beyond the plot; and how long its line is."""
    wide = np.minimum(names[:, None, 2], boxes[:, 2]) - np.maximum(names[:, None, 0], boxes[:, 0])
    tall = np.minimum(names[:, None, 3], boxes[:, 3]) - np.maximum(names[:, None, 1], boxes[:, 1])
    covered = (wide.clip(0) * tall.clip(0)) @ weights + 30.0 * _inside(drawn[None], names[:, None]).sum(1)
    room = np.array([0.0, 0.0, size[0] + 20, size[1] + 10])  # what is above the plot is cut off
    beyond = np.maximum(room[:2] - names[:, :2], names[:, 2:] - room[2:]).clip(0).sum(1)
    crossed = _inside(lines[:, :, None], boxes[None, None]).sum((1, 2))
    found: Array = covered + _TALL * beyond + _IS_FAR * (12.0 * crossed + _LENGTHS)
    return found


def _inside(spots: Array, boxes: Array) -> npt.NDArray[np.bool_]:
    inside = (boxes[..., :2] <= spots) & (spots <= boxes[..., 2:])
    return inside[..., 0] & inside[..., 1]
