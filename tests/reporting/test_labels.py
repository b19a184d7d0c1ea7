"""Names of points in a chart: none covers another, whatever crowds there is, and a line leads to those farther away."""

from __future__ import annotations

import random

import pytest

from lifealign_bench.reporting.figures.figure import Datum
from lifealign_bench.reporting.figures.labels import placed

WIDTH, HEIGHT = 400.0, 220.0


def _point(name: str, x: float, y: float, spread: float | None = 1.0) -> Datum:
    ends = {"x_low": x, "x_high": x, "y_low": y, "y_high": y}
    signs = {"low": -1, "high": 1}
    whiskers = {k: None if spread is None else v + signs[k[2:]] * spread for k, v in ends.items()}
    return {"name": name, "x": x, "y": y, **whiskers}


def _crowd(count: int, spread: float | None) -> list[Datum]:
    """Points at one spot but for a little, and a few far from it, so that the spot is a corner of the plot."""
    source = random.Random(0)
    lone = [_point("alone", 50.0, 0.0, spread), _point("lonely", 75.0, 20.0, spread)]
    return lone + [
        _point(f"method-{i}" + "x" * (i % 4), 98 + source.gauss(0, 0.4), 40 + source.gauss(0, 0.8), spread)
        for i in range(count)
    ]


def _covered(row: Datum, rows: list[Datum]) -> tuple[float, float, float, float]:
    """The box of a name, as the chart draws it, with the axes' ends taken from all whiskers."""
    ends = {k: [v for r in rows for v in (r[k], r[f"{k}_low"], r[f"{k}_high"]) if v is not None] for k in "xy"}
    x = WIDTH * (row["x"] - min(ends["x"])) / (max(ends["x"]) - min(ends["x"]))
    y = HEIGHT - HEIGHT * (row["y"] - min(ends["y"])) / (max(ends["y"]) - min(ends["y"]))
    wide = 6.5 * len(row["name"])
    left = x + row["dx"] - wide * {"left": 0, "center": 0.5, "right": 1}[row["align"]]
    return left, y + row["dy"] - 6, left + wide, y + row["dy"] + 6


@pytest.mark.parametrize("spread", [None, 1.0])
def test_names_of_a_crowd_do_not_cover_each_other(spread: float | None) -> None:
    rows = placed(_crowd(12, spread), WIDTH, HEIGHT)
    boxes = [_covered(row, rows) for row in rows]
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            assert min(a[2], b[2]) <= max(a[0], b[0]) or min(a[3], b[3]) <= max(a[1], b[1])


def test_a_line_leads_to_a_name_away_from_its_point_and_to_no_other() -> None:
    rows = placed(_crowd(12, None), WIDTH, HEIGHT)
    assert all(row["line"] == (max(abs(row["dx"]), abs(row["dy"])) > 20) for row in rows)
    assert not any(row["line"] for row in rows if row["name"].startswith("alone"))
    assert any(row["line"] for row in rows)


def test_one_point_has_its_name_beside_it() -> None:
    (row,) = placed([_point("only", 1.0, 2.0, None)], WIDTH, HEIGHT)
    assert (row["dx"], row["align"], row["line"]) == (9.0, "left", False)


def test_a_logarithmic_axis_crowds_elsewhere() -> None:
    """A hundredfold apart at the low end: beside each other on a linear axis, and not on a logarithmic one."""
    rows = [
        _point("a-long-name", 0.1, 1.0, None),
        _point("b-long-name", 10.0, 1.0, None),
        _point("c", 1000.0, 9.0, None),
    ]
    linear, logarithmic = (placed(rows, WIDTH, HEIGHT, log=log) for log in (False, True))
    assert [row["align"] for row in logarithmic[:2]] == ["left", "left"]
    assert [(row["dx"], row["dy"]) for row in linear[:2]] != [(9.0, 1.0), (9.0, 1.0)]
