"""Bounds of a YAML text, looked at before anything is built of it.

A few hundred bytes of YAML can stand for billions of values (aliases of aliases), and brackets in brackets make the
parser's own stack overflow, which ends the process without a word. The events of the text show both, one at a time.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import yaml
from yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, Event, ScalarEvent

MOST_BYTES = 4 << 20
MOST_DEPTH = 64
# Values and characters with every alias written out: what a file of the largest size can hold without any alias.
MOST_CONTENT = 2 * MOST_BYTES
# A number to the base of 60, which YAML has, takes time by the square of its length.
_LONG_NUMBER = re.compile(r"[-+0-9_:.]{200,}")

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class BoundsError(ValueError):
    """A file or text beyond the bounds; the message says which one, without a full stop."""


def read_bounded(path: Path) -> bytes:
    """The bytes of a small regular file.

    Raises:
        OSError: it cannot be read.
        BoundsError: it is a device, a pipe or too large.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        # A device that never ends and a pipe that nobody writes into look like files to everything that reads.
        if not path.is_file():
            raise BoundsError("it is not a regular file")
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise BoundsError(f"it is larger than {MOST_BYTES >> 20} MiB")
    return content


def check_bounds(text: str) -> None:
    """Refuse a YAML text that would take the memory, the time or the stack of this process.

    Raises:
        BoundsError: too large, nested too deep, or too much once its aliases are written out.
        yaml.YAMLError: it is not YAML.
    """
    if len(text) > MOST_BYTES:
        raise BoundsError(f"it is larger than {MOST_BYTES >> 20} MiB")
    named: dict[str, int] = {}  # anchor -> content of what it names
    begun: list[tuple[str | None, int]] = []  # the open collections: anchor, content before it
    content = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, CollectionStartEvent):
            if len(begun) == MOST_DEPTH:
                raise BoundsError(f"it is nested deeper than {MOST_DEPTH} levels ({_line(event)})")
            begun.append((event.anchor, content))
            content += 1
        elif isinstance(event, CollectionEndEvent):
            anchor, before = begun.pop()
            if anchor is not None:
                named[anchor] = content - before
        elif isinstance(event, ScalarEvent):
            if ":" in event.value and _LONG_NUMBER.fullmatch(event.value):
                raise BoundsError(f"it holds a number without end ({_line(event)})")
            if event.anchor is not None:
                named[event.anchor] = 1 + len(event.value)
            content += 1 + len(event.value)
        elif isinstance(event, AliasEvent):
            if any(anchor == event.anchor for anchor, _ in begun):
                raise BoundsError(f"an alias stands inside what it names ({_line(event)})")
            content += named.get(str(event.anchor), 1)
        if content > MOST_CONTENT:
            raise BoundsError("its aliases stand for too much")


def _line(event: Event) -> str:
    return f"line {event.start_mark.line + 1}" if event.start_mark is not None else "no line"


def _without_waiting(name: str, flags: int) -> int:
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))
