"""A figure as SVG, in one picture for a wide window and one for a phone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup, escape
from rich.cells import cell_len

from lifealign_bench.reporting.figures.figure import Bar, Bars, Box, Boxes, Figure, Heatmap, Lines, Ranges, Scatter
from lifealign_bench.reporting.figures.palette import DARK, LIGHT, heat_colour, ink_on
from lifealign_bench.util.text import DASH, clean, number

__all__ = [
    "NARROW",
    "SHAPES",
    "WIDE",
    "Canvas",
    "Scale",
    "cut",
    "draw",
    "draw_bars",
    "draw_boxes",
    "draw_heatmap",
    "draw_lines",
    "draw_ranges",
    "draw_scatter",
    "fold",
    "left_axis",
    "marker_path",
    "pictures",
    "series_class",
    "span",
    "text_width",
    "tick_text",
    "ticks",
]


WIDE, NARROW = 880.0, 350.0


def pictures(figure: Figure) -> Markup:
    """Both; the page's style shows one of them."""
    return draw(figure, WIDE, "wide") + draw(figure, NARROW, "narrow")


def draw(figure: Figure, width: float, kind: str) -> Markup:
    """One picture, ``width`` wide unless a heatmap needs more."""
    canvas = Canvas(width)
    drawing = figure.drawing
    if isinstance(drawing, Heatmap):
        draw_heatmap(canvas, drawing)
    elif isinstance(drawing, Lines):
        draw_lines(canvas, drawing)
    elif isinstance(drawing, Scatter):
        draw_scatter(canvas, drawing)
    elif isinstance(drawing, Boxes):
        draw_boxes(canvas, drawing)
    elif isinstance(drawing, Ranges):
        draw_ranges(canvas, drawing)
    elif isinstance(drawing, Bars):
        draw_bars(canvas, drawing)
    return canvas.svg(f"{figure.id}-{kind}", figure.title, figure.alt, kind)


SMALL = 12.0

# Of a character in a proportional font, as part of its size.
_CHARACTER = 0.56

SHAPES = ("o", "s", "^", "D", "v", "P", "X", "h")


def text_width(text: str, size: float = SMALL) -> float:
    """About how wide a text is drawn."""
    return cell_len(text) * size * _CHARACTER


