"""What a board can detect, and what it would take to detect a wanted difference, as tables and plain values."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.reporting.tables.grid import Grid
from lifealign_bench.results.inference import ENOUGH_SEEDS
from lifealign_bench.results.leaderboard import LEVEL, Board
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.power import POWER, Components, Design, detectable, needed_items, needed_seeds
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
        variances: of a typical difference.
        design: how the board was measured.
        planned: how many comparisons are, see ``results.planned``.
        clustered: whether the records say which test pairs belong together.
    """

    name: str
    metric: str
    unit: str
    variances: Components
    design: Design
    planned: int
    clustered: bool

    @property
    def tests(self) -> dict[str, int]:
        """Kind of test to the comparisons that it is corrected for."""
        found = {"one comparison": 1, f"{self.planned} planned comparisons": self.planned}
        found[f"all {self.design.comparisons} comparisons"] = self.design.comparisons
        return {name: count for name, count in found.items() if count}


def plan_of(board: Board) -> BoardPlan:
    """The plan of a board.

    Raises:
        BenchError: fewer than two methods with three seeds in common, or no per-pair scores.
    """
    design, variances = board.design, board.variances
    if variances is None or design is None or design.seeds < ENOUGH_SEEDS:
        raise BenchError(
            f"The board {board.name} does not show how far seeds and items move a difference: two "
            f"methods with per-pair scores and {ENOUGH_SEEDS} seeds in common are needed.",
            "Name another board (--stream, --model), or publish more seeds with their scores.",
        )
    label = METRICS[board.metric].label
    return BoardPlan(board.name, label, board.unit, variances, design, board.corrected_planned, board.clustered)


def power_grid(plan: BoardPlan) -> Grid:
    """The difference that is found with 80 %, now and with more seeds or items."""
    rows = []
    for times in _TIMES:
        for seeds in dict.fromkeys((plan.design.seeds, *(s for s in _SEEDS if s > plan.design.seeds))):
            design = replace(plan.design, seeds=seeds, items=plan.design.items * times)
            found = [detectable(plan.variances, replace(design, comparisons=n)) for n in plan.tests.values()]
            now = " (now)" if times == 1 and seeds == plan.design.seeds else ""
            rows.append((f"{seeds}{now}", f"{design.items:,}", *(number(value) for value in found)))
    return Grid(
        f"{plan.name}: the difference in {plan.metric}{_unit(plan)} that is found with {100 * POWER:g} %",
        ("seeds", "independent items", *plan.tests),
        tuple(rows),
        (*_more_items_notes(plan), *_notes(plan)),
        labels=2,
    )


def _more_items_notes(plan: BoardPlan) -> list[str]:
    """Why a table may say that more items find less: they do not, they leave a test that knows less."""
    more = replace(plan.design, items=plan.design.items * max(_TIMES))
    if detectable(plan.variances, more) <= detectable(plan.variances, plan.design):
        return []
    return [
        f"With {plan.design.seeds} seeds more items find no smaller difference: the fewer errors items leave, the more "
        f"the test rests on the seeds' own spread, of which {plan.design.seeds} seeds tell little. More seeds help."
    ]


def needs_grid(plan: BoardPlan, difference: float) -> Grid:
    """The independent items and seeds that find ``difference`` with 80 %.

    Raises:
        UsageError: a difference that is no number above 0.
    """
    _check(difference)
    rows = []
    for seeds in _SEEDS:
        needed = [
            needed_items(difference, plan.variances, replace(plan.design, seeds=seeds, comparisons=n))
            for n in plan.tests.values()
        ]
        rows.append((str(seeds), *(DASH if items is None else f"{items:,}" for items in needed)))
    alone = [needed_seeds(difference, plan.variances, replace(plan.design, comparisons=n)) for n in plan.tests.values()]
    said = "; ".join(
        f"{name}: {'no number of seeds' if seeds is None else f'{seeds} seeds'}"
        for name, seeds in zip(plan.tests, alone, strict=True)
    )
    return Grid(
        f"{plan.name}: independent items that find {difference:g}{_unit(plan)} in {plan.metric} with {100 * POWER:g} %",
        ("seeds", *plan.tests),
        tuple(rows),
        (
            f"{DASH}: no number of items is enough, the seeds differ too much.",
            f"With the {plan.design.items:,} items there are: {said}.",
            *_notes(plan),
        ),
    )


def power_json(plan: BoardPlan) -> dict[str, Any]:
    """What the board detects now, as plain values."""
    found = {name: detectable(plan.variances, replace(plan.design, comparisons=n)) for name, n in plan.tests.items()}
    return {**_json(plan), "detectable": found}


def needs_json(plan: BoardPlan, difference: float) -> dict[str, Any]:
    """What ``difference`` takes, as plain values; null where nothing is enough."""
    _check(difference)
    tests = []
    for name, n in plan.tests.items():
        design = replace(plan.design, comparisons=n)
        items = {str(seeds): needed_items(difference, plan.variances, replace(design, seeds=seeds)) for seeds in _SEEDS}
        tests.append(
            {
                "test": name,
                "items_by_seeds": items,
                "seeds_with_these_items": needed_seeds(difference, plan.variances, design),
            }
        )
    return {**_json(plan), "difference": difference, "needed": tests}


def _json(plan: BoardPlan) -> dict[str, Any]:
    v, d = plan.variances, plan.design
    return {
        "board": plan.name,
        "metric": plan.metric,
        "unit": plan.unit,
        "level": LEVEL,
        "power": POWER,
        "seeds": d.seeds,
        "independent_items": d.items,
        "clusters_known": plan.clustered,
        "methods": d.methods,
        "spread": {"seeds": math.sqrt(v.seeds), "item": math.sqrt(v.items), "item_and_seed": math.sqrt(v.rest)},
    }


def _check(difference: float) -> None:
    if not (math.isfinite(difference) and difference > 0):
        raise UsageError(f"A difference of {difference:g} cannot be planned for.", "Give one above 0: --detect 3.")


def _unit(plan: BoardPlan) -> str:
    return " points" if plan.unit == "percent" else f" {plan.unit}" if plan.unit else ""


def _notes(plan: BoardPlan) -> tuple[str, ...]:
    v = plan.variances
    return (
        f"From the published scores of {plan.design.methods} methods with {plan.design.seeds} seeds on "
        f"{plan.design.items:,} independent items: a difference moves by {number(math.sqrt(v.seeds))}{_unit(plan)} "
        "from "
        f"seed to seed (standard deviation), by {number(math.sqrt(v.items))} from item to item, and by "
        f"{number(math.sqrt(v.rest))} besides. These are estimates themselves; with three seeds they are rough.",
        f"Tests at {LEVEL:g}, corrected as Holm corrects the first of that many.",
        *(() if plan.clustered else (UNCLUSTERED,)),
    )
