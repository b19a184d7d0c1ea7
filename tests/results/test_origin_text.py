"""A board is said to be of one code only if it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.board_text import Boards, BoardText, UnsupportedClaimError
from benchmarks.origin_text import one_source
from tests.published_records import publish, rewrite


def test_runs_of_one_code_and_of_several(tmp_path: Path) -> None:
    places = [publish(tmp_path, method, seed) for method in ("dpo", "replay") for seed in range(2)]
    assert one_source(Boards(tmp_path)("some", "small")) == ""
    content = json.loads(places[-1].read_text())
    content["method"]["source_sha256"] = "0" * 64
    rewrite(places[-1], content)
    with pytest.raises(UnsupportedClaimError, match="runs of replay are of several versions"):
        one_source(Boards(tmp_path)("some", "small"))


def test_runs_under_several_numbers_of_what_trains(tmp_path: Path) -> None:
    publish(tmp_path, "dpo", 0)
    text = Boards(tmp_path)("some", "small")
    (view,) = text.runs_of("dpo")
    other = type(view)(view.record.model_copy(update={"numbers": 7}))
    with pytest.raises(UnsupportedClaimError, match="several `numbers`"):
        one_source(BoardText(text.board, [view, other]))
