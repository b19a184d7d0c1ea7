"""An SVG picture under way: shapes and texts, everything escaped, colours by class so that both themes fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape
from rich.cells import cell_len

from lifealign_bench.util.text import clean

__all__ = ["SHAPES", "Canvas", "cut", "fold", "marker_path", "series_class", "text_width"]

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
