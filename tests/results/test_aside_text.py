"""What stands beside a ranking, as a text speaks of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.aside_text import AsideText
from benchmarks.board_text import Boards, UnsupportedClaimError
from lifealign_bench.errors import BenchError
from tests.published_records import publish, rewrite

# Method to its level and to the changes of ability, one a seed, in percentage points; each with an error of 1.
METHODS = {"dpo": (0.5, (-4.0, -5.0)), "ewc": (0.6, (-0.5,)), "gem": (0.8, (3.0,)), "replay": (0.9, (6.0, 6.0, 6.0))}


@pytest.fixture(scope="module")
def aside(tmp_path_factory: pytest.TempPathFactory) -> AsideText:
    results = tmp_path_factory.mktemp("results")
    for method, (level, changes) in METHODS.items():
        for seed in range(3):
            measure(publish(results, method, seed, level=level), changes[seed : seed + 1])
    publish(results, "lwf", 0, level=0.7)  # of one seed: no rank
    return AsideText(Boards(results)("some", "small"))


def measure(place: Path, changes: tuple[float, ...]) -> None:
    content = json.loads(place.read_text())
    for change in changes:
        stage = {"value": 50.0, "standard_error": 1.0, "change": change, "change_error": 1.0}
        one = {"metric": "acc", "items": 9, "chance": 25.0, "digest": "d", "stages": {"3": stage}}
        content["abilities"] = {"t": one}
    rewrite(place, content)


def test_a_column_is_said_with_its_interval_over_the_seeds_that_have_it(aside: AsideText) -> None:
    # Over the items, which all seeds share, and over seeds: their pooled variance, (0.5 + 0 + 0) / 3, or the own 0.5.
    assert aside.interval("ability", "ewc") == "-0.5 [-2.6, 1.6]"
    assert aside.interval("ability", "replay") == "6.0 [4.0, 8.0]"
    assert aside.interval("ability", "dpo") == "-4.5 [-6.7, -2.3]"
    assert (aside.lowest("ability"), aside.highest("ability")) == ("dpo", "replay")
    assert aside.seeds("ability") == "1 to 3"
    with pytest.raises(BenchError, match="no ability of lwf"):
        aside.interval("ability", "lwf")
    with pytest.raises(BenchError, match="no kl_base of dpo"):
        aside.interval("kl_base", "dpo")


def test_who_is_surely_below_zero_is_computed_and_corrected_for_all(aside: AsideText, tmp_path: Path) -> None:
    """Two seeds of one error of 1 over the same items, half a point from their mean: 4.5 / sqrt(1.25) errors from 0."""
    assert aside.below_zero("ability") == aside.surely_below_zero("ability") == "`dpo`"
    assert aside.lower("ability") == "2 of 4"
    for method, change in (("dpo", -2.1), ("ewc", -5.0), ("gem", 0.0), ("replay", 0.0)):
        for seed in range(3):
            measure(publish(tmp_path, method, seed, level=0.6), (change,))
    other = AsideText(Boards(tmp_path)("some", "small"))
    with pytest.raises(UnsupportedClaimError, match="surely below 0 for `dpo`"):
        aside.none_surely_below_zero("ability")
    # 2.1 errors have a p of 0.036 alone, and three times that as the second of four.
    assert (other.below_zero("ability"), other.surely_below_zero("ability")) == ("`ewc`, `dpo`", "`ewc`")


def test_that_nobody_is_below_zero_is_not_said_as_an_empty_list(tmp_path: Path) -> None:
    for method in ("dpo", "ewc"):
        for seed in range(3):
            measure(publish(tmp_path, method, seed, level=0.6), (1.0,))
    other = AsideText(Boards(tmp_path)("some", "small"))
    with pytest.raises(UnsupportedClaimError, match="No method"):
        other.below_zero("ability")
    with pytest.raises(UnsupportedClaimError, match="No method"):
        other.surely_below_zero("ability")
    assert other.none_surely_below_zero("ability") == ""


def test_the_order_by_a_column_is_held_against_the_ranking(aside: AsideText) -> None:
    """All four methods stand in one order by both; by how much they forget, in another."""
    assert aside.agreement("ability").startswith("1.00")
    assert not aside.agreement("ability", "forgetting").startswith("1.00")


def test_claims_about_an_order_go_by_the_interval_of_tau(tmp_path: Path) -> None:
    """Six methods whose change of ability has the order of the level but for one pair, and hardly at all."""
    for name, changes in (("same", (1, 0, 2, 3, 4, 5)), ("none", (1, 4, 5, 0, 2, 3))):
        for place, change in enumerate(changes):
            for seed in range(3):
                level = 0.4 + 0.1 * place
                measure(publish(tmp_path / name, f"m{place}", seed, level=level), (float(change),))
    same, none = (AsideText(Boards(tmp_path / name)("some", "small")) for name in ("same", "none"))
    assert same.goes_with("ability") == none.unrelated("ability") == ""
    with pytest.raises(UnsupportedClaimError, match=r"ability goes with the ranking: 0\.87"):
        same.unrelated("ability")
    with pytest.raises(UnsupportedClaimError, match="ability is not shown to go with the ranking"):
        none.goes_with("ability")


def test_methods_that_hardly_learn_may_be_left_out(tmp_path: Path) -> None:
    for place in range(6):
        for seed in range(3):
            measure(publish(tmp_path, f"m{place}", seed, level=0.4 + 0.1 * place), (float(place),))
    board = Boards(tmp_path)("some", "small")
    learning = {entry.method: entry.estimates["learning"].value for entry in board.board.entries}
    few = AsideText(board, 75)
    assert few.methods() == sum(value >= 75 for value in learning.values()) < AsideText(board).methods() == 6
    least = AsideText(board, 75, [few.highest("ability")])
    assert least.methods() == few.methods() - 1 and "m5" not in least.highest("ability")
    assert (few.lowest("ability"), few.highest("ability")) == (min(n for n, v in learning.items() if v >= 75), "m5")
