"""A table as plain values: shown on a terminal as wide as it is, or written as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from lifealign_bench.util.text import DASH, break_name, clean

LABEL_WIDTH = 22


@dataclass(frozen=True)
class Cell:
    """One value as text; ``best`` of its column, ``current``: the task that was just trained. ``interval``: its 95 %
    interval, where a page draws it."""

    text: str
    best: bool = False
    current: bool = False
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Grid:
    """A table.

    Args:
        title: what it shows.
        heads: column headings.
        rows: cells, or plain texts, one for each heading.
        notes: what a reader has to know, below the table.
        lead: what to know first, above it.
        labels: so many columns on the left are words; a table that is too wide is split and repeats them.
        minor: shown less brightly.
        legend: explain the marks of ``best`` and ``current`` below it.
        prose: columns of sentences, which are wrapped; such a table is never split.
    """

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell | str, ...], ...]
    notes: tuple[str, ...] = ()
    labels: int = 1
    minor: bool = False
    legend: bool = True
    prose: tuple[int, ...] = ()
    lead: str = ""


def show_grid(console: Console, grid: Grid) -> None:
    """Print ``grid``, in several parts where the console is too narrow for all its columns."""
    coloured = console.is_terminal and not console.no_color
    for part, columns in enumerate(_parts(grid, console.width)):
        if part:
            console.print()
        console.print(_table(grid, columns, coloured, headed=not part))
    for note in _notes(grid, coloured):
        console.print(Text(note, style="dim"), soft_wrap=False)
    console.print()


def _cell(cell: Cell | str) -> Cell:
    return cell if isinstance(cell, Cell) else Cell(cell)


def _plain(cell: Cell) -> str:
    """Marks for where there is no colour."""
    return f"{'*' if cell.best else ''}{'>' if cell.current else ''}{clean(cell.text)}"


def _notes(grid: Grid, coloured: bool) -> list[str]:
    notes = [clean(note) for note in grid.notes]
    if grid.legend and _marked(grid):
        current = "cyan underlined" if coloured else ">"
        best = "green bold" if coloured else "*"
        notes.insert(0, _legend(grid, current, best))
    return notes


def _marked(grid: Grid) -> bool:
    return any(cell.best or cell.current for row in grid.rows for cell in row if isinstance(cell, Cell))


def _legend(grid: Grid, current: str, best: str) -> str:
    cells = [cell for row in grid.rows for cell in row if isinstance(cell, Cell)]
    parts = [f"{current}: the task just trained"] if any(cell.current for cell in cells) else []
    parts += [f"{best}: best of its column"] if any(cell.best for cell in cells) else []
    return f"{'; '.join(parts)}."


def without_repeats(grids: Sequence[Grid]) -> list[Grid]:
    """``grids`` with every note and the legend said once, where it is needed first."""
    said: set[str] = set()
    kept = []
    legend = True
    for grid in grids:
        kept.append(replace(grid, notes=tuple(note for note in grid.notes if note not in said), legend=legend))
        said |= set(grid.notes)
        legend = legend and not _marked(grid)
    return kept


def _width(text: str) -> int:
    return max((Text(line).cell_len for line in text.split("\n")), default=0)


def _parts(grid: Grid, width: int) -> list[list[int]]:
    """The columns of each part: the labels and others, in as few parts as fit and these of like width, so that the last
    column is not left alone."""
    if grid.prose:
        return [list(range(len(grid.heads)))]
    wide = [_column_width(grid, i) for i in range(len(grid.heads))]
    labels = list(range(grid.labels))
    room = width - sum(wide[i] for i in labels)
    parts = _filled(wide, grid.labels, room)
    narrower = (_filled(wide, grid.labels, less) for less in range(1, room))
    return [[*labels, *part] for part in next((found for found in narrower if len(found) == len(parts)), parts)]


def _filled(wide: Sequence[int], first: int, room: int) -> list[list[int]]:
    """The columns from ``first`` on, in parts that are no wider than ``room`` where a column's own width allows it."""
    parts: list[list[int]] = [[]]
    used = 0
    for i in range(first, len(wide)):
        if parts[-1] and used + wide[i] > room:
            parts.append([])
            used = 0
        parts[-1].append(i)
        used += wide[i]
    return parts


def _column_width(grid: Grid, column: int) -> int:
    cells = [_cell(row[column]) for row in grid.rows]
    label = column < grid.labels
    texts = [break_name(clean(cell.text), LABEL_WIDTH) if label else _plain(cell) for cell in cells]
    return 2 + max(_width(text) for text in [break_name(clean(grid.heads[column])), *texts])


def _table(grid: Grid, columns: Sequence[int], coloured: bool, headed: bool) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False, header_style="")
    for i in columns:
        table.add_column(
            Text(clean(grid.heads[i]) if grid.prose else break_name(clean(grid.heads[i])), style="bold"),
            justify="left" if i < grid.labels or grid.prose else "right",
            vertical="top" if grid.prose else "bottom",
            overflow="fold",
            no_wrap=bool(grid.prose) and i not in grid.prose,
        )
    for row in grid.rows:
        cells = [(_cell(row[i]), i < grid.labels and not grid.prose) for i in columns]
        table.add_row(*(_text(cell, coloured, grid.minor, label) for cell, label in cells))
    if not headed:  # its labels say what it goes on with
        return table
    title = Text(clean(grid.title), style="dim bold" if grid.minor else "bold")
    lead = [Text(clean(grid.lead))] if grid.lead else []
    return Group(title, *lead, table)


def _text(cell: Cell, coloured: bool, minor: bool, label: bool) -> Text:
    if label:
        return Text(break_name(clean(cell.text), LABEL_WIDTH))
    if not coloured:
        return Text(_plain(cell))
    style = {(True, True): "bold green underline", (True, False): "bold green", (False, True): "cyan underline"}
    faint = " dim" if minor or cell.text == DASH else ""
    return Text(clean(cell.text), style=style.get((cell.best, cell.current), "") + faint)


def to_markdown(grid: Grid) -> str:
    """A GitHub table; the best of a column bold, the task just trained in italics."""
    lines = [f"### {escape_markdown(grid.title)}", ""]
    lines += [escape_markdown(grid.lead), ""] if grid.lead else []
    lines.append("| " + " | ".join(escape_markdown(head) for head in grid.heads) + " |")
    lines.append("|" + "|".join(" --- " if i < grid.labels else " ---: " for i in range(len(grid.heads))) + "|")
    for row in grid.rows:
        lines.append("| " + " | ".join(_markdown_cell(_cell(cell)) for cell in row) + " |")
    notes = [escape_markdown(note) for note in grid.notes]
    if grid.legend and _marked(grid):
        notes.insert(0, _legend(grid, "italic", "bold"))
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
