"""A table as plain values: shown on a terminal as wide as it is, or written as Markdown."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

__all__ = ["DASH", "Cell", "Grid", "break_name", "clean", "duration", "number", "show_grid", "to_markdown"]

DASH = "—"


def clean(text: object) -> str:
    """``text`` on one line, without control characters, escape sequences and marks that turn the writing direction."""
    parts = []
    for character in str(text):
        kind = unicodedata.category(character)
        if kind in ("Cc", "Zl", "Zp"):
            parts.append(" " if character.isspace() else "")
        elif kind == "Cs":
            parts.append("\ufffd")
        elif kind != "Cf" or character in "\u200c\u200d":
            parts.append(character)
    return "".join(parts)


def number(value: float | None, digits: int = 1) -> str:
    """A number for people; a dash where there is none."""
    if value is None or math.isnan(value):
        return DASH
    text = f"{value:,.{digits}f}"
    return text.removeprefix("-") if not text.strip("-0.,") else text


def duration(seconds: float | None) -> str:
    """Seconds for people."""
    if seconds is None or not math.isfinite(seconds):
        return DASH
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


@dataclass(frozen=True)
class Cell:
    """One value as text; ``best`` of its column, ``current``: the task that was just trained."""

    text: str
    best: bool = False
    current: bool = False


@dataclass(frozen=True)
class Grid:
    """A table.

    Args:
        title: what it shows.
        heads: column headings.
        rows: cells, or plain texts, one for each heading.
        notes: what a reader has to know, below the table.
        labels: so many columns on the left are words; a table that is too wide is split and repeats them.
        minor: shown less brightly.
    """

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell | str, ...], ...]
    notes: tuple[str, ...] = ()
    labels: int = 1
    minor: bool = False


def break_name(name: str, width: int = 12) -> str:
    """``name`` with line breaks after hyphens and the like, so that no line is longer than ``width`` if avoidable."""
    lines = [""]
    for part in re.findall(r"[^-_./,\s]*[-_./,\s]*", name):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip(" ") for line in lines if line)


def show_grid(console: Console, grid: Grid) -> None:
    """Print ``grid``, in several parts where the console is too narrow for all its columns."""
    coloured = console.is_terminal and not console.no_color
    for columns in _parts(grid, console.width):
        console.print(_table(grid, columns, coloured))
    for note in _notes(grid, coloured):
        console.print(Text(note, style="dim"), soft_wrap=False)
    console.print()


def _cell(cell: Cell | str) -> Cell:
    return cell if isinstance(cell, Cell) else Cell(cell)


def _plain(cell: Cell) -> str:
    """Marks for where there is no colour."""
    return f"{'*' if cell.best else ''}{'>' if cell.current else ''}{clean(cell.text)}"


def _notes(grid: Grid, coloured: bool) -> list[str]:
    cells = [_cell(c) for row in grid.rows for c in row]
    notes = [clean(note) for note in grid.notes]
    if any(c.current or c.best for c in cells):
        current = "cyan underlined" if coloured else ">"
        best = "green bold" if coloured else "*"
        notes.insert(0, f"{current}: the task just trained; {best}: best of its column.")
    return notes


def _width(text: str) -> int:
    return max((Text(line).cell_len for line in text.split("\n")), default=0)


def _parts(grid: Grid, width: int) -> list[list[int]]:
    """The columns of each part: the labels and as many others as fit."""
    wide = [
        max(
            _width(break_name(clean(head))) + 2,
            *(_width(break_name(clean(_cell(r[i]).text), 22) if i < grid.labels else _plain(_cell(r[i]))) + 2 for r in grid.rows),
        )
        for i, head in enumerate(grid.heads)
    ] if grid.rows else [_width(head) + 2 for head in grid.heads]
    labels = list(range(grid.labels))
    room = width - sum(wide[i] for i in labels)
    parts: list[list[int]] = [[]]
    used = 0
    for i in range(grid.labels, len(grid.heads)):
        if parts[-1] and used + wide[i] > room:
            parts.append([])
            used = 0
        parts[-1].append(i)
        used += wide[i]
    return [[*labels, *part] for part in parts]


def _table(grid: Grid, columns: Sequence[int], coloured: bool) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False, header_style="")
    for i in columns:
        label = i < grid.labels
        table.add_column(
            Text(break_name(clean(grid.heads[i])), style="bold"),
            justify="left" if label else "right",
            vertical="bottom",
            overflow="fold",
        )
    for row in grid.rows:
        table.add_row(*(_text(_cell(row[i]), coloured, grid.minor, i < grid.labels) for i in columns))
    return Group(Text(clean(grid.title), style="dim bold" if grid.minor else "bold"), table)


def _text(cell: Cell, coloured: bool, minor: bool, label: bool) -> Text:
    if not coloured:
        return Text(break_name(clean(cell.text), 22) if label else _plain(cell))
    styles = [s for s, on in (("bold green", cell.best), ("underline cyan", cell.current and not cell.best)) if on]
    if cell.best and cell.current:
        styles = ["bold green underline"]
    if minor or cell.text == DASH:
        styles.append("dim")
    return Text(break_name(clean(cell.text), 22) if label else clean(cell.text), style=" ".join(styles))


def to_markdown(grid: Grid) -> str:
    """A GitHub table; the best of a column bold, the task just trained in italics."""
    lines = [f"### {escape_markdown(grid.title)}", ""]
    lines.append("| " + " | ".join(escape_markdown(head) for head in grid.heads) + " |")
    lines.append("|" + "|".join(" --- " if i < grid.labels else " ---: " for i in range(len(grid.heads))) + "|")
    for row in grid.rows:
        lines.append("| " + " | ".join(_markdown_cell(_cell(cell)) for cell in row) + " |")
    cells = [_cell(cell) for row in grid.rows for cell in row]
    notes = [escape_markdown(note) for note in grid.notes]
    if any(c.best or c.current for c in cells):
        notes.insert(0, "Italic: the task just trained; bold: best of its column.")
    return "\n".join([*lines, *(line for note in notes for line in ("", note))]) + "\n"


def _markdown_cell(cell: Cell) -> str:
    text = escape_markdown(cell.text)
    if cell.current:
        text = f"_{text}_"
    return f"**{text}**" if cell.best else text


def escape_markdown(text: object) -> str:
    """``text`` as Markdown and HTML show it unchanged, also inside a table."""
    escaped = re.sub(r"([\\`*_{}\[\]<>#|~$])", r"\\\1", clean(text))
    return escaped.replace("&", "&amp;")
