"""The type of the fixture ``call``."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Call"]

Call = Callable[..., tuple[int, str, str]]
