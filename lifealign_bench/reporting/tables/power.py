"""What a board can detect, and what it would take to detect a wanted difference, as tables and plain values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.reporting.tables.grid import Grid
from lifealign_bench.results.inference import ENOUGH_SEEDS
from lifealign_bench.results.leaderboard import LEVEL, Board
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.power import POWER, Precision
from lifealign_bench.util.text import DASH, number

_SEEDS = (3, 5, 8, 10, 15, 20)
_TIMES = (1, 2, 4)
UNCLUSTERED = "Each test pair is taken as independent: the records do not say which belong together."


@dataclass(frozen=True)
class BoardPlan:
    """What is known of a board's errors.

    Args:
        name: stream and model.
        metric: that is ranked by, as headings say it.
        unit: of the score.
        precision: of any two ranked methods, corrected for all comparisons.
        planned: of the planned ones, see ``results.planned``: of a plan of its own methods and their seeds.
        clustered: whether the records say which test pairs belong together.
    """

    name: str
    metric: str
    unit: str
    precision: Precision
    planned: Precision
    clustered: bool

    @property
    def tests(self) -> dict[str, Precision]:
        """Kind of test to what is known of it."""
        planned, whole = self.planned.design.comparisons, self.precision.design.comparisons
        found = {
            "one comparison": self.precision.corrected_for(1),
            f"{planned} planned comparisons": self.planned,
            f"all {whole} comparisons": self.precision,
        }
        return {name: precision for name, precision in found.items() if precision.design.comparisons}

    @property
    def parts(self) -> dict[str, Precision]:
        """Which methods' errors are known: those of the board, and those of a plan where these are others."""
        own = self.planned.variances is not self.precision.variances
        return {"all": self.precision} | ({"planned": self.planned} if own else {})


def plan_of(board: Board) -> BoardPlan:
    """The plan of a board.

    Raises:
        BenchError: fewer than two methods with three seeds in common, or no per-pair scores.
    """
    precision = board.precision
    if precision is None or not precision.enough:
        raise BenchError(
            f"The board {board.name} does not show how far seeds and items move a difference: two methods or more are "
            f"needed, with per-pair scores and {ENOUGH_SEEDS} seeds that all ranked methods have.",
            "Name another board (--stream, --model), or publish more seeds with their scores.",
        )
    own = board.planned_precision
    planned = own if own is not None and own.enough else precision.corrected_for(board.corrected_planned)
    return BoardPlan(board.name, METRICS[board.metric].label, board.unit, precision, planned, board.clustered)


def power_grid(plan: BoardPlan) -> Grid:
    """The difference that is found with 80 %, now and with more seeds or items."""
    now = _now(plan)
    rows = []
    for times in _TIMES:
        items = plan.precision.design.items * times
        for seeds in sorted({*now, *(s for s in _SEEDS if s > min(now))}):
            found = [precision.with_design(seeds=seeds, items=items).detectable() for precision in plan.tests.values()]
            marked = f" ({now[seeds]})" if times == 1 and seeds in now else ""
            rows.append((f"{seeds}{marked}", f"{items:,}", *(number(value) for value in found)))
    return Grid(
        f"{plan.name}: the difference in {plan.metric}{_unit(plan)} that is found with {100 * POWER:g} %",
        ("seeds", "independent items", *plan.tests),
        tuple(rows),
        (*_more_items_notes(plan), *_notes(plan)),
        labels=2,
    )


def _now(plan: BoardPlan) -> dict[int, str]:
    """How many seeds there are, and of what where a plan's methods have more."""
    whole, planned = plan.precision.design.seeds, plan.planned.design.seeds
    return {whole: "now"} if whole == planned else {whole: "now, all", planned: "now, planned"}


def _more_items_notes(plan: BoardPlan) -> list[str]:
    """Why a table may say that more items find less: they do not, they leave a test that knows less."""
    design = plan.precision.design
    more = plan.precision.with_design(items=design.items * max(_TIMES))
    if more.detectable() <= plan.precision.detectable():
        return []
    return [
        f"With {design.seeds} seeds more items find no smaller difference: the fewer errors items leave, the more "
        f"the test rests on the seeds' own spread, of which {design.seeds} seeds tell little. More seeds help."
    ]


