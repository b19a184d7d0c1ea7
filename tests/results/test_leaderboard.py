"""The leaderboard: ranks by hand and by properties, what is not ranked and why, and that no name does anything."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lifealign_bench.cli.leaderboard import FORMATS, rendered
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.reporting.figures.several import board_figures
from lifealign_bench.reporting.made import BEGIN, END, stale_files, write_made_files
from lifealign_bench.reporting.tables.export import escape_latex, to_latex
from lifealign_bench.reporting.tables.grid import Grid
from lifealign_bench.reporting.tables.leaderboard import board_grids, board_json, rank_grid, rank_rows, short_rank_grid
from lifealign_bench.results.columns import COLUMNS, BoardRuns
from lifealign_bench.results.leaderboard import Board, make_boards, open_published
from lifealign_bench.results.metrics import summarize
from lifealign_bench.results.paired import Estimate, holm
from lifealign_bench.results.published import pair_scores_file
from lifealign_bench.results.scores import ScoreInfo, score_matrices
from lifealign_bench.results.single import Neighbours
from lifealign_bench.results.statistics import metric_intervals
from lifealign_bench.results.view import SCORE, WIN_RATE, RunView
from lifealign_bench.util.text import known
from tests.command import Call
from tests.pages import check_document
from tests.places import ROOT
from tests.published_records import INFOS, TASKS, config_hash, content_of, publish, rewrite
from tests.reporting.test_tables import record_of


def board_of(results: Path, **words: Any) -> Board:
    (board,) = make_boards(open_published([results])[0], **words)
    return board


def ranks(board: Board) -> dict[str, str | None]:
    return {entry.method: None if entry.ranks is None else str(entry.ranks) for entry in board.entries}


def publish_seeds(results: Path, method: str, level: float, seeds: int = 3, **more: Any) -> None:
    for seed in range(seeds):
        publish(results, method, seed, level=level, **more)


def edit(place: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(place.read_text())
    change(content)
    content["config_hash"] = config_hash(content["config"])
    rewrite(place, content)


# Ranks


def test_the_model_with_the_most_runs_stands_first(tmp_path: Path) -> None:
    for stream, model, seeds in (("b", "few", 1), ("b", "most", 3), ("b", "also", 1), ("a", "z", 1)):
        for seed in range(seeds):
            publish(tmp_path, "dpo", seed, stream=stream, model=model, pairs=6)
    boards = make_boards(open_published([tmp_path])[0])
    assert [(b.stream, b.model) for b in boards] == [("a", "z"), ("b", "most"), ("b", "also"), ("b", "few")]


def test_the_figure_of_differences_shows_what_the_ranks_say(tmp_path: Path) -> None:
    publish_seeds(tmp_path, "only", 0.5)
    assert [figure.chart.kind for figure in board_figures(board_of(tmp_path))] == ["intervals"]
    for method, level in (("worst", 0.3), ("middle", 0.6), ("same", 0.61), ("high", 0.95)):
        publish_seeds(tmp_path, method, level)
    board = board_of(tmp_path)
    ranking, figure = board_figures(board)
    order = [entry.method for entry in board.ranked]
    assert ranking.series == tuple(order)
    ranked = "preference accuracy, last (percent)"
    last = {row["name"]: (row["value"], row["low"]) for row in ranking.rows if row["panel"] == ranked}
    expected = {e.method: (e.estimates["last"].value, e.estimates["last"].low) for e in board.entries}
    assert list(last) == order and last == {name: pytest.approx(ends) for name, ends in expected.items()}
    cells = {(row["row"], row["column"]): row for row in figure.data}
    assert list(cells) == [(a, b) for a in order for b in order]
    outlined = {names for names, row in cells.items() if row["current"]}
    better = {entry.method: entry.ranks.better for entry in board.entries if entry.ranks is not None}
    assert outlined == {(winner, loser) for loser, winners in better.items() for winner in winners}
    assert ("middle", "worst") in outlined and not {("middle", "same"), ("same", "middle")} & outlined
    for compared in board.differences:
        difference, one, other = compared.difference, compared.first, compared.second
        assert cells[one, other]["value"] == -cells[other, one]["value"] == difference.value
        assert cells[one, other]["error"] == cells[other, one]["error"] == (difference.high - difference.low) / 2
    assert all(math.isnan(cells[name, name]["value"]) for name in order)
    assert "high, middle" in figure.alt and f"{board.pairs} test pairs" in figure.caption
    assert figure.table()[0] == ("method", "minus", "value", "half of the 95 % interval", "n")


def methods_of(grid: Grid) -> list[str]:
    return [str(row[1]) for row in grid.rows if row[0] != "computed"]


def test_a_short_table_keeps_the_best_and_the_baselines_and_names_the_others(tmp_path: Path) -> None:
    for method, level in (("a", 0.9), ("b", 0.89), ("c", 0.5), ("d", 0.45), ("dpo", 0.3), ("replay", 0.2)):
        publish_seeds(tmp_path, method, level)
    publish(tmp_path, "once", level=0.4)
    board = board_of(tmp_path)
    assert board.undecided == ("a", "b")
    trained = ["a", "b", "c", "d", "dpo", "replay"]
    assert methods_of(short_rank_grid(board)) == trained
    grid = short_rank_grid(board, most=5)
    assert methods_of(grid) == ["a", "b", "c", "dpo", "replay"]
    ranks = {entry.method: entry.ranks for entry in board.entries}["d"]
    assert ranks is not None and f"Also ranked, on the whole board: d ({ranks})." in grid.notes
    assert methods_of(short_rank_grid(board, most=1)) == ["a", "b", "dpo", "replay"]
    assert methods_of(short_rank_grid(board, most=None)) == trained
    assert not any("Also ranked" in note for note in short_rank_grid(board).notes)


def test_a_short_table_says_ranks_that_several_others_share_once(tmp_path: Path) -> None:
    for method, level in (("a", 0.95), ("c", 0.7), ("d", 0.695), ("e", 0.5), ("dpo", 0.3), ("replay", 0.1)):
        publish_seeds(tmp_path, method, level)
    board = board_of(tmp_path)
    ranks = {entry.method: str(entry.ranks) for entry in board.entries}
    assert ranks["c"] == ranks["d"] != ranks["e"]
    (named,) = [note for note in short_rank_grid(board, most=1).notes if "Also ranked" in note]
    assert named == f"Also ranked, on the whole board: c, d ({ranks['c']}); e ({ranks['e']})."


def test_a_board_of_older_records_says_so(tmp_path: Path) -> None:
    place = publish(tmp_path)
    assert board_of(tmp_path).older
    assert any(note.startswith("Made under older rules") for note in rank_grid(board_of(tmp_path)).notes)
    edit(place, lambda c: c.update(data={task: data | {"chosen_longer": 0.5} for task, data in c["data"].items()}))
    assert not board_of(tmp_path).older
    assert not any("older rules" in note for note in rank_grid(board_of(tmp_path)).notes)


def test_very_unequal_test_sets_have_the_mean_over_all_pairs_beside_that_over_the_tasks(tmp_path: Path) -> None:
    places = [publish(tmp_path, seed=seed, level=0.3) for seed in range(2)]
    assert math.isnan(board_of(tmp_path).entries[0].estimates["last_by_pair"].value)
    rights = []
    for place in places:
        frame = pd.read_parquet(pair_scores_file(place))
        small = (frame["task"] == "one") & (frame["pair_id"].str.rpartition("/")[2].astype(int) >= 10)
        frame = frame[~small].reset_index(drop=True)
        frame.to_parquet(pair_scores_file(place), index=False)
        rows = {stage: frame[frame["stage"] == stage] for stage in range(4)}
        content = json.loads(place.read_text())
        for name, matrix in score_matrices(TASKS, rows, 3, INFOS).items():
            content["scores"][name] = matrix.model_dump(mode="json")
            content["metrics"][name] = {k: known(v) for k, v in summarize(matrix.array()).items()}
        content["data"]["one"] = content["data"]["one"] | {"test_pairs": 10}
        rewrite(place, content)
        rights.append(100 * rows[3]["preference_accuracy"].mean())
    board = board_of(tmp_path)
    found = board.entries[0].estimates["last_by_pair"]
    assert found.value == pytest.approx(np.mean(rights)) and found.low < found.value < found.high
    assert "last by pair" in rank_grid(board).heads


def test_a_method_whose_responses_are_worse_or_better_than_the_base_models_is_named(tmp_path: Path) -> None:
    for method in ("good", "even", "broken", "unknown"):
        publish(tmp_path, method, level=0.6)
    board = board_of(tmp_path)
    wins = {"good": (60.0, 55.0, 65.0), "even": (47.0, 43.0, 51.0), "broken": (15.0, 10.0, 20.0)}
    entries = tuple(
        replace(e, estimates=e.estimates | {"win_rate": Estimate(*wins[e.method], 2.0, 1)}) if e.method in wins else e
        for e in board.entries
    )
    notes = [note for note in rank_grid(replace(board, entries=entries)).notes if "whatever the rank" in note]
    assert notes[0].startswith("broken: the 95 % interval of the win rate lies below 50: the responses are worse")
    assert notes[1].startswith("good: the 95 % interval of the win rate lies above 50: the responses are better")
    assert not any("whatever the rank" in note for note in rank_grid(board).notes)
    by_wins = rank_grid(replace(board, entries=entries, score="win_rate"))
    assert not any("whatever the rank" in note for note in by_wins.notes), "its own column says it"


def test_differences_that_are_nothing_have_no_deep_colour(tmp_path: Path) -> None:
    for method in ("one", "two"):
        publish(tmp_path, method, level=0.6)
    figure = board_figures(board_of(tmp_path))[1]
    strongest = max(abs(row["tint"]) for row in figure.rows if row["tint"] is not None)
    furthest = max(abs(row["value"]) for row in figure.rows if row["value"] is not None)
    assert strongest == pytest.approx(furthest / 20) and not any(row["current"] for row in figure.rows)
    assert "Outlined" not in figure.alt


def test_ranks_go_from_the_surely_better_to_the_surely_worse(tmp_path: Path) -> None:
    for method, level in (("worst", 0.3), ("middle", 0.6), ("same", 0.61), ("best", 0.9)):
        publish_seeds(tmp_path, method, level)
    board = board_of(tmp_path)
    assert ranks(board) == {"best": "1", "same": "2-3", "middle": "2-3", "worst": "4"}
    means = [entry.estimates["last"].value for entry in board.entries]
    assert means == sorted(means, reverse=True)
    sets = {entry.method: entry.ranks for entry in board.entries}
    assert all(found is not None for found in sets.values())
    assert {name: found and (set(found.better), set(found.worse)) for name, found in sets.items()} == {
        "best": (set(), {"middle", "same", "worst"}),
        "same": ({"best"}, {"worst"}),
        "middle": ({"best"}, {"worst"}),
        "worst": ({"best", "middle", "same"}, set()),
    }
    # The corrected p-values are Holm's over all comparisons of the board; the better mean stands first.
    assert [c.corrected for c in board.differences] == holm([c.difference.p for c in board.differences])
    assert len(board.differences) == 6 and board.pairs == board.items == 120
    assert all(c.difference.value >= 0 for c in board.differences)
    assert rank_grid(board).lead == "best is surely the best of 4 methods by last."


def test_what_did_not_learn_its_first_task_has_no_rank_and_counts_for_no_other(tmp_path: Path, call: Call) -> None:
    for method, level in (("high", 0.9), ("low", 0.3)):
        publish_seeds(tmp_path, method, level)
    without = board_of(tmp_path)
    # Base accuracy 50 by rule: after the first stage 50 in every run, though later stages do well by chance.
    publish_seeds(tmp_path, "idle", 0.8, first=0.5)
    board = board_of(tmp_path)
    assert ranks(board) == ranks(without) | {"idle": None} == {"high": "1", "low": "2", "idle": None}
    assert [entry.learned for entry in board.entries] == [True, False, True]
    # Its differences are shown and corrected for: dropping them would make other differences significant.
    assert [(c.first, c.second) for c in board.differences] == [("high", "idle"), ("high", "low"), ("idle", "low")]
    assert [c.corrected for c in board.differences] == holm([c.difference.p for c in board.differences])
    assert board.differences[2].better == "idle" and len(board_figures(board)) == 2
    assert (
        board.precision is not None and board.precision.design.comparisons == 3
    )  # what a plan holds a difference against
    notes = [note for note in rank_grid(board).notes if "did not learn the first task" in note]
    assert len(notes) == 1 and notes[0].startswith("idle: ")
    assert not any("with fewer than" in note for note in rank_grid(board).notes)
    methods = {entry["method"]: entry for entry in board_json(board)["methods"]}
    assert [methods[name]["learned_first_task"] for name in ("high", "idle", "low")] == [True, False, True]
    statuses = {row["method"]: row["status"] for row in rank_rows(board)}
    assert statuses == {"high": "ranked", "idle": "did not learn its first task", "low": "ranked"}
    # What the start is needs no scoring: the same of runs that were not scored before the first stage.
    for seed in range(3):
        place = publish(tmp_path, "idle", seed, level=0.8, first=0.5)
        pairs = pd.read_parquet(pair_scores_file(place))
        kept = pairs[pairs["stage"] > 0]
        kept.to_parquet(pair_scores_file(place), index=False)
        data = json.loads(place.read_text())["data"]
        frames = {stage: kept[kept["stage"] == stage].drop(columns="stage") for stage in range(len(TASKS) + 1)}
        rewrite(place, content_of(frames, "idle", seed, evaluate="seen") | {"data": data})
    assert np.isnan(RunView.open(place).record.scores[SCORE].array()[0]).all()
    assert ranks(board_of(tmp_path)) == {"high": "1", "low": "2", "idle": None}
    # One that learned in one seed only is not surely above the base model either.
    for seed, first in enumerate((0.5, 0.98, 0.9)):
        publish(tmp_path, "wild", seed, level=0.8, first=first)
    assert ranks(board_of(tmp_path))["wild"] is None


def test_a_board_of_methods_that_learned_nothing_says_so(tmp_path: Path) -> None:
    for method in ("a", "b"):
        publish_seeds(tmp_path, method, 0.7, first=0.5)
    board = board_of(tmp_path)
    assert rank_grid(board).lead.endswith("3 seeds and learned their first task.")
    # What difference it would find is known all the same: that of its comparisons.
    assert board.precision is not None and board.precision.design.comparisons == len(board.differences) == 1


def test_equal_methods_may_have_any_rank_and_the_board_says_so_first(tmp_path: Path) -> None:
    for method in ("a", "b", "c"):
        publish_seeds(tmp_path, method, 0.7)
    board = board_of(tmp_path)
    assert ranks(board) == {"a": "1-3", "b": "1-3", "c": "1-3"}
    said = "3 of 3 methods may be best by last (none is surely better): a, b, c."
    assert rank_grid(board).lead == said
    for form in FORMATS[1:]:
        text = rendered([board], [], form)
        assert form in ("json", "csv") or text.index(said) < text.index("surely better")
    assert board_json(board)["cannot_be_told_apart_from_the_best"] == ["a", "b", "c"]


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_have_no_rank_and_no_p_value(tmp_path: Path, seeds: int) -> None:
    for method, level in (("a", 0.9), ("b", 0.2), ("c", 0.2)):
        publish_seeds(tmp_path, method, level, seeds)
    board = board_of(tmp_path)
    assert ranks(board) == {"a": None, "b": None, "c": None} and not board.undecided
    assert all(math.isnan(c.difference.p) and math.isnan(c.corrected) and not c.better for c in board.differences)
    assert all(f"{seeds} shared" in c.difference.why for c in board.differences)
    text = rendered([board], [], "markdown")
    assert "No ranks: fewer than two methods have 3 seeds" in text and "no rank with fewer than 3 seeds" in text
    assert f"No p-value: {seeds} shared" in text
    # Three seeds of others make their ranks, and no rank for those that have fewer.
    for method, level in (("d", 0.9), ("e", 0.2)):
        publish_seeds(tmp_path, method, level)
    assert ranks(board_of(tmp_path)) == {"a": None, "b": None, "c": None, "d": "1", "e": "2"}


def test_methods_are_compared_on_the_seeds_that_both_have(tmp_path: Path) -> None:
    for seed in range(4):
        publish(tmp_path, "a", seed, level=0.8)
        publish(tmp_path, "b", seed + 2, level=0.4)
    ((compared),) = board_of(tmp_path).differences
    assert compared.difference.shared == 2 and compared.difference.seeds == (4, 4)
    assert "2 shared seeds" in compared.difference.why and not compared.better
    publish(tmp_path, "b", 1, level=0.4)
    ((compared),) = board_of(tmp_path).differences
    assert compared.difference.shared == 3 and compared.better == "a"


def test_methods_that_share_no_seed_have_no_difference_and_count_for_no_correction(tmp_path: Path, call: Call) -> None:
    for method, seeds in (("dpo", (0, 1, 2)), ("a", (0, 1, 2)), ("b", (3, 4, 5))):
        for seed in seeds:
            publish(tmp_path, method, seed, level=0.5 + 0.1 * len(method))
    board = board_of(tmp_path)
    apart = {(c.first, c.second): c for c in board.differences if "b" in (c.first, c.second)}
    assert len(apart) == 2 and all(math.isnan(c.difference.value) and not c.better for c in apart.values())
    assert all(c.difference.why.startswith("0 shared seeds") for c in apart.values())
    text = rendered([board], [], "markdown")
    assert "for 1 of these 3, as many as have one." in text and "for 1 of these 2 alone, as many as have one." in text
    assert "Run all methods with the same 3 seeds or more: --seed 0,1,2." in text


def test_planned_comparisons_are_corrected_for_these_alone(tmp_path: Path) -> None:
    for method, level in (("dpo", 0.6), ("replay", 0.75), ("x", 0.66), ("y", 0.9)):
        publish_seeds(tmp_path, method, level)
    board = board_of(tmp_path)
    assert {(c.first, c.second) for c in board.planned} == {
        ("replay", "dpo"),
        ("x", "dpo"),
        ("y", "dpo"),
        ("x", "replay"),
        ("y", "replay"),
    }
    assert [c.corrected for c in board.planned] == holm([c.difference.p for c in board.planned])
    both = {frozenset((c.first, c.second)): c for c in board.differences}
    for c in board.planned:
        other = both[frozenset((c.first, c.second))]
        assert c.difference.p == other.difference.p and abs(c.difference.value) == abs(other.difference.value)
        assert c.corrected <= other.corrected and c.difference.low <= c.difference.value <= c.difference.high
    assert {(c.first, c.second) for c in board_of(tmp_path, baselines=["y"]).planned} == {
        ("dpo", "y"),
        ("replay", "y"),
        ("x", "y"),
    }
    assert not board_of(tmp_path, baselines=[]).planned
    titles = [grid.title for grid in board_grids(board)]
    name = "some on small, no supervised phase"
    assert f"{name}: last against dpo and replay" in titles and f"{name}: last of every two methods" in titles
    with pytest.raises(UsageError, match="method of these records called 'dop'"):
        board_of(tmp_path, baselines=["dop"])
    with pytest.raises(UsageError, match="named twice"):
        board_of(tmp_path, baselines=["dpo", "dpo"])


def test_a_metric_of_which_less_is_better_is_ranked_the_other_way(tmp_path: Path) -> None:
    publish(tmp_path, "a", level=0.9)
    publish(tmp_path, "b", level=0.5)
    board = board_of(tmp_path, metric="forgetting")
    values = [entry.estimates["forgetting"].value for entry in board.entries]
    assert values == sorted(values)


def test_where_seeds_differ_more_than_methods_there_is_no_better_one(tmp_path: Path) -> None:
    """Three seeds each, 5 points apart on the mean; the seeds of a method are 30 points apart."""
    for method, shift in (("a", 0.0), ("b", 0.05)):
        for seed, level in enumerate((0.4, 0.55, 0.7)):
            publish(tmp_path, method, seed, level=level + shift, pairs=200)
    board = board_of(tmp_path)
    ((compared),) = board.differences
    # Both go up and down with the seeds together, and by how much they differ hardly moves: paired by seed that shows.
    assert compared.better == "b" and ranks(board) == {"a": "2", "b": "1"}
    for method, levels in (("a", (0.4, 0.55, 0.7)), ("b", (0.75, 0.45, 0.6))):
        for seed, level in enumerate(levels):
            publish(tmp_path / "apart", method, seed, level=level, pairs=200)
    board = board_of(tmp_path / "apart")
    ((compared),) = board.differences
    assert compared.corrected > 0.05 and not compared.difference.apart and ranks(board) == {"a": "1-2", "b": "1-2"}
    # The same methods with seeds that agree differ.
    for method, shift in (("a", 0.0), ("b", 0.1)):
        for seed in range(3):
            publish(tmp_path / "steady", method, seed, level=0.5 + shift, pairs=200)
    assert ranks(board_of(tmp_path / "steady")) == {"b": "1", "a": "2"}


def test_the_value_is_the_mean_over_seeds_and_one_seed_has_its_own_interval(tmp_path: Path) -> None:
    places = [publish(tmp_path, "several", seed, level=0.5 + seed / 10) for seed in range(3)]
    alone = publish(tmp_path, "alone", level=0.8)
    board = board_of(tmp_path)
    found = {entry.method: entry for entry in board.entries}
    metrics = [json.loads(place.read_text())["metrics"]["preference_accuracy"] for place in places]
    for name in ("last", "average_performance", "forgetting", "learning"):
        expected = float(np.mean([m[name] for m in metrics]))
        assert found["several"].estimates[name].value == pytest.approx(expected, abs=1e-9)
    view = RunView.open(alone)
    interval = view.interval("preference_accuracy", "last")
    estimate = found["alone"].estimates["last"]
    assert interval is not None and (estimate.low, estimate.high) == (interval.low, interval.high)
    (again,) = metric_intervals(
        view.pair_scores("preference_accuracy"), 100.0, {"x": lambda m: m[..., -1, :].mean(-1)}
    ).values()
    assert again == interval
    assert found["several"].seeds == (0, 1, 2) and found["several"].estimates["last"].low >= 0


def test_costs_leave_out_scoring_and_are_means_over_seeds(tmp_path: Path) -> None:
    for seed in range(2):
        place = publish(tmp_path, "dpo", seed)

        def change(content: dict[str, Any], seed: int = seed) -> None:
            for stage in content["stages"]:
                stage["seconds"] = {"train": 10.0 + seed, "reference": 1.0, "score": 500.0, "generate": 700.0}
                stage["tokens"] = {"train": 100, "score": 9999}
                stage["state_bytes"] = 1000 * stage["index"]
            content["git"] = {"commit": "0123456789abcdef", "dirty": seed == 1}
            content["finished"] = f"2026-11-2{seed}T00:00:00+00:00"

        edit(place, change)
    (entry,) = board_of(tmp_path).entries
    assert entry.cost.seconds == pytest.approx(4 * 11.5) and entry.cost.tokens == 400
    assert entry.cost.storage == 3000 and entry.commits == ("01234567", "01234567+") and entry.date == "2026-11-21"


def test_the_change_of_ability_is_the_mean_over_tests_at_the_end(tmp_path: Path) -> None:
    def abilities(*changes: float | None) -> Callable[[dict[str, Any]], None]:
        def stage(change: float | None) -> dict[str, Any]:
            return {"value": 50.0, "standard_error": 1.0, "change": change, "change_error": 1.0}

        tests = {
            f"t{i}": {
                "metric": "acc",
                "items": 9,
                "chance": 25.0,
                "digest": "d",
                "stages": {"0": stage(0.0), "3": stage(c)},
            }
            for i, c in enumerate(changes)
        }
        return lambda content: content.update(abilities=tests)

    for seed, changes in enumerate(((-4.0, -2.0), (-1.0, -1.0))):
        edit(publish(tmp_path, "dpo", seed), abilities(*changes))
    edit(publish(tmp_path, "ewc"), abilities(-1.0, None))
    found = {entry.method: entry.estimates["ability"] for entry in board_of(tmp_path).entries}
    # A run's error over items is sqrt(1 + 1) / 2; every seed is asked the same ones, so seeds do not lessen it.
    assert found["dpo"].value == -2.0 and found["dpo"].standard_error == pytest.approx(math.sqrt(1.0**2 + 0.5))
    assert found["dpo"].high - found["dpo"].value == pytest.approx(1.96 * math.sqrt(1.5), rel=1e-3)
    assert math.isnan(found["ewc"].value)  # a test without a value: no mean over the others
    assert "ability change" in board_grids(board_of(tmp_path))[0].heads


def test_what_costs_passes_of_its_own_may_be_measured_in_some_seeds_and_the_board_says_so(tmp_path: Path) -> None:
    """A column is over the seeds that have it, and a note names whose are fewer than the row's."""

    def measured(change: float) -> Callable[[dict[str, Any]], None]:
        one = {"metric": "acc", "items": 9, "chance": 25.0, "digest": "d"}
        ends = {"value": 50.0, "standard_error": 1.0, "change": change, "change_error": 2.0}
        return lambda content: content.update(abilities={"t": one | {"stages": {"3": ends}}})

    for method in ("dpo", "ewc", "gem"):
        for seed in range(2):
            place = publish(tmp_path, method, seed)
            if method == "dpo" or (method == "ewc" and seed):
                edit(place, measured(-1.0 - seed))
    board = board_of(tmp_path)
    found = {entry.method: entry.estimates["ability"] for entry in board.entries}
    assert (found["dpo"].value, found["dpo"].seeds) == (-1.5, 2)
    # One seed has the error over items and what seeds do to the other methods: -1 and -2 have a variance of 0.5.
    assert (found["ewc"].value, found["ewc"].seeds) == (-2.0, 1)
    assert found["ewc"].standard_error == pytest.approx(math.sqrt(2.0**2 + 0.5))
    assert found["dpo"].standard_error == pytest.approx(math.sqrt(2.0**2 + 0.5 / 2))
    assert math.isnan(found["gem"].value) and found["gem"].seeds == 0
    notes = board_grids(board)[0].notes
    assert "ability change: over fewer seeds than the row: 1 of ewc." in notes


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        ({"dpo": 1, "ewc": 1, "lwf": 1}, "1 each"),
        ({"dpo": 2, "ewc": 1, "lwf": 1}, "2 of dpo; 1 of all others"),
        ({"dpo": 2, "ewc": 1, "lwf": 3}, "2 of dpo; 1 of ewc"),  # others have all: they are not meant
        ({"dpo": 3, "ewc": 3, "lwf": 3}, ""),
    ],
)
def test_the_number_that_most_rows_have_is_said_once(tmp_path: Path, measured: dict[str, int], said: str) -> None:
    one = {"metric": "acc", "items": 9, "chance": 25.0, "digest": "d"}
    tests = {"t": one | {"stages": {"3": {"value": 50.0, "standard_error": 1.0, "change": 1.0, "change_error": 2.0}}}}
    for method, count in measured.items():
        for seed in range(3):
            place = publish(tmp_path, method, seed)
            if seed < count:
                edit(place, lambda content: content.update(abilities=tests))
    notes = [note for note in board_grids(board_of(tmp_path))[0].notes if note.startswith("ability change: over")]
    # Rows of one mean are in no order that is promised.
    assert [sorted(note.removesuffix(".").partition("row: ")[2].split("; ")) for note in notes] == [
        sorted(words) for words in [said.split("; ")] if said
    ]


