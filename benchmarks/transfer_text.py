"""Two models' boards of one stream as a text speaks of them: does the ranking on one hold on the other?"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.board_text import MEND, BoardText
from lifealign_bench.errors import BenchError
from lifealign_bench.results.rankcorrelation import model_agreement


class Transfer:
    """The methods that have a rank on both boards.

    Args:
        first, second: the boards; what is asked is how the second bears out the first.
        without: methods that are left out.
    """

    def __init__(self, first: BoardText, second: BoardText, without: Sequence[str] = ()) -> None:
        self.first, self.second = first, second
        own = {name: views for name, views in first.entered().items() if name not in without}
        self._agreement = model_agreement(own, second.entered(), first.board.score, first.board.metric)

    def tau(self) -> str:
        """Kendall's tau of the two orders, with its interval over methods and seeds.

        Raises:
            BenchError: there is none.
        """
        if self._agreement.why:
            raise BenchError(f"{self._names()}: no rank correlation ({self._agreement.why}).", MEND)
        return self._agreement.kendall.said()

    def methods(self) -> int:
        """How many have a rank on both."""
        return len(self._agreement.methods)

    def told_apart(self) -> int:
        """How many pairs of these the first board tells apart."""
        return len(self._better(self.first))

    def confirmed(self) -> int:
        """How many of these pairs the second board tells apart in the same direction."""
        return len(self._better(self.first) & self._better(self.second))

    def unconfirmed(self) -> str:
        """The others of these pairs: ``a over b, c over d``."""
        left = sorted(self._better(self.first) - self._better(self.second))
        return ", ".join(f"`{better}` over `{worse}`" for better, worse in left) or "none"

    def contradicted(self) -> int:
        """How many it tells apart in the other direction."""
        return len(self._better(self.first) & {(worse, better) for better, worse in self._better(self.second)})

    def across(self, *methods: str) -> int:
        """How many of the pairs that the first board tells apart are of one of these methods and one of the others."""
        return sum((better in methods) != (worse in methods) for better, worse in self._better(self.first))

    def new(self) -> int:
        """How many pairs the second board tells apart that the first does not."""
        return len(self._better(self.second)) - self.confirmed() - self.contradicted()

    def _better(self, text: BoardText) -> set[tuple[str, str]]:
        """(better, worse) of the pairs that a board tells apart, of the methods on both."""
        shared = set(self._agreement.methods)
        told = [c for c in text.board.differences if c.better and {c.first, c.second} <= shared]
        return {(c.better, c.second if c.better == c.first else c.first) for c in told}

    def _names(self) -> str:
        return f"{self.first.board.name} and {self.second.board.name}"
