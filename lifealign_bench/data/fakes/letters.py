"""What responses to the conformance suite's tasks are worth: something that random letters have more or less of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def letters(response: str, check: Mapping[str, Any]) -> float:
    """The mean place of the response's characters in their code, from 0 to 1."""
    return sum(ord(character) % 64 for character in response) / (64 * len(response)) if response else 0.0
