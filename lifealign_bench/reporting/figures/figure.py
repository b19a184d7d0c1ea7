"""Figures as data: one flat table, and the chart that is drawn of it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lifealign_bench.reporting.figures.palette import SERIES, Theme, look_of
from lifealign_bench.util.text import clean, number

Datum = Mapping[str, Any]  # of texts, numbers and truth values
Spec = dict[str, Any]  # of Vega-Lite


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

    def columns(self, name: str = "") -> dict[str, Any]:
        """``value``, ``low`` and ``high`` of a row; of several numbers with the ``name`` in front."""
        keys = (name, f"{name}_low", f"{name}_high") if name else ("value", "low", "high")
        return dict(zip(keys, (self.value, self.low, self.high), strict=True))

    def said(self, digits: int = 1) -> str:
        """``90.3 [83.9, 94.1]``."""
        text = number(self.value, digits)
        return f"{text} [{number(self.low, digits)}, {number(self.high, digits)}]" if self.bounded else text


UNKNOWN = Bar(math.nan)


@dataclass(frozen=True)
class Style:
    """How figures are dressed.

    Args:
        look: colours by name (``palette``).
        series: all there are in the figures beside each other, so that each looks the same in every one.
        alone: whether a figure has no page around it: it says itself which series is which, in colours of its own.
    """

    look: Theme
    series: tuple[str, ...]
    alone: bool

    def by(self, field: str, shown: Sequence[str], legend: bool = False) -> dict[str, Spec]:
        """Encodings that tell series apart by hue, mark, fill and dash."""
        numbers = [self.series.index(name) if self.series else i for i, name in enumerate(shown)]
        looks = [look_of(i) for i in numbers]
        hues = [self._hue(i) for i in numbers]
        ranges: dict[str, list[Any]] = {
            "stroke": hues,
            "fill": [hue if found.filled else self.look["none"] for hue, found in zip(hues, looks, strict=True)],
            "shape": [found.mark for found in looks],
            "strokeDash": [list(found.dash) for found in looks],
        }
        scale = {"type": "ordinal", "domain": list(shown)}
        told = {"title": None} if legend else None
        return {
            key: {"field": field, "type": "nominal", "scale": scale | {"range": values}, "legend": told}
            for key, values in ranges.items()
        }

    def _hue(self, index: int) -> str:
        """A series' hue; on a page under a name of its own, by which it can be switched off."""
        return self.look[look_of(index).hue] if self.alone else f"var(--s{index % SERIES})"

    def marks(self, field: str, shown: Sequence[str], legend: bool = False) -> dict[str, Spec]:
        """Those of points; where no series are told apart all look the same."""
        if not self.series:
            hue = {"value": self._hue(0)}
            return {"stroke": hue, "fill": hue}
        return {key: channel for key, channel in self.by(field, shown, legend).items() if key != "strokeDash"}


@dataclass(frozen=True)
class Chart:
    """How a figure is drawn; see ``charts`` for the kinds.

    Args:
        kind: its name.
        heads: columns of the data that people read, to their headings; a row may hold more for the drawing alone.
        draw: rows and style to a chart of Vega-Lite.
    """

    kind: str
    heads: Mapping[str, str]
    draw: Callable[[Sequence[Datum], Style], Spec]


@dataclass(frozen=True)
class Figure:
    """One figure.

    Args:
        id: a file's name: lower-case letters, digits, hyphens.
        title: what it shows, short.
        caption: what a reader has to know: numbers of pairs and seeds, what the intervals are.
        chart: how it is drawn.
        data: its rows; NaN where there is no number.
        series: names of all series of its group, drawn here or not; empty where none is told apart.
    """

    id: str
    title: str
    caption: str
    chart: Chart
    data: tuple[Datum, ...]
    series: tuple[str, ...] = ()

    @property
    def rows(self) -> list[Datum]:
        """The data with texts on one line and without control characters; None where there is no number."""
        return [{key: _plain(value) for key, value in row.items()} for row in self.data]

    @property
    def alt(self) -> str:
        """What is in it, for whoever does not see it: how many rows, from where to where each number goes, and what is
        outlined."""
        columns, rows = self.table()
        ranges = []
        for head, values in zip(columns, zip(*rows, strict=True), strict=False):
            found = [value for value in values if isinstance(value, float)]
            if found:
                ranges.append(f"{head} from {min(found):.4g} to {max(found):.4g}")
        outlined = [f"{row['row']}, {row['column']}" for row in self.rows if row.get("current")]
        marks = f" Outlined: {'; '.join(outlined)}." if outlined else ""
        return f"{len(rows)} rows of data: {'; '.join(ranges) or 'no number'}.{marks}"

    def spec(self, look: Theme, alone: bool) -> Spec:
        """Its chart in ``look``, without what all figures have in common (``drawn``)."""
        return self.chart.draw(self.rows, Style(look, tuple(map(clean, self.series)), alone))

    def table(self) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Headings and rows of the data."""
        heads = self.chart.heads
        return tuple(map(clean, heads.values())), [tuple(row.get(key) for key in heads) for row in self.rows]

    def csv(self) -> str:
        """The data as CSV; an empty cell is a number that there is not."""
        columns, rows = self.table()
        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n").writerows([columns, *rows])
        return stream.getvalue()


def _plain(value: Any) -> Any:
    """Twelve digits are more than the data hold and hide the order of summation."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float):
        return float(f"{value:.12g}") if math.isfinite(value) else None
    return value