def test_another_score_of_some_seeds_is_the_mean_over_those(tmp_path: Path) -> None:
    """KL that was measured in one of two runs is that run's, with the error over its pairs; records have no metrics of
    it."""
    places = [publish(tmp_path, "dpo", seed) for seed in range(2)]
    scores = pair_scores_file(places[1])
    whole = pd.read_parquet(scores).assign(kl_base=lambda frame: np.arange(len(frame)) % 7 / 2.0)
    whole.to_parquet(scores, index=False)
    rows = {stage: whole[whole["stage"] == stage] for stage in range(len(TASKS) + 1)}
    matrix = score_matrices(TASKS, rows, len(TASKS), [ScoreInfo("kl_base", False, "", unit="nats a token")])["kl_base"]

    def measured(content: dict[str, Any]) -> None:
        content["scores"]["kl_base"] = matrix.model_dump(mode="json")

    edit(places[1], measured)
    runs = BoardRuns({"dpo": [RunView.open(place) for place in places]}, WIN_RATE, "last")
    found = COLUMNS["kl_base"].of(runs, "dpo")
    assert found.seeds == 1 and 0 < found.standard_error < 1
    assert found.value == pytest.approx(whole[whole["stage"] == 3].groupby("task")["kl_base"].mean().mean())
    assert COLUMNS["kl_base"].places(1) == 2 and COLUMNS["reward"].places(1) == 1


