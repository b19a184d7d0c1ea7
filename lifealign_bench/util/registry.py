"""One kind of named things: duplicates raise, an unknown name says which are close and which exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from lifealign_bench.errors import UsageError

T = TypeVar("T")


def unknown_name(noun: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for ``name``, which is none of ``known``: close names first, then all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(repr(c) for c in close)}? " if close else ""
    return UsageError(f"There is no {noun} called {name!r}.", f"{hint}Known: {', '.join(names) or 'none'}.")


class Registry(Generic[T]):
    """Names to things of one kind.

    Args:
        noun: what one entry is called in messages, e.g. ``"scorer"``.
    """

    def __init__(self, noun: str) -> None:
        self.noun = noun
        self._items: dict[str, T] = {}

    def add(self, name: str, item: T) -> None:
        """Enter ``item`` under ``name``.

        Raises:
            UsageError: the name is taken by another thing.
        """
        if name in self._items and self._items[name] is not item:
            raise UsageError(f"Two {self.noun}s are called {name!r}.", "Rename one of them.")
        self._items[name] = item

    def get(self, name: str) -> T:
        """The thing called ``name``.

        Raises:
            UsageError: there is none; the message names the close ones.
        """
        if name not in self._items:
            raise unknown_name(self.noun, name, self._items)
        return self._items[name]

    def forget(self, names: Iterable[str]) -> None:
        """Take entries back, e.g. those of a file that failed to import half-way."""
        for name in names:
            self._items.pop(name, None)

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._items)

    def values(self) -> list[T]:
        """All things, in the order in which they were entered."""
        return list(self._items.values())

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())
