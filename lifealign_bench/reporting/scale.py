"""Axes: where values lie between two ends, and round numbers for their ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Scale", "span", "tick_text", "ticks"]


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
