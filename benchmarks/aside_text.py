"""What a board has beside its ranking, as a text speaks of it: how far policies moved, what general ability changed."""

from __future__ import annotations

from benchmarks.board_text import MEND, BoardText, UnsupportedClaimError
from lifealign_bench.errors import BenchError
from lifealign_bench.results.columns import columns
from lifealign_bench.results.paired import Estimate
from lifealign_bench.results.rankcorrelation import rank_agreement
from lifealign_bench.util.text import number


class AsideText:
    """The columns of a board that it is not ranked by.

    Args:
        text: the board.
    """

    def __init__(self, text: BoardText) -> None:
        self._text = text
        self._found = {entry.method: entry.estimates for entry in text.board.entries}

    def interval(self, column: str, method: str) -> str:
        """A method's mean over the seeds that have the column, with its 95 % interval: ``4.00 [3.92, 4.08]``."""
        found = self._of(column, method)
        places = columns()[column].places(1)
        value, low, high = (number(v, places) for v in (found.value, found.low, found.high))
        return f"{value} [{low}, {high}]"

    def lowest(self, column: str) -> str:
        """The ranked method with the lowest mean."""
        return min(self._ranked(), key=lambda name: self._of(column, name).value)

    def highest(self, column: str) -> str:
        """The one with the highest."""
        return max(self._ranked(), key=lambda name: self._of(column, name).value)

    def seeds(self, column: str) -> str:
        """Over how many seeds the ranked methods have it: ``1 to 3``."""
        counts = {self._of(column, name).seeds for name in self._ranked()}
        return str(min(counts)) if len(counts) == 1 else f"{min(counts)} to {max(counts)}"

    def below_zero(self, column: str, *methods: str) -> str:
        """Claim that of exactly these ranked methods the interval lies below 0.

        Raises:
            UnsupportedClaimError: of others.
        """
        return self._exactly(methods, {n for n in self._ranked() if self._of(column, n).high < 0}, f"{column} below 0")

    def above_zero(self, column: str, *methods: str) -> str:
        """Claim that of exactly these it lies above 0.

        Raises:
            UnsupportedClaimError: of others.
        """
        return self._exactly(methods, {n for n in self._ranked() if self._of(column, n).low > 0}, f"{column} above 0")

    def agreement(self, column: str) -> str:
        """Kendall's tau between the order of the ranked methods by the column and that by what the board ranks by, with
        an interval over methods."""
        board = self._text.board
        one, other = (
            {name: [self._of(wanted, name).value] for name in self._ranked()} for wanted in (column, board.metric)
        )
        found = rank_agreement(one, other, same_runs=False)
        if found.why:
            raise BenchError(f"{board.name}: {column} and {board.metric} have no rank correlation.", MEND)
        return found.kendall.said()

    def _ranked(self) -> list[str]:
        return [entry.method for entry in self._text.board.entries if entry.ranks is not None]

    def _of(self, column: str, method: str) -> Estimate:
        found = self._found.get(method, {}).get(column)
        if found is None or not found.seeds:
            raise BenchError(f"{self._text.board.name} has no {column} of {method}.", MEND)
        return found

    def _exactly(self, methods: tuple[str, ...], found: set[str], what: str) -> str:
        if found != set(methods):
            names = ", ".join(sorted(found)) or "none"
            raise UnsupportedClaimError(f"{self._text.board.name}: {what}: {names}.", MEND)
        return ""
