"""JSON that a stranger may have written: what cannot be meant is refused before anything is made of it."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

MOST_DEPTH = 100  # lists and objects in each other
_MOST_TEXT = 1 << 20  # characters of one text
_MOST_WHOLE = 1 << 63


def parse_plain(content: bytes) -> Any:
    """The value of a JSON document in UTF-8.

    Raises:
        ValueError: it is no JSON; it says a key twice, so that two readers would see two records; it holds NaN,
            infinity, a whole number beyond 64 bits, text that is no Unicode or very long, or lists in lists in lists.
    """
    text = content.decode("utf-8")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_whole,
            parse_float=_number,
            parse_constant=_refuse_constant,
        )
    except RecursionError as error:
        raise ValueError(f"its lists and objects are nested more than {MOST_DEPTH} deep") from error
    _refuse_odd(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"it says {twice[:80]!r} twice")
    return found


def _whole(text: str) -> int:
    if len(text) > 20 or abs(int(text)) >= _MOST_WHOLE:
        raise ValueError(f"it holds a whole number of {len(text.lstrip('-'))} digits, which no field of it can be")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"it holds {text[:40]}, which is too large for a number")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it holds {name}, which JSON does not have")


def _refuse_odd(value: Any) -> None:
    """Goes through all of it without calling itself, so that no depth can stop it."""
    waiting = [(value, 1)]
    while waiting:
        part, depth = waiting.pop()
        if isinstance(part, str):
            _refuse_text(part)
        elif isinstance(part, dict | list):
            if depth > MOST_DEPTH:
                raise ValueError(f"its lists and objects are nested more than {MOST_DEPTH} deep")
            if isinstance(part, dict):
                for key in part:
                    _refuse_text(key)
            waiting += [(inner, depth + 1) for inner in (part.values() if isinstance(part, dict) else part)]


def _refuse_text(text: str) -> None:
    if len(text) > _MOST_TEXT:
        raise ValueError(f"it holds a text of {len(text):,} characters")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError("it holds text with half a character (a lone surrogate)") from error