def test_a_bound_is_shown_without_a_rank_and_counts_for_no_other(tmp_path: Path) -> None:
    publish_seeds(tmp_path, "dpo", 0.6)
    publish_seeds(tmp_path, "ewc", 0.6)
    publish_seeds(tmp_path, "joint", 0.95, plan=[TASKS])
    board = board_of(tmp_path)
    assert ranks(board) == {"joint": None, "dpo": "1-2", "ewc": "1-2"} and board.entries[0].bound
    assert [(c.first, c.second) for c in board.differences] == [("dpo", "ewc")]
    assert math.isnan(board.entries[0].estimates["backward_transfer"].value)


def test_intransigence_needs_the_run_of_single_beside_it(tmp_path: Path) -> None:
    publish(tmp_path, "dpo", level=0.6)
    board = board_of(tmp_path)
    assert math.isnan(board.entries[0].estimates["intransigence"].value)
    assert "intransigence" not in board_grids(board)[0].heads
    publish(tmp_path, "single", level=0.9)
    entries = {entry.method: entry for entry in board_of(tmp_path).entries}
    found = entries["dpo"].estimates["intransigence"]
    learned = entries["dpo"].estimates["learning"].value
    assert found.value == pytest.approx(entries["single"].estimates["learning"].value - learned)
    assert found.low < found.value < found.high


