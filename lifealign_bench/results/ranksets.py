"""Which ranks a method may have: no more than the differences carry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class RankSet:
    """The ranks that a method may have among K.

    Args:
        best: 1 + the number of methods that are surely better.
        worst: K - the number that are surely worse.
        better, worse: these methods, in the order of the table.

    Where "surely" has an error rate for all comparisons together (Holm's, for one), the sets of all methods hold the
    true ranks together with that certainty (Mogstad et al. 2024, in the manner of). The set of a noisy method is wide:
    noise earns no rank, neither a good nor a bad one.
    """

    best: int
    worst: int
    better: tuple[str, ...]
    worse: tuple[str, ...]

    def __str__(self) -> str:
        """``3``, or ``1-6``."""
        return str(self.best) if self.best == self.worst else f"{self.best}-{self.worst}"


def rank_sets(methods: Sequence[str], surely: Iterable[tuple[str, str]]) -> dict[str, RankSet]:
    """The set of every method.

    Args:
        methods: all K.
        surely: pairs of the better and the worse method.
    """
    better: dict[str, set[str]] = {name: set() for name in methods}
    worse: dict[str, set[str]] = {name: set() for name in methods}
    for winner, loser in surely:
        better[loser].add(winner)
        worse[winner].add(loser)
    return {
        name: RankSet(
            1 + len(better[name]),
            len(methods) - len(worse[name]),
            tuple(other for other in methods if other in better[name]),
            tuple(other for other in methods if other in worse[name]),
        )
        for name in methods
    }


def undecided(sets: dict[str, RankSet]) -> tuple[str, ...]:
    """The methods that may be best: those than which none is surely better."""
    return tuple(name for name, found in sets.items() if found.best == 1)
