"""Lines and points on two axes, as SVG."""

from __future__ import annotations

from itertools import groupby

from lifealign_bench.reporting.canvas import Canvas, fold, marker_path, series_class, text_width
from lifealign_bench.reporting.figures.figure import Estimate, Lines, Scatter
from lifealign_bench.reporting.scale import Scale, span, tick_text, ticks
from lifealign_bench.util.text import number

__all__ = ["draw_lines", "draw_scatter", "left_axis"]

_HEIGHT = 250.0
_TOP = 10.0
# From here on places have no room for words.
_SLOT = 58.0


def left_axis(canvas: Canvas, scale: Scale, left: float, right: float) -> None:
    """Lines across at round numbers, which are written left of them."""
    for value in ticks(scale.low, scale.high):
        y = scale(value)
        canvas.line(left, y, right, y, "grid")
        canvas.text(left - 6, y + 4, tick_text(value), "t", "end")


def _room(low: float, high: float) -> float:
    """For the numbers and the turned title of a left axis."""
    return 30 + max(text_width(tick_text(v)) for v in ticks(low, high))


def draw_lines(canvas: Canvas, drawing: Lines) -> None:
    """Lines with whiskers; neighbours are moved apart a little so that equal points stay visible."""
    ends = [v for s in drawing.series for p in s.points for v in p.ends]
    low, high = drawing.limits if drawing.limits is not None else span(ends)
    left = _room(low, high)
    y = Scale(low, high, _TOP + _HEIGHT, _TOP)
    slot = (canvas.width - left) / len(drawing.x)
    left_axis(canvas, y, left, canvas.width)
    canvas.text(12, _TOP + _HEIGHT / 2, drawing.y_title, "l", "middle", turned=True)
    bottom = _places(canvas, drawing.x, left, slot, _TOP + _HEIGHT)
    canvas.text(left + (canvas.width - left) / 2, bottom + 14, drawing.x_title, "l", "middle")
    apart = min(5.0, 0.5 * slot / max(len(drawing.series), 1))
    for place, series in enumerate(drawing.series):
        i = drawing.shown[series.name]
        colour = series_class(i)
        shift = (place - (len(drawing.series) - 1) / 2) * apart
        xs = [left + slot * (k + 0.5) + shift for k in range(len(drawing.x))]
        for known, part in groupby(zip(xs, series.points, strict=True), key=lambda pair: pair[1].known):
            if known:
                canvas.polyline([(x, y(p.value)) for x, p in part], f"line {colour}")
        for k, (x, p) in enumerate(zip(xs, series.points, strict=True)):
            if not p.known:
                continue
            if p.bounded:
                canvas.line(x, y(p.low), x, y(p.high), f"whisker {colour}")
            size = 5.5 if k == series.marked else 3.2
            canvas.path(
                marker_path(i, x, y(p.value), size), f"m {colour}", f"{series.name}, {drawing.x[k]}: {_said(p)}"
            )
    canvas.height = canvas.legend(drawing.shown, bottom + 22, left)


def _places(canvas: Canvas, names: tuple[str, ...], left: float, slot: float, top: float) -> float:
    """Names below their places, or only their first words where there is no room; gives where they end."""
    deepest = 1
    for k, name in enumerate(names):
        lines = fold(name, slot - 4) if slot >= _SLOT else [name.split(" ")[0]]
        deepest = max(deepest, len(lines))
        for n, line in enumerate(lines):
            canvas.text(left + slot * (k + 0.5), top + 16 + 13 * n, line, "t", "middle")
    return top + 16 + 13 * (deepest - 1) + 6


def draw_scatter(canvas: Canvas, drawing: Scatter) -> None:
    """Points with whiskers both ways."""
    x_low, x_high = span([v for d in drawing.dots for v in d.x.ends], log=drawing.log_x)
    y_low, y_high = span([v for d in drawing.dots for v in d.y.ends])
    left = _room(y_low, y_high)
    x = Scale(x_low, x_high, left, canvas.width - 12, drawing.log_x)
    y = Scale(y_low, y_high, _TOP + _HEIGHT, _TOP)
    left_axis(canvas, y, left, canvas.width)
    for value in ticks(x_low, x_high, 4 if canvas.width < 500 else 6, drawing.log_x):
        canvas.line(x(value), _TOP, x(value), _TOP + _HEIGHT, "grid")
        canvas.text(x(value), _TOP + _HEIGHT + 16, tick_text(value), "t", "middle")
    if y_low < 0 < y_high:
        canvas.line(left, y(0), canvas.width, y(0), "axis")
    canvas.text(12, _TOP + _HEIGHT / 2, drawing.y_title, "l", "middle", turned=True)
    canvas.text((left + canvas.width) / 2, _TOP + _HEIGHT + 36, drawing.x_title, "l", "middle")
    if drawing.path:
        canvas.polyline([(x(d.x.value), y(d.y.value)) for d in drawing.dots], "trail")
    for d in drawing.dots:
        i = drawing.shown[d.group]
        px, py, colour = x(d.x.value), y(d.y.value), series_class(i)
        if d.x.bounded:
            canvas.line(x(d.x.low), py, x(d.x.high), py, f"whisker {colour}")
        if d.y.bounded:
            canvas.line(px, y(d.y.low), px, y(d.y.high), f"whisker {colour}")
        told = (
            f"{d.name}{f', {d.note}' if d.note else ''}: {drawing.x_title} {_said(d.x)}; {drawing.y_title} {_said(d.y)}"
        )
        canvas.path(marker_path(i, px, py, 5.5), f"m {colour}", told)
    canvas.height = canvas.legend(drawing.shown, _TOP + _HEIGHT + 44, left)


def _said(p: Estimate) -> str:
    return f"{number(p.value, 2)} [{number(p.low, 2)}, {number(p.high, 2)}]" if p.bounded else number(p.value, 2)