# Clusters and plans


def with_clusters(place: Path, cluster: Callable[[int], str]) -> None:
    file = pair_scores_file(place)
    frame = pd.read_parquet(file)
    frame["cluster"] = [cluster(int(pair.rpartition("/")[2])) for pair in frame["pair_id"]]
    frame.to_parquet(file, index=False)
    rewrite(place, json.loads(place.read_text()))


def test_a_board_goes_by_the_clusters_that_the_scores_name(tmp_path: Path) -> None:
    for folder in ("alone", "clustered"):
        for method, level in (("a", 0.55), ("b", 0.7)):
            publish_seeds(tmp_path / folder, method, level)
    for place in sorted((tmp_path / "clustered").rglob("seed-*.json")):
        with_clusters(place, lambda i: f"topic {i // 2}")
    alone, clustered = (board_of(tmp_path / folder) for folder in ("alone", "clustered"))
    assert (alone.items, clustered.items) == (120, 60) and clustered.clustered and not alone.clustered
    assert clustered.differences[0].difference.value == alone.differences[0].difference.value
    assert clustered.differences[0].difference.p != alone.differences[0].difference.p
    assert any("taken as independent" in note for note in rank_grid(alone).notes)
    said = " ".join(rank_grid(clustered).notes)
    assert "60 independent items (120 test pairs)" in said and "taken as independent" not in said
    assert board_json(clustered)["independent_items"] == 60
    for place in sorted((tmp_path / "clustered").rglob("seed-*.json")):
        with_clusters(place, lambda _: "all")
    nothing = board_of(tmp_path / "clustered")
    assert not nothing.entries and all("are of one cluster" in apart.reason for apart in nothing.apart)


