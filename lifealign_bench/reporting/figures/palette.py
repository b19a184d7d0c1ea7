"""Colours: apart also for eyes that do not tell red from green, and with shapes for print without colour.

The eight hues are those of Okabe & Ito 2008 ("Color Universal Design"), darker where they would be faint on white and
lighter where they would be on black.
"""

from __future__ import annotations

from dataclasses import dataclass

from lifealign_bench.reporting.figures.figure import Heatmap

__all__ = ["DARK", "LIGHT", "Theme", "contrast", "heat_colour", "ink_on"]

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Theme:
    """Colours of figures on one background.

    Args:
        series: one after the other for lines and points.
        low, high: ends of the colours of numbers, ``low`` near the background.
        other: the end for numbers below the centre.
        empty: of a cell without a number.
        surface: the background.
    """

    series: tuple[str, ...]
    low: str
    high: str
    other: str
    empty: str
    surface: str


LIGHT = Theme(
    series=("#0072b2", "#d55e00", "#007a58", "#b0508a", "#8a6d00", "#2b8fc4", "#6a4fb3", "#333333"),
    low="#eef4fa",
    high="#0b4f8a",
    other="#b3541e",
    empty="#f4f4f4",
    surface="#ffffff",
)
DARK = Theme(
    series=("#56b4e9", "#ff9a52", "#2fc79a", "#e08fc0", "#f0d04a", "#8fd0ff", "#b7a2f5", "#d8d8d8"),
    low="#1b2530",
    high="#7cc4f8",
    other="#ffab73",
    empty="#20242a",
    surface="#16191d",
)


def heat_colour(drawing: Heatmap, value: float, theme: Theme) -> str:
    """The colour of a value in a heatmap."""
    low, high = drawing.limits
    if drawing.centre is None:
        return _mix(theme.low, theme.high, (value - low) / (high - low))
    far = max(high - drawing.centre, drawing.centre - low)
    away = (value - drawing.centre) / far
    return _mix(theme.low, theme.high if away > 0 else theme.other, abs(away))


def ink_on(colour: str) -> str:
    """Black or white, whichever reads better; one of them always has a contrast of 4.5 at least."""
    return max(("#000000", "#ffffff"), key=lambda ink: contrast(ink, colour))


def contrast(first: str, second: str) -> float:
    """The contrast ratio of two colours, 1 to 21 (WCAG 2.2)."""
    a, b = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (a + 0.05) / (b + 0.05)


def _mix(first: str, second: str, share: float) -> str:
    share = min(max(share, 0.0), 1.0)
    mixed = (round(a + (b - a) * share) for a, b in zip(_parts(first), _parts(second), strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)


def _parts(colour: str) -> Colour:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (p / 255 for p in _parts(colour))]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
