"""Figures in a paper's style, as PDF and PNG: small type, no frame, shapes as well as colours. Drawn by matplotlib."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lifealign_bench.errors import UsageError
from lifealign_bench.reporting.figures.figure import Bar as Estimate
from lifealign_bench.reporting.figures.figure import Bars, Boxes, Figure, Heatmap, Lines, Ranges, Scatter
from lifealign_bench.reporting.figures.palette import LIGHT, heat_colour, ink_on
from lifealign_bench.reporting.figures.svg import SHAPES, cut, span
from lifealign_bench.util.files import MARK, atomic_path, refuse_foreign
from lifealign_bench.util.text import DASH, break_name, clean, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Sheet

__all__ = ["draw_sheet", "write_figures"]

_COLUMN, _PAGE = 3.4, 6.9  # inches: one column and both of a usual paper
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.1,
    "lines.markersize": 4,
    "pdf.fonttype": 42,
    "text.parse_math": False,
}
_DASHES = ("-", "--", "-.", ":")


def write_figures(figures: Sequence[Figure], folder: Path, force: bool) -> list[Path]:
    """Write every figure as ``<id>.pdf`` and ``<id>.png``.

    Raises:
        UsageError: a file of that name is there and no figure of a report, without ``force``; the folder is a file.
    """
    import matplotlib

    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is not a folder.", "Name another one with --figures.")
    files = [folder / f"{figure.id}.{kind}" for figure in figures for kind in ("pdf", "png")]
    refuse_foreign(files, force)
    with matplotlib.rc_context(_STYLE):
        for figure in figures:
            sheet = draw_sheet(figure)
            # Without dates: the same run gives the same bytes.
            facts: dict[str, dict[str, Any]] = {
                "pdf": {"Title": clean(figure.title), "Creator": MARK, "CreationDate": None},
                "png": {"Title": clean(figure.title), "Software": MARK},
            }
            for kind in ("pdf", "png"):
                with atomic_path(folder / f"{figure.id}.{kind}") as temporary:
                    sheet.savefig(temporary, format=kind, dpi=300, metadata=facts[kind])
    return files


def draw_sheet(figure: Figure) -> Sheet:
    """The figure as one of matplotlib's, which belongs to nothing global."""
    drawing = figure.drawing
    if isinstance(drawing, Heatmap):
        return _heatmap(drawing)
    if isinstance(drawing, Boxes):
        return _boxes(drawing)
    draw: Callable[[Axes], None]
    tall = 2.5
    if isinstance(drawing, Lines):
        lines = drawing
        draw = lambda axes: _lines(axes, lines)  # noqa: E731
    elif isinstance(drawing, Scatter):
        points = drawing
        draw = lambda axes: _scatter(axes, points)  # noqa: E731
    elif isinstance(drawing, Ranges):
        ranges = drawing
        tall = 0.9 + 0.28 * len(ranges.names)
        draw = lambda axes: _ranges(axes, ranges)  # noqa: E731
    else:
        bars = drawing
        tall = 1.1 + 0.24 * len(bars.names)
        draw = lambda axes: _bars(axes, bars)  # noqa: E731
    sheet = _sheet(_COLUMN, tall + 0.16 * _legend_rows(drawing))
    draw(sheet.add_subplot())
    return sheet


def _sheet(wide: float, tall: float) -> Sheet:
    from matplotlib.figure import Figure as NewSheet

    return NewSheet(figsize=(wide, tall), layout="constrained")


def _legend_rows(drawing: Lines | Scatter | Ranges | Bars) -> int:
    if isinstance(drawing, Lines):
        return math.ceil(len(drawing.series) / 2)
    if isinstance(drawing, Scatter):
        return math.ceil(len(drawing.shown) / 2)
    return math.ceil(len(drawing.parts) / 2) if isinstance(drawing, Bars) else 0


def _legend(axes: Axes) -> None:
    sheet = axes.get_figure()
    assert sheet is not None
    sheet.legend(loc="outside lower center", ncols=2, handlelength=1.6, columnspacing=1.2)


