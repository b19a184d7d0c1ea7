"""A board as a text speaks of it: numbers of its records, and claims that stop the page where they do not hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from scipy.stats import ttest_rel

from lifealign_bench.errors import BenchError
from lifealign_bench.reporting.figures.figure import Figure
from lifealign_bench.reporting.figures.several import board_figures, group_figures
from lifealign_bench.reporting.tables.grid import to_markdown
from lifealign_bench.reporting.tables.leaderboard import short_rank_grid
from lifealign_bench.results.budgets import budget_of
from lifealign_bench.results.comparison import estimate_of, metric_function, paired_runs
from lifealign_bench.results.contributions import Metric
from lifealign_bench.results.costs import cost_of
from lifealign_bench.results.inference import ENOUGH_SEEDS
from lifealign_bench.results.leaderboard import LEVEL, Board, Compared, make_boards, open_published
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.paired import Difference, Estimate, PairedRuns, holm
from lifealign_bench.results.power import Precision
from lifealign_bench.results.view import RunView
from lifealign_bench.util.text import number, p_text

MEND = "Mend the source of the page (docs/findings/*.jinja)."
NO_DIFFERENCE = "no difference"


class UnsupportedClaimError(BenchError):
    """The page claims something that the records do not show."""


class Tested(NamedTuple):
    """Comparisons that are corrected together, those that have a p-value.

    Args:
        compared: they.
        corrected_for: how many there are, with those that were planned and not run.
    """

    compared: tuple[Compared, ...]
    corrected_for: int


class BoardText:
    """One board as a text speaks of it.

    Args:
        board: it.
        views: its runs.
    """

    def __init__(self, board: Board, views: Sequence[RunView]) -> None:
        self.board = board
        self._methods: dict[str, list[RunView]] = {}
        for view in views:
            self._methods.setdefault(view.name, []).append(view)
        self._paired: dict[tuple[str, tuple[str, ...]], PairedRuns | None] = {}

    def of_seeds(self, *seeds: int) -> BoardText:
        """The same with the runs of these seeds alone, and their costs."""
        own = {name: [view for view in views if view.seed in seeds] for name, views in self._methods.items()}
        entries = (replace(e, cost=cost_of(own[e.method])) if own.get(e.method) else e for e in self.board.entries)
        # Its differences are of all seeds.
        board = replace(self.board, entries=tuple(entries), differences=(), planned=(), screened=())
        return BoardText(board, [view for views in own.values() for view in views])

    def with_runs_of(self, other: BoardText) -> BoardText:
        """The same, but with the other's runs of the methods that it has; none of the board's differences is left."""
        entries = {e.method: e for e in self.board.entries} | {e.method: e for e in other.board.entries}
        board = replace(self.board, entries=tuple(entries.values()), differences=(), planned=(), screened=())
        methods = self._methods | other._methods
        return BoardText(board, [view for own in methods.values() for view in own])

    def ranked(self) -> BoardText:
        """The same with the methods that have a rank, and the bounds."""
        names = {entry.method for entry in self.board.entries if entry.bound or entry.ranks is not None}
        return BoardText(self.board, [v for name, own in self._methods.items() if name in names for v in own])

    def figures(self) -> list[Figure]:
        """Those that the page may show."""
        views = [view for own in self._methods.values() for view in own]
        names = [entry.method for entry in self.board.entries if entry.method in self._methods]
        return [*group_figures(views, self.board.score, names), *board_figures(self.board)]

    def with_at_least(self, seeds: int = 1) -> list[str]:
        """The methods that have so many seeds or more."""
        return [name for name, own in self._methods.items() if len(own) >= seeds]

    def count(self, seeds: int = 1) -> int:
        """How many methods have so many seeds or more."""
        return sum(len(entry.seeds) >= seeds for entry in self.board.entries)

    def runs(self) -> int:
        """How many runs there are."""
        return sum(len(entry.seeds) for entry in self.board.entries)

    def seeds(self, method: str) -> int:
        """Of a method."""
        return len(self._own(method))

    def config_hash(self, method: str, seed: int) -> str:
        """Of a method's run with a seed; empty where there is none."""
        own = (view for view in self._own(method) if view.seed == seed)
        return next((view.record.config_hash for view in own), "")

    def pairs(self) -> int:
        """Test pairs of all tasks."""
        return self.board.pairs

    def items(self) -> int:
        """How many of these are independent: pairs of one topic are one."""
        return self.board.items

    def tasks(self, method: str) -> list[str]:
        """Those of a method's runs, in the order of the stream."""
        return list(self._own(method)[0].tasks)

    def value(self, method: str, metric: str = "last", score: str = "") -> str:
        """A method's mean over its seeds: ``57.5``."""
        return number(self.mean(method, metric, score), self._digits)

    def mean(self, method: str, metric: str = "last", score: str = "") -> float:
        """The same as a number."""
        return self._known(method, metric, score).value

    def interval(self, method: str, metric: str = "last", score: str = "") -> str:
        """With its 95 % interval: ``57.5 [55.0, 61.2]``."""
        return self.with_bounds(self._known(method, metric, score))

    def computed(self, name: str) -> str:
        """What a row that was computed and not trained ends at, with its interval: ``57.1 [49.7, 64.1]``.

        Raises:
            BenchError: the board has no such row.
        """
        row = next((row for row in self.board.computed if row.name == name), None)
        if row is None or self.board.metric not in row.estimates:
            raise BenchError(f"{self.board.name} has no computed row {name}.", MEND)
        return self.with_bounds(row.estimates[self.board.metric])

    def column(self, method: str, column: str, digits: int = 1, unit: float = 1) -> str:
        """A column of the board, a cost (``tokens``, ``flops``) included, of a method, in so much of its own unit."""
        entry = next(e for e in self.board.entries if e.method == self._own(method)[0].name)
        value = entry.estimates[column].value if column in entry.estimates else getattr(entry.cost, column)
        return f"{value / unit:,.{digits}f}"

    def even(self, method: str) -> str:
        """Of how many sampled groups of a method, in percent, all responses had one reward: nothing to learn from."""
        found = [stage.rollouts for view in self._own(method) for stage in view.record.stages if stage.rollouts]
        constant, groups = (sum(one[name] or 0 for one in found) for name in ("constant", "groups"))
        if not groups:
            raise BenchError(f"{method} sampled nothing on {self.board.name}.", MEND)
        return number(100 * constant / groups, 0)

    def task(self, method: str, task: str, what: str = "final", score: str = "") -> str:
        """Of one task the mean over the seeds of what it was after its own stage (``learned``) or at the end."""
        own = [view.per_task(score or self.board.score)[what] for view in self._own(method)]
        at = self._own(method)[0].tasks.index(task)
        return number(sum(float(values[at]) for values in own) / len(own), self._digits)

    def task_by_seed(self, method: str, task: str, what: str = "final", score: str = "") -> str:
        """The same of each seed, in their order: ``91.7, 100.0, 95.0``."""
        seeds = sorted(view.seed for view in self._own(method))
        return ", ".join(self.of_seeds(seed).task(method, task, what, score) for seed in seeds)

    def by_seed(self, method: str) -> str:
        """What a method's runs end at, each by itself: ``81.2, 79.9, 84.0``."""
        seeds = sorted(view.seed for view in self._own(method))
        return ", ".join(self.of_seeds(seed).value(method) for seed in seeds)

    def stages(self, score: str, *methods: str) -> str:
        """A row a method and a column a stage: the mean over the tasks trained so far, and over the seeds."""
        count = len(self._own(methods[0])[0].rows) - 1
        lines = [f"| after stage | {' | '.join(map(str, range(1, count + 1)))} |", "| --- |" + " ---: |" * count]
        for method in methods:
            courses = [_course(view, score) for view in self._own(method)]
            cells = [number(fmean(at), self._digits) for at in zip(*courses, strict=True)]
            lines.append(f"| {method} | {' | '.join(cells)} |")
        return "\n".join(lines)

    def at_end(self, method: str, tasks: Sequence[str]) -> str:
        """The mean over some of the tasks after the last stage, with its interval: ``57.5 [55.0, 61.2]``."""
        runs = self._runs("", method)
        found = runs.estimate(method, self._end_of(method, tasks))
        bottom, top = (0.0, 100.0) if runs.bounded else (-math.inf, math.inf)
        return self.with_bounds(replace(found, low=max(found.low, bottom), high=min(found.high, top)))

    def at_end_difference(self, first: str, second: str, tasks: Sequence[str]) -> str:
        """First minus second in that mean, with its interval."""
        return self.with_bounds(self._compared(first, second, self._end_of(first, tasks), ""))

    def near(self, level: float, within: float, tasks: Sequence[str], *methods: str) -> str:
        """Claim that these methods, and no others that have a rank, end at a level on some of the tasks, each in the
        mean over these and its seeds.

        Raises:
            UnsupportedClaimError: one of them ends farther from it than ``within``, or another one does not.
        """
        for method in dict.fromkeys((*methods, *self.entered())):
            value = self._runs("", method).estimate(method, self._end_of(method, tasks)).value
            if (abs(value - level) <= within) is not (method in methods):
                where = "not at" if method in methods else "near"
                raise UnsupportedClaimError(
                    f"{self.board.name}: {method} ends at {value:.1f} on {', '.join(tasks)}, {where} {level:g}.", MEND
                )
        return ""

    def _end_of(self, method: str, tasks: Sequence[str]) -> Metric:
        own = self._own(method)[0]
        at, row = [own.tasks.index(task) for task in tasks], own.rows[-1].row
        return lambda matrix: matrix[..., row, at].mean(axis=-1)

    def alone_p(self, first: str, second: str) -> str:
        """The p-value of a tested comparison by itself, not corrected for others."""
        return p_text(self._compared_of(first, second).difference.p)

    def difference(self, first: str, second: str, metric: str = "last", score: str = "") -> str:
        """First minus second with its 95 % interval: ``12.3 [7.8, 16.8]``; the board's own where it has it."""
        return self.with_bounds(self._difference(first, second, metric, score))

    def p(self, first: str, second: str) -> str:
        """The p-value of a tested comparison, corrected for all of its table: the planned ones, or all other ones of a
        method with a baseline."""
        return p_text(self._corrected(first, second))

    def seeds_p(self, first: str, second: str) -> str:
        """The p-value of a paired t test over the seeds alone, which knows of no test pairs, corrected likewise."""
        both = self.with_seeds_p(self._table_of(first, second))
        return next(p_text(p) for c, p in both if {c.first, c.second} == {first, second})

    def screened(self) -> int:
        """How many other comparisons with a baseline are tested, corrected for these."""
        return self.screening.corrected_for

    def whole_p(self, first: str, second: str) -> str:
        """The p-value corrected for all pairs of methods, as ranks are."""
        for compared in self.board.differences:
            if {compared.first, compared.second} == {first, second}:
                return p_text(compared.corrected)
        raise BenchError(f"{self.board.name}: {first} and {second} are not compared.", MEND)

    def alike(self, first: str, second: str) -> str:
        """Claim that two methods are not told apart among all pairs of methods, as ranks are corrected.

        Raises:
            UnsupportedClaimError: they are.
        """
        if any({c.first, c.second} == {first, second} and c.better for c in self.board.differences):
            raise UnsupportedClaimError(f"{self.board.name}: {first} and {second} are told apart among all.", MEND)
        return ""

    def rank(self, method: str) -> str:
        """The ranks that a method may have: ``2-7``.

        Raises:
            BenchError: it has none.
        """
        found = next((e.ranks for e in self.board.entries if e.method == method), None)
        if found is None:
            raise BenchError(f"{self.board.name} has no rank of {method}.", MEND)
        return str(found)

    def comparisons(self) -> int:
        """How many pairs of methods are tested, which is what ranks are corrected for."""
        return self.board.precision.design.comparisons if self.board.precision else 0

    def unlearned(self, *methods: str) -> str:
        """Claim that exactly these of the trained methods did not demonstrably learn their first task.

        Raises:
            UnsupportedClaimError: others did not.
        """
        found = {entry.method for entry in self.board.entries if not (entry.learned or entry.bound)}
        if found != set(methods):
            names = ", ".join(sorted(found)) or "none"
            raise UnsupportedClaimError(f"{self.board.name}: the first task was not learned by {names}.", MEND)
        return ""

    def told_apart(self) -> int:
        """How many of these pairs the board tells apart."""
        return sum(bool(c.better) for c in self.board.differences)

    def better(self, first: str, second: str) -> str:
        """Claim that first is significantly better than second in what the board ranks by, corrected as by :meth:`p`.

        Raises:
            UnsupportedClaimError: it is not.
        """
        value, p = self._difference(first, second, self.board.metric, "").value, self._corrected(first, second)
        if not (value > 0 and p <= LEVEL):
            raise UnsupportedClaimError(
                f"{self.board.name}: {first} is not significantly better than {second} ({value:.1f}, p {p:.3f}).",
                MEND,
            )
        return ""

    def undecided(self, first: str, second: str) -> str:
        """Claim that two methods cannot be told apart, corrected as by :meth:`p`.

        Raises:
            UnsupportedClaimError: they can.
        """
        p = self._corrected(first, second)
        if p <= LEVEL:
            raise UnsupportedClaimError(f"{self.board.name}: {first} and {second} are told apart (p {p:.3f}).", MEND)
        return ""

    def interval_below(self, first: str, second: str, metric: str, score: str = "") -> str:
        """Claim that the 95 % interval of first minus second lies below 0, of a metric that is not tested on the board.

        Raises:
            UnsupportedClaimError: it does not.
        """
        found = self._difference(first, second, metric, score)
        if not found.high < 0:
            raise UnsupportedClaimError(
                f"{self.board.name}: {metric} of {first} is not surely below that of {second}: "
                f"[{found.low:.1f}, {found.high:.1f}].",
                MEND,
            )
        return ""

    def untold(self, first: str, second: str, metric: str = "last", score: str = "") -> str:
        """Claim that the 95 % interval of first minus second holds 0, where nothing is tested on the board.

        Raises:
            UnsupportedClaimError: it does not.
        """
        if self.excludes_zero(first, second, metric, score):
            raise UnsupportedClaimError(f"{self.board.name}: {metric} tells {first} and {second} apart.", MEND)
        return ""

    def excludes_zero(self, first: str, second: str, metric: str = "last", score: str = "") -> bool:
        """Whether the 95 % interval of first minus second, by itself, lies on one side of 0."""
        return self._difference(first, second, metric, score).apart

    def highest(self, method: str, *others: str) -> str:
        """Claim that no method that has a rank, or none of ``others``, has a higher mean in what the board ranks by, on
        all of its seeds or on those that the two have in common.

        Raises:
            UnsupportedClaimError: one has.
        """
        for other in others or self.entered():
            if other != method and self._least_lead(method, other, self.board.metric, "") < 0:
                raise UnsupportedClaimError(
                    f"{self.board.name}: the mean of {other} is higher than that of {method}.", MEND
                )
        return ""

    def leading(self, score: str, *methods: str) -> str:
        """Claim that no other ranked method has as high a mean at the end in a score as any of these, on all seeds or
        on those that the two have in common.

        Raises:
            UnsupportedClaimError: one has.
        """
        for method in methods:
            for other in self.entered():
                if other not in methods and self._least_lead(method, other, "last", score) <= 0:
                    raise UnsupportedClaimError(f"{self.board.name}: {other} is not below {method} in {score}.", MEND)
        return ""

    def _least_lead(self, first: str, second: str, metric: str, score: str) -> float:
        """By how much the mean of the first is above that of the second: over all seeds of each, or over those that
        both have, whichever is less."""
        own = [
            {view.seed: view.metric(score or self.board.score, metric) for view in self._own(m)}
            for m in (first, second)
        ]
        shared = self.shared(first, second)
        return min(
            fmean(own[0].values()) - fmean(own[1].values()),
            fmean(own[0][s] for s in shared) - fmean(own[1][s] for s in shared) if shared else math.inf,
        )

    def with_seeds(self, count: int, planned: int | None = None) -> str:
        """Claim that every method that has a rank has so many seeds, which the page says in words.

        Args:
            count: of all.
            planned: of those that are compared by plan; None: as many as all.

        Raises:
            UnsupportedClaimError: one has more or fewer.
        """
        plan = self.board.plan
        more = () if plan is None or planned is None else plan.methods
        for entry in self.board.ranked:
            said = planned if entry.method in more else count
            if len(entry.seeds) != said:
                raise UnsupportedClaimError(
                    f"{self.board.name}: {entry.method} has {len(entry.seeds)} seeds, and the page speaks of {said}.",
                    MEND,
                )
        return ""

    def within(self, middle: float) -> str:
        """Claim that no method with enough seeds ends as far from ``middle`` as the board finds with a chance of 80 %.

        Raises:
            UnsupportedClaimError: one does, or no such distance is known.
        """
        counted = [e.method for e in self.board.entries if not e.bound and len(e.seeds) >= ENOUGH_SEEDS]
        most = max(abs(self._known(name, self.board.metric, "").value - middle) for name in counted)
        if self.detectable() == NO_DIFFERENCE or most >= float(self.detectable()):
            raise UnsupportedClaimError(
                f"{self.board.name}: a method ends {most:.1f} from {middle:g}, and {self.detectable()} is found.", MEND
            )
        return ""

    def detectable(self) -> str:
        """The smallest difference that the board finds with a chance of 80 % among all pairs of its methods, points."""
        return self.said_detectable(self.board.precision)

    def said_detectable(self, precision: Precision | None) -> str:
        """What a precision finds, as the page says it."""
        found = math.inf if precision is None else precision.detectable()
        return number(found, self._digits) if math.isfinite(found) else NO_DIFFERENCE

    def table(self, short: bool = False) -> str:
        """The board in six columns, without the terms that the leaderboard explains: all that have a rank, or as few as
        the leaderboard shows first."""
        grid = short_rank_grid(self.board) if short else short_rank_grid(self.board, most=None)
        lines = to_markdown(grid).splitlines()
        return "\n".join(line for line in lines if line.startswith("|"))

    @property
    def _digits(self) -> int:
        return 1 if self.board.unit == "percent" else 2

    def entered(self) -> dict[str, list[RunView]]:
        """The runs of the methods that have a rank."""
        return {e.method: self._own(e.method) for e in self.board.entries if e.ranks is not None}

    def with_bounds(self, found: Estimate | Difference) -> str:
        """A value with its interval: ``12.3 [7.8, 16.8]``."""
        value, low, high = (number(v, self._digits) for v in (found.value, found.low, found.high))
        return f"{value} [{low}, {high}]"

    def runs_of(self, method: str) -> list[RunView]:
        """A method's runs.

        Raises:
            BenchError: there is none.
        """
        return list(self._own(method))

    def _own(self, method: str) -> list[RunView]:
        if method not in self._methods:
            raise BenchError(f"{self.board.name} has no run of {method}.", MEND)
        return self._methods[method]

    def _runs(self, score: str, *methods: str) -> PairedRuns:
        key = (score or self.board.score, methods)
        if key not in self._paired:
            own = {name: self._own(name) for name in methods}
            self._paired[key] = paired_runs(own, key[0], self.board.metric)
        found = self._paired[key]
        if found is None:
            raise BenchError(f"{self.board.name}: the runs of {', '.join(methods)} cannot be paired.", "See the board.")
        return found

    def _known(self, method: str, metric: str, score: str) -> Estimate:
        if METRICS[metric].needs_single and score in ("", self.board.score):
            # The runs of single that it needs are not among the board's.
            found = next(e.estimates[metric] for e in self.board.entries if e.method == self._own(method)[0].name)
        else:
            found = estimate_of(self._runs(score, method), method, metric)
        if math.isnan(found.value):
            raise BenchError(f"{self.board.name}: {metric} of {method} is not known of all of its runs.", MEND)
        return found

    def _difference(self, first: str, second: str, metric: str, score: str) -> Difference:
        """The board's, or made as it makes its own: among all methods with as many seeds, whose spread is looked at
        together."""
        if (metric, score or self.board.score) == (self.board.metric, self.board.score):
            for compared in (*self.board.planned, *self.board.screened, *self.board.differences):
                if {compared.first, compared.second} == {first, second} and math.isfinite(compared.difference.low):
                    return compared.difference if compared.first == first else compared.difference.turned()
        return self._compared(first, second, metric_function(metric), score)

    def _compared(self, first: str, second: str, metric: Metric, score: str) -> Difference:
        """A difference as the board makes its own: among all pairs of methods that have the same seeds in common."""
        bounds = {entry.method for entry in self.board.entries if entry.bound}
        shared = self.shared(first, second)
        if len(shared) == 1 or {first, second} & bounds:
            return self._runs(score, first, second).difference(first, second, metric)
        pairs = [p for p in combinations([n for n in self._methods if n not in bounds], 2) if self.shared(*p) == shared]
        pair = (first, second) if (first, second) in pairs else (second, first)
        runs = self._runs(score, *dict.fromkeys(name for both in pairs for name in both))
        found = runs.differences(pairs, metric)[pairs.index(pair)]
        return found if pair == (first, second) else found.turned()

    def shared(self, first: str, second: str) -> set[int]:
        """The seeds that two methods have in common."""
        return {view.seed for view in self._own(first)} & {view.seed for view in self._own(second)}

    @property
    def planned(self) -> Tested:
        """The comparisons that are planned."""
        return Tested(_with_p(self.board.planned), self.board.corrected_planned)

    @property
    def screening(self) -> Tested:
        """All others with a baseline."""
        found = _with_p(self.board.screened)
        return Tested(found, len(found))

    def _table_of(self, first: str, second: str) -> Tested:
        """The comparisons that one of these two methods is corrected for.

        Raises:
            BenchError: it is not tested, neither planned nor with a baseline.
        """
        for table in (self.planned, self.screening):
            if any({c.first, c.second} == {first, second} for c in table.compared):
                return table
        raise BenchError(f"{self.board.name}: {first} and {second} are not among the planned comparisons.", MEND)

    def with_seeds_p(self, table: Tested) -> list[tuple[Compared, float]]:
        """The comparisons of a table with the p-values of paired t tests over the seeds alone, corrected likewise."""
        known = [self._over_seeds(c.first, c.second) for c in table.compared]
        corrected = holm([*known, *[1.0] * (table.corrected_for - len(known))])
        return list(zip(table.compared, corrected, strict=False))

    def _over_seeds(self, first: str, second: str) -> float:
        own = [{v.seed: v.metric(self.board.score, self.board.metric) for v in self._own(m)} for m in (first, second)]
        shared = sorted(own[0].keys() & own[1].keys())
        return float(ttest_rel(*([values[seed] for seed in shared] for values in own)).pvalue)

    def _corrected(self, first: str, second: str) -> float:
        return self._compared_of(first, second).corrected

    def _compared_of(self, first: str, second: str) -> Compared:
        table = self._table_of(first, second)
        return next(c for c in table.compared if {c.first, c.second} == {first, second})


