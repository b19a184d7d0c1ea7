"""What a budget costs the methods of a board, as a text speaks of it."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.board_text import MEND, BoardText
from lifealign_bench.errors import BenchError
from lifealign_bench.results.comparison import metric_function, paired_runs
from lifealign_bench.results.paired import Difference


class BudgetText:
    """The same methods with the same seeds, without a budget and with one.

    Args:
        free: the board, whose runs have none.
        bound: the runs that have one.
        methods: they, which are compared together.
    """

    def __init__(self, free: BoardText, bound: BoardText, methods: Sequence[str]) -> None:
        self._free, self._bound, self._methods = free, bound, tuple(methods)

    def cost(self, method: str, metric: str = "last") -> str:
        """Without the budget minus with it, paired over seeds and test pairs: ``5.9 [1.5, 10.3]``.

        Raises:
            BenchError: the method is not one of these.
        """
        if method not in self._methods:
            raise BenchError(f"{method} is not among the methods whose budgets are compared.", MEND)
        return self._free.with_bounds(self._costs(metric)[method])

    def lower(self) -> str:
        """The methods whose interval of that lies above 0: ``replay, copr``."""
        found = [f"`{method}`" for method, cost in self._costs("last").items() if cost.low > 0]
        return ", ".join(found) or "none"

    def _costs(self, metric: str) -> dict[str, Difference]:
        free = {name: self._free.runs_of(name) for name in self._methods}
        bound = {f"{name}, with a budget": self._bound.runs_of(name) for name in self._methods}
        paired = paired_runs({**free, **bound}, self._free.board.score, metric)
        if paired is None:
            raise BenchError(f"{self._free.board.name}: runs with and without a budget cannot be paired.", MEND)
        found = paired.differences(list(zip(free, bound, strict=True)), metric_function(metric))
        return dict(zip(free, found, strict=True))
