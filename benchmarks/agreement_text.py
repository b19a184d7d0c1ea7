"""How far the orders of a board's methods by win rate and by preference accuracy agree, as a text speaks of it."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.board_text import MEND, BoardText, UnsupportedClaimError
from lifealign_bench.errors import BenchError
from lifealign_bench.results.rankcorrelation import score_agreement
from lifealign_bench.results.view import SCORE, WIN_RATE


class AgreementText:
    """The methods of a board that learned their first task.

    Args:
        text: the board.
        without: methods that are left out. A tau over two groups that lie far apart says little of the order within
            either.

    Raises:
        BenchError: there is no rank correlation of these.
    """

    def __init__(self, text: BoardText, without: Sequence[str] = ()) -> None:
        board, found = text.board, text.board.agreement
        if without and found is not None:
            own = {name: text.runs_of(name) for name in found.methods if name not in without}
            found = score_agreement(own, WIN_RATE, SCORE, board.metric)
        if found is None or found.why:
            raise BenchError(f"{board.name}: no rank correlation ({found.why if found else 'not two scores'}).", MEND)
        self._name, self._found = board.name, found

    def tau(self) -> str:
        """Kendall's tau of the two orders, with its interval over methods and seeds: ``0.38 [0.05, 0.63]``."""
        return self._found.kendall.said()

    def methods(self) -> int:
        """Over how many methods that is."""
        return len(self._found.methods)

    def in_part(self) -> str:
        """Claim that the orders have something in common and are not the same.

        Raises:
            UnsupportedClaimError: the interval reaches 0 or 1.
        """
        if not 0 < self._found.kendall.low <= self._found.kendall.high < 1:
            raise UnsupportedClaimError(f"{self._name}: the two orders are not shown to agree in part.", MEND)
        return ""

    def unrelated(self) -> str:
        """Claim that the interval holds 0.

        Raises:
            UnsupportedClaimError: it does not.
        """
        if not self._found.kendall.low <= 0 <= self._found.kendall.high:
            raise UnsupportedClaimError(f"{self._name}: the two orders agree: {self.tau()}.", MEND)
        return ""
