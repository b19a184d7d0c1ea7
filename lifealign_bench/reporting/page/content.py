"""What a page is made of, apart from how it looks."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from lifealign_bench.reporting.figures.figure import Figure
from lifealign_bench.reporting.page.texts import Texts
from lifealign_bench.reporting.tables.grid import Cell, Grid
from lifealign_bench.util.text import clean

__all__ = [
    "Block",
    "Browser",
    "Facts",
    "Page",
    "Picture",
    "Prose",
    "Section",
    "Table",
    "Tile",
    "Tiles",
    "flat",
    "sort_key",
]


@dataclass(frozen=True)
class Prose:
    """A paragraph; ``warning``: set off."""

    kind: ClassVar[str] = "prose"
    text: str
    warning: bool = False


@dataclass(frozen=True)
class Picture:
    """A figure with its data."""

    kind: ClassVar[str] = "picture"
    figure: Figure


@dataclass(frozen=True)
class Table:
    """A table that can be sorted by its headings.

    Args:
        id: of its own in the page.
        grid: title, headings, rows, notes.
        filters: numbers of columns that get a list to choose a value from; none: no filter at all.
    """

    kind: ClassVar[str] = "table"
    id: str
    grid: Grid
    filters: tuple[int, ...] = ()

    @property
    def rows(self) -> list[list[tuple[str, float | None, bool, bool]]]:
        """For each cell its text, number to sort by, and whether it is the best or the current."""
        cells = [[c if isinstance(c, Cell) else Cell(c) for c in row] for row in self.grid.rows]
        return [[(c.text, sort_key(c.text), c.best, c.current) for c in row] for row in cells]

    def csv(self) -> str:
        """What it shows, as CSV."""
        stream = io.StringIO()
        rows = [self.grid.heads, *([text for text, *_ in row] for row in self.rows)]
        csv.writer(stream, lineterminator="\n").writerows([[clean(text) for text in row] for row in rows])
        return stream.getvalue()

    @property
    def choices(self) -> list[tuple[int, str, list[str]]]:
        """(column, heading, values) of every filter."""
        return [
            (i, self.grid.heads[i], sorted({row[i][0] for row in self.rows}))
            for i in self.filters
            if len({row[i][0] for row in self.rows}) > 1
        ]


@dataclass(frozen=True)
class Tile:
    """A number that stands for much."""

    label: str
    value: str
    detail: str
    meaning: str


@dataclass(frozen=True)
class Tiles:
    """Some of them in a row."""

    kind: ClassVar[str] = "tiles"
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Facts:
    """Names and values. ``folded``: only its title is seen at first."""

    kind: ClassVar[str] = "facts"
    title: str
    rows: tuple[tuple[str, str], ...]
    folded: bool = False


@dataclass(frozen=True)
class Browser:
    """Generations to search in."""

    kind: ClassVar[str] = "browser"
    id: str
    texts: Texts

    @property
    def summary(self) -> str:
        """How many pairs of how many are in the page."""
        total = sum(self.texts.totals.values())
        text = f"{len(self.texts.shown)} of {total} test pairs are in this page"
        if len(self.texts.shown) < total:
            text += (
                ", of each task those first that lost most since they were learned; the rest would make it too large"
            )
        if self.texts.cut:
            text += f". {self.texts.cut} long texts are cut"
        return text + "."


@dataclass(frozen=True)
class Section:
    """A part of the page; ``folded``: only its title is seen at first."""

    kind: ClassVar[str] = "section"
    id: str
    title: str
    blocks: tuple[Block, ...]
    folded: bool = False


Block = Prose | Picture | Table | Tiles | Facts | Browser | Section


@dataclass(frozen=True)
class Page:
    """The whole page.

    Args:
        subtitle: one line below the title.
        nature: one word for what it is about.
        doubts: where its runs are not what their files give.
    """

    title: str
    subtitle: str
    nature: str
    sections: tuple[Section, ...]
    doubts: tuple[str, ...] = ()

    def pictures(self) -> list[Figure]:
        """Every figure in its order."""
        return [block.figure for block in walk(self.sections) if isinstance(block, Picture)]

    def browsers(self) -> list[Browser]:
        """Every browser of generations in its order."""
        return [block for block in walk(self.sections) if isinstance(block, Browser)]


def walk(blocks: Sequence[Block]) -> list[Block]:
    """``blocks`` and all that are in them."""
    found: list[Block] = []
    for block in blocks:
        found.append(block)
        if isinstance(block, Section):
            found += walk(block.blocks)
    return found


_DURATION = re.compile(r"^(?:([\d,]+) h)? ?(?:(\d+) min)? ?(?:([\d.]+) s)?$")
_NUMBER = re.compile(r"^(?:< )?(-?[\d,]+(?:\.\d+)?)(?:\s|%|$)")


def sort_key(text: str) -> float | None:
    """The number that a cell is sorted by: a duration's seconds, a number without what follows it; None for words."""
    if found := _DURATION.match(text.strip()):
        parts = [float((part or "0").replace(",", "")) for part in found.groups()]
        return parts[0] * 3600 + parts[1] * 60 + parts[2] if any(found.groups()) else None
    found = _NUMBER.match(text.strip())
    return float(found.group(1).replace(",", "")) if found else None


def flat(value: Any, place: str = "") -> list[tuple[str, str]]:
    """A nested value as (where, text): lists of plain values on one line, everything else a line a leaf."""
    if isinstance(value, Mapping) and value:
        return [row for key, inner in value.items() for row in flat(inner, f"{place}.{key}" if place else str(key))]
    if isinstance(value, list | tuple) and any(isinstance(inner, Mapping | list | tuple) for inner in value):
        return [row for i, inner in enumerate(value) for row in flat(inner, f"{place}.{i}")]
    return [(place, _said(value))]


def _said(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_said, value)) or "none"
    return "none" if value == {} or value == "" else str(value)
