"""A figure as SVG, in one picture for a wide window and one for a phone."""

from __future__ import annotations

from markupsafe import Markup

from lifealign_bench.reporting.canvas import Canvas
from lifealign_bench.reporting.figures.figure import Bars, Boxes, Figure, Heatmap, Lines, Ranges, Scatter
from lifealign_bench.reporting.svgrows import draw_bars, draw_boxes, draw_heatmap, draw_ranges
from lifealign_bench.reporting.svgxy import draw_lines, draw_scatter

__all__ = ["NARROW", "WIDE", "draw", "pictures"]

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
