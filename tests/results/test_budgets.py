"""Runs of different budgets are not compared without being said, and boards say what training spent."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from lifealign_bench.reporting.tables.leaderboard import board_csv, board_grids, board_json, rank_grid, short_rank_grid
from lifealign_bench.results.budgets import OPERATIONS, budget_of, budget_option, budget_text, range_text, spent_by
from lifealign_bench.results.leaderboard import make_boards, open_published
from lifealign_bench.results.record import read_record
from lifealign_bench.results.recordfields import field_problems
from lifealign_bench.results.sameness import difference_of, differing_settings, run_key
from lifealign_bench.results.view import RunView
from lifealign_bench.util.text import DASH
from tests.published_records import publish, rewrite


def counted(place: Path, seen: int, flops: float) -> Path:
    """The record with what each training stage spent."""
    content = json.loads(place.read_text())
    for stage in content["stages"]:
        stage |= {"seen": seen if stage["index"] else 0, "flops": {"train": flops} if stage["index"] else {}}
        stage["seconds"]["train"] = 1.0
        stage["steps"] = 3 if stage["index"] else 0
        stage["tokens"]["rollout"] = 77  # generated: not what is trained on
    rewrite(place, content)
    return place


def test_each_budget_has_a_board_that_names_the_others(tmp_path: Path) -> None:
    for method in ("dpo", "replay"):
        publish(tmp_path / "plain", method)
        counted(publish(tmp_path / "equal", method, budget="tokens"), 12, 3.25e13)
    publish(tmp_path / "more", "dpo", budget="tokens", budget_factor=1.4)
    views = open_published([tmp_path / name for name in ("plain", "equal", "more")])[0]
    boards = make_boards(views)
    assert [board.budget for board in boards] == ["", "tokens", "tokens x 1.4"]
    assert [len(board.entries) for board in boards] == [2, 2, 1]
    name = "some on small, no supervised phase"
    assert [board.name for board in boards][:2] == [name, f"{name}, budget of tokens"]
    plain, equal, more = (" ".join((board.spent, *board.notes)) for board in boards)
    for board in boards:
        assert board.spent in rank_grid(board).notes and board.spent in short_rank_grid(board).notes
    assert "No budget: every method trains on what it asks for." in plain and "without --budget" in plain
    assert "a board of their own (budget of tokens, budget of tokens x 1.4)" in plain
    assert "Budget of tokens: every stage of every method trains on as many tokens as plain training" in equal
    assert "a board of their own (no budget, budget of tokens x 1.4)" in equal and "with --budget tokens," in equal
    assert "with --budget tokens --budget-factor 1.4" in more and "1.4 times as many tokens" in more
    assert [board_json(board)["budget"] for board in boards] == [None, "tokens", "tokens x 1.4"]
    assert ",tokens x 1.4," in board_csv(boards, [])
    (alone,) = make_boards([view for view in views if view.record.config.get("budget") is None])
    assert "board of their own" not in " ".join(alone.notes)


def test_a_board_shows_what_training_spent_as_far_as_it_is_known(tmp_path: Path) -> None:
    publish(tmp_path, "old")
    counted(publish(tmp_path, "new"), 12, 3.25e13)
    (board,) = make_boards(open_published([tmp_path])[0])
    (grid,) = (grid for grid in board_grids(board) if "cost and origin" in grid.title)
    columns = [grid.heads.index(name) for name in ("steps", "pairs", "tokens", "FLOPs")]
    rows = {str(row[0]): [str(row[i]) for i in columns] for row in grid.rows}
    assert rows["new"][:2] == ["9", "36"] and rows["new"][3] == "9.8e13"
    assert rows["old"][1] == rows["old"][3] == DASH and rows["old"][0] != DASH != rows["old"][2]
    assert "36 pairs" in board.spent


def test_what_a_record_spent(tmp_path: Path) -> None:
    old, new = read_record(publish(tmp_path, "old")), read_record(counted(publish(tmp_path, "new"), 12, 2.0))
    assert math.isnan(spent_by(old).pairs) and math.isnan(spent_by(old).flops) and spent_by(old).steps > 0
    assert (spent_by(new).steps, spent_by(new).pairs, spent_by(new).flops) == (9, 36, 6)
    assert "seen" not in old.to_json()["stages"][1], "an old record that is written again stays as it was"
    training = sum(n for stage in new.stages for part, n in stage.tokens.items() if part == "train")
    assert spent_by(new).tokens == training > 0


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"seen": 100}, "3 steps of stage 1 cannot have trained on 100 pairs, 8 a step"),
        ({"seen": 2}, "3 steps of stage 1 cannot have trained on 2 pairs, 8 a step"),
        ({"flops": {"prayer": 1.0}}, "stage 1 has operations of 'prayer', which took no time"),
        ({"flops": None}, "stage 1 counts pairs or operations and not both"),
    ],
)
def test_impossible_spending_is_found(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    place = counted(publish(tmp_path), 12, 2.0)
    assert not [text for text in field_problems(read_record(place)) if "stage 1" in text]
    content = json.loads(place.read_text())
    content["stages"][1] |= change
    rewrite(place, content)
    assert problem in field_problems(read_record(place))


def test_a_comparison_of_two_budgets_says_so(tmp_path: Path) -> None:
    records = [read_record(publish(tmp_path / "a")), read_record(publish(tmp_path / "b", budget="steps"))]
    assert any("budget is None (dpo seed 0), steps (dpo seed 0)" in note for note in differing_settings(records))
    keys = {r.config.get("budget", "none"): run_key(r, "preference_accuracy", lambda task: ()) for r in records}
    assert difference_of(keys) == "budget is not set for none, steps for steps"


def test_intransigence_is_not_measured_against_another_budget(tmp_path: Path) -> None:
    place = publish(tmp_path, "dpo")
    publish(tmp_path, "single", budget="tokens")
    assert RunView.open(place).single.refused == "budget is tokens there and None here"


def test_names_of_budgets() -> None:
    assert budget_of({}) == "" == budget_of({"budget": None, "budget_factor": 2.0})
    assert budget_of({"budget": "pairs", "budget_factor": 1.0}) == "pairs"
    assert budget_of({"budget": "pairs", "budget_factor": 1.42}) == "pairs x 1.42"
    assert budget_option("pairs x 1.42") == "with --budget pairs --budget-factor 1.42"
    assert "1.42 times as many pairs as" in budget_text("pairs x 1.42")


def test_a_board_whose_budget_was_not_kept_says_so() -> None:
    spent = {"steps": [60.0, 60.0], "pairs": [480.0, math.nan], "tokens": [1000.0, 1011.0]}
    assert range_text(spent, "steps") == "Spent per run: 60 steps, 480 pairs, 1,000 to 1,011 tokens."
    # What a method computes beside its steps counts in operations alone.
    assert range_text({"steps": [60.0, 60.0], OPERATIONS: [3.9e13, 1.6e14]}, "") == (
        "Spent per run: 60 steps, 3.9e13 to 1.6e14 FLOPs."
    )
    assert "The tokens are more than 1 % apart" in range_text(spent, "tokens")
    assert "apart" not in range_text(spent, "")
