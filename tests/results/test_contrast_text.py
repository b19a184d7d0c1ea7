"""Methods that were run in two ways, as a text speaks of it: here without a budget and with one."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest

from benchmarks.board_text import Boards, UnsupportedClaimError
from benchmarks.contrast_text import ContrastText
from lifealign_bench.errors import BenchError
from tests.published_records import publish

SEEDS = range(3)
# Method to its share of right answers without a budget and with one.
LEVELS = {"replay": (0.9, 0.7), "dpo": (0.6, 0.6), "other": (0.6, 0.7)}


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Boards:
    results = tmp_path_factory.mktemp("budgets")
    for method, (free, bound) in LEVELS.items():
        for seed in SEEDS:
            publish(results / "free", method, seed, level=free)
            publish(results / "bound", method, seed, level=bound, budget="tokens")
    return Boards(results)


@pytest.fixture
def text(boards: Boards) -> ContrastText:
    return ContrastText(boards("some", "small"), boards("some", "small", "tokens"), list(LEVELS))


def test_the_difference_is_paired_over_seeds(text: ContrastText, boards: Boards) -> None:
    for method in LEVELS:
        own = {(v.record.config.get("budget"), v.seed): v for v in boards.views if v.name == method}
        for metric in ("last", "forgetting"):
            ends = {key: view.metric("preference_accuracy", metric) for key, view in own.items()}
            value = fmean(ends[None, seed] - ends["tokens", seed] for seed in SEEDS)
            assert text.difference(method, metric).split()[0] == f"{value:.1f}".replace("-0.0", "0.0")


def test_methods_that_surely_end_higher_or_lower_are_named(text: ContrastText) -> None:
    value, low, high = (float(part.strip("[],")) for part in text.difference("replay").split())
    assert 0 < low < value < high
    assert text.difference("dpo").startswith("0.0 [-")  # the same to the last pair
    assert text.higher() == "`replay`" and text.lower() == "`other`" and text.counted() == 1


def test_that_all_end_higher_is_claimed_of_all(boards: Boards, text: ContrastText) -> None:
    free, bound = boards("some", "small"), boards("some", "small", "tokens")
    assert ContrastText(free, bound, ["replay"]).each_higher() == ""
    with pytest.raises(UnsupportedClaimError, match="`dpo`, `other` end no higher"):
        text.each_higher()


def test_the_mean_over_methods_has_their_range(text: ContrastText) -> None:
    values = [float(text.difference(method).split()[0]) for method in LEVELS]
    assert text.mean() == f"{fmean(values):.1f} ({min(values):.1f} to {max(values):.1f})"
    assert min(values) < 0 < max(values)


def test_the_two_orders_are_held_against_each_other(boards: Boards, tmp_path: Path) -> None:
    """Of the six pairs of four methods one stands in the other order: (5 - 1) / 6."""
    for way, levels in {"first": (0.5, 0.6, 0.7, 0.8), "second": (0.5, 0.7, 0.6, 0.8)}.items():
        for method, level in zip("abcd", levels, strict=True):
            publish(tmp_path / way, method, 0, level=level)
    first, second = (Boards(tmp_path / way)("some", "small") for way in ("first", "second"))
    assert ContrastText(first, second, ["b"]).agreement(*"abcd").startswith("0.67 [")
    assert ContrastText(first, first, ["b"]).agreement(*"abcd").startswith("1.00")
    with pytest.raises(BenchError, match="no rank correlation"):
        ContrastText(first, second, ["b"]).agreement("a", "b")


def test_what_was_not_run_in_one_of_the_ways_is_refused(boards: Boards) -> None:
    free, bound = boards("some", "small"), boards("some", "small", "tokens")
    with pytest.raises(BenchError, match="has no run of rft"):
        ContrastText(free, bound, ["replay", "rft"]).higher()
    with pytest.raises(BenchError, match="lwf is not among"):
        ContrastText(free, bound, ["replay"]).difference("lwf")
