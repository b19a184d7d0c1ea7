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
    assert aside.interval("ability", "ewc") == "-0.5 [-2.5, 1.5]"  # one seed: over the items
    assert aside.interval("ability", "replay") == "6.0 [4.0, 8.0]"  # seeds agree, and were asked the same items
    assert (aside.lowest("ability"), aside.highest("ability")) == ("dpo", "replay")
    assert aside.seeds("ability") == "1 to 3"
    with pytest.raises(BenchError, match="no ability of lwf"):
        aside.interval("ability", "lwf")
    with pytest.raises(BenchError, match="no kl_base of dpo"):
        aside.interval("kl_base", "dpo")


def test_who_is_on_a_side_of_zero_is_a_claim_about_all(aside: AsideText) -> None:
    assert aside.below_zero("ability", "dpo") == aside.above_zero("ability", "gem", "replay") == ""
    for names in ((), ("dpo", "ewc")):
        with pytest.raises(UnsupportedClaimError, match=r"below 0: dpo\."):
            aside.below_zero("ability", *names)
    with pytest.raises(UnsupportedClaimError, match=r"above 0: gem, replay\."):
        aside.above_zero("ability", "replay")


def test_the_order_by_a_column_is_held_against_the_ranking(aside: AsideText) -> None:
    """All four methods stand in one order by both."""
    assert aside.agreement("ability").startswith("1.00")