def test_a_board_says_what_it_can_detect_and_what_a_difference_needs(tmp_path: Path, call: Call) -> None:
    for method, level in (("dpo", 0.5), ("a", 0.6), ("b", 0.8)):
        publish_seeds(tmp_path, method, level)
    (power,) = json.loads(call("leaderboard", str(tmp_path), "--plan", "--json")[1])
    assert list(power["detectable"]) == ["one comparison", "2 planned comparisons", "all 3 comparisons"]
    found = list(power["detectable"].values())
    assert 0 < found[0] < found[1] < found[2] < 60 and power["seeds"] == 3 and power["independent_items"] == 120
    (needs,) = json.loads(call("plan", str(tmp_path), "--detect", str(found[0] / 2), "--json")[1])
    items = needs["needed"][0]["items_by_seeds"]
    known = [count for count in items.values() if count is not None]
    assert known == sorted(known, reverse=True) and known[-1] > 120 / 2
    code, out, _ = call("plan", str(tmp_path), "--detect", "3")
    assert code == 0 and "independent items that find 3 points" in out and "one comparison" in out
    code, out, _ = call("leaderboard", str(tmp_path), "--plan")
    assert code == 0 and "3 (now)" in out and "Each test pair is taken as independent" in out
    for words in (("--format", "csv"), ("--output", str(tmp_path / "plan.txt"))):
        code, out, err = call("leaderboard", str(tmp_path), "--plan", *words)
        assert code == 2 and "--plan has no file" in err and not out