def cut(text: str, width: float, size: float = SMALL) -> str:
    """``text``, or its beginning and an ellipsis where it is wider than ``width``."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "…", size) > width:
        text = text[:-1]
    return text.rstrip("-_ ") + "…"


def fold(text: str, width: float, lines: int = 3, size: float = SMALL) -> list[str]:
    """``text`` in at most ``lines`` lines of ``width``, broken after hyphens and the like; the rest is cut off."""
    found = [""]
    for part in _parts(text, width, size):
        if found[-1] and text_width((found[-1] + part).rstrip(), size) > width:
            found.append("")
        found[-1] += part
    if len(found) > lines:
        found = [*found[: lines - 1], "".join(found[lines - 1 :])]
    return [cut(line.rstrip(" "), width, size) for line in found]


def _parts(text: str, width: float, size: float) -> list[str]:
    """Where a line may end: after hyphens and the like, and within what is too long for any line."""
    found: list[str] = []
    for part in text.replace("-", "-\0").replace("_", "_\0").replace("/", "/\0").replace(" ", " \0").split("\0"):
        rest = part
        while text_width(rest.rstrip(), size) > width and len(rest) > 1:
            most = next(n for n in range(len(rest) - 1, 0, -1) if n == 1 or text_width(rest[:n], size) <= width)
            found.append(rest[:most])
            rest = rest[most:]
        found.append(rest)
    return found


def series_class(index: int) -> str:
    """The class that colours a series."""
    return f"c{index % 8}"


def marker_path(index: int, x: float, y: float, r: float) -> str:
    """The outline of the shape of a series around a place."""
    shape = SHAPES[(index + index // 8) % len(SHAPES)]
    if shape == "o":
        return f"M{x - r:.1f} {y:.1f}a{r:.1f} {r:.1f} 0 1 0 {2 * r:.1f} 0a{r:.1f} {r:.1f} 0 1 0 {-2 * r:.1f} 0z"
    corners = [(x + dx * r, y + dy * r) for dx, dy in _CORNERS[shape]]
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in corners) + "z"


_T = 0.36

_CORNERS: dict[str, tuple[tuple[float, float], ...]] = {
    "s": ((-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)),
    "^": ((0, -1.15), (1.05, 0.8), (-1.05, 0.8)),
    "v": ((0, 1.15), (1.05, -0.8), (-1.05, -0.8)),
    "D": ((0, -1.25), (1.1, 0), (0, 1.25), (-1.1, 0)),
    "P": tuple(
        (sx * a, sy * b)
        for sx, sy, a, b in (
            (-1, -1, _T, 1.1), (1, -1, _T, 1.1), (1, -1, _T, _T), (1, -1, 1.1, _T), (1, 1, 1.1, _T), (1, 1, _T, _T),
            (1, 1, _T, 1.1), (-1, 1, _T, 1.1), (-1, 1, _T, _T), (-1, 1, 1.1, _T), (-1, -1, 1.1, _T), (-1, -1, _T, _T),
        )
    ),
    "X": (
        (-1.0, -0.5), (-0.5, -1.0), (0, -0.5), (0.5, -1.0), (1.0, -0.5), (0.5, 0), (1.0, 0.5), (0.5, 1.0), (0, 0.5),
        (-0.5, 1.0), (-1.0, 0.5), (-0.5, 0),
    ),
    "h": ((0, -1.15), (1, -0.58), (1, 0.58), (0, 1.15), (-1, 0.58), (-1, -0.58)),
}  # fmt: skip


class Canvas:
    """Shapes in the order in which they are drawn."""

    def __init__(self, width: float) -> None:
        self.width = self._asked = width
        self.height = 0.0
        self._parts: list[str] = []

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """A straight line."""
        self._parts.append(f'<path class="{kind}" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"/>')

    def path(self, d: str, kind: str, title: str = "") -> None:
        """Any outline; ``title`` is shown while the pointer is on it."""
        inside = f"><title>{escape(clean(title))}</title></path>" if title else "/>"
        self._parts.append(f'<path class="{kind}" d="{d}"{inside}')

    def polyline(self, points: Sequence[tuple[float, float]], kind: str) -> None:
        """Joined lines."""
        self.path("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points), kind)

    def rect(
        self, x: float, y: float, width: float, height: float, kind: str, title: str = "", style: str = ""
    ) -> None:
        """A rectangle."""
        inside = f"><title>{escape(clean(title))}</title></rect>" if title else "/>"
        styled = f' style="{escape(style)}"' if style else ""
        self._parts.append(
            f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}"'
            f"{styled}{inside}"
        )

    def text(
        self,
        x: float,
        y: float,
        text: str,
        kind: str = "t",
        anchor: str = "start",
        style: str = "",
        turned: bool = False,
    ) -> None:
        """A text with its baseline at ``y``; ``turned``: upwards."""
        more = f' style="{escape(style)}"' if style else ""
        if turned:
            more += f' transform="rotate(-90 {x:.1f} {y:.1f})"'
        where = "" if anchor == "start" else f' text-anchor="{anchor}"'
        self._parts.append(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}"{where}{more}>{escape(clean(text))}</text>')

    def legend(self, names: Mapping[str, int], top: float, left: float, shapes: bool = True) -> float:
        """Names with the marks of their numbers, in rows from ``top`` on; gives where they end."""
        x, y = left, top + 12
        for name, i in names.items():
            shown = cut(clean(name), self.width - left - 24)
            wide = 18 + text_width(shown) + 14
            if x > left and x + wide - 10 > self.width:
                x, y = left, y + 18
            self.path(marker_path(i if shapes else 1, x + 6, y - 4, 4.5), f"m {series_class(i)}")
            self.text(x + 16, y, shown, "t")
            x += wide
        return y + 8

    def svg(self, name: str, title: str, description: str, kind: str) -> Markup:
        """The picture; ``name`` is an id of its own in the page."""
        # What needs more width than there is keeps it and can be scrolled; the rest may shrink or grow with the window.
        kind += " own" if self.width > self._asked else ""
        return Markup(
            f'<svg class="{kind}" role="img" aria-labelledby="{name}-t {name}-d" '
            f'viewBox="0 0 {self.width:.0f} {self.height:.0f}" width="{self.width:.0f}" height="{self.height:.0f}">'
            f'<title id="{name}-t">{escape(clean(title))}</title>'
            f'<desc id="{name}-d">{escape(clean(description))}</desc>' + "".join(self._parts) + "</svg>"
        )


@dataclass(frozen=True)
class Scale:
    """From values ``low``..``high`` to places ``start``..``end``; ``log`` needs positive values."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value; values beyond the ends lie beyond them."""
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(max(at, 1e-12))
        return self.start + (at - low) / (high - low) * (self.end - self.start)


def span(values: Iterable[float], margin: float = 0.06, log: bool = False) -> tuple[float, float]:
    """The ends of an axis for ``values``: a little room at both sides; (0, 1) for none."""
    known = [v for v in values if math.isfinite(v) and (not log or v > 0)]
    if not known:
        return (1.0, 10.0) if log else (0.0, 1.0)
    low, high = min(known), max(known)
    if log:
        factor = max((high / low) ** margin, 1.15)
        return low / factor, high * factor
    if low == high:
        room = abs(low) * 0.1 or 1.0
        return low - room, high + room
    room = (high - low) * margin
    # What cannot be negative (times, forgetting of nothing) does not get an axis that is.
    return (low - room if low < 0 or low - room > 0 else 0.0), high + room


def ticks(low: float, high: float, count: int = 5, log: bool = False) -> list[float]:
    """About ``count`` round numbers between two ends."""
    if log:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        fine = [m * 10.0**e for e in range(first, last + 1) for m in (1, 2, 5) if low <= m * 10.0**e <= high]
        coarse = [v for v in fine if math.isclose(math.log10(v), round(math.log10(v)), abs_tol=1e-9)]
        return coarse if len(fine) > 1.5 * count and len(coarse) > 1 else fine
    raw = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    found = []
    while (value := first * step) <= high + step * 1e-9:
        found.append(round(value, 12))
        first += 1
    return found


def tick_text(value: float) -> str:
    """A tick's number, as short as it can be."""
    text = f"{value:.6g}"
    return f"{value:,.0f}" if abs(value) >= 1000 and float(text) == round(value) else text


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


def _said(p: Bar) -> str:
    return f"{number(p.value, 2)} [{number(p.low, 2)}, {number(p.high, 2)}]" if p.bounded else number(p.value, 2)