def _with_p(compared: Sequence[Compared]) -> tuple[Compared, ...]:
    return tuple(c for c in compared if math.isfinite(c.corrected))


def _course(view: RunView, score: str) -> list[float]:
    """After each stage the mean over the tasks trained so far, of a run whose stages train a task each."""
    values, tasks, means = view.record.scores[score].array(), list(view.tasks), []
    for row in view.rows[1:]:
        seen = [tasks.index(task) for earlier in view.rows[1 : row.row + 1] for task in earlier.tasks]
        means.append(float(values[row.row, seen].mean()))
    return means


class Boards:
    """All boards of a folder of published records, by stream and model."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.views, _ = open_published([results])

    @cached_property
    def _boards(self) -> list[Board]:
        return make_boards(self.views)

    def __call__(self, stream: str, model: str, budget: str = "", score: str | None = None) -> BoardText:
        """The board of a stream and model; of runs with a budget, that of theirs: ``tokens``.

        Args:
            score: what it is ranked by; None: what its runs are judged by first.

        Raises:
            BenchError: there is none.
        """
        place = (stream, model, budget)
        boards = self._boards
        if score is not None:
            boards = make_boards([view for view in self.views if view.group == (stream, model)], score)
        found = [board for board in boards if (board.stream, board.model, board.budget) == place]
        if not found:
            name = f"{stream} on {model}" + f", budget of {budget}" * bool(budget)
            raise BenchError(
                f"There is no board of {name}.",
                "Mend the source of the page (docs/findings/*.jinja), or publish its runs.",
            )
        apart = {a.place for a in found[0].apart}
        own = [
            view
            for view in self.views
            if (*view.group, budget_of(view.record.config)) == place
            and f"{stream}/{model}/{view.name}/seed-{view.seed}" not in apart
        ]
        return BoardText(found[0], own)
