"""What a board can detect, as a table."""

from __future__ import annotations

import pytest

from lifealign_bench.reporting.tables.power import BoardPlan, power_grid, power_json
from lifealign_bench.results.power import Components, Design, Precision, detectable


def notes(seeds: int) -> str:
    design = Design(seeds, 420, tasks=7, methods=6, comparisons=15)
    precision = Precision(design, Components(2.3, 69.0, 243.0))
    plan = BoardPlan("some", "last", "percent", precision, precision.corrected_for(9), clustered=True)
    grid = power_grid(plan)
    at = {tuple(map(str, row[:2])): float(str(row[-1])) for row in grid.rows}
    assert (at[f"{seeds} (now)", "420"] < at[str(seeds), "1,680"]) is ("no smaller difference" in grid.notes[0])
    return "\n".join(grid.notes)


def test_a_table_says_why_more_items_find_no_smaller_difference_with_few_seeds() -> None:
    assert "With 3 seeds more items find no smaller difference" in notes(3)
    assert "no smaller difference" not in notes(10)


def test_a_plan_with_seeds_of_its_own_has_a_column_of_its_own_methods() -> None:
    whole = Precision(Design(3, 420, tasks=7, methods=29, comparisons=406), Components(2.0, 72.0, 180.0))
    own = Precision(Design(5, 420, tasks=7, methods=9, comparisons=16), Components(4.0, 60.0, 190.0))
    plan = BoardPlan("some", "last", "percent", whole, own, clustered=True)
    grid = power_grid(plan)
    rows = {tuple(map(str, row[:2])): [str(cell) for cell in row[2:]] for row in grid.rows}
    assert [seeds for seeds, items in rows if items == "420"] == [
        *("3 (now, all)", "5 (now, planned)"),
        *map(str, (8, 10, 15, 20)),
    ]
    assert grid.heads == (
        *("seeds", "independent items"),
        *("one comparison", "16 planned comparisons", "all 406 comparisons"),
    )
    assert own.variances is not None and whole.variances is not None
    now = [f"{detectable(*pair):.1f}" for pair in ((own.variances, own.design), (whole.variances, whole.design))]
    assert rows["5 (now, planned)", "420"][1] == now[0] and rows["3 (now, all)", "420"][2] == now[1]
    assert power_json(plan)["detectable"] == {
        "one comparison": whole.corrected_for(1).detectable(),
        "16 planned comparisons": own.detectable(),
        "all 406 comparisons": whole.detectable(),
    }
    text = "\n".join(grid.notes)
    assert "of 29 methods with the 3 seeds that all have" in text
    assert "of 9 methods of the plan with the 5 seeds that all have" in text
    assert text.count("with three seeds they are rough") == 1
    assert power_json(plan)["detectable_with_seeds"] == dict(zip(plan.tests, (3, 5, 3), strict=True))


def test_without_a_plan_there_is_one_origin_of_what_is_known() -> None:
    assert notes(3).count("From the published scores") == 1
    with pytest.raises(ValueError, match="not known"):
        Precision(Design(3, 420), None).needed_items(3)
