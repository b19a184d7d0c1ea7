"""How long tasks last, and what brings them back, as a text speaks of it: of runs that are published."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

from benchmarks.board_text import MEND, BoardText, UnsupportedClaimError
from lifealign_bench.errors import BenchError
from lifealign_bench.reporting.halflife import median_half_life
from lifealign_bench.results.halflife import Lasting, median_lasting
from lifealign_bench.results.measuredruns import LostTask, RegainedTask, lost_tasks, open_measured, regained_tasks
from lifealign_bench.util.text import DASH, number

LOST = 50.0  # percent of what a task had: with less left at the end it is lost


class HalfLifeText:
    """The readings in a folder.

    Args:
        folder: what ``benchmarks/half_life.py`` wrote.
        board: of the runs that were opened again.

    Raises:
        BenchError: a run is not the published one of its method and seed.
    """

    def __init__(self, folder: Path, board: BoardText) -> None:
        self._found = open_measured(folder)
        for run in self._found:
            if run.config_hash != board.config_hash(run.method, run.seed):
                raise BenchError(f"{folder}: {run.method}, seed {run.seed}, is not the run that is published.", MEND)

    def methods(self) -> list[str]:
        """Those that were measured."""
        return list(dict.fromkeys(run.method for run in self._found))

    def exact(self) -> str:
        """Of how many stages that were trained again all ended with the run's own weights, to the bit.

        Raises:
            UnsupportedClaimError: one did not.
        """
        stages = [same for run in self._found for same in run.exact.values()]
        if not all(stages):
            raise UnsupportedClaimError(
                f"{stages.count(False)} of {len(stages)} stages ended with other weights.", MEND
            )
        return str(len(stages))

    def half(self, method: str, score: str) -> str:
        """The median steps of other tasks until half of a task is lost: ``5.4 [4.8, 17.5]``."""
        found = median_half_life(self._lost(method, score))
        return DASH if found is None else found.said()

    def counted(self, method: str, score: str) -> int:
        """Over how many cases that is: a task in another's stage."""
        return sum(row.counts for row in self._lost(method, score))

    def halved(self, method: str, score: str) -> int:
        """In how many of these half was lost at some step of the stage."""
        return sum(row.counts and row.half.came for row in self._lost(method, score))

    def recovered(self, method: str, score: str) -> int:
        """In how many of these more than half was there again at the stage's end."""
        return sum(row.counts and row.half.came and row.left > LOST for row in self._lost(method, score))

    def lost(self, method: str, score: str) -> int:
        """How many tasks have less than half of what they had at the end of the stream."""
        return len(self._gone(method, score))

    def away(self, method: str, score: str) -> int:
        """How many of these do not have nine tenths back after all steps of their own."""
        return sum(not row.most.came for row in self._gone(method, score))

    def back(self, method: str, score: str) -> str:
        """The median steps of plain training on these until nine tenths are back."""
        return _median(self._gone(method, score), lambda row: row.most)

    def first(self, method: str, score: str) -> str:
        """The median steps that the same tasks took to get there from the model before their stage."""
        return _median(self._gone(method, score), lambda row: row.first_most)

    def sooner(self, method: str, score: str) -> str:
        """Claim that every one of these tasks came back in fewer steps than it took at first.

        Raises:
            UnsupportedClaimError: one did not, or there is none.
        """
        rows = self._gone(method, score)
        late = [r.task for r in rows if r.first_most is None or not r.most.value < r.first_most.value]
        if late or not rows:
            raise UnsupportedClaimError(
                f"{method}: {', '.join(late) or 'no task'} came back no sooner ({score}).", MEND
            )
        return ""

    def each(self, method: str, score: str) -> str:
        """Of every one of these tasks the steps back and those of the first time: ```a` 3.2 of 7.7, `b` ...``."""
        rows = [row for row in self._gone(method, score) if row.first_most is not None]
        return ", ".join(
            f"`{r.task}` {number(r.most.value)} of {number(r.first_most.value)}" for r in rows if r.first_most
        )

    def saved(self, method: str, score: str) -> str:
        """The least and the largest share of steps, percent, that the second time does without."""
        shares = [row.saved[0] for row in self._gone(method, score) if row.saved[0] == row.saved[0]]
        return f"{number(min(shares), 0)} to {number(max(shares), 0)}" if shares else DASH

    def table(self, *scores: str) -> str:
        """A row a score and method, as Markdown."""
        heads = ("cases", "lost half", "steps to half", "lost at the end", "steps back", "first time")
        rows = [f"| score | method | {' | '.join(heads)} |", "| --- | --- |" + " ---: |" * len(heads)]
        for score in scores:
            for m in self.methods():
                counts = (self.counted(m, score), self.halved(m, score))
                again = (self.lost(m, score), self.back(m, score), self.first(m, score))
                cells = (score.replace("_", " "), m, *counts, self.half(m, score), *again)
                rows.append(f"| {' | '.join(map(str, cells))} |")
        return "\n".join(rows)

    def _lost(self, method: str, score: str) -> list[LostTask]:
        own = [run for run in self._found if run.method == method]
        if not own:
            raise BenchError(f"Nothing was measured of {method}.", MEND)
        return lost_tasks(own, score)

    def _gone(self, method: str, score: str) -> list[RegainedTask]:
        found = regained_tasks([run for run in self._found if run.method == method], score)
        return [row for row in found if row.left < LOST]


def _median(rows: Sequence[RegainedTask], of: Callable[[RegainedTask], Lasting | None]) -> str:
    """Tasks are drawn whole, and in them the test pairs."""
    own: dict[Hashable, list[Lasting]] = {}
    for row in rows:
        if (lasting := of(row)) is not None:
            own.setdefault((row.run.seed, row.task), []).append(lasting)
    found = median_lasting(own)
    return DASH if found is None else found.said()
