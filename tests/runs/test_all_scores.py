"""All scores together, offline: a reward model that is trained, a judge's server, abilities, win-rates, distances."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.command import Call
from tests.judge_server import JudgeServer, Messages, serve

ASKED = ("--reward", "trained", "--ability", "builtin_format", "--scorer", "judge,win,distance,overlap")
AGAINST = ("--opponent", "base", "--opponent", "previous", "--opponent", "chosen")


def answer(messages: Messages) -> str:
    """A judge that is fixed by what it reads, and sometimes of no use."""
    text = "".join(m["content"] for m in messages)
    number = int(hashlib.sha256(text.encode()).hexdigest(), 16)
    if "Better:" in text:
        return f"Hm.\nBetter: {('1', '2', 'tie')[number % 3]}"
    return "I would rather not say." if number % 97 == 0 else f"Hm.\nScore: {1 + number % 10}"


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeServer]:
    with serve() as server:
        server.answer = answer
        monkeypatch.setenv("LIFEALIGN_BENCH_JUDGE", "server:judge")
        monkeypatch.setenv("LIFEALIGN_BENCH_JUDGE_URL", server.address)
        yield server


def folder(out: Path) -> Path:
    return out / "fake" / "fake" / "dpo" / "seed-0"


def test_one_command_gives_all_and_later_ones_the_same(call: Call, tmp_path: Path, judge: JudgeServer) -> None:
    """Asked for at the start, or added to the finished run bit by bit: the same numbers, and no question twice."""
    run = ("run", "--method", "dpo", "--model", "fake", "--stream", "fake", "--limit", "4", "--json")
    code, out, text = call(*run, "--out", str(tmp_path / "a"), *ASKED, *AGAINST)
    assert code == 0, text
    (summary,) = json.loads(out)
    asked = len(judge.calls)
    assert asked > 0

    code, _, text = call(*run, "--out", str(tmp_path / "b"), "--scorer", "judge")
    assert code == 0, text
    later = folder(tmp_path / "b")
    for words in (
        ("--scorer", "win,distance,overlap", *AGAINST),
        ("--reward", "trained"),
        ("--ability", "builtin_format"),
    ):
        code, out, text = call("score", str(later), "--json", *words)
        assert code == 0, text
    assert len(judge.calls) == asked  # every answer is kept
    (again,) = json.loads(out)
    for stage in range(4):
        first, second = (
            pd.read_parquet(f / f"stage-{stage}" / "scores.parquet") for f in (folder(tmp_path / "a"), later)
        )
        assert set(first.columns) == set(second.columns)
        assert first.equals(second[first.columns])
    for key in ("metrics", "scores", "abilities"):
        assert summary[key] == again[key], key
    one, other = (_record(f) for f in (folder(tmp_path / "a"), later))
    for name in ("judge", "win", "reward_model"):
        assert _flat(_lasting(one["facts"][name])) == _flat(_lasting(other["facts"][name])), name
    assert one["abilities"] == other["abilities"]


def _record(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "record.json").read_text())
    return content


def _lasting(facts: dict[str, Any]) -> Any:
    """Without what one process paid, which depends on which answers were there already."""
    paid = {"calls", "from_store", "cost_usd"}
    run = _without(facts["run"], {*paid, "prompt_tokens", "completion_tokens"})
    return run, _without(facts["stages"], paid)


def _without(value: Any, keys: set[str]) -> Any:
    if isinstance(value, dict):
        return {k: _without(v, keys) for k, v in value.items() if k not in keys}
    return value


def test_every_number_of_the_tables_has_its_uncertainty(call: Call, tmp_path: Path, judge: JudgeServer) -> None:
    words = ("--model", "fake", "--stream", "fake", "--method", "dpo", "--limit", "4", "--out", str(tmp_path / "a"))
    code, out, text = call("run", *words, *ASKED, "--full")
    assert code == 0, text
    for title in ("Judge", "The reward model", "General ability", "Judged win-rate", "Summary"):
        assert title.lower() in out.lower(), title
    rows = [line for line in out.split("\n") if line.startswith(("last ", "AP ", "BWT "))]
    assert rows and all("[" in row for row in rows), rows


def test_all_means_what_can_be_had(call: Call, tmp_path: Path) -> None:
    words = ("--model", "fake", "--stream", "fake", "--method", "dpo", "--limit", "4", "--out", str(tmp_path / "a"))
    code, _, text = call("run", *words, "--scorer", "all", "--json")
    assert code == 0, text
    assert {"judge", "win", "reward_model"}.isdisjoint(_record(folder(tmp_path / "a"))["config"]["scorers"])


def _flat(value: Any, place: str = "") -> set[str]:
    """Every leaf with its place, so that a failure names what differs."""
    if isinstance(value, dict):
        return {leaf for k, v in value.items() for leaf in _flat(v, f"{place}/{k}")}
    if isinstance(value, list | tuple):
        return {leaf for i, v in enumerate(value) for leaf in _flat(v, f"{place}/{i}")}
    return {f"{place} = {value}"}
