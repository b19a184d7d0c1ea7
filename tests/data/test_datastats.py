"""The statistics are what one counts by hand, and what is not available is said."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lifealign_bench.cli.live import StatsView
from lifealign_bench.data.cards import TaskCard, load_task
from lifealign_bench.data.sources import InlineSource
from lifealign_bench.data.stats import Percentiles, Script, TaskStats, measure_task, overlaps, script_of
from lifealign_bench.data.tasks import load_split
from lifealign_bench.models.encode import encode_prompt, token_counter
from lifealign_bench.models.tokenizer import load_tokenizer
from lifealign_bench.pairs import Message, Pair
from lifealign_bench.reporting.tables.data import stats_grids
from tests.command import Call


def row(prompt: str, chosen: str = "yes", rejected: str = "no") -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def card(name: str, train: list[dict[str, Any]], test: list[dict[str, Any]]) -> TaskCard:
    return TaskCard(name=name, title=name, source=InlineSource(train=tuple(train), test=tuple(test)))


def measure(of: TaskCard, model: str = "none") -> TaskStats:
    _, count = token_counter(model, lambda text: None)
    return measure_task(of, None, count, lambda split, done, total: None)


def test_spread_by_hand() -> None:
    assert Percentiles.of(list(range(1, 101))) == Percentiles(5, 50, 95, 100, 5050)
    assert Percentiles.of([7]) == Percentiles(7, 7, 7, 7, 7)
    assert Percentiles.of([1, 1000]) == Percentiles(1, 1, 1000, 1000, 1001)


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=50))
def test_percentiles_are_lengths_that_occur_in_their_order(lengths: list[int]) -> None:
    spread = Percentiles.of(lengths)
    assert {spread.p5, spread.p50, spread.p95, spread.max} <= set(lengths)
    assert spread.p5 <= spread.p50 <= spread.p95 <= spread.max
    assert sum(length <= spread.p95 for length in lengths) >= 0.95 * len(lengths)


def test_pairs_repetitions_and_holes() -> None:
    train = [row("a"), row("a", "other"), row("a"), row("b", ""), row("c", "same", "same"), row("d", rejected=" ")]
    stats = measure(card("t", train, [row("x")])).splits["train"]
    assert (stats.report.read, stats.report.kept, stats.repeated_prompts, stats.turns) == (6, 2, 1, 1)
    assert dict(stats.report.dropped) == {
        "duplicate pair": 1,
        "empty chosen": 1,
        "identical chosen and rejected": 1,
        "empty rejected": 1,
    }


def test_what_a_rule_scores_that_looks_at_length_alone() -> None:
    pairs = [row("a", "no", "never"), row("b", "never", "no"), row("c", "yes", "nay"), row("d", "y", "never")]
    stats = measure(card("t", pairs, [row("x", "long one", "short")])).splits
    assert (stats["train"].shorter_chosen, stats["test"].shorter_chosen) == (100 * 2.5 / 4, 0.0)
    assert stats["train"].as_dict()["shorter_chosen_percent"] == 62.5


def test_characters_of_every_part() -> None:
    stats = measure(card("t", [row("abc", "yes", "no"), row("abcd", "y", "never")], [row("x")])).splits["train"]
    assert stats.tokens is None
    assert {part: (s.p5, s.max, s.total) for part, s in stats.characters.items()} == {
        "prompt": (3, 4, 7),
        "chosen": (1, 3, 4),
        "rejected": (2, 5, 7),
        "pair": (6, 9, 15),
    }


def test_tokens_are_those_of_the_template() -> None:
    of = card("t", [row("abc", "yes", "no")], [row("x")])
    tokens = measure(of, "fake").splits["train"].tokens
    assert tokens is not None
    prompt = len(encode_prompt(load_tokenizer("fake"), [Message("user", "abc")]))
    # A byte is a token there; a response ends with one token more.
    assert (tokens["prompt"].max, tokens["chosen"].max, tokens["rejected"].max) == (prompt, 4, 3)
    assert tokens["pair"].max == prompt + 4


def test_many_pairs_are_all_counted() -> None:
    rows = [row("q" * (n + 1)) for n in range(150)]
    heard: list[tuple[str, int, int]] = []
    _, count = token_counter("fake", lambda text: None)
    stats = measure_task(card("t", rows, [row("x")]), None, count, lambda *event: heard.append(event))
    tokens = stats.splits["train"].tokens
    assert tokens is not None and tokens["chosen"].total == 150 * 4
    assert [done for split, done, _ in heard if split == "train"] == [0, 0, 64, 128]


def pair(prompt: str, chosen: str, rejected: str) -> Pair:
    return Pair("t/train/0", "t", (Message("user", prompt),), chosen, rejected)


def test_script_by_hand() -> None:
    # 3 + 4 + 1 characters; "é" and the dash are not ASCII, "é" is Latin.
    assert script_of([pair("a–b", "é, c", "d")]) == Script(8, 2, 5, 0, 0)
    assert script_of([pair("你好", "好", "a")]) == Script(4, 3, 4, 3, 1)
    assert script_of([pair("Да", "ok", "x!")]) == Script(6, 2, 5, 2, 0)
    assert script_of([pair("1", "2", "3")]) == Script(3, 0, 0, 0, 0)


def test_overlap_is_counted_by_pairs_between_all_tasks() -> None:
    a = measure(card("a", [row("p"), row("q")], [row("p"), row("p", "other"), row("r")]))
    b = measure(card("b", [row(" r "), row("s")], [row("P"), row("q")]))
    assert overlaps([a, b]) == {"a": {"a": 2, "b": 1}, "b": {"a": 1, "b": 0}}
    assert stats_grids([a, b], overlaps([a, b]), None)[-1].rows == (("a", "2", "1"), ("b", "1", "0"))


def test_json_holds_no_text_of_the_data() -> None:
    text = json.dumps(measure(card("t", [row("SECRET-a", "SECRET-b", "SECRET-c")], [row("x")])).as_dict())
    assert "SECRET" not in text and '"pairs": 1' in text


def test_overlap_and_sizes_of_the_papers_files(shared_data: Path) -> None:
    """Against a count of the raw files that shares no code with the package."""
    names = ("hh-rlhf-harmless-base", "safe-rlhf", "TruthfulQA")
    stats = [measure_task(load_task(name), shared_data, None, lambda *event: None) for name in names]
    raw = {
        (name, split): [
            row["query"].strip()
            for row in json.loads((shared_data / name / f"{split}.json").read_bytes())
            if "" not in (row["chosen"].strip(), row["rejected"].strip()) and row["chosen"] != row["rejected"]
        ]
        for name in names
        for split in ("train", "test")
    }
    found = overlaps(stats)["safe-rlhf"]
    assert found["safe-rlhf"] == 12 == sum(q in raw["safe-rlhf", "train"] for q in raw["safe-rlhf", "test"])
    questions = {q.removeprefix("Human: ").strip() for q in raw["hh-rlhf-harmless-base", "train"]}
    assert found["hh-rlhf-harmless-base"] == sum(q in questions for q in raw["safe-rlhf", "test"]) > 0
    truthful = stats[2].splits["train"].characters["prompt"].total
    assert truthful == sum(map(len, raw["TruthfulQA", "train"]))


def test_the_command_shows_all_of_it(call: Call) -> None:
    code, out, err = call("data", "stats", "mini-facts", "mini-brief", "--model", "fake")
    assert code == 0, err
    assert all(word in out for word in ("Pairs", "Tokens", "Language", "Test prompts among training prompts", "95 %"))
    assert "measuring mini-brief test" in err
    code, out, err = call("data", "stats", "mini-facts", "--model", "none", "--json", "--quiet")
    content = json.loads(out)
    assert (code, err) == (0, "") and content["tokens_of"] is None and content["left_out"] == {}
    train = content["tasks"][0]["train"]
    assert train["pairs"] == len(load_split(load_task("mini-facts"), "train", data_dir=None)[0])
    assert train["tokens"] is None and train["characters"]["chosen"]["p50"] > 0


def test_a_task_that_is_not_at_hand_is_named_with_the_remedy(call: Call) -> None:
    code, out, err = call("data", "stats", "mini-facts", "HC3", "--model", "none")
    assert code == 2 and "mini-facts" in out
    assert "Task HC3 is left out" in err and "lifealign-bench data fetch HC3" in err
    code, out, err = call("data", "stats", "--model", "none")
    assert code == 0 and "Task HC3 is left out" in err and "mini-refusal" in out


def test_a_task_that_cannot_be_read_does_not_keep_the_others(call: Call, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "p", "chosen": "", "rejected": "r"}\n')
    (tmp_path / "bad.yaml").write_text(
        "name: bad\ntitle: b\nsource: {type: file, train: rows.jsonl, test: rows.jsonl}\n"
    )
    code, out, err = call("data", "stats", "bad.yaml", "mini-facts", "--model", "none")
    assert code == 2 and "mini-facts" in out and "empty chosen" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stats", "mini-fact"], "Did you mean 'mini-facts'"),
        (["fetch", "order4"], "Did you mean 'order3'"),
        (["verify", "nowhere.yaml"], "nowhere.yaml"),
        (["stats", "mini-facts", "--model", "no/such"], "'no/such' cannot be loaded"),
    ],
)
def test_bad_words_are_one_clear_message(call: Call, words: list[str], message: str) -> None:
    code, _, err = call("data", *words)
    assert code == 2 and message in err and "Traceback" not in err


def test_without_the_wheel_characters_are_shown(call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("lifealign_bench.models.wheel._installed", lambda part: None)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("LIFEALIGN_BENCH_CACHE", str(tmp_path))
    code, out, err = call("data", "stats", "mini-facts")
    assert code == 0 and "Characters" in out and "Tokens" not in out
    assert "only characters" in err and "--model smollm2-135m fetches it" in err
    assert call("data", "stats", "mini-facts", "--model", "smollm2-135m")[0] == 2


def test_a_tokenizer_needs_no_weights(tmp_path: Path) -> None:
    load_tokenizer("fake").save_pretrained(str(tmp_path / "only-a-tokenizer"))
    name, count = token_counter(str(tmp_path / "only-a-tokenizer"), lambda text: None)
    assert name is not None and count is not None
    fake = token_counter("fake", lambda text: None)[1]
    assert fake is not None and count([pair("p", "c", "rr")]) == fake([pair("p", "c", "rr")])


def test_a_terminal_gets_a_bar_that_goes_away() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    of = card("t", [row("a")], [row("b")])
    with StatsView(console, [of]) as view:
        view.notice("a [red]note")
        measure_task(of, None, None, view.advancer(of))
    assert isinstance(console.file, io.StringIO)
    assert "note: a [red]note" in console.file.getvalue() and "t test 0/1" in console.file.getvalue()


def test_interrupted(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> TaskStats:
        raise KeyboardInterrupt

    monkeypatch.setattr("lifealign_bench.cli.data.measure_task", interrupted)
    code, out, err = call("data", "stats", "mini-facts", "--model", "none")
    assert (code, out) == (130, "") and "Stopped." in err and "Traceback" not in err