def needs_grid(plan: BoardPlan, difference: float) -> Grid:
    """The independent items and seeds that find ``difference`` with 80 %.

    Raises:
        UsageError: a difference that is no number above 0.
    """
    _check(difference)
    tests = plan.tests
    rows = []
    for seeds in _SEEDS:
        needed = [precision.with_design(seeds=seeds).needed_items(difference) for precision in tests.values()]
        rows.append((str(seeds), *(DASH if items is None else f"{items:,}" for items in needed)))
    alone = {name: precision.needed_seeds(difference) for name, precision in tests.items()}
    said = "; ".join(
        f"{name}: {'no number of seeds' if seeds is None else f'{seeds} seeds'}" for name, seeds in alone.items()
    )
    return Grid(
        f"{plan.name}: independent items that find {difference:g}{_unit(plan)} in {plan.metric} with {100 * POWER:g} %",
        ("seeds", *tests),
        tuple(rows),
        (
            f"{DASH}: no number of items is enough, the seeds differ too much.",
            f"With the {plan.precision.design.items:,} items there are: {said}.",
            *_notes(plan),
        ),
    )


def power_json(plan: BoardPlan) -> dict[str, Any]:
    """What the board detects now, as plain values."""
    return {
        **_json(plan),
        "detectable": {name: precision.detectable() for name, precision in plan.tests.items()},
        "detectable_with_seeds": {name: precision.design.seeds for name, precision in plan.tests.items()},
    }


def needs_json(plan: BoardPlan, difference: float) -> dict[str, Any]:
    """What ``difference`` takes, as plain values; null where nothing is enough."""
    _check(difference)
    tests = [
        {
            "test": name,
            "items_by_seeds": {str(s): precision.with_design(seeds=s).needed_items(difference) for s in _SEEDS},
            "seeds_with_these_items": precision.needed_seeds(difference),
        }
        for name, precision in plan.tests.items()
    ]
    return {**_json(plan), "difference": difference, "needed": tests}


def _json(plan: BoardPlan) -> dict[str, Any]:
    design = plan.precision.design
    return {
        "board": plan.name,
        "metric": plan.metric,
        "unit": plan.unit,
        "level": LEVEL,
        "power": POWER,
        "seeds": design.seeds,
        "independent_items": design.items,
        "clusters_known": plan.clustered,
        "methods": design.methods,
        "spread": _spread(plan.precision),
        "planned": {
            "seeds": plan.planned.design.seeds,
            "methods": plan.planned.design.methods,
            "spread": _spread(plan.planned),
        },
    }


def _spread(precision: Precision) -> dict[str, float]:
    v = precision.known
    return {"seeds": math.sqrt(v.seeds), "item": math.sqrt(v.items), "item_and_seed": math.sqrt(v.rest)}


def _check(difference: float) -> None:
    if not (math.isfinite(difference) and difference > 0):
        raise UsageError(f"A difference of {difference:g} cannot be planned for.", "Give one above 0: --detect 3.")


def _unit(plan: BoardPlan) -> str:
    return " points" if plan.unit == "percent" else f" {plan.unit}" if plan.unit else ""


def _notes(plan: BoardPlan) -> tuple[str, ...]:
    return (
        *(_origin(plan, which, precision) for which, precision in plan.parts.items()),
        f"Tests at {LEVEL:g}, corrected as Holm corrects the first of that many.",
        *(() if plan.clustered else (UNCLUSTERED,)),
    )


def _origin(plan: BoardPlan, which: str, precision: Precision) -> str:
    """Which scores a precision is known from, and how far a difference moves by them."""
    v, design = precision.known, precision.design
    methods = f"{design.methods} methods{' of the plan' if which == 'planned' else ''}"
    rough = "; with three seeds they are rough" if design.seeds == ENOUGH_SEEDS else ""
    return (
        f"From the published scores of {methods} with the {design.seeds} seeds that all have, on {design.items:,} "
        f"independent items: a difference moves by {number(math.sqrt(v.seeds))}{_unit(plan)} from seed to seed "
        f"(standard deviation), by {number(math.sqrt(v.items))} from item to item, and by {number(math.sqrt(v.rest))} "
        "besides. "
        f"These are estimates themselves{rough}."
    )