def test_nothing_is_planned_from_boards_that_cannot_carry_it(tmp_path: Path, call: Call) -> None:
    for method in ("a", "b"):
        publish_seeds(tmp_path, method, 0.5, seeds=2)
    code, out, err = call("plan", str(tmp_path), "--detect", "3")
    assert code == 2 and "does not show how far seeds and items move a difference" in err and not out
    for method in ("a", "b"):
        publish(tmp_path, method, 2, level=0.5)
    assert call("plan", str(tmp_path), "--detect", "3")[0] == 0
    for name in ("a", "b"):
        publish(tmp_path, name, level=0.5, stream="other")
    code, out, err = call("plan", str(tmp_path), "--detect", "3", "--json")
    assert (
        code == 0
        and len(json.loads(out)) == 1
        and "note: The board other on small, no supervised phase does not show" in err
    )
    for wrong in ("0", "-3", "nan", "inf"):
        code, out, err = call("plan", str(tmp_path), f"--detect={wrong}")
        assert code == 2 and "cannot be planned for" in err and not out
    for place in tmp_path.rglob("*.scores.parquet"):
        place.unlink()
    code, out, err = call("plan", str(tmp_path), "--detect", "3")
    assert code == 2 and "per-pair scores" in err and not out


# What is not ranked


def only_apart(results: Path, method: str) -> str:
    board = board_of(results)
    assert method not in ranks(board) and "good" in ranks(board)
    reasons = {apart.reason for apart in board.apart if apart.method == method}
    assert len(reasons) == 1
    text = "\n".join(note for grid in board_grids(board) for row in grid.rows for note in map(str, row))
    (reason,) = reasons
    assert reason in text
    return reason


Change = Callable[[dict[str, Any]], None]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update(status="interrupted"), "not complete (interrupted)"),
        (lambda c: c["stages"].pop(2), "stage 2 is missing"),
        (lambda c: c["metrics"]["preference_accuracy"].update(last=99.0), "its score matrix gives"),
        (
            lambda c: c["scores"]["preference_accuracy"]["value"][3].__setitem__(0, 99.0),
            "its score matrix gives",
        ),
        (lambda c: c["scores"].pop("preference_accuracy"), "no such score"),
        (lambda c: c["metrics"]["preference_accuracy"].update(last=None), "its score matrix gives"),
        (lambda c: c["model"].update(fingerprint="another"), "the model's weights are not the same"),
        (lambda c: c["model"].update(revision="another"), "the model's revision is not the same"),
        (lambda c: c["data"]["two"].update(test_digest="f" * 64), "the test pairs of two are not the same"),
        (lambda c: c["data"]["two"].update(train_digest="f" * 64), "the train pairs of two are not the same"),
        (lambda c: c["config"]["training"].update(batch_size=77), "training.batch_size is"),
        (lambda c: c["config"]["training"].update(beta=0.5), "training.beta is"),
    ],
)
def test_what_cannot_be_compared_is_listed_apart(tmp_path: Path, change: Change, said: str) -> None:
    publish(tmp_path, "good")
    publish(tmp_path, "fine")
    edit(publish(tmp_path, "odd"), change)
    assert said in only_apart(tmp_path, "odd")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["model"].update(fingerprint="another"), "the model's weights are not the same"),
        (lambda c: c["data"]["one"].update(test_digest="f" * 64), "the test pairs of one are not the same"),
        (lambda c: c["config"]["training"].update(learning_rate=9.0), "learning_rate is"),
        (lambda c: c["method"]["settings"].update(strength=2), "odd.strength is"),
    ],
)
def test_seeds_that_were_not_run_alike_have_no_mean(tmp_path: Path, change: Change, said: str) -> None:
    publish(tmp_path, "good")
    publish(tmp_path, "odd", 0)
    edit(publish(tmp_path, "odd", 1), change)
    reason = only_apart(tmp_path, "odd")
    assert said in reason and "cannot be averaged" in reason


def test_a_board_has_one_rule_of_choosing_settings(tmp_path: Path) -> None:
    tuned = {"digest": "d", "setting": "method.rate", "chosen": 0.125}
    for name in ("a", "b"):
        edit(publish(tmp_path, name), lambda c: c.update(tuned=tuned | {"rule": 2}))
    edit(publish(tmp_path, "c"), lambda c: c.update(tuned=tuned))
    board = board_of(tmp_path)
    assert {entry.method for entry in board.entries} == {"a", "b"}
    (apart,) = board.apart
    assert "rule of tune is 2 for the others, not set for c" in apart.reason and "run with --tuned" in apart.reason
    # One rule, and another search.
    for name, seeds in (("a", [0, 1, 2]), ("b", [0]), ("c", [0])):
        place = tmp_path / "some" / "small" / name / "seed-0.json"
        content = json.loads(place.read_text(encoding="utf-8"))
        rewrite(place, content | {"tuned": tuned | {"rule": 2, "seeds": seeds, "trials": 9}})
    board = board_of(tmp_path)
    assert {entry.method for entry in board.entries} == {"b", "c"}
    assert "seeds of tune is [0] for the others, [0, 1, 2] for a" in board.apart[0].reason


