"""What is the same: the one question that everything which compares settings asks."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from lifealign_bench.config import RunConfig
from lifealign_bench.results import sameness
from lifealign_bench.results.sameness import difference_of, is_part_of, setting_differences, unlike
from lifealign_bench.runs.directory import SCORING

PACKAGE = Path(sameness.__file__).parents[1]


def test_unlike_names_what_is_not_the_same_on_all_sides() -> None:
    sides = ({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": None}, {"a": 1, "b": 2, "d": 0})
    assert unlike(sides) == {"b": [2, 3, 2], "d": [None, None, 0]}
    assert unlike(sides, "not set") == {
        "b": [2, 3, 2],
        "c": ["not set", None, "not set"],
        "d": ["not set", "not set", 0],
    }
    assert unlike(()) == unlike(({"a": 1},)) == {}


def test_differences_are_told_setting_by_setting_in_order() -> None:
    there = {"seed": 0, "training": {"epochs": 1, "beta": 0.1}, "judge": None}
    now = {"seed": 1, "training": {"epochs": 2, "beta": 0.1}, "abilities": ["a"]}
    assert setting_differences(there, now) == [
        'abilities is null there and ["a"] now',
        "seed is 0 there and 1 now",
        "training.epochs is 1 there and 2 now",
    ]
    assert setting_differences(there, there) == []


def _identity(**changes: Any) -> dict[str, Any]:
    return RunConfig(method="dpo", stream="fake", tasks=("fake-upper",)).identity() | changes


@pytest.mark.parametrize(
    ("wanted", "present", "part"),
    [
        ({"scorers": ["preference"]}, {"scorers": ["preference", "reward"]}, True),
        ({"scorers": ["preference"]}, {"scorers": ["preference", "judge"], "judge": "server:m"}, True),
        ({"scorers": ["preference", "reward"]}, {"scorers": ["preference", "reward"]}, False),
        ({"scorers": ["preference", "reward"]}, {"scorers": ["preference"]}, False),
        ({"scorers": ["preference"], "seed": 1}, {"scorers": ["preference", "reward"]}, False),
        ({"scorers": ["judge"], "judge": "a"}, {"scorers": ["judge", "reward"], "judge": "b"}, False),
    ],
)
def test_a_run_that_is_scored_by_more_serves_who_wants_less(
    wanted: dict[str, Any], present: dict[str, Any], part: bool
) -> None:
    assert is_part_of(_identity(**wanted), _identity(**present), SCORING) is part


def test_a_run_of_which_no_settings_are_known_serves_nobody() -> None:
    assert not is_part_of(_identity(), {}, SCORING)


def test_what_differs_among_several_is_said_with_who_has_it() -> None:
    keys = {0: {"epochs": "1", "the order": "a"}, 1: {"epochs": "2", "the order": "b"}, "dpo": {"epochs": "1"}}
    assert difference_of(keys) == "epochs is 1 for seed 0, 2 for seed 1; the order is not the same"
    assert difference_of({0: {"epochs": "1"}, 1: {"epochs": "1"}}) == ""


def test_all_who_decide_that_settings_are_the_same_ask_this_module() -> None:
    deciders = ("results/single", "results/leaderboard", "runs/directory", "experiments/tuning")
    for name in (*deciders, "experiments/reproduction/match", "reporting/tables/comparison", "cli/compare"):
        tree = ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))
        asked = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
        assert "lifealign_bench.results.sameness" in asked, name
