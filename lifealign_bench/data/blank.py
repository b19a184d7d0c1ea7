"""Text that shows nothing: empty, white space, or characters that no screen draws."""

from __future__ import annotations

import unicodedata

# Drawn as nothing though Unicode counts them among letters, marks and symbols.
_UNSEEN = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
    + "".join(map(chr, [*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]))
)


def is_blank(text: str) -> bool:
    """Whether a reader would see nothing of ``text``."""
    return all(
        character.isspace() or character in _UNSEEN or unicodedata.category(character) in ("Cc", "Cf", "Zs", "Zl", "Zp")
        for character in text
    )
