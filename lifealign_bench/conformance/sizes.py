"""The size of plain Python things."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["size_of"]


def size_of(thing: Any) -> int:
    """Bytes of ``thing`` with all that its containers hold, each once.

    Objects of other classes count nothing: pairs and stages belong to the harness, tensors are counted elsewhere.
    """
    seen: set[int] = set()
    total = 0
    todo = deque([thing])
    while todo:
        item = todo.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, str | bytes | int | float):
            total += sys.getsizeof(item)
        elif isinstance(item, np.ndarray):
            total += item.nbytes
        elif isinstance(item, Mapping):
            total += sys.getsizeof(item)
            todo.extend(item.keys())
            todo.extend(item.values())
        elif isinstance(item, list | tuple | set | frozenset | deque):
            total += sys.getsizeof(item)
            todo.extend(item)
    return total