def test_the_rate_is_the_one_that_was_tuned(tmp_path: Path) -> None:
    """A method that trains with another setting (l2p, sft) has never seen the preference phase's rate."""
    edit(publish(tmp_path, "a"), lambda c: c.update(tuned={"digest": "d", "setting": "method.rate", "chosen": 0.125}))
    publish(tmp_path, "b")
    rates = {entry.method: entry.learning_rate for entry in board_of(tmp_path).entries}
    assert rates["a"] == 0.125 != rates["b"]
    edit(tmp_path / "some" / "small" / "a" / "seed-0.json", lambda c: c.update(tuned={"digest": "d"}))
    (apart,) = open_published([tmp_path])[1]
    assert "lacks the learning rate" in apart.reason


def test_another_learning_rate_is_compared_and_shown(tmp_path: Path) -> None:
    publish(tmp_path, "a")
    edit(publish(tmp_path, "b"), lambda c: c["config"]["training"].update(learning_rate=0.25, checkpoint_steps=3))
    board = board_of(tmp_path)
    assert len(board.entries) == 2 and not board.apart
    assert "0.25" in str(board_grids(board)[1].rows)


def test_records_without_their_pairs_are_listed_apart(tmp_path: Path) -> None:
    publish(tmp_path, "good")
    pair_scores_file(publish(tmp_path, "odd")).unlink()
    assert "lifealign-bench verify" in only_apart(tmp_path, "odd")


def test_the_same_seed_twice_is_an_error_that_names_both_files(tmp_path: Path) -> None:
    publish(tmp_path / "a")
    publish(tmp_path / "b")
    with pytest.raises(BenchError, match="Seed 0 of dpo is there twice") as caught:
        make_boards(open_published([tmp_path / "a", tmp_path / "b"])[0])
    assert str(tmp_path / "a") in caught.value.message and str(tmp_path / "b") in caught.value.message


def test_records_that_cannot_be_read_are_listed(tmp_path: Path) -> None:
    publish(tmp_path, "good")
    edit(publish(tmp_path, "future"), lambda c: c.update(schema_version=99))
    publish(tmp_path, "broken").write_text("{", encoding="utf-8")
    edit(publish(tmp_path, "bare"), lambda c: c["config"].pop("seed"))
    views, broken = open_published([tmp_path])
    assert [view.name for view in views] == ["good"]
    reasons = {apart.place.split("/")[2]: apart.reason for apart in broken}
    assert "schema 99" in reasons["future"] and "not JSON" in reasons["broken"] and "lacks" in reasons["bare"]
    for form in FORMATS[1:]:
        assert "schema 99" in rendered(make_boards(views), broken, form)


