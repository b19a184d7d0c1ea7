"""Nested settings, and the same as one level of names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def flat_levels(values: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Nested settings as one level of names: ``training.epochs``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flat_levels(value, f"{place}{key}.")
        else:
            flat[place + key] = value
    return flat
