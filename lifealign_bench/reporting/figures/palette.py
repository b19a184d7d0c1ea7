"""Colours: apart also for eyes that do not tell red from green; marks and dashes tell series apart without colour.

The eight hues are those of Okabe & Ito 2008 ("Color Universal Design"), darker where they would be faint on white and
lighter where they would be on black.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Name to colour; ``c0`` to ``c7``: the hues of series; ``high``, ``low``: of numbers above and below a centre.
Theme = Mapping[str, str]

HUES = 8
SERIES = 3 * HUES

# A cell's colour is never more opaque than this, so that the ink on it is readable at every value.
STRONGEST = 0.5


def _theme(text: str, hues: str) -> dict[str, str]:
    return dict(pair.split(":") for pair in text.split()) | {f"c{i}": hue for i, hue in enumerate(hues.split())}


LIGHT: Theme = _theme(
    "surface:#ffffff none:#ffffff ink:#1b1f24 muted:#59626d grid:#e6e9ed now:#d55e00 high:#0b6cb8 low:#d9661f",
    "#0072b2 #d55e00 #007a58 #b0508a #8a6d00 #2b8fc4 #6a4fb3 #333333",
)
DARK: Theme = _theme(
    "surface:#16191d none:#16191d ink:#e6e9ed muted:#a0a9b4 grid:#2a2f37 now:#ff9a52 high:#2b7fc9 low:#c2571a",
    "#56b4e9 #ff9a52 #2fc79a #e08fc0 #f0d04a #8fd0ff #b7a2f5 #d8d8d8",
)
# As the page's style names them: a theme, or a series that is switched off, is a matter of the style alone.
PAGE: Theme = {name: f"var(--{name})" for name in LIGHT} | {"none": "transparent"}

# Outlines of marks within -1 to 1, for the figures and the page's legend.
_MARKS = (
    "M-1,0a1,1,0,1,0,2,0a1,1,0,1,0,-2,0Z",
    "M-.9,-.9H.9V.9H-.9Z",
    "M0,-1.1L1.05,.85H-1.05Z",
    "M0,-1.25L1.15,0L0,1.25L-1.15,0Z",
    "M0,1.1L1.05,-.85H-1.05Z",
    "M-.38,-1.1H.38V-.38H1.1V.38H.38V1.1H-.38V.38H-1.1V-.38H-.38Z",
    "M1.1,0L-.85,-1.05V1.05Z",
    "M-1.1,0L.85,-1.05V1.05Z",
)
_DASHES = ((1, 0), (6, 3), (2, 2))


@dataclass(frozen=True)
class SeriesLook:
    """How a series is drawn: names of its hue, outline and filling of its mark, dashes of its line."""

    hue: str
    mark: str
    filled: bool
    dash: tuple[int, int]


def look_of(index: int) -> SeriesLook:
    """That of a series by its number: hue, mark and fill together tell :data:`SERIES` of them apart."""
    again = index // HUES
    mark = _MARKS[(index + again) % len(_MARKS)]
    return SeriesLook(f"c{index % HUES}", mark, again % 2 == 0, _DASHES[again % len(_DASHES)])
