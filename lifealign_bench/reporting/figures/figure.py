"""Figures as data: what is drawn, apart from how. Every kind gives its data as one flat table."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from lifealign_bench.util.text import clean

__all__ = [
    "UNKNOWN",
    "Bar",
    "Bars",
    "Box",
    "Boxes",
    "Dot",
    "Drawing",
    "Figure",
    "Heatmap",
    "Lines",
    "Panel",
    "Ranges",
    "Scatter",
    "Series",
    "Value",
]


Value = str | float | int | None


@dataclass(frozen=True)
class Bar:
    """A number with its 95 % interval; NaN where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan

    @property
    def known(self) -> bool:
        """Whether there is a value."""
        return math.isfinite(self.value)

    @property
    def bounded(self) -> bool:
        """Whether there is a value with an interval."""
        return self.known and math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def ends(self) -> tuple[float, ...]:
        """All numbers of it that are known, for the range of an axis."""
        return tuple(v for v in (self.value, self.low, self.high) if math.isfinite(v)) if self.known else ()


UNKNOWN = Bar(math.nan)


@dataclass(frozen=True)
class Heatmap:
    """A table of numbers in colours.

    Args:
        row_head: heading of the rows' names.
        rows, columns: names.
        values, errors: (rows, columns), standard errors beside the values; NaN where not evaluated or not known.
        counts: (rows, columns) test pairs.
        current: cells to be outlined: the task that was just trained.
        limits: values at the ends of the colours; with ``centre`` the colours part there.
        centre: where two hues meet, for numbers of both signs; None for one hue.
        unit: of the values; empty for plain numbers.
        digits: decimals.
        column_head, error_head: what columns and errors are called in the data.
    """

    row_head: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    errors: tuple[tuple[float, ...], ...]
    counts: tuple[tuple[int, ...], ...]
    current: frozenset[tuple[int, int]]
    limits: tuple[float, float]
    centre: float | None
    unit: str
    digits: int
    column_head: str = "task"
    error_head: str = "standard error"

    def table(self) -> tuple[tuple[str, ...], list[tuple[Value, ...]]]:
        """Columns and rows, one row a cell."""
        found = [
            (row, column, self.values[i][j], self.errors[i][j], self.counts[i][j])
            for i, row in enumerate(self.rows)
            for j, column in enumerate(self.columns)
        ]
        return (self.row_head, self.column_head, "value", self.error_head, "n"), list(found)


@dataclass(frozen=True)
class Series:
    """A line: one point for each place of the axis. ``marked`` is a place to be set off: its own stage."""

    name: str
    points: tuple[Bar, ...]
    marked: int | None = None


@dataclass(frozen=True)
class Lines:
    """Lines over ordered places.

    Args:
        limits: the range of the values' axis, or None to take what is there.
        groups: all series there are, also without a line here, so that each looks the same in every figure; empty for
            those that are here.
    """

    x_title: str
    x: tuple[str, ...]
    y_title: str
    series: tuple[Series, ...]
    limits: tuple[float, float] | None = None
    groups: tuple[str, ...] = ()

    @property
    def shown(self) -> dict[str, int]:
        """The series that are here, by their numbers."""
        groups = self.groups or tuple(s.name for s in self.series)
        return {s.name: groups.index(s.name) for s in self.series}

    def table(self) -> tuple[tuple[str, ...], list[tuple[Value, ...]]]:
        """Columns and rows, one row a point."""
        found = [
            (s.name, place, p.value, p.low, p.high)
            for s in self.series
            for place, p in zip(self.x, s.points, strict=True)
        ]
        return ("series", self.x_title, "value", "low", "high"), list(found)


@dataclass(frozen=True)
class Dot:
    """A point with its two numbers. ``group`` decides colour and shape; ``note`` says more of it."""

    name: str
    group: str
    x: Bar
    y: Bar
    note: str = ""


