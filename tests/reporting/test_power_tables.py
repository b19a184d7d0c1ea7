"""What a board can detect, as a table."""

from __future__ import annotations

from lifealign_bench.reporting.tables.power import BoardPlan, power_grid
from lifealign_bench.results.power import Components, Design


def notes(seeds: int) -> str:
    design = Design(seeds, 420, tasks=7, methods=6, comparisons=15)
    plan = BoardPlan("some", "last", "percent", Components(2.3, 69.0, 243.0), design, 9, clustered=True)
    grid = power_grid(plan)
    at = {tuple(map(str, row[:2])): float(str(row[-1])) for row in grid.rows}
    assert (at[f"{seeds} (now)", "420"] < at[str(seeds), "1,680"]) is ("no smaller difference" in grid.notes[0])
    return "\n".join(grid.notes)


def test_a_table_says_why_more_items_find_no_smaller_difference_with_few_seeds() -> None:
    assert "With 3 seeds more items find no smaller difference" in notes(3)
    assert "no smaller difference" not in notes(10)
