"""The rows of a board that nobody trained, by hand."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lifealign_bench.reporting.tables.leaderboard import board_csv, board_json, rank_grid, short_rank_grid
from lifealign_bench.results.computed import Computed
from lifealign_bench.results.leaderboard import Board, make_boards, open_published
from lifealign_bench.results.published import pair_scores_file
from lifealign_bench.results.record import read_record
from lifealign_bench.results.scores import ScoreInfo, score_matrices
from tests.published_records import TASKS, publish, rewrite

# Test pairs of 40 whose chosen response is longer, and the same share of the training pairs.
LONGER = {"one": 30, "two": 10, "three": 8}
TRAINED = {"one": 0.9, "two": 0.2, "three": 0.5}


def with_lengths(place: Path, trained: Mapping[str, float | None]) -> None:
    """Put into a published record what one of today says of lengths."""
    file = pair_scores_file(place)
    whole = pd.read_parquet(file)
    number = whole["pair_id"].str.rpartition("/")[2].astype(int)
    whole["chosen_longer"] = (number < whole["task"].map(LONGER)).astype(float)
    whole.to_parquet(file, index=False)
    content = json.loads(place.read_text(encoding="utf-8"))
    rows = {stage: whole[whole["stage"] == stage] for stage in range(len(TASKS) + 1)}
    info = ScoreInfo("chosen_longer", True, "", quality=False, scorer="preference")
    (matrix,) = score_matrices(TASKS, rows, len(TASKS), [info]).values()
    content["scores"]["chosen_longer"] = matrix.model_dump(mode="json")
    for task, share in trained.items():
        content["data"][task] = content["data"][task] | {"chosen_longer": share}
    rewrite(place, content)


def board_of(results: Path, **words: str) -> Board:
    (board,) = make_boards(open_published([results])[0], **words)
    return board


def rows_of(board: Board) -> dict[str, Computed]:
    return {row.name: row for row in board.computed}


def test_length_alone_by_hand(tmp_path: Path) -> None:
    with_lengths(publish(tmp_path), TRAINED)
    board = board_of(tmp_path)
    found = rows_of(board)["length-only"]
    # The longer one of "one": 75 of 100 from stage 1; the shorter one of "two": 75 from stage 2; "three" is even: 50.
    wanted = {
        "last": (75 + 75 + 50) / 3,
        "average_performance": (75 + (75 + 75) / 2 + (75 + 75 + 50) / 3) / 3,
        "learning": (75 + 75 + 50) / 3,
        "gain": 50 / 3,
        "forward_transfer": 0.0,
        "backward_transfer": 0.0,
        "forgetting": 0.0,
    }
    assert {name: estimate.value for name, estimate in found.estimates.items()} == pytest.approx(wanted)
    last = found.estimates["last"]
    # Two tasks of 40 pairs with a share of 3/4, and one without any spread.
    error = 100 * math.sqrt(2 * (0.75 * 0.25 / 39)) / 3
    assert last.standard_error == pytest.approx(error, rel=0.15) and last.low < last.value < last.high
    for name in ("forgetting", "forward_transfer"):
        assert math.isnan(found.estimates[name].standard_error), "it is 0 whatever the items are"
    assert found.missing == "" and "majority" in found.meaning


@pytest.mark.parametrize("metric", ["last", "learning"])
def test_what_was_not_trained_has_no_rank_and_says_so(tmp_path: Path, metric: str) -> None:
    for seed in range(3):
        for method, level in (("dpo", 0.6), ("replay", 0.9)):
            with_lengths(publish(tmp_path, method, seed, level), TRAINED)
    board = board_of(tmp_path, metric=metric)
    assert [entry.method for entry in board.entries] == ["replay", "dpo"]
    assert {c.first for c in board.differences} | {c.second for c in board.differences} == {"dpo", "replay"}
    for grid in (rank_grid(board), short_rank_grid(board)):
        assert [(str(row[0]), str(row[1])) for row in grid.rows[2:]] == [
            ("computed", "frozen"),
            ("computed", "length-only"),
        ]
        assert any(note.startswith("computed: ") for note in grid.notes)
    found = board_json(board)["computed"]
    assert [row["name"] for row in found] == ["frozen", "length-only"]
    assert found[1]["metrics"]["last"]["value"] == pytest.approx(200 / 3)
    lines = list(csv.DictReader(io.StringIO(board_csv([board], []))))
    assert [(line["method"], line["status"], line["rank_best"]) for line in lines[2:]] == [
        ("frozen", "computed", ""),
        ("length-only", "computed", ""),
    ]


def test_the_frozen_row_is_the_baselines_first_stage_for_good(tmp_path: Path) -> None:
    places = [publish(tmp_path, "dpo", seed, 0.6) for seed in range(3)]
    for seed in range(3):
        publish(tmp_path, "replay", seed, 0.9)
    found = rows_of(board_of(tmp_path))["frozen"]
    first = np.array([read_record(place).scores["preference_accuracy"].array()[1] for place in places])
    assert found.estimates["last"].value == pytest.approx(first.mean())
    assert found.estimates["learning"].value == pytest.approx(first.mean())
    assert found.estimates["average_performance"].value == pytest.approx(
        np.mean([first[:, 0].mean(), first[:, :2].mean(), first.mean()])
    )
    assert found.estimates["forgetting"].value == 0 and found.estimates["last"].seeds == 3
    assert "dpo" in found.meaning
    # Without a baseline it is the best method that has stages.
    views, _ = open_published([tmp_path])
    (alone,) = make_boards([view for view in views if view.name == "replay"])
    assert "replay" in rows_of(alone)["frozen"].meaning


def test_where_a_record_lacks_it_the_row_says_so_instead_of_a_number(tmp_path: Path) -> None:
    place = publish(tmp_path)
    board = board_of(tmp_path)
    found = rows_of(board)
    assert found["length-only"].estimates == {}
    assert found["length-only"].missing == "the records do not say which response is longer"
    notes = " ".join(rank_grid(board).notes)
    assert "It has no number here: the records do not say which response is longer." in notes
    assert "length-only" not in str(short_rank_grid(board).rows)
    with_lengths(place, {**TRAINED, "two": None})
    assert rows_of(board_of(tmp_path))["length-only"].estimates == {}


def test_a_score_that_no_rule_of_length_has_gets_no_such_row(tmp_path: Path) -> None:
    with_lengths(publish(tmp_path), TRAINED)
    assert list(rows_of(board_of(tmp_path, score="preference_margin"))) == ["frozen"]


def test_a_board_of_runs_that_train_all_at_once_has_no_stage_to_stop_after(tmp_path: Path) -> None:
    publish(tmp_path, "joint", plan=[list(TASKS)])
    assert board_of(tmp_path).computed == ()


def test_scored_at_the_end_alone_there_is_no_first_stage_to_keep(tmp_path: Path) -> None:
    place = publish(tmp_path, evaluate="last")
    file = pair_scores_file(place)
    whole = pd.read_parquet(file)
    whole = whole[whole["stage"].isin([3])]
    whole.to_parquet(file, index=False)
    content = json.loads(place.read_text(encoding="utf-8"))
    for matrix in content["scores"].values():
        for part, nothing in (("value", None), ("standard_error", None), ("n", 0)):
            matrix[part][:3] = [[nothing] * 3] * 3
    defined = ("last",)
    for values in content["metrics"].values():
        values.update({name: None for name in values if name not in defined})
    rewrite(place, content)
    found = rows_of(board_of(tmp_path))["frozen"]
    assert found.estimates == {} and found.missing == "dpo was not scored on all tasks after its first stage"
