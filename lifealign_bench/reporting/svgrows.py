"""Heatmaps, distributions, ranges and bars, as SVG."""

from __future__ import annotations

import math

from lifealign_bench.reporting.canvas import Canvas, cut, fold, marker_path, series_class, text_width
from lifealign_bench.reporting.figures.figure import Bars, Box, Boxes, Heatmap, Ranges
from lifealign_bench.reporting.figures.palette import DARK, LIGHT, heat_colour, ink_on
from lifealign_bench.reporting.scale import Scale, span, tick_text, ticks
from lifealign_bench.util.text import DASH, number

__all__ = ["draw_bars", "draw_boxes", "draw_heatmap", "draw_ranges"]

_CELL = 42.0
_NARROW = 500.0  # a phone's picture


def draw_heatmap(canvas: Canvas, drawing: Heatmap) -> None:
    """Cells with value and standard error; wider than asked for where the columns need it."""
    narrow = canvas.width < _NARROW
    names = min(max((text_width(n) for n in drawing.rows), default=0) + 10, 78 if narrow else 190)
    least, most = (54, 90) if narrow else (78, 128)
    wide = min(max((canvas.width - names) / max(len(drawing.columns), 1), least), most)
    heads = [fold(name, wide - 6) for name in drawing.columns]
    top = 8 + 13 * max((len(lines) for lines in heads), default=1)
    for j, lines in enumerate(heads):
        for n, line in enumerate(lines):
            y = top - 6 - 13 * (len(lines) - 1 - n)
            canvas.text(names + wide * (j + 0.5), y, line, "t", "middle")
    for i, name in enumerate(drawing.rows):
        lines = fold(name, names - 8, 2)
        for n, line in enumerate(lines):
            canvas.text(names - 8, top + _CELL * (i + 0.5) + 4 + 13 * (n - (len(lines) - 1) / 2), line, "t", "end")
        for j in range(len(drawing.columns)):
            _cell(canvas, drawing, i, j, names + wide * j, top + _CELL * i, wide)
    for i, j in sorted(drawing.current):
        canvas.rect(names + wide * j + 2, top + _CELL * i + 2, wide - 4, _CELL - 4, "now")
    canvas.height = top + _CELL * len(drawing.rows) + 4
    canvas.width = names + wide * len(drawing.columns) + 2


def _cell(canvas: Canvas, drawing: Heatmap, i: int, j: int, x: float, y: float, wide: float) -> None:
    value, error = drawing.values[i][j], drawing.errors[i][j]
    told = f"{drawing.rows[i]}, {drawing.columns[j]}: "
    if not math.isfinite(value):
        canvas.rect(x + 1, y + 1, wide - 2, _CELL - 2, "empty", told + "not evaluated")
        canvas.text(x + wide / 2, y + _CELL / 2 + 4, DASH, "t", "middle")
        return
    light, dark = heat_colour(drawing, value, LIGHT), heat_colour(drawing, value, DARK)
    shown, sure = number(value, drawing.digits), number(error, drawing.digits)
    told += f"{shown} ± {sure}, n = {drawing.counts[i][j]}"
    canvas.rect(x + 1, y + 1, wide - 2, _CELL - 2, "heat", told, f"--l:{light};--d:{dark}")
    ink = f"--l:{ink_on(light)};--d:{ink_on(dark)}"
    lift = 0 if math.isfinite(error) else 6
    canvas.text(x + wide / 2, y + 18 + lift, shown, "v", "middle", ink)
    if math.isfinite(error):
        canvas.text(x + wide / 2, y + 33, f"±{sure}", "e", "middle", ink)