def test_unknown_names_are_said(tmp_path: Path) -> None:
    publish(tmp_path)
    views, _ = open_published([tmp_path])
    with pytest.raises(UsageError, match="metric called 'lats'"):
        make_boards(views, metric="lats")
    with pytest.raises(UsageError, match="score"):
        make_boards(views, score="preference")
    with pytest.raises(BenchError, match="no folder"):
        open_published([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(BenchError, match="no records"):
        open_published([tmp_path / "empty"])


# Forms


HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "a|b `c` *d* [e](javascript:x)",
    "\\input{/etc/passwd} $x$ %y & {z} ^^41 ~",
    "red\x1b[31m\x07\u202eturned\nline",
    "=HYPERLINK(1)",
    "{{ 7 * 7 }} {% raw %}",
)


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Records whose method, stream and model have hostile names, put there by hand: submit refuses some of them."""
    publish(tmp_path, "good")
    for number, name in enumerate(HOSTILE):
        place = publish(tmp_path, f"m{number}", level=0.5 + number / 20)

        def change(content: dict[str, Any], name: str = name) -> None:
            content["method"]["name"] = name
            content["config"] |= {"stream": name, "model": name}

        edit(place, change)
        # Another one of the same name is not comparable: its name stands in a reason.
        edit(publish(tmp_path, f"n{number}"), change)
        edit(tmp_path / "some" / "small" / f"n{number}" / "seed-0.json", lambda c: c["config"].update(seed=1))
        edit(tmp_path / "some" / "small" / f"n{number}" / "seed-0.json", lambda c: c["model"].update(revision="x"))
    return tmp_path


@pytest.mark.parametrize("form", FORMATS)
def test_no_name_does_anything_in_any_form(hostile: Path, form: str, call: Call) -> None:
    code, out, err = call("leaderboard", str(hostile), "--format", form)
    assert code == 0, err
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e]", out + err)
    if form == "html":
        text = check_document(out).text_content()
        assert "<script>alert(1)</script>" in text and "{{ 7 * 7 }}" in text
    elif form == "markdown":
        assert "<script" not in out.replace("\\<script", "") and "[e](javascript" not in out
        tables = [line for line in out.splitlines() if line.startswith("|")]
        plain = [re.sub(r"\\.", "", line).count("|") for line in tables]
        assert all(count in {10, 11, 12, 13, 3} for count in plain), set(plain)
        assert not re.search(r"(?<!\\)`c`", out)
    elif form == "latex":
        assert "\\input" not in out.replace("\\textbackslash{}input", "") and "^^" not in out
        assert r"\textbackslash{}input\{/etc/passwd\} \$x\$ \%y \& \{z\}" in out
        body = re.sub(r"\\.", "", out)
        assert body.count("{") == body.count("}")
    elif form == "csv":
        table = list(csv.DictReader(io.StringIO(out)))
        assert {"'=HYPERLINK(1)", "<script>alert(1)</script>"} <= {line["method"] for line in table}
        assert not any(str(cell).startswith(("=", "@")) for line in table for cell in line.values())
    elif form == "json":
        names = {method["method"] for board in json.loads(out)["boards"] for method in board["methods"]}
        names |= {apart["method"] for board in json.loads(out)["boards"] for apart in board["not_ranked"]}
        assert set(HOSTILE) <= names


def test_latex_by_hand() -> None:
    assert escape_latex("a_b & 5% #1 [x] ±") == r"a\_b \& 5\% \#1 {[}x{]} $\pm$"
    assert escape_latex("\\^~<>|") == (
        r"\textbackslash{}\textasciicircum{}\textasciitilde{}\textless{}\textgreater{}\textbar{}"
    )
    grid = Grid("A title", ("m", "x"), (("a", "1"),), ("note",))
    lines = to_latex(grid).splitlines()
    assert lines[3:7] == [r"\begin{tabular}{lr}", r"\toprule", r"m & x \\", r"\midrule"] and lines[7] == r"a & 1 \\"


def test_the_forms_tell_the_same(tmp_path: Path, call: Call) -> None:
    publish_seeds(tmp_path, "a", 0.9)
    publish_seeds(tmp_path, "b", 0.4)
    words = ("leaderboard", str(tmp_path), "--format")
    content = json.loads(call(*words, "json")[1])
    (board,) = content["boards"]
    assert [(m["method"], m["ranks"]) for m in board["methods"]] == [("a", [1, 1]), ("b", [2, 2])]
    lines = list(csv.DictReader(io.StringIO(call(*words, "csv")[1])))
    assert lines.pop()["method"] == "frozen"  # it was not trained: the methods come first
    assert [float(line["last"]) for line in lines] == [m["metrics"]["last"]["value"] for m in board["methods"]]
    assert [(line["rank_best"], line["rank_worst"]) for line in lines] == [("1", "1"), ("2", "2")]
    shown = f"{board['methods'][0]['metrics']['last']['value']:.1f}"
    for form in ("terminal", "markdown", "html", "latex"):
        assert shown in call(*words, form)[1]
    code, _, _ = call(*words, "html", "--output", str(tmp_path / "page.html"))
    assert code == 0 and shown in (tmp_path / "page.html").read_text()
    assert call(*words, "pdf")[0] == 2 and call("leaderboard", str(tmp_path), "--stream", "nothing")[0] == 2
    assert call(*words, "json")[1] == call(*words, "json")[1]
    json.dumps(board_json(board_of(tmp_path)), allow_nan=False)


def test_what_is_made_is_kept_up_to_date(tmp_path: Path, call: Call) -> None:
    results = tmp_path / "results"
    publish(results, "lifealign", stream="forms", model="smollm2-135m")
    readme = tmp_path / "README.md"
    readme.write_text(f"# Ours\n\n{BEGIN}\nstale words\n{END}\nand more\n")
    assert call("leaderboard", str(results), "--check")[0] == 1
    assert call("leaderboard", str(results), "--write")[0] == 0
    assert call("leaderboard", str(results), "--check")[0] == 0 and not stale_files(results)
    text = readme.read_text()
    assert text.startswith("# Ours\n\n") and text.endswith(f"{END}\nand more\n") and "stale words" not in text
    assert "| — | lifealign |" in text and "lifealign, seed 0: Preference accuracy" in text
    publish(results, "dpo", stream="forms", model="smollm2-135m", level=0.2)
    code, _, err = call("leaderboard", str(results), "--check")
    assert code == 1 and "LEADERBOARD.md" in err and "README.md" in err and "report.html" in err
    assert {path.name for path in write_made_files(results)} == {"LEADERBOARD.md", "README.md", "report.html"}
    assert not write_made_files(results)
    assert "dpo" in (results / "report.html").read_text(encoding="utf-8")


def test_what_lies_in_the_place_of_a_page_is_not_waited_for(tmp_path: Path, call: Call) -> None:
    """A pipe has no end, and a device may have none."""
    results = tmp_path / "results"
    publish(results)
    os.mkfifo(results / "LEADERBOARD.md")
    (results / "report.html").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "README.md")
    assert call("leaderboard", str(results), "--check")[0] == 1
    code, _, err = call("leaderboard", str(results), "--write")
    assert code == 2 and "LEADERBOARD.md is no regular file" in " ".join(err.split())


def test_a_broken_table_of_learning_rates_is_listed_apart(tmp_path: Path, call: Call) -> None:
    results = tmp_path / "results"
    publish_seeds(results, "dpo", 0.7)
    table = results / "tuning" / "some" / "small.json"
    table.parent.mkdir(parents=True)
    table.write_text("{")
    assert call("leaderboard", str(results), "--write")[0] == 0
    for page in ("LEADERBOARD.md", "report.html"):
        assert "tuning/some/small.json" in (results / page).read_text(encoding="utf-8")
    assert call("verify", str(results))[0] == 2


def test_a_leaderboard_brings_neither_pandas_nor_torch_along(tmp_path: Path) -> None:
    """They take longer to import than hundreds of records to rank; also with scores that some pairs do not have."""
    publish(tmp_path)
    place = publish(tmp_path, "joint", plan=[TASKS])
    frame = pd.read_parquet(pair_scores_file(place))
    frame.loc[frame["task"] == "one", "preference_margin"] = math.nan
    frame.to_parquet(pair_scores_file(place), index=False)
    program = (
        "import sys; from lifealign_bench.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "finally:\n    print(sorted({'pandas', 'torch'} & set(sys.modules)), file=sys.stderr)"
    )
    words = [sys.executable, "-c", program, "leaderboard", str(tmp_path), "--format", "json"]
    root = ROOT
    done = subprocess.run(words, capture_output=True, text=True, cwd=root)
    assert done.returncode == 0 and done.stderr.strip().endswith("[]"), done.stderr
    assert [m["method"] for m in json.loads(done.stdout)["boards"][0]["methods"]]


def test_neighbours_that_are_looked_up_once_are_the_same(tmp_path: Path) -> None:
    publish(tmp_path, "dpo")
    publish(tmp_path, "single", plan=[[task] for task in TASKS])
    publish(tmp_path, "dpo", seed=1)
    files = sorted(tmp_path.rglob("seed-*.json"))
    shared = Neighbours()
    for file in files:
        alone, together = RunView.open(file).single, RunView.open(file, shared).single
        assert (alone.path, alone.name, alone.refused) == (together.path, together.name, together.refused)


@pytest.mark.parametrize(
    ("sft", "gap", "wanted"), [(True, False, WIN_RATE), (False, False, SCORE), (True, True, SCORE)]
)
def test_responses_rank_a_run_of_both_phases_that_scored_seen_tasks_alone(sft: bool, gap: bool, wanted: str) -> None:
    """``gap``: the second task has no reward."""
    nan = math.nan
    rows = {
        "a": [[nan] * 4, [1, 1, 0, 1], [0, 1, 0, 0]],
        "b": [[nan] * 4, [nan] * 4, [nan] * 4 if gap else [1, 0, 1, 1]],
    }
    record = record_of({task: np.array(own, dtype=float) for task, own in rows.items()}, sft=sft)
    (matrix,) = record.scores.values()
    view = RunView(record.model_copy(update={"scores": {SCORE: matrix, "reward": matrix, WIN_RATE: matrix}}))
    assert view.ranked_by == wanted
