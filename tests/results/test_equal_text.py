"""The board of a budget with the runs that it would not change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.board_text import Boards, BoardText
from benchmarks.equal_text import with_unchanged
from lifealign_bench.errors import BenchError
from tests.published_records import publish, rewrite

LEVELS = {"dpo": 0.5, "kl": 0.6, "replay": 0.9, "sft": 0.4}
SEEDS = range(3)


def spending(place: Path, **more: Any) -> None:
    """Other numbers of every stage."""
    content = json.loads(place.read_text())
    content["stages"] = [stage | more for stage in content["stages"]]
    rewrite(place, content)


@pytest.fixture
def free(tmp_path: Path) -> BoardText:
    """All methods without a budget: ``replay`` with more tokens, ``sft`` in fewer steps."""
    for method, level in LEVELS.items():
        for seed in SEEDS:
            place = publish(tmp_path / "free", method, seed, level=level)
            if method == "replay":
                spending(place, tokens={"train": 9999})
            if method == "sft":
                spending(place, steps=1)
    return Boards(tmp_path / "free")("some", "small")


def bound(tmp_path: Path, seeds: range = SEEDS) -> BoardText:
    for seed in seeds:
        publish(tmp_path / "bound", "replay", seed, level=0.8, budget="tokens")
    return Boards(tmp_path / "bound")("some", "small", "tokens")


def test_what_spends_as_plain_training_does_stands_beside(tmp_path: Path, free: BoardText) -> None:
    with_budget = bound(tmp_path)
    found = with_unchanged(with_budget, free)
    assert set(found.with_at_least()) == {"dpo", "kl", "replay"} and found.board.budget == "tokens"
    assert found.value("replay") == with_budget.value("replay") != free.value("replay")
    assert found.interval("kl") == free.interval("kl")
    assert found.comparisons() == 3 and set(found.entered()) == {"dpo", "kl", "replay"}


def test_a_seed_that_plain_training_lacks_is_named(tmp_path: Path, free: BoardText) -> None:
    with pytest.raises(BenchError, match="dpo lacks a seed"):
        with_unchanged(bound(tmp_path, range(1, 4)), free)