def draw_boxes(canvas: Canvas, drawing: Boxes) -> None:
    """Small panels beside each other on one axis; the places are told by their first word, the stage's number."""
    low, high = span([v for p in drawing.panels for b in p.boxes if b is not None for v in b.quantiles])
    room = 12 + max(text_width(tick_text(v)) for v in ticks(low, high))
    fit = max(1, int((canvas.width - room) // 150))
    rows = math.ceil(len(drawing.panels) / fit)
    columns = math.ceil(len(drawing.panels) / rows)
    wide = (canvas.width - room) / columns
    tall = 150.0
    canvas.text(0, 12, drawing.y_title, "l")
    for k, panel in enumerate(drawing.panels):
        x = room + wide * (k % columns)
        y = 22 + (tall + 52) * (k // columns)
        canvas.text(x + wide / 2, y + 12, cut(panel.name, wide - 8, 12), "b", "middle")
        scale = Scale(low, high, y + 20 + tall, y + 20)
        left, right = x + 4, x + wide - 4
        for value in ticks(low, high):
            canvas.line(left, scale(value), right, scale(value), "grid")
            if k % columns == 0:
                canvas.text(x - 2, scale(value) + 4, tick_text(value), "t", "end")
        if drawing.zero and low < 0 < high:
            canvas.line(left, scale(0), right, scale(0), "axis")
        slot = (right - left) / len(drawing.x)
        for place, (name, box) in enumerate(zip(drawing.x, panel.boxes, strict=True)):
            middle = left + slot * (place + 0.5)
            canvas.text(middle, y + 20 + tall + 15, name.split(" ")[0], "t", "middle")
            if box is not None:
                _box(canvas, box, middle, min(slot * 0.6, 22), scale, f"{panel.name}, {name}", series_class(k))
            else:
                canvas.text(middle, y + 20 + tall / 2, DASH, "t", "middle")
    bottom = 22 + (tall + 52) * rows
    canvas.text((room + canvas.width) / 2, bottom + 4, drawing.x_title, "l", "middle")
    canvas.height = bottom + 12


def _box(canvas: Canvas, box: Box, x: float, wide: float, scale: Scale, name: str, colour: str) -> None:
    low, first, middle, third, high = box.quantiles
    canvas.line(x, scale(low), x, scale(high), f"whisker {colour}")
    told = f"{name}: median {number(middle, 2)}, half within {number(first, 2)} to {number(third, 2)}, n = {box.n}"
    top = scale(third)
    canvas.rect(x - wide / 2, top, wide, max(scale(first) - top, 1), f"box {colour}", told)
    canvas.line(x - wide / 2, scale(middle), x + wide / 2, scale(middle), f"median {colour}")
    canvas.path(marker_path(0, x, scale(box.mean), 2.2), f"m {colour}")


def _names(canvas: Canvas, names: tuple[str, ...]) -> float:
    """Room for names left of rows."""
    return min(
        max((text_width(n) for n in names), default=0) + 12, canvas.width * (0.32 if canvas.width < _NARROW else 0.3)
    )


def _below(canvas: Canvas, scale: Scale, top: float, bottom: float, title: str) -> None:
    for value in ticks(scale.low, scale.high, 4 if canvas.width < _NARROW else 6):
        canvas.line(scale(value), top, scale(value), bottom, "grid")
        canvas.text(scale(value), bottom + 16, tick_text(value), "t", "middle")
    canvas.text((scale.start + scale.end) / 2, bottom + 34, title, "l", "middle")


def draw_ranges(canvas: Canvas, drawing: Ranges) -> None:
    """A row a name: its values, their mean and one standard deviation to each side."""
    ends = [
        m + s * d for m, d in zip(drawing.means, drawing.deviations, strict=True) for s in (-1, 1) if math.isfinite(d)
    ]
    low, high = span([*(v for values in drawing.values for v in values), *ends])
    left = _names(canvas, drawing.names)
    x = Scale(low, high, left + 6, canvas.width - 14)
    row, top = 30.0, 6.0
    bottom = top + row * len(drawing.names)
    _below(canvas, x, top, bottom, drawing.x_title)
    for k, name in enumerate(drawing.names):
        y = top + row * (k + 0.5)
        colour = series_class(k)
        mean, deviation = drawing.means[k], drawing.deviations[k]
        canvas.text(left - 6, y + 4, cut(name, left - 10), "t", "end")
        if math.isfinite(deviation):
            canvas.rect(x(mean - deviation), y - 6, x(mean + deviation) - x(mean - deviation), 12, f"box {colour}")
        canvas.line(x(mean), y - 9, x(mean), y + 9, f"median {colour}")
        for value, label in zip(drawing.values[k], drawing.labels[k], strict=True):
            if math.isfinite(value):
                canvas.path(marker_path(k, x(value), y, 4), f"m {colour}", f"{name}, {label}: {number(value, 2)}")
    canvas.height = bottom + 42


def draw_bars(canvas: Canvas, drawing: Bars) -> None:
    """A bar a name, made of parts; its whole is written behind it."""
    totals = [sum(values) for values in drawing.values]
    high = max(totals, default=1.0) or 1.0
    left = _names(canvas, drawing.names)
    x = Scale(0.0, high, left + 2, canvas.width - 52)
    row, top = 26.0, 4.0
    bottom = top + row * len(drawing.names)
    _below(canvas, x, top, bottom, drawing.x_title)
    for k, name in enumerate(drawing.names):
        y, at = top + row * k, 0.0
        canvas.text(left - 6, y + row / 2 + 4, cut(name, left - 10), "t", "end")
        for i, (part, value) in enumerate(zip(drawing.parts, drawing.values[k], strict=True)):
            wide = x(at + value) - x(at)
            canvas.rect(x(at), y + 4, wide, row - 8, f"part {series_class(i)}", f"{name}, {part}: {number(value, 2)}")
            at += value
        canvas.text(x(at) + 5, y + row / 2 + 4, number(at, 1 if high >= 1 else 2), "t")
    canvas.height = canvas.legend({part: i for i, part in enumerate(drawing.parts)}, bottom + 40, left, shapes=False)
