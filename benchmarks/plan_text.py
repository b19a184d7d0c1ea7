"""The planned comparisons of a board as a text speaks of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cached_property

from benchmarks.board_text import MEND, BoardText, Tested, UnsupportedClaimError
from lifealign_bench.errors import BenchError
from lifealign_bench.results.comparison import metric_function, paired_runs
from lifealign_bench.results.leaderboard import LEVEL
from lifealign_bench.results.paired import PairedRuns
from lifealign_bench.results.planned import ComparisonPlan
from lifealign_bench.results.power import Precision
from lifealign_bench.util.text import number, p_text


class PlanText:
    """What was planned for a board's stream, and what came of it.

    Args:
        text: the board.
    """

    def __init__(self, text: BoardText) -> None:
        self.text = text

    @property
    def plan(self) -> ComparisonPlan:
        """What the comparisons were taken from.

        Raises:
            BenchError: there is none.
        """
        if self.text.board.plan is None:
            raise BenchError(f"{self.text.board.name} has no planned comparisons.", MEND)
        return self.text.board.plan

    def corrected_for(self) -> int:
        """For how many comparisons their p-values are corrected, run or not."""
        return self.text.planned.corrected_for

    def run(self) -> int:
        """How many of them were run."""
        return len(self.text.board.planned)

    def apart(self) -> int:
        """How many of them the board tells apart."""
        return _apart(self.text.planned)

    def apart_by_seeds(self) -> int:
        """How many of these a paired t test over the seeds alone tells apart as well, corrected likewise."""
        return self._apart_by_seeds(self.text.planned)

    def screened_apart(self) -> int:
        """How many of the other comparisons with a baseline the board tells apart."""
        return _apart(self.text.screening)

    def screened_apart_by_seeds(self) -> int:
        """How many of these such a t test tells apart as well, corrected likewise."""
        return self._apart_by_seeds(self.text.screening)

    def screened_detectable(self) -> str:
        """The smallest difference that one of these finds with a chance of 80 %, with the seeds that all methods have,
        points."""
        found = self.text.board.precision
        return self.text.said_detectable(None if found is None else found.corrected_for(self.text.screened()))

    def screened_detects(self, first: str, second: str) -> str:
        """The smallest difference that one of these finds with that chance, if it is the first of their correction, by
        the spread of its two methods alone on the seeds that both have, points."""
        runs = self._paired([first, second], self.text.shared(first, second))
        variances = runs.variances([(first, second)], metric_function(self.text.board.metric))
        known = self.text.board.precision
        if known is None:
            return self.text.said_detectable(None)
        seeds = len(self.text.shared(first, second))
        design = replace(known.design, seeds=seeds, comparisons=self.text.screened())
        return self.text.said_detectable(Precision(design, variances))

    def _apart_by_seeds(self, table: Tested) -> int:
        return sum(max(compared.corrected, p) <= LEVEL for compared, p in self.text.with_seeds_p(table))

    def only_by_pairs(self) -> str:
        """Those that the board tells apart and such a t test does not, with its p-values."""
        both = self.text.with_seeds_p(self.text.planned)
        found = [(c, p) for c, p in both if c.corrected <= LEVEL < p]
        return ", ".join(f"`{c.first}` against `{c.second}` {p_text(p)}" for c, p in found) or "none"

    def detectable(self) -> str:
        """The smallest difference that is found with a chance of 80 %, with the seeds that the methods have, points."""
        return self.text.said_detectable(self.text.board.planned_precision)

    def table(self) -> str:
        """A row a comparison: its difference over all seeds with its p-values; the smallest difference that it finds
        with a chance of 80 %, if it is the first of the correction, by the spread of these two methods alone; where
        some seeds had been seen when it was planned also the differences over those and over the others.

        Raises:
            BenchError: there is no plan.
            UnsupportedClaimError: a method lacks a seed of the plan.
        """
        parts = {"seen": self.plan.seen, "unseen": self.plan.unseen} if self.plan.seen else {}
        heads = ("first minus second", f"{len(self.plan.seeds)} seeds", "p", "p, seeds alone", "detects", *parts)
        lines = [f"| {' | '.join(heads)} |", "| --- |" + " ---: |" * (len(heads) - 1)]
        for compared, by_seeds in self.text.with_seeds_p(self.text.planned):
            pair = (compared.first, compared.second)
            self._require(self.plan.seeds, pair)
            cells = (
                *(self.text.with_bounds(compared.difference), p_text(compared.corrected), p_text(by_seeds)),
                self.detects(*pair),
                *(number(self._on(seeds, pair)) for seeds in parts.values()),
            )
            lines.append(f"| `{pair[0]}` minus `{pair[1]}` | {' | '.join(cells)} |")
        return "\n".join(lines)

    def detects(self, first: str, second: str) -> str:
        """The smallest difference that a planned comparison finds with a chance of 80 %, if it is the first of the
        correction, by the spread of these two methods alone, points."""
        variances = self._runs.variances([(first, second)], metric_function(self.plan.metric))
        known = self.text.board.planned_precision
        return self.text.said_detectable(None if known is None else Precision(known.design, variances))

    def detects_range(self) -> str:
        """The least and the most of that over the comparisons that were run: ``1.8 to 9.9``."""
        found = [float(self.detects(c.first, c.second)) for c in self.text.planned.compared]
        return f"{number(min(found))} to {number(max(found))}"

    @cached_property
    def _runs(self) -> PairedRuns:
        """Of the plan's methods that were run, with its seeds."""
        there = [name for name in self.plan.methods if name in self.text.with_at_least()]
        return self._paired(there, self.plan.seeds)

    def _paired(self, methods: Sequence[str], seeds: Collection[int]) -> PairedRuns:
        own = {name: [view for view in self.text.runs_of(name) if view.seed in seeds] for name in methods}
        found = paired_runs(own, self.text.board.score, self.text.board.metric)
        if found is None:
            raise BenchError(f"{self.text.board.name}: runs of {', '.join(methods)} cannot be paired.", MEND)
        return found

    def unseen(self, first: str, second: str) -> str:
        """First minus second on the seeds alone that had not been seen when it was planned, points: other runs, on the
        same test pairs."""
        return number(self._on(self.plan.unseen, (first, second)))

    def seen(self, first: str, second: str) -> str:
        """The same on the seeds that had been seen, points."""
        return number(self._on(self.plan.seen, (first, second)))

    def shrinks(self, first: str, second: str) -> str:
        """Claim that the first leads the second by less on the unseen seeds than on those that had been seen.

        Raises:
            UnsupportedClaimError: it does not.
        """
        seen, unseen = (self._on(seeds, (first, second)) for seeds in (self.plan.seen, self.plan.unseen))
        if not unseen < seen:
            raise UnsupportedClaimError(
                f"{self.text.board.name}: {first} leads {second} by {seen:.1f} on the seen seeds, by {unseen:.1f} on "
                "the others.",
                MEND,
            )
        return ""

    def _require(self, seeds: tuple[int, ...], pair: tuple[str, str]) -> None:
        if not set(seeds) <= self.text.shared(*pair):
            names = " or ".join(pair)
            raise UnsupportedClaimError(f"{self.text.board.name}: {names} lacks a seed of the plan.", MEND)

    def _on(self, seeds: tuple[int, ...], pair: tuple[str, str]) -> float:
        """First minus second in the mean over seeds."""
        self._require(seeds, pair)
        first, second = (self.text.of_seeds(*seeds).mean(method, self.plan.metric) for method in pair)
        return first - second


def _apart(table: Tested) -> int:
    return sum(c.corrected <= LEVEL for c in table.compared)
