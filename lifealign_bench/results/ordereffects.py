"""How much of a result is the method and how much the order of the tasks, over methods that all ran in the same orders.

With y the metric of method m in order o by its s-th seed,

    y = mean + method(m) + order(o) + method x order(m, o) + seed(m, o, s)

a two-way mixed model. Methods are fixed: they are the ones that are compared. Orders are random: they stand for the N!
orders of N tasks. Seeds are replicates in a cell, since a seed shared by two orders fixes the adapter's start but
neither the pairs that are seen nor what is replayed. The components are estimated from the mean squares of the analysis
of variance (Searle, Casella & McCulloch 1992, chapters 4 and 5; of the fixed methods, their effects' mean square with
M - 1 in the denominator). What comes out below 0 is 0. With one seed the last two parts cannot be told apart and are
one.

The mean squares have these expectations in tables without gaps and with as many seeds in all cells. Seeds that not all
cells have are left out, a cell without a run is refused.

The intervals are drawn from the model, since a handful of orders is too few to draw from: a mean square x of d degrees
of freedom says of its expectation that it is x d / chi2(d) (generalized intervals, Weerahandi 1993), and the methods'
effects, shrunk to their component, get new normal errors (a parametric bootstrap). In simulations with four methods and
four to fourteen orders such intervals of 95 % held the true share in 91 to 97 of 100 tables; percentiles of tables that
are drawn with the estimated components did in 77 to 95, being too narrow for the part of the order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np

from lifealign_bench.errors import UsageError
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.orders import settings_but_order
from lifealign_bench.results.statistics import CONFIDENCE, RESAMPLES, Array
from lifealign_bench.results.view import RunView

PARTS = ("method", "order", "method x order", "seed")
UNTOLD = "method x order and seed"  # with one seed
Order = tuple[str, ...]


class VariancePart(NamedTuple):
    """A part of the variance: its component in squared units, and its share with a 95 % interval, percent."""

    component: float
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class OrderTable:
    """Runs of one model on one set of tasks: every method in every order with the same number of seeds.

    Args:
        methods, orders: their names, and the orders of the tasks.
        runs: (method, order) to its runs, by the seed.
        notes: what was left out.
    """

    model: str
    methods: tuple[str, ...]
    orders: tuple[Order, ...]
    runs: Mapping[tuple[str, Order], Sequence[RunView]]
    notes: tuple[str, ...] = ()

    def values(self, score: str, metric: str) -> Array:
        """(M, O, S)."""
        return np.array(
            [[[v.metric(score, metric) for v in self.runs[m, o]] for o in self.orders] for m in self.methods]
        )


@dataclass(frozen=True)
class OrderEffect:
    """What a metric's variance is made of, and what the order does to who wins.

    Args:
        parts: name to part, in the order of :data:`PARTS`.
        deviation: square root of the sum of the components, in the metric's unit.
        winners: of each order.
        winner: by the mean over orders.
        discordant: of all pairs of methods in all pairs of orders, the share in which the two orders disagree on which
            is better, percent.
    """

    parts: Mapping[str, VariancePart]
    deviation: float
    winners: tuple[str, ...]
    winner: str
    discordant: float

    @property
    def others(self) -> int:
        """In how many orders another method wins than on the whole."""
        return sum(name != self.winner for name in self.winners)


def order_tables(views: Sequence[RunView]) -> list[OrderTable]:
    """One table for each model and set of tasks of which there are two orders and two methods.

    Runs that are not complete, and bounds that train all tasks at once, are left out.

    Raises:
        UsageError: a method has no run in one of the orders, no seed that all have, or several settings.
    """
    groups: dict[tuple[str, Order], list[RunView]] = {}
    for view in views:
        if view.complete and view.sequential:
            groups.setdefault((view.group[1], tuple(sorted(view.tasks))), []).append(view)
    tables = [_table(model, own) for (model, _), own in groups.items()]
    return [table for table in tables if table is not None]


def _table(model: str, views: Sequence[RunView]) -> OrderTable | None:
    methods = tuple(dict.fromkeys(view.name for view in views))
    orders = tuple(dict.fromkeys(view.tasks for view in views))
    if len(methods) < 2 or len(orders) < 2:
        return None
    for name in methods:
        if len({settings_but_order(view) for view in views if view.name == name}) > 1:
            raise UsageError(f"The runs of {name} have several settings.", "Name folders with one of them alone.")
    cells = {(m, o): {v.seed: v for v in views if (v.name, v.tasks) == (m, o)} for m in methods for o in orders}
    missing = [f"{m} in {','.join(o)}" for (m, o), own in cells.items() if not own]
    if missing:
        raise UsageError(
            f"The table of methods and orders has gaps: {'; '.join(missing)}.",
            "Run these, or name folders of methods that have all orders.",
        )
    shared = set.intersection(*(set(own) for own in cells.values()))
    if not shared:
        raise UsageError("No seed is there of every method in every order.", "Run one: --seed 0.")
    left = sum(len(own) - len(shared) for own in cells.values())
    notes = (f"{left} runs of seeds that not every method has in every order are left out.",) if left else ()
    runs = {cell: [own[seed] for seed in sorted(shared)] for cell, own in cells.items()}
    return OrderTable(model, methods, orders, runs, notes)


def order_effect(table: OrderTable, score: str, metric: str) -> OrderEffect | None:
    """What of a metric is what; None where a run does not have it."""
    values = table.values(score, metric)
    if np.isnan(values).any():
        return None
    found = variance_components(values)
    parts = variance_parts(values)
    means = values.mean(axis=2) if METRICS[metric].higher_is_better else -values.mean(axis=2)
    return OrderEffect(
        parts=parts,
        deviation=math.sqrt(float(found.sum())),
        winners=tuple(table.methods[i] for i in means.argmax(axis=0)),
        winner=table.methods[int(means.mean(axis=1).argmax())],
        discordant=discordance(means),
    )


class _Squares(NamedTuple):
    """Mean squares (...) of tables (..., M, O, S), and the methods' effects (..., M).

    Args:
        seed: NaN with one seed.
    """

    effects: Array
    method: Array
    order: Array
    both: Array
    seed: Array


def _squares(values: Array) -> _Squares:
    many, orders, seeds = values.shape[-3:]
    cell = values.mean(axis=-1)
    method, order = cell.mean(axis=-1), cell.mean(axis=-2)
    whole = cell.mean(axis=(-2, -1))
    effects = method - whole[..., None]
    left = cell - method[..., :, None] - order[..., None, :] + whole[..., None, None]
    within = ((values - cell[..., None]) ** 2).sum(axis=(-3, -2, -1))
    return _Squares(
        effects,
        orders * seeds * (effects**2).sum(axis=-1) / (many - 1),
        many * seeds * ((order - whole[..., None]) ** 2).sum(axis=-1) / (orders - 1),
        seeds * (left**2).sum(axis=(-2, -1)) / ((many - 1) * (orders - 1)),
        within / (many * orders * (seeds - 1)) if seeds > 1 else np.full(whole.shape, math.nan),
    )


def variance_components(values: Array) -> Array:
    """(..., 4) the components of :data:`PARTS` of tables (..., M, O, S), none below 0; with one seed (..., 3), the last
    of which is :data:`UNTOLD`."""
    many, orders, seeds = values.shape[-3:]
    found = _squares(values)
    of_method = (found.method - found.both) / (orders * seeds)
    return _stacked(of_method, found.order, found.both, found.seed, many, seeds)


def _stacked(of_method: Array, order: Array, both: Array, seed: Array, many: int, seeds: int) -> Array:
    """The methods' component with those that follow from the other mean squares."""
    rest = [both] if seeds == 1 else [(both - seed) / seeds, seed]
    return np.asarray(np.maximum(np.stack([of_method, (order - both) / (many * seeds), *rest], axis=-1), 0.0))


