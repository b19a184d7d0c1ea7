"""What a page is made of, apart from how it looks."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from lifealign_bench.reporting.figures.figure import Figure
from lifealign_bench.reporting.page.texts import Texts
from lifealign_bench.reporting.tables.grid import Cell, Grid
from lifealign_bench.util.text import clean


@dataclass(frozen=True)
class Prose:
    """A paragraph; ``warning``: set off."""

    kind: ClassVar[str] = "prose"
    text: str
    warning: bool = False


@dataclass(frozen=True)
class Gallery:
    """Figures beside each other, with one legend and what a reader has to know of all of them."""

    kind: ClassVar[str] = "gallery"
    figures: tuple[Figure, ...]
    note: str = ""

    @property
    def legend(self) -> dict[str, int]:
        """The series of its lines and points, by their numbers: each can be switched off in all of its figures."""
        drawn = [figure for figure in self.figures if figure.chart.kind in ("lines", "points")]
        names = next((figure.series for figure in drawn if figure.series), ())
        there = {row.get("series", row.get("name")) for figure in drawn if figure.series for row in figure.data}
        return {name: i for i, name in enumerate(names) if name in there and len(there) > 1}


@dataclass(frozen=True)
class Shown:
    """A cell as the page shows it.

    Args:
        text: all of it.
        value: its number alone, where the rest is drawn as a bar.
        key: what it is sorted by.
        bar: of its interval in the column, in percent of its width: left end, width, place of the value; or nothing.
    """

    text: str
    value: str
    key: float | None
    best: bool
    current: bool
    bar: tuple[float, float, float] | None


@dataclass(frozen=True)
class Table:
    """A table that can be sorted by its headings.

    Args:
        id: of its own in the page.
        grid: title, headings, rows, notes.
        filters: numbers of columns that get a list to choose a value from.
        search: whether its rows can be searched and its columns chosen.
        main: headings of the columns that a phone shows at first; none: all of them.
        folded: only its title is seen at first.
    """

    kind: ClassVar[str] = "table"
    id: str
    grid: Grid
    filters: tuple[int, ...] = ()
    search: bool = False
    main: tuple[str, ...] = ()
    folded: bool = False

    @cached_property
    def rows(self) -> list[list[Shown]]:
        """Its cells, row by row."""
        cells = [[c if isinstance(c, Cell) else Cell(c) for c in row] for row in self.grid.rows]
        columns = [[cell.interval for cell in column if cell.interval] for column in zip(*cells, strict=True)]
        ends = [
            (min(low for low, _ in column), max(high for _, high in column)) if column else None for column in columns
        ]
        return [[_shown(cell, between) for cell, between in zip(row, ends, strict=True)] for row in cells]

    @property
    def first(self) -> int:
        """The column that stays in sight when the others are scrolled: the method, or else the first."""
        return self.grid.heads.index("method") if "method" in self.grid.heads else 0

    @property
    def bars(self) -> bool:
        """Whether intervals are drawn."""
        return any(cell.bar for row in self.rows for cell in row)

    def csv(self) -> str:
        """What it shows, as CSV."""
        stream = io.StringIO()
        rows = [self.grid.heads, *([cell.text for cell in row] for row in self.rows)]
        csv.writer(stream, lineterminator="\n").writerows([[clean(text) for text in row] for row in rows])
        return stream.getvalue()

    @property
    def choices(self) -> list[tuple[int, str, list[str]]]:
        """(column, heading, values) of every filter."""
        return [
            (i, self.grid.heads[i], sorted({row[i].text for row in self.rows}))
            for i in self.filters
            if len({row[i].text for row in self.rows}) > 1
        ]


def _shown(cell: Cell, ends: tuple[float, float] | None) -> Shown:
    key, value, bar = sort_key(cell.text), cell.text, None
    if cell.interval and ends and key is not None and ends[0] < ends[1]:
        low, at, high = (100 * (v - ends[0]) / (ends[1] - ends[0]) for v in (cell.interval[0], key, cell.interval[1]))
        value, bar = cell.text.split(" ")[0], (low, high - low, at)
    return Shown(cell.text, value, key, cell.best, cell.current, bar)


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
            which = (
                "the same of every run" if self.texts.beside else "those first that lost most since they were learned"
            )
            text += f", of each task {which}; the rest would make it too large"
        if self.texts.cut:
            text += f". {self.texts.cut} long texts are cut"
        return text + "."


@dataclass(frozen=True)
class SideBySide:
    """Two runs' responses to one prompt through the stages, to be chosen; ``runs``: title and id of their browser."""

    kind: ClassVar[str] = "sides"
    id: str
    runs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Section:
    """A part of the page; ``folded``: only its title is seen at first."""

    kind: ClassVar[str] = "section"
    id: str
    title: str
    blocks: tuple[Block, ...]
    folded: bool = False


Block = Prose | Gallery | Table | Tiles | Facts | Browser | SideBySide | Section


@dataclass(frozen=True)
class Page:
    """The whole page.

    Args:
        subtitle: one line below the title.
        nature: one word for what it is about.
        result: what it says, in sentences.
        doubts: where its runs are not what their files give.
    """

    title: str
    subtitle: str
    nature: str
    sections: tuple[Section, ...]
    doubts: tuple[str, ...] = ()
    result: tuple[str, ...] = ()

    def pictures(self) -> list[Figure]:
        """Every figure in its order."""
        return [figure for block in walk(self.sections) if isinstance(block, Gallery) for figure in block.figures]

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


_SIZES = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_SIZE = re.compile(r"^([\d.]+) (bytes|KiB|MiB|GiB)$")
_DURATION = re.compile(r"^(?:([\d,]+) h)? ?(?:(\d+) min)? ?(?:([\d.]+) s)?$")
_NUMBER = re.compile(r"^(?:< )?(-?[\d,]+(?:\.\d+)?)(?:\s|%|$)")


def sort_key(text: str) -> float | None:
    """What a cell is sorted by: a duration's seconds, a size's bytes, a number without what follows it; None: words."""
    if found := _DURATION.match(text.strip()):
        parts = [float((part or "0").replace(",", "")) for part in found.groups()]
        return parts[0] * 3600 + parts[1] * 60 + parts[2] if any(found.groups()) else None
    if found := _SIZE.match(text.strip()):
        return float(found[1]) * _SIZES[found[2]]
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
