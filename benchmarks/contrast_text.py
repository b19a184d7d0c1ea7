"""The same methods run in two ways, as a text speaks of it: with a budget and without, or at one rate and another."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from statistics import fmean

from benchmarks.board_text import MEND, BoardText, UnsupportedClaimError
from lifealign_bench.errors import BenchError
from lifealign_bench.results.comparison import metric_function, paired_runs
from lifealign_bench.results.paired import Difference
from lifealign_bench.results.rankcorrelation import rank_agreement
from lifealign_bench.util.text import number


class ContrastText:
    """Methods with the same seeds, run in one way and in another.

    Args:
        first, second: boards of the runs of one way and of the other; a difference is first minus second.
        methods: those that are compared, all together.
    """

    def __init__(self, first: BoardText, second: BoardText, methods: Sequence[str]) -> None:
        self._first, self._second, self._methods = first, second, tuple(methods)

    def difference(self, method: str, metric: str = "last") -> str:
        """First minus second, paired over seeds and test pairs: ``5.9 [1.5, 10.3]``.

        Raises:
            BenchError: the method is not one of these.
        """
        if method not in self._methods:
            raise BenchError(f"{method} is not among the methods that are compared with themselves.", MEND)
        return self._first.with_bounds(self._differences(metric)[method])

    def higher(self) -> str:
        """The methods whose interval of that at the end lies above 0: ```replay`, `copr```."""
        return _names([name for name, found in self._at_end.items() if found.low > 0])

    def lower(self) -> str:
        """Those whose interval lies below 0."""
        return _names([name for name, found in self._at_end.items() if found.high < 0])

    def each_higher(self) -> str:
        """Claim that every method ends higher the first way, surely or not.

        Raises:
            UnsupportedClaimError: one does not.
        """
        if low := [name for name, found in self._at_end.items() if found.value <= 0]:
            raise UnsupportedClaimError(f"{self._first.board.name}: {_names(low)} end no higher the first way.", MEND)
        return ""

    def counted(self) -> int:
        """How many intervals of that at the end lie above 0."""
        return sum(found.low > 0 for found in self._at_end.values())

    def mean(self) -> str:
        """The mean of that over the methods and its range: ``0.8 (-2.1 to 3.1)``."""
        found = [one.value for one in self._at_end.values()]
        return f"{number(fmean(found), 1)} ({number(min(found), 1)} to {number(max(found), 1)})"

    def agreement(self, *methods: str) -> str:
        """Kendall's tau between the orders of methods at the end, with an interval over methods: ``0.81 [0.62, 0.94]``.

        Args:
            methods: those in the orders, and runs of one way alone may stand on both boards.
        """
        ends = [{name: [board.mean(name)] for name in methods} for board in (self._first, self._second)]
        found = rank_agreement(*ends, same_runs=True)
        if found.why:
            raise BenchError(f"{self._first.board.name}: no rank correlation ({found.why}).", MEND)
        return found.kendall.said()

    @cached_property
    def _at_end(self) -> dict[str, Difference]:
        return self._differences("last")

    def _differences(self, metric: str) -> dict[str, Difference]:
        first = {name: self._first.runs_of(name) for name in self._methods}
        second = {f"{name}, the other way": self._second.runs_of(name) for name in self._methods}
        paired = paired_runs({**first, **second}, self._first.board.score, metric)
        if paired is None:
            raise BenchError(f"{self._first.board.name}: runs of the two ways cannot be paired.", MEND)
        found = paired.differences(list(zip(first, second, strict=True)), metric_function(metric))
        return dict(zip(first, found, strict=True))


def _names(found: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in found) or "none"