def variance_parts(values: Array, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, VariancePart]:
    """The parts of the variance of a table (M, O, S); shares are NaN where nothing varies.

    Args:
        seed: fixes the draws.
    """
    found = variance_components(values)
    names = PARTS if len(found) == len(PARTS) else (*PARTS[:2], UNTOLD)
    shares = _shares(_drawn(values, found, resamples, np.random.default_rng(seed)))
    own = _shares(found[None])[0]
    parts = {}
    for name, component, share, drawn in zip(names, found, own, shares.T, strict=True):
        known = drawn[~np.isnan(drawn)]
        tail = (1 - CONFIDENCE) / 2
        low, high = np.quantile(known, [tail, 1 - tail]) if len(known) else (math.nan, math.nan)
        parts[name] = VariancePart(float(component), float(share), float(low), float(high))
    return parts


def _drawn(values: Array, found: Array, resamples: int, generator: np.random.Generator) -> Array:
    """The components that the table may be of, (D, parts); see the module's docstring."""
    many, orders, seeds = values.shape
    own = _squares(values)

    def expected(square: Array, degrees: int) -> Array:
        return np.asarray(square * degrees / generator.chisquare(degrees, resamples))

    order, both = expected(own.order, orders - 1), expected(own.both, (many - 1) * (orders - 1))
    seed = expected(own.seed, many * orders * (seeds - 1)) if seeds > 1 else both
    size = float((own.effects**2).sum()) / (many - 1)
    shrunk = own.effects * math.sqrt(float(found[0]) / size) if size > 0 else own.effects
    error = np.sqrt(both / (orders * seeds))[:, None] * generator.standard_normal((resamples, many))
    effects = shrunk + error - error.mean(axis=1, keepdims=True)
    of_method = (effects**2).sum(axis=1) / (many - 1) - both / (orders * seeds)
    return _stacked(of_method, order, both, seed, many, seeds)


def _shares(found: Array) -> Array:
    """Percent of the sum; NaN where that is 0 but for rounding."""
    total = found.sum(axis=-1, keepdims=True)
    return np.asarray(np.divide(100 * found, total, out=np.full(found.shape, math.nan), where=total > 1e-18))


def discordance(means: Array) -> float:
    """Of all pairs of M methods in all pairs of O orders (M, O), the share that is ordered the other way round; ties
    count half against either."""
    several = range(len(means))
    signs = np.array([np.sign(np.round(means[i] - means[j], 9)) for i, j in combinations(several, 2)])
    products = [signs[:, a] * signs[:, b] for a, b in combinations(range(means.shape[1]), 2)]
    return float(100 * (1 - np.mean(products)) / 2)
