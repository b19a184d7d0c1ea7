"""Records and plans -> tables on the terminal and in files. What the rest of the package asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from lifealign_bench.differencetables import difference_grids
from lifealign_bench.reporting.tables.comparison import comparison_grids
from lifealign_bench.reporting.tables.files import run_summary, write_comparison, write_tables
from lifealign_bench.reporting.tables.grid import show_grid
from lifealign_bench.reporting.tables.plan import plan_grids, plan_summary
from lifealign_bench.reporting.tables.run import record_grids
from lifealign_bench.runview import RunView
from lifealign_bench.util.text import clean

if TYPE_CHECKING:
    from lifealign_bench.plan import Plan

__all__ = [
    "RunView",
    "plan_summary",
    "render_comparison",
    "render_plan",
    "render_run",
    "run_summary",
    "write_comparison",
    "write_tables",
]


def render_run(console: Console, view: RunView) -> None:
    """Print all tables of one run."""
    stream, model = view.group
    console.print(Text(clean(f"{view.name} on {stream}, {model}, seed {view.seed}"), style="bold reverse"))
    if not view.complete:
        console.print(Text(clean(f"Status: {view.record.status}. {view.record.error or ''}"), style="yellow"))
    console.print()
    for grid in record_grids(view):
        show_grid(console, grid)


def render_comparison(console: Console, views: Sequence[RunView]) -> None:
    """Print the comparison of several runs, one table for each stream and model."""
    for grid in (*comparison_grids(views), *difference_grids(views)):
        show_grid(console, grid)


def render_plan(console: Console, plan: Plan) -> None:
    """Print what a run would do."""
    for grid in plan_grids(plan):
        show_grid(console, grid)
