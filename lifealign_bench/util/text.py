"""Text for people: numbers with their errors, sizes, durations, and names without control characters."""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Any

from lifealign_bench.util.redaction import redact

DASH = "—"


def clean(text: object) -> str:
    """``text`` on one line, without control characters, escape sequences, marks that turn the writing direction, and
    secrets (see ``redaction``)."""
    parts = []
    for character in str(text):
        kind = unicodedata.category(character)
        if kind in ("Cc", "Zl", "Zp"):
            parts.append(" " if character.isspace() else "")
        elif kind == "Cs":
            parts.append("\ufffd")
        elif kind != "Cf" or character in "\u200c\u200d":
            parts.append(character)
    return redact("".join(parts))


def number(value: float | None, digits: int = 1) -> str:
    """A number for people; a dash where there is none."""
    if value is None or math.isnan(value):
        return DASH
    text = f"{value:,.{digits}f}"
    return text.removeprefix("-") if not text.strip("-0.,") else text


def with_interval(value: float, low: float, high: float, digits: int = 1) -> str:
    """``12.3 [10.1, 14.5]``; the value alone where it or its interval is not known."""
    if math.isnan(value) or math.isnan(low):
        return number(value, digits)
    return f"{number(value, digits)} [{number(low, digits)}, {number(high, digits)}]"


def p_text(value: float) -> str:
    """A p-value for people."""
    return "< 0.001" if value < 0.001 else number(value, 3)


def known(value: float | None) -> float | None:
    """The number, or None where there is none: JSON has no NaN."""
    return None if value is None or math.isnan(value) else value


def rounded(value: float | None) -> float | None:
    """The same with twelve digits: more than the data hold, and they hide the order of summation."""
    return None if value is None or math.isnan(value) else float(f"{value:.12g}")


def with_error(value: float, error: float | None, digits: int = 1) -> str:
    """``93.8 ±4.2``; a dash where there is no value."""
    if math.isnan(value):
        return DASH
    if error is None or math.isnan(error):
        return number(value, digits)
    return f"{number(value, digits)} ±{number(error, digits)}"


def file_size(count: int) -> str:
    """Bytes for people."""
    size = float(count)
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def operations(count: float | None) -> str:
    """Floating-point operations for people: ``3.2e13``."""
    if count is None or math.isnan(count):
        return DASH
    digits, _, power = f"{count:.1e}".partition("e")
    return f"{digits}e{int(power)}" if count else "0"


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


def break_name(name: str, width: int = 10) -> str:
    """``name`` with line breaks after hyphens and the like, so that no line is longer than ``width`` if avoidable."""
    lines = [""]
    for part in re.findall(r"[^-_./,\s]*[-_./,\s]*", name):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip(" ") for line in lines if line)


def plain_value(value: Any) -> str:
    """A setting's value, or another plain one, for people."""
    if value is None:
        return "none"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {plain_value(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ",".join(plain_value(inner) for inner in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
