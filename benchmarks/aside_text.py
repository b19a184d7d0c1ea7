"""What a board has beside its ranking, as a text speaks of it: how far policies moved, what general ability changed."""

from __future__ import annotations

from collections.abc import Sequence

from scipy.stats import norm

from benchmarks.board_text import MEND, BoardText, UnsupportedClaimError
from lifealign_bench.errors import BenchError
from lifealign_bench.results.columns import columns
from lifealign_bench.results.leaderboard import LEVEL
from lifealign_bench.results.paired import Estimate, holm
from lifealign_bench.results.rankcorrelation import RankCorrelation, rank_agreement
from lifealign_bench.util.text import number


class AsideText:
    """The columns of a board that it is not ranked by.

    Args:
        text: the board.
        least: percent; 0: of all ranked methods, else of those that learn: whose tasks have so much on average right
            after their own stage.
        without: methods that are left out.
    """

    def __init__(self, text: BoardText, least: float = 0.0, without: Sequence[str] = ()) -> None:
        self._text = text
        self._found = {entry.method: entry.estimates for entry in text.board.entries}
        self._least, self._without = least, without

    def methods(self) -> int:
        """How many methods are meant."""
        return len(self._ranked())

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

    def lower(self, column: str) -> str:
        """Of how many of the ranked methods the mean lies below 0: ``27 of 32``."""
        names = self._ranked()
        return f"{sum(self._of(column, name).value < 0 for name in names)} of {len(names)}"

    def below_zero(self, column: str) -> str:
        """The ranked methods whose interval lies below 0, each by itself, furthest first."""
        return _names(sorted((self._of(column, n).value, n) for n in self._ranked() if self._of(column, n).high < 0))

    def surely_below_zero(self, column: str) -> str:
        """Those of which that holds at the level of the board, corrected (Holm) for all that are ranked."""
        return _names(self._surely_below_zero(column))

    def none_surely_below_zero(self, column: str) -> str:
        """Claim that it holds of none.

        Raises:
            UnsupportedClaimError: it does of some.
        """
        if sure := self._surely_below_zero(column):
            raise UnsupportedClaimError(f"{column} is surely below 0 for {_names(sure)}.", MEND)
        return ""

    def _surely_below_zero(self, column: str) -> list[tuple[float, str]]:
        names = self._ranked()
        found = [self._of(column, name) for name in names]
        raw = [2 * float(norm.sf(abs(e.value) / e.standard_error)) for e in found]
        rows = zip(found, names, holm(raw), strict=True)
        return sorted((e.value, name) for e, name, p in rows if e.value < 0 and p <= LEVEL)

    def agreement(self, column: str, other: str = "") -> str:
        """Kendall's tau between the orders of the ranked methods by two columns, with an interval over methods: ``0.12
        [-0.22, 0.46]``.

        Args:
            other: what the board ranks by where it is not said.
        """
        return self._tau(column, other).said()

    def goes_with(self, column: str, other: str = "") -> str:
        """Claim that the interval of that lies above 0.

        Raises:
            UnsupportedClaimError: it does not.
        """
        found = self._tau(column, other)
        if not found.low > 0:
            raise UnsupportedClaimError(
                f"{column} is not shown to go with {other or 'the ranking'}: {found.said()}.", MEND
            )
        return ""

    def unrelated(self, column: str, other: str = "") -> str:
        """Claim that it holds 0.

        Raises:
            UnsupportedClaimError: it does not.
        """
        found = self._tau(column, other)
        if not found.low <= 0 <= found.high:
            raise UnsupportedClaimError(f"{column} goes with {other or 'the ranking'}: {found.said()}.", MEND)
        return ""

    def _tau(self, column: str, other: str) -> RankCorrelation:
        board = self._text.board
        other = other or board.metric
        one, two = ({name: [self._of(wanted, name).value] for name in self._ranked()} for wanted in (column, other))
        found = rank_agreement(one, two, same_runs=False)
        if found.why:
            raise BenchError(f"{board.name}: {column} and {other} have no rank correlation.", MEND)
        return found.kendall

    def _ranked(self) -> list[str]:
        entries = [entry for entry in self._text.board.entries if entry.method not in self._without]
        ranked = [entry for entry in entries if entry.ranks is not None]
        return [entry.method for entry in ranked if entry.estimates["learning"].value >= self._least]

    def _of(self, column: str, method: str) -> Estimate:
        found = self._found.get(method, {}).get(column)
        if found is None or not found.seeds:
            raise BenchError(f"{self._text.board.name} has no {column} of {method}.", MEND)
        return found


def _names(found: Sequence[tuple[float, str]]) -> str:
    """Of at least one method.

    Raises:
        UnsupportedClaimError: there is none.
    """
    if not found:
        raise UnsupportedClaimError("No method is on that side of 0.", MEND)
    return ", ".join(f"`{name}`" for _, name in found)
