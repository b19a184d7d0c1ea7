"""Trainers' arguments whose names differ between versions of transformers."""

from __future__ import annotations

import dataclasses
from typing import Any

_NAMES = ("activation_checkpointing", "gradient_checkpointing")  # now, and in earlier versions


def no_checkpointing(arguments: Any) -> dict[str, bool]:
    """The argument by which a trainer keeps its activations and computes nothing twice.

    Args:
        arguments: the trainer's dataclass of arguments.
    """
    known = {field.name for field in dataclasses.fields(arguments)}
    return {next(name for name in _NAMES if name in known): False}
