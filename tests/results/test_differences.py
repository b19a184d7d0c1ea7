"""Methods against each other, as tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lifealign_bench.reporting.tables.comparison import difference_grids
from lifealign_bench.results.comparison import method_differences
from lifealign_bench.results.view import RunView
from tests.reporting.test_tables import record_of

Scores = dict[str, np.ndarray]


def view_of(folder: Path, method: str, values: Scores, seed: int = 0) -> RunView:
    """A run whose per-pair scores lie in ``folder``."""
    directory = folder / f"{method}-{seed}"
    rows = next(iter(values.values())).shape[0]
    for stage in range(rows):
        frame = pd.concat(
            pd.DataFrame(
                {
                    "task": task,
                    "pair_id": [f"{task}/test/{i}" for i in range(array.shape[1])],
                    "preference_accuracy": array[stage],
                }
            )
            for task, array in values.items()
        )
        (directory / f"stage-{stage}").mkdir(parents=True)
        frame.to_parquet(directory / f"stage-{stage}" / "scores.parquet")
    return RunView(record_of(values, method=method, seed=seed), directory)


def scores(level: float, seed: int = 0) -> Scores:
    generator = np.random.default_rng(seed)
    return {t: (generator.random((3, 40)) < level).astype(float) for t in ("mini-facts", "mini-brief")}


def test_every_two_methods_once(tmp_path: Path) -> None:
    values = {"dpo": scores(0.5), "ewc": scores(0.9, 1), "replay": scores(0.9, 2)}
    views = [view_of(tmp_path, name, v) for name, v in values.items()]
    found = method_differences(views)
    assert [(a, b) for a, b, _ in found] == [("dpo", "ewc"), ("dpo", "replay"), ("ewc", "replay")]
    by_hand = 100 * np.mean([values["dpo"][t][2].mean() - values["ewc"][t][2].mean() for t in values["dpo"]])
    assert found[0][2].value == pytest.approx(by_hand)
    assert found[0][2].p < 0.01 < found[2][2].p and found[0][2].pairs == 80
    (grid,) = difference_grids(views)
    assert len(grid.rows) == 3 and "One seed each" in " ".join(grid.notes)


def test_seeds_of_a_method_are_taken_together(tmp_path: Path) -> None:
    views = [view_of(tmp_path, "dpo", scores(0.5, s), s) for s in (0, 1)]
    views += [view_of(tmp_path, "ewc", scores(0.9, 5 + s), s) for s in (0, 1, 2)]
    ((_, _, found),) = method_differences(views)
    assert found.seeds == (2, 3)
    assert "Several seeds" in " ".join(difference_grids(views)[0].notes)


def test_a_method_by_itself_or_without_pair_scores_has_no_table(tmp_path: Path) -> None:
    alone = view_of(tmp_path, "dpo", scores(0.5))
    bare = RunView(record_of(scores(0.9), method="ewc"))
    assert difference_grids([alone]) == difference_grids([alone, bare]) == []


def test_a_method_without_a_last_score_takes_no_part_and_is_not_counted(tmp_path: Path) -> None:
    single = scores(0.9, 3)
    single["mini-facts"][2] = single["mini-brief"][1] = np.nan
    views = [view_of(tmp_path, n, v) for n, v in (("dpo", scores(0.5)), ("single", single), ("replay", scores(0.9)))]
    (grid,) = difference_grids(views)
    assert [row[:2] for row in grid.rows] == [("dpo", "replay")]
    assert "p corrected for the 1 comparisons that have one" in grid.notes[0]
