"""What other orders of the tasks do to the methods of a board, as a text speaks of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from statistics import fmean

import numpy as np
from scipy.stats import f, t, ttest_1samp

from benchmarks.board_text import MEND, BoardText, UnsupportedClaimError
from benchmarks.course_text import at_stage
from benchmarks.orders import said_share
from lifealign_bench.errors import BenchError
from lifealign_bench.results.leaderboard import LEVEL
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.ordereffects import OrderEffect, OrderTable, order_effect, order_tables
from lifealign_bench.results.statistics import CONFIDENCE, Array
from lifealign_bench.results.view import RunView
from lifealign_bench.util.text import number, p_text


class OrderText:
    """Several methods in several orders of a board's tasks, one run each.

    Args:
        views: the runs.
        board: of the stream whose orders they are.

    Raises:
        BenchError: they are not one table of methods and orders, or of another model.
    """

    def __init__(self, views: Sequence[RunView], board: BoardText) -> None:
        tables = order_tables(views)
        if len(tables) != 1 or tables[0].model != board.board.model:
            raise BenchError(f"The runs are not one table of methods and orders of {board.board.model}.", MEND)
        self._table: OrderTable = tables[0]
        self._board = board
        self._score = board.board.score

    def among(self, *methods: str) -> OrderText:
        """The same of some of the methods alone."""
        views = [view for (name, _), own in self._table.runs.items() if name in methods for view in own]
        return OrderText(views, self._board)

    def methods(self) -> list[str]:
        """Those that ran in all orders."""
        return list(self._table.methods)

    def count(self) -> int:
        """How many orders there are."""
        return len(self._table.orders)

    def runs(self) -> int:
        """How many runs."""
        return sum(len(own) for own in self._table.runs.values())

    def latin(self) -> str:
        """Claim that every task stands equally often at every position.

        Raises:
            UnsupportedClaimError: one does not.
        """
        places = Counter((task, place) for order in self._table.orders for place, task in enumerate(order))
        if len(places) != len(self._table.orders[0]) ** 2 or len(set(places.values())) != 1:
            raise UnsupportedClaimError("Some task stands at a position more often than at another.", MEND)
        return ""

    def repeats_board(self) -> str:
        """Claim that in the stream's own order every run was trained as the board's run of that seed: every stage ends
        with the same loss, to the last digit.

        Raises:
            UnsupportedClaimError: one was not, or the own order is not among them.
        """
        for method, board, own in self._in_own_order():
            losses = [[stage.final_loss for stage in view.record.stages] for view in (board, own)]
            if losses[0] != losses[1]:
                raise UnsupportedClaimError(f"{method}: the board's run ended its stages with other losses.", MEND)
        return ""

    def differing(self) -> str:
        """Of how many responses of these runs how many have another score than on the board: ``9 of 5,040``."""
        found = [differing(*(v.pair_scores(self._score) for v in both)) for _, *both in self._in_own_order()]
        changed, count = (sum(numbers) for numbers in zip(*found, strict=True))
        return f"{changed:,} of {count:,}"

    def _in_own_order(self) -> Iterator[tuple[str, RunView, RunView]]:
        """Each method, the board's run of the seed, and the run in the stream's own order."""
        for method in self._table.methods:
            (board,) = [view for view in self._board.runs_of(method) if view.seed == self._seed]
            if board.tasks not in self._table.orders:
                raise UnsupportedClaimError("The stream's own order is not among the orders.", MEND)
            yield method, board, self._table.runs[method, board.tasks][0]

    def table(self, metric: str = "last") -> str:
        """A row a method and a column an order, called by its last task: the metric; its mean with an interval over the
        orders; its deviation over the orders, and over the seeds of the board in the stream's own order.

        Raises:
            UnsupportedClaimError: two orders end with the same task.
        """
        ends = [order[-1] for order in self._table.orders]
        if len(set(ends)) < len(ends):
            raise UnsupportedClaimError("Two orders end with the same task.", MEND)
        heads = (*(f"`{end}`" for end in ends), "mean", "deviation over orders", "over seeds")
        lines = [_row("last task", heads), _rule(len(heads))]
        for method, values in zip(self._table.methods, self._values(metric), strict=True):
            seeds = [view.metric(self._score, metric) for view in self._board.runs_of(method)]
            deviations = (number(float(np.std(own, ddof=1))) for own in (values, seeds))
            lines.append(_row(method, [*map(number, values), _mean_with_bounds(values), *deviations]))
        return "\n".join(lines)

    def by_position(self) -> str:
        """A row a method and a column a position: what the tasks that stood there have at the end, on the mean over the
        orders, percent."""
        self.latin()
        places = range(len(self._table.orders[0]))
        lines = [_row("position", [str(place + 1) for place in places]), _rule(len(places))]
        for method in self._table.methods:
            finals = [view.per_task(self._score)["final"] for view in self._own(method)]
            lines.append(_row(method, [number(fmean(float(own[place]) for own in finals)) for place in places]))
        return "\n".join(lines)

    def shares(self, *metrics: str) -> str:
        """A row a metric: which share of its variance is what, percent with intervals; the deviation of all, points; in
        how many orders another method wins; how often two orders disagree on two methods."""
        found = [(metric, self._effect(metric)) for metric in metrics]
        heads = [*found[0][1].parts, "deviation", "another winner", "discordant"]
        lines = [_row("", heads), _rule(len(heads))]
        for metric, effect in found:
            winners = f"{effect.others} of {len(effect.winners)}"
            cells = [
                *map(said_share, effect.parts.values()),
                number(effect.deviation),
                winners,
                number(effect.discordant),
            ]
            lines.append(_row(METRICS[metric].label, cells))
        return "\n".join(lines)

    def share(self, part: str, metric: str = "last") -> str:
        """Of the variance, percent: ``61.2 [30.1, 80.0]``."""
        return said_share(self._effect(metric).parts[part])

    def seeds_on_board(self, metric: str = "last") -> str:
        """How much the variance over the board's seeds, in the stream's own order and pooled over the methods, is of
        that variance, percent: ``0.4``."""
        found = [[view.metric(self._score, metric) for view in self._board.runs_of(m)] for m in self._table.methods]
        squares = sum(float(np.var(own)) * len(own) for own in found)
        pooled = squares / sum(len(own) - 1 for own in found)
        return number(100 * pooled / self._effect(metric).deviation ** 2)

    def winner(self, metric: str = "last") -> str:
        """The best method by the mean over the orders."""
        return self._effect(metric).winner

    def lowest(self, method: str, metric: str = "last") -> str:
        """The last task of the order in which a method has the lowest value."""
        values = [view.metric(self._score, metric) for view in self._own(method)]
        return self._table.orders[int(np.argmin(values))][-1]

    def difference(self, first: str, second: str, metric: str = "last") -> str:
        """First minus second on the mean over the orders, with the interval of a paired t test over them."""
        return _mean_with_bounds(self._gaps(first, second, metric))

    def p(self, first: str, second: str, metric: str = "last") -> str:
        """The p-value of that test, by itself."""
        gaps = self._gaps(first, second, metric)
        return p_text(float(ttest_1samp(gaps, 0.0).pvalue))

    def least(self, first: str, second: str, metric: str = "last") -> str:
        """The smallest of these differences."""
        return number(float(self._gaps(first, second, metric).min()))

    def most(self, first: str, second: str, metric: str = "last") -> str:
        """The largest of them."""
        return number(float(self._gaps(first, second, metric).max()))

    def ahead(self, first: str, second: str, metric: str = "last") -> int:
        """In how many orders the first has the higher value."""
        return int((self._gaps(first, second, metric) > 0).sum())

    def always(self, first: str, second: str, metric: str = "last") -> str:
        """Claim that the first has the higher value in every order.

        Raises:
            UnsupportedClaimError: it has not.
        """
        if (ahead := self.ahead(first, second, metric)) < self.count():
            raise UnsupportedClaimError(f"{first} is above {second} in {ahead} of {self.count()} orders.", MEND)
        return ""

    def untold(self, first: str, second: str, metric: str = "last") -> str:
        """Claim that the interval of their difference over the orders holds zero.

        Raises:
            UnsupportedClaimError: it does not.
        """
        return self._claim(first, second, metric, lambda low, high: low <= 0 <= high)

    def told(self, first: str, second: str, metric: str = "last") -> str:
        """Claim that it is above zero.

        Raises:
            UnsupportedClaimError: it is not.
        """
        return self._claim(first, second, metric, lambda low, high: low > 0)

    def outweigh_seeds(self, *methods: str) -> str:
        """Claim that what these methods end at deviates more over the orders than over the seeds of the board.

        Raises:
            UnsupportedClaimError: one does not.
        """
        for method in methods:
            orders, seeds = (
                _deviation(views, self._score) for views in (self._own(method), self._board.runs_of(method))
            )
            if orders <= seeds:
                raise UnsupportedClaimError(f"{method}: {orders:.1f} over orders and {seeds:.1f} over seeds.", MEND)
        return ""

    def surely_outweigh_seeds(self) -> str:
        """The methods whose variance over the orders is above that over the seeds of the board, by F tests at the
        board's level, each by itself: ``wise, dpo``."""
        found = []
        for method in self._table.methods:
            orders, seeds = self._own(method), self._board.runs_of(method)
            ratio = (_deviation(orders, self._score) / _deviation(seeds, self._score)) ** 2
            if f.sf(ratio, len(orders) - 1, len(seeds) - 1) <= LEVEL:
                found.append(f"`{method}`")
        return ", ".join(found) or "none"

    def back(self, method: str, task: str, rival: str, level: float, within: float) -> str:
        """In the orders in which the stage of ``rival`` comes after that of ``task`` and before the last, what the task
        has at the end: ``82.5 to 96.7``; a claim that right after that stage it was within so many points of ``level``.

        Raises:
            UnsupportedClaimError: it was not, or there is no such order.
        """
        ends = []
        for view in self._own(method):
            place = view.tasks.index(rival)
            if view.tasks.index(task) < place < len(view.tasks) - 1:
                after = at_stage(view, task, self._score, rival)
                if abs(after - level) > within:
                    raise UnsupportedClaimError(f"{method} has {after:.1f} on {task} after the stage of {rival}.", MEND)
                ends.append(at_stage(view, task, self._score, view.tasks[-1]))
        if not ends:
            raise UnsupportedClaimError(f"{method} has no order with stages after {task} and then {rival}.", MEND)
        return f"{number(min(ends))} to {number(max(ends))}"

    @cached_property
    def _seed(self) -> int:
        seeds = {view.seed for own in self._table.runs.values() for view in own}
        if len(seeds) != 1:
            raise BenchError("The orders have several seeds.", MEND)
        return seeds.pop()

    def _own(self, method: str) -> list[RunView]:
        if method not in self._table.methods:
            raise BenchError(f"{method} has not run in other orders.", MEND)
        return [self._table.runs[method, order][0] for order in self._table.orders]

    def _values(self, metric: str) -> Array:
        """(M, O) of the board's score."""
        return np.asarray(self._table.values(self._score, metric).mean(axis=2))

    def _gaps(self, first: str, second: str, metric: str) -> Array:
        """(O,) first minus second."""
        one, other = (np.array([v.metric(self._score, metric) for v in self._own(name)]) for name in (first, second))
        return np.asarray(one - other)

    def _claim(self, first: str, second: str, metric: str, holds: Callable[[float, float], bool]) -> str:
        low, high = _bounds(self._gaps(first, second, metric))
        if not holds(low, high):
            raise UnsupportedClaimError(f"{first} minus {second} over orders: [{low:.1f}, {high:.1f}].", MEND)
        return ""

    def _effect(self, metric: str) -> OrderEffect:
        found = order_effect(self._table, self._score, metric)
        if found is None:
            raise BenchError(f"A run in another order has no {metric}.", MEND)
        return found


def differing(published: Mapping[str, Array], own: Mapping[str, Array]) -> tuple[int, int]:
    """How many scores of a run differ from those of another, of how many: by task (rows, pairs), wherever the first has
    one. A score that the other lacks differs."""
    known = {task: ~np.isnan(scores) for task, scores in own.items()}
    changed = sum(int((published[task][known[task]] != own[task][known[task]]).sum()) for task in own)
    return changed, sum(int(places.sum()) for places in known.values())


def _deviation(views: Sequence[RunView], score: str) -> float:
    return float(np.std([view.metric(score, "last") for view in views], ddof=1))


def _bounds(values: Array) -> tuple[float, float]:
    """Of the mean, by Student's t over the values."""
    half = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean()) - half, float(values.mean()) + half


def _mean_with_bounds(values: Array) -> str:
    return f"{number(float(values.mean()))} [{', '.join(map(number, _bounds(values)))}]"


def _row(first: str, cells: Sequence[str]) -> str:
    return f"| {' | '.join([first, *cells])} |"


def _rule(count: int) -> str:
    return "| --- |" + " ---: |" * count
