"""Tables as LaTeX and as a part of a page; whatever a name holds, it is shown and does nothing."""

from __future__ import annotations

from collections.abc import Sequence

from lifealign_bench.reporting.tables.grid import Cell, Grid
from lifealign_bench.util.text import clean

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "—": "---",
}


def escape_latex(text: object) -> str:
    """``text`` as LaTeX shows it unchanged; brackets stand in braces: a row that begins with one would be an option."""
    escaped = "".join(_LATEX.get(character, character) for character in clean(text))
    return escaped.replace("[", "{[}").replace("]", "{]}")


def to_latex(grid: Grid) -> str:
    """A table for the package booktabs, its notes below it."""
    if grid.prose:
        columns = "".join("p{0.45\\textwidth}" if i in grid.prose else "l" for i in range(len(grid.heads)))
    else:
        columns = "".join("l" if i < grid.labels else "r" for i in range(len(grid.heads)))
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(f'{grid.title}. {grid.lead}' if grid.lead else grid.title)}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _latex_row([escape_latex(head) for head in grid.heads]),
        r"\midrule",
        *(_latex_row([_latex_cell(cell) for cell in row]) for row in grid.rows),
        r"\bottomrule",
        r"\end{tabular}",
        *(rf"\par\footnotesize {escape_latex(note)}" for note in grid.notes),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _latex_cell(cell: Cell | str) -> str:
    if isinstance(cell, str):
        return escape_latex(cell)
    return rf"\textbf{{{escape_latex(cell.text)}}}" if cell.best else escape_latex(cell.text)


class _PageGrid:
    """A grid for the template: texts are cleaned here, and escaped there."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self.title = clean(grid.title)
        self.lead = clean(grid.lead)
        self.heads = [clean(head) for head in grid.heads]
        cells = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in grid.rows]
        self.rows = [[Cell(clean(cell.text), cell.best) for cell in row] for row in cells]
        self.notes = [clean(note) for note in grid.notes]

    def word(self, column: int) -> bool:
        return column < self._grid.labels or column in self._grid.prose

    def kind(self, column: int) -> str:
        return " prose" if column in self._grid.prose else ""


_FRAGMENT = """\
<div class="lifealign-bench">
<style>
.lifealign-bench table { border-collapse: collapse; margin: .25rem 0; }
.lifealign-bench th, .lifealign-bench td { padding: .2rem .5rem; text-align: right; white-space: nowrap; }
.lifealign-bench .word { text-align: left; }
.lifealign-bench .prose { white-space: normal; overflow-wrap: anywhere; }
.lifealign-bench .note { font-size: .85em; opacity: .75; margin: .1rem 0; }
.lifealign-bench .wide { overflow-x: auto; }
</style>
{% for grid in grids %}
<p><strong>{{ grid.title }}</strong></p>
<div class="wide"><table>
<thead><tr>{% for head in grid.heads %}<th scope="col"{% if grid.word(loop.index0) %} class="word"{% endif %}>\
{{ head }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in grid.rows %}
<tr>{% for cell in row %}<td{% if grid.word(loop.index0) %} class="word{{ grid.kind(loop.index0) }}"{% endif %}>\
{% if cell.best %}<strong>{{ cell.text }}</strong>{% else %}{{ cell.text }}{% endif %}</td>{% endfor %}</tr>{% endfor %}
</tbody></table></div>
{% for note in grid.notes %}<p class="note">{{ note }}</p>
{% endfor %}{% endfor %}</div>
"""


def to_fragment(grids: Sequence[Grid]) -> str:
    """A part of a page that others make, such as a notebook's: it runs nothing, and its style is its own."""
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(_FRAGMENT).render(grids=[_PageGrid(grid) for grid in grids]).rstrip("\n") + "\n"