def _colour(index: int) -> str:
    return LIGHT.series[index % len(LIGHT.series)]


def _marker(index: int) -> str:
    return SHAPES[(index + index // 8) % len(SHAPES)]


def _label(name: str, longest: float = 200) -> str:
    """A name as it fits beside a figure; an underscore in front would hide it from a legend."""
    shown = cut(clean(name), longest)
    return f"\u200b{shown}" if shown.startswith("_") else shown


def _bounds(points: Sequence[Estimate], axis: int) -> Any:
    """Whiskers as matplotlib takes them, (2, points), 0 where there are none."""
    pairs = [(p.value - p.low, p.high - p.value) if p.bounded else (0.0, 0.0) for p in points]
    return np.maximum(np.array(pairs, dtype=float).T.reshape(2, -1), 0.0) if axis else None


def _lines(axes: Axes, drawing: Lines) -> None:
    spread = min(0.05, 0.5 / max(len(drawing.series), 1))
    for place, series in enumerate(drawing.series):
        i = drawing.shown[series.name]
        shift = (place - (len(drawing.series) - 1) / 2) * spread
        x = np.arange(len(drawing.x)) + shift
        y = np.array([p.value for p in series.points])
        axes.plot(x, y, _DASHES[i // 8 % 4], color=_colour(i), marker=_marker(i), label=_label(series.name))
        known = [k for k, p in enumerate(series.points) if p.bounded]
        if known:
            whiskers = _bounds([series.points[k] for k in known], 1)
            axes.errorbar(x[known], y[known], whiskers, fmt="none", ecolor=_colour(i), elinewidth=0.6, alpha=0.8)
        if series.marked is not None and series.points[series.marked].known:
            k = series.marked
            axes.plot(
                x[k], y[k], _marker(i), color=_colour(i), markersize=7, markeredgecolor="black", markeredgewidth=0.6
            )
    short = len(drawing.x) > 4 and any(" " in name for name in drawing.x)
    names = [name.split(" ")[0] if short else break_name(clean(name)) for name in drawing.x]
    axes.set_xticks(range(len(drawing.x)), names)
    axes.grid(visible=False, axis="x")
    if drawing.limits is not None:
        low, high = drawing.limits
        axes.set_ylim(low - 0.03 * (high - low), high + 0.03 * (high - low))
    axes.set_xlabel(clean(drawing.x_title))
    axes.set_ylabel(clean(drawing.y_title))
    _legend(axes)


def _scatter(axes: Axes, drawing: Scatter) -> None:
    if drawing.log_x:
        axes.set_xscale("log")
    if drawing.path:
        axes.plot([d.x.value for d in drawing.dots], [d.y.value for d in drawing.dots], color="#999999", linewidth=0.8)
    for group, i in drawing.shown.items():
        own = [d for d in drawing.dots if d.group == group]
        axes.errorbar(
            [d.x.value for d in own],
            [d.y.value for d in own],
            yerr=_bounds([d.y for d in own], 1),
            xerr=_bounds([d.x for d in own], 1),
            fmt=_marker(i),
            color=_colour(i),
            elinewidth=0.6,
            markersize=5,
            label=_label(group),
        )
    axes.set_xlabel(clean(drawing.x_title))
    axes.set_ylabel(clean(drawing.y_title))
    _legend(axes)


def _heatmap(drawing: Heatmap) -> Sheet:
    """Drawn cell by cell, in the colours of the page."""
    from matplotlib.patches import Rectangle

    rows, columns = len(drawing.rows), len(drawing.columns)
    sheet = _sheet(min(1.2 + 0.75 * columns, max(_PAGE, 0.6 * columns)), 0.8 + 0.36 * rows)
    axes = sheet.add_subplot()
    for i in range(rows):
        for j in range(columns):
            value, error = drawing.values[i][j], drawing.errors[i][j]
            known = math.isfinite(value)
            colour = heat_colour(drawing, value, LIGHT) if known else LIGHT.empty
            axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=colour, edgecolor="white", linewidth=0.8))
            text = DASH if not known else number(value, drawing.digits)
            if known and math.isfinite(error):
                text += f"\n±{number(error, drawing.digits)}"
            axes.text(j, i, text, ha="center", va="center", color=ink_on(colour), fontsize=6.5)
    for i, j in drawing.current:
        axes.add_patch(Rectangle((j - 0.46, i - 0.44), 0.92, 0.88, fill=False, edgecolor="#d55e00", linewidth=1.1))
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_xticks(range(columns), [break_name(_label(name, 220), 11) for name in drawing.columns])
    axes.set_yticks(range(rows), [_label(name, 220) for name in drawing.rows])
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_ylabel(clean(drawing.row_head))
    return sheet


def _boxes(drawing: Boxes) -> Sheet:
    count = len(drawing.panels)
    rows = math.ceil(count / 4)
    columns = math.ceil(count / rows)
    sheet = _sheet(min(_PAGE, 0.5 + 1.6 * columns), 0.3 + 1.5 * rows)
    low, high = span([v for p in drawing.panels for b in p.boxes if b is not None for v in b.quantiles])
    grid = sheet.subplots(rows, columns, sharey=True, squeeze=False)
    for k, axes in enumerate(grid.ravel()):
        if k >= count:
            axes.set_visible(False)
            continue
        panel = drawing.panels[k]
        for place, box in enumerate(panel.boxes):
            if box is None:
                continue
            bottom, first, middle, third, top = box.quantiles
            colour = _colour(k)
            axes.vlines(place, bottom, top, color=colour, linewidth=0.7)
            axes.bar(place, third - first, 0.6, bottom=first, color=colour, alpha=0.35, edgecolor=colour, linewidth=0.7)
            axes.hlines(middle, place - 0.3, place + 0.3, color=colour, linewidth=1.4)
            axes.plot(place, box.mean, "o", color=colour, markersize=2)
        if drawing.zero and low < 0 < high:
            axes.axhline(0, color="#555555", linewidth=0.6)
        axes.set_title(_label(panel.name, 150))
        axes.set_xticks(range(len(drawing.x)), [clean(name).split(" ")[0] for name in drawing.x])
        axes.grid(visible=False, axis="x")
        axes.set_ylim(low, high)
    sheet.supylabel(clean(drawing.y_title), fontsize=7.5)
    sheet.supxlabel(clean(drawing.x_title), fontsize=7.5)
    return sheet


def _ranges(axes: Axes, drawing: Ranges) -> None:
    for k, (values, mean, deviation) in enumerate(zip(drawing.values, drawing.means, drawing.deviations, strict=True)):
        if math.isfinite(deviation):
            axes.barh(k, 2 * deviation, 0.45, left=mean - deviation, color=_colour(k), alpha=0.3)
        axes.vlines(mean, k - 0.32, k + 0.32, color=_colour(k), linewidth=1.4)
        axes.plot(values, [k] * len(values), _marker(k), color=_colour(k), markersize=3.5)
    axes.set_yticks(range(len(drawing.names)), [_label(name) for name in drawing.names])
    axes.set_ylim(len(drawing.names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(clean(drawing.x_title))


def _bars(axes: Axes, drawing: Bars) -> None:
    at = np.zeros(len(drawing.names))
    hatches = ("", "//", "..", "xx", "\\\\", "--", "oo", "++")
    for i, part in enumerate(drawing.parts):
        wide = np.array([row[i] for row in drawing.values])
        axes.barh(
            range(len(at)), wide, 0.65, left=at, color=_colour(i), label=_label(part), hatch=hatches[i % 8], alpha=0.85,
            edgecolor="white", linewidth=0.3,
        )  # fmt: skip
        at += wide
    axes.set_yticks(range(len(drawing.names)), [_label(name) for name in drawing.names])
    axes.set_ylim(len(drawing.names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(clean(drawing.x_title))
    _legend(axes)
