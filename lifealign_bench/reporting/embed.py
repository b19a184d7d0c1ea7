"""Values as JSON inside of HTML."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["embedded"]

# What could end the element, begin a comment in it or break a line of a script, as JSON writes it otherwise.
_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def embedded(value: Any) -> str:
    """``value`` as JSON that may stand in a ``<script type="application/json">`` as it is."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(_ESCAPES).encode("utf-8", "replace").decode("utf-8")