@dataclass(frozen=True)
class Scatter:
    """Points on two axes.

    Args:
        groups: all there are, also without a point here, so that each looks the same in every figure.
        log_x: the x axis is logarithmic.
        path: the points are joined in their order.
    """

    x_title: str
    y_title: str
    dots: tuple[Dot, ...]
    groups: tuple[str, ...]
    log_x: bool = False
    path: bool = False

    @property
    def shown(self) -> dict[str, int]:
        """The groups that have a point here, by their numbers."""
        there = {dot.group for dot in self.dots}
        return {group: i for i, group in enumerate(self.groups) if group in there}

    def table(self) -> tuple[tuple[str, ...], list[tuple[Value, ...]]]:
        """Columns and rows, one row a point."""
        head = (
            "name",
            "group",
            *(f"{a} {b}".strip() for a in (self.x_title, self.y_title) for b in ("", "low", "high")),
        )
        return head, [(d.name, d.group, d.x.value, d.x.low, d.x.high, d.y.value, d.y.low, d.y.high) for d in self.dots]


@dataclass(frozen=True)
class Box:
    """Quantiles of ``n`` values at 5, 25, 50, 75 and 95 percent, and their mean."""

    quantiles: tuple[float, float, float, float, float]
    mean: float
    n: int


@dataclass(frozen=True)
class Panel:
    """One box, or None, for each place of the axis."""

    name: str
    boxes: tuple[Box | None, ...]


@dataclass(frozen=True)
class Boxes:
    """Distributions over ordered places, panels beside each other on one axis. ``zero``: a line is drawn at 0."""

    x_title: str
    x: tuple[str, ...]
    y_title: str
    panels: tuple[Panel, ...]
    zero: bool = False

    def table(self) -> tuple[tuple[str, ...], list[tuple[Value, ...]]]:
        """Columns and rows, one row a box."""
        found: list[tuple[Value, ...]] = [
            (panel.name, place, *(box.quantiles if box is not None else (math.nan,) * 5), *_rest(box))
            for panel in self.panels
            for place, box in zip(self.x, panel.boxes, strict=True)
        ]
        return ("task", self.x_title, "5 %", "25 %", "median", "75 %", "95 %", "mean", "n"), found


def _rest(box: Box | None) -> tuple[float, int]:
    return (math.nan, 0) if box is None else (box.mean, box.n)


@dataclass(frozen=True)
class Ranges:
    """A row for each name: every value, their mean, and the mean's neighbourhood of one standard deviation."""

    x_title: str
    names: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    labels: tuple[tuple[str, ...], ...]

    def table(self) -> tuple[tuple[str, ...], list[tuple[Value, ...]]]:
        """Columns and rows, one row a value."""
        found = [
            (name, label, value, mean, deviation)
            for name, labels, values, mean, deviation in zip(
                self.names, self.labels, self.values, self.means, self.deviations, strict=True
            )
            for label, value in zip(labels, values, strict=True)
        ]
        return ("name", "order", self.x_title, "mean", "standard deviation"), list(found)


@dataclass(frozen=True)
class Bars:
    """A bar for each name, made of parts one behind the other."""

    x_title: str
    names: tuple[str, ...]
    parts: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]

    def table(self) -> tuple[tuple[str, ...], list[tuple[Value, ...]]]:
        """Columns and rows, one row a bar."""
        return ("name", *self.parts), [(name, *row) for name, row in zip(self.names, self.values, strict=True)]


Drawing = Heatmap | Lines | Scatter | Boxes | Ranges | Bars


@dataclass(frozen=True)
class Figure:
    """One figure.

    Args:
        id: a file's name: lower-case letters, digits, hyphens.
        title: what it shows, short.
        caption: what a reader has to know: numbers of pairs and seeds, what the intervals are.
        alt: what one sees in it, for whoever does not see it.
        drawing: the data, by kind.
    """

    id: str
    title: str
    caption: str
    alt: str
    drawing: Drawing

    def table(self) -> tuple[tuple[str, ...], list[tuple[Value, ...]]]:
        """Columns and rows of the data; None where there is no number."""
        columns, rows = self.drawing.table()
        return columns, [tuple(_plain(value) for value in row) for row in rows]

    def csv(self) -> str:
        """The data as CSV; an empty cell is a number that there is not."""
        columns, rows = self.table()
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows(_cleaned([columns, *rows]))
        return stream.getvalue()


def _plain(value: Value) -> Value:
    """Twelve digits are more than the data hold and hide the order of summation."""
    if isinstance(value, float):
        return float(f"{value:.12g}") if math.isfinite(value) else None
    return value


def _cleaned(rows: Sequence[tuple[Value, ...]]) -> list[tuple[Value, ...]]:
    return [tuple(clean(value) if isinstance(value, str) else value for value in row) for row in rows]
