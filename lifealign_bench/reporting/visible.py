"""Text of models and data so that all of it is seen and none of it does anything."""

from __future__ import annotations

import unicodedata

__all__ = ["visible"]

_KEPT = "\n\t\u200c\u200d"
_BREAKS = "\u2028\u2029\u0085\u000b\u000c"


class _Pictures(dict[int, str]):
    """Character to what is shown for it, found out once for each; for ``str.translate``."""

    def __missing__(self, code: int) -> str:
        shown = _picture(chr(code))
        self[code] = shown
        return shown


_PICTURES = _Pictures()


def visible(text: str) -> str:
    """``text`` with nothing hidden.

    Line breaks and tabs stay; control characters become their pictures; marks that turn the writing direction and other
    invisible ones are named; halves of characters become the replacement character.
    """
    return text.replace("\r\n", "\n").translate(_PICTURES)


def _picture(character: str) -> str:
    code, kind = ord(character), unicodedata.category(character)
    if character in _KEPT:
        return character
    if character in _BREAKS:
        return "\n"
    if kind == "Cc" and code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    if kind in ("Cc", "Cf"):
        return f"⟨U+{code:04X}⟩"
    return "\ufffd" if kind == "Cs" else character
