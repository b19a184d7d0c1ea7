"""Rows become pairs, every hole is counted, and the paper's files hold the holes that are known of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifealign_bench.data.cards import TaskCard, load_task
from lifealign_bench.data.cleaning import Cleaner, clean_rows
from lifealign_bench.data.sources import FileSource, HubSource, InlineSource
from lifealign_bench.data.tasks import TaskData, available, load_split, load_task_data
from lifealign_bench.errors import BenchError
from lifealign_bench.pairs import Message, Pair, Split
from tests.command import Call
from tests.places import SHARED

REAL = SHARED / "data"
real_data = pytest.mark.skipif(not REAL.is_dir(), reason=f"no copy of the paper's data at {REAL}")


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def bot(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


GOOD: dict[str, Any] = {"prompt": "p", "chosen": "c", "rejected": "r"}


def card_of(rows: list[dict[str, Any]], test: list[dict[str, Any]] | None = None, **more: Any) -> TaskCard:
    return TaskCard(
        name="t", title="t", source=InlineSource(train=tuple(rows), test=tuple(test or [dict(GOOD)])), **more
    )


def load(rows: list[dict[str, Any]], **more: Any) -> TaskData:
    return load_task_data(card_of(rows, **more), data_dir=None)


def only_pair(row: dict[str, Any], **more: Any) -> tuple[list[tuple[str, str]], str, str]:
    data = load([row], test=[row], **more)
    (pair,) = data.train
    return [(m.role, m.content) for m in pair.prompt], pair.chosen, pair.rejected


def refused(card: TaskCard) -> BenchError:
    with pytest.raises(BenchError) as caught:
        load_task_data(card, data_dir=None)
    assert caught.value.remedy and "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"prompt": " \n"}, "empty prompt"),
        ({"prompt": []}, "empty prompt"),
        ({"prompt": [{"role": "system", "content": "s"}]}, "empty prompt"),
        ({"chosen": ""}, "empty chosen"),
        ({"chosen": [bot(" ")]}, "empty chosen"),
        ({"rejected": "\t"}, "empty rejected"),
        ({"rejected": " c\n"}, "identical chosen and rejected"),
        ({"rejected": [bot("c")]}, "identical chosen and rejected"),
        ({"chosen": None}, "missing or null field"),
        ({"prompt": [{"role": "user", "content": None}]}, "missing or null field"),
        ({"prompt": 3}, "field is not text or a list of messages"),
        ({"rejected": {"text": "x"}}, "field is not text or a list of messages"),
        ({"prompt": ["p"]}, "field is not text or a list of messages"),
        ({"prompt": [{"role": "tool", "content": "x"}]}, "tool calls"),
        ({"prompt": [{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]}, "tool calls"),
        ({"prompt": [{"from": "function_call", "value": "{}"}]}, "tool calls"),
        ({"prompt": [{"role": "narrator", "content": "x"}]}, "unknown role (narrator)"),
        ({"prompt": [{"role": "<b>\n" + "x" * 99, "content": "x"}]}, "unknown role (bxxxxxxxxxxxxxxxxxxx)"),
        ({"prompt": [{"role": "user", "content": [{"type": "image_url"}]}]}, "no text (image_url)"),
        ({"prompt": [{"role": "user", "content": [{"type": "text", "text": None}]}]}, "missing or null field"),
        ({"chosen": "\u200b\u2060\ufeff"}, "empty chosen"),
        ({"rejected": " \u3164\u2800\n"}, "empty rejected"),
        ({"rejected": "\u00ad\ufe0f\U000e0100"}, "empty rejected"),
        ({"chosen": [bot("\u200d")]}, "empty chosen"),
        ({"prompt": "\u200b"}, "empty prompt"),
        ({"chosen": "half \ud83d"}, "text is not valid Unicode"),
        ({"prompt": [user("a"), bot("b")]}, "prompt does not end with the user's turn"),
        ({"prompt": [bot("b"), user("a")]}, "prompt turns out of order"),
        ({"prompt": [user("a"), {"role": "system", "content": "s"}, user("b")]}, "prompt turns out of order"),
        ({"chosen": [user("x")]}, "response is not one assistant turn"),
        ({"chosen": [user("other"), bot("c")], "rejected": [user("other"), bot("r")]}, "do not fit together"),
        ({"check": 3}, "check is not an object"),
        ({"check": "{"}, "check is not an object"),
        ({"check": {"day": object()}}, "check is not an object"),
    ],
)
def test_what_is_dropped_is_counted(change: dict[str, Any], reason: str) -> None:
    report = load([{**GOOD, "prompt": "q"}, {**GOOD, **change}]).reports["train"]
    ((found, number),) = report.dropped.items()
    assert reason in found and number == 1
    assert report.examples[found] == [1]
    assert (report.read, report.kept) == (2, 1)
    assert f"dropped 1 ({found}: row 1)" in report.summary()
    assert json.loads(json.dumps(report.as_dict())) == report.as_dict()


def test_duplicates_are_dropped_but_not_repeated_prompts() -> None:
    rows = [GOOD, {**GOOD, "rejected": "other"}, {**GOOD, "prompt": "p "}, GOOD]
    data = load(rows)
    assert [pair.id for pair in data.train] == ["t/train/0", "t/train/1"]
    assert data.reports["train"].dropped == {"duplicate pair": 2}
    assert data.reports["train"].examples["duplicate pair"] == [2, 3]


def test_rows_without_a_field_are_dropped_and_examples_end_at_five() -> None:
    rows = [dict(GOOD)] + [{"prompt": str(n), "chosen": "c"} for n in range(7)]
    report = load(rows).reports["train"]
    assert report.dropped == {"missing or null field": 7}
    assert report.examples["missing or null field"] == [1, 2, 3, 4, 5]
    assert "row 1, 2, 3, 4, 5, ..." in report.summary()


def test_white_space_is_stripped_and_counted() -> None:
    data = load([{**GOOD, "prompt": " p\n"}, {**GOOD, "chosen": "c "}, {**GOOD, "rejected": "x"}])
    # The second row is the first one again once both are stripped.
    assert [(p.prompt[0].content, p.chosen, p.rejected) for p in data.train] == [("p", "c", "r"), ("p", "c", "x")]
    assert data.reports["train"].changed == {"white space stripped": 1}
    assert data.reports["train"].dropped == {"duplicate pair": 1}


def test_limits_are_applied_after_cleaning() -> None:
    rows = [{**GOOD, "chosen": ""}] + [{**GOOD, "prompt": str(n)} for n in range(5)]
    card = card_of(rows, rows)
    data = load_task_data(card, data_dir=None, train_limit=2, test_limit=1)
    assert [pair.id for pair in data.train] == ["t/train/1", "t/train/2"]
    assert [pair.id for pair in data.test] == ["t/test/1"]
    assert data.reports["train"].kept == 5
    whole = load_task_data(card, data_dir=None)
    assert whole.hashes()["train"] != data.hashes()["train"] and whole.source_hashes == data.source_hashes
    assert load_task_data(card, data_dir=None, train_limit=2).hashes()["train"] == data.hashes()["train"]


def test_test_prompts_in_train_are_reported_not_dropped() -> None:
    data = load([dict(GOOD)], test=[{**GOOD, "prompt": "new"}, {**GOOD, "prompt": " p", "chosen": "d"}])
    assert data.overlap == 1 and len(data.test) == 2
    assert data.reports["test"].noted == {"test prompt also in train": 1}
    assert data.reports["test"].examples["test prompt also in train"] == [1]


def test_a_task_without_pairs_names_the_counts() -> None:
    error = refused(card_of([{**GOOD, "chosen": ""}, {**GOOD, "rejected": "c"}]))
    assert "Task t has no training pairs left" in error.message
    assert "kept 0 of 2" in error.message and "1 (empty chosen: row 0)" in error.message
    assert "no test pairs left" in refused(card_of([GOOD], [{**GOOD, "chosen": " "}])).message


@pytest.mark.parametrize("hole", ["", " \n", None])
def test_test_pairs_without_a_chosen_response_are_dropped_and_told(hole: str | None) -> None:
    data = load([dict(GOOD)], test=[{**GOOD, "chosen": hole}, {**GOOD, "prompt": "q"}, {**GOOD, "chosen": hole}])
    reason = "missing or null field" if hole is None else "empty chosen"
    assert [pair.id for pair in data.test] == ["t/test/1"]
    assert data.reports["test"].dropped == {reason: 2} and data.reports["test"].examples[reason] == [0, 2]
    assert f"dropped 2 ({reason}: row 0, 2)" in data.reports["test"].summary()


def test_a_test_split_without_chosen_responses_at_all_is_refused(call: Call, tmp_path: Path) -> None:
    """Before any training, in one message: where the column is empty, and where it is not there."""
    rows = {"holes": {"prompt": "p", "chosen": "", "rejected": "r"}, "lacks": {"prompt": "p", "rejected": "r"}}
    (tmp_path / "train.jsonl").write_text(json.dumps(GOOD))
    for name, row in rows.items():
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row))
        (tmp_path / f"{name}.yaml").write_text(
            f"name: {name}\ntitle: t\nsource: {{type: file, train: train.jsonl, test: {name}.jsonl}}\n"
        )
    for name, message in (
        ("holes", "Task holes has no test pairs left after cleaning"),
        ("lacks", f"{tmp_path / 'lacks.jsonl'} lacks the column 'chosen'"),
    ):
        code, out, err = call("run", "--model", "fake", "--stream", f"{name}.yaml", "--method", "dpo")
        assert code == 2 and message in err and err.count("error:") == 1, err
        assert "Traceback" not in out + err and not list(tmp_path.glob("runs/**/stage-1"))


def test_a_run_names_all_tasks_that_have_to_be_fetched(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIFEALIGN_BENCH_DATA", raising=False)
    code, _, err = call("run", "--model", "fake", "--method", "dpo", "--stream", "mini-facts,HC3,safe-rlhf")
    assert code == 2 and "The data of 2 tasks is not available: HC3, safe-rlhf." in err
    assert "Run lifealign-bench data fetch HC3 safe-rlhf, or" in err and err.count("error:") == 1


def test_a_lacking_column_has_suggestions() -> None:
    rows = [{"query": "p", "chosen": "c", "rejectd": "r"}]
    error = refused(card_of(rows))
    assert "lacks the column 'rejected' (has: 'query', 'chosen', 'rejectd')" in error.message
    assert "Did you mean 'rejectd'?" in error.remedy
    assert "'prompt'" in refused(card_of([{"query": "p", "chosen": "c", "rejected": "r"}])).message
    assert "'ask'" in refused(card_of([GOOD], columns={"prompt": "ask"})).message
    assert "'truth'" in refused(card_of([GOOD], columns={"check": "truth"})).message


def test_pairs_of_one_cluster_are_named_by_a_column_a_field_or_their_prompt() -> None:
    rows = [{**GOOD, "prompt": f"p{i}", "topic": i // 2, "check": {"topic": ["yak", str(i // 2)]}} for i in range(6)]

    def sizes(**columns: str) -> list[int]:
        clusters = [pair.cluster for pair in load([dict(GOOD)], test=rows, columns=columns).test]
        return sorted(clusters.count(name) for name in set(clusters))

    assert sizes() == [1] * 6
    # The training rows have neither: what is not known to be independent is not taken for it.
    both = [{**GOOD, "topic": 0, "check": {"topic": "x"}}]
    for name in ("topic", "check.topic"):
        data = load(both, test=rows, columns={"cluster": name})
        assert [data.test[i].cluster == data.test[0].cluster for i in range(6)] == [True, True, *[False] * 4]
    same = load([dict(GOOD)], test=[{**GOOD, "prompt": "q"}, {**GOOD, "prompt": "q", "chosen": "other"}])
    assert same.test[0].cluster == same.test[1].cluster and "q" not in same.test[0].cluster
    # The cluster is no part of what a pair says: digests of before stay.
    assert data.test[0].content() == load([dict(GOOD)], test=rows).test[0].content()


@pytest.mark.parametrize("hole", [None, "", "  ", float("nan")])
def test_a_cluster_column_with_holes_or_one_value_is_refused(hole: Any) -> None:
    train = [{**GOOD, "topic": "a"}, {**GOOD, "prompt": "q", "topic": "b"}]
    test = [{**GOOD, "prompt": "r", "topic": "a"}, {**GOOD, "prompt": "s", "topic": hole}]
    error = refused(card_of(train, test, columns={"cluster": "topic"}))
    assert "Task t: 'topic' has no value in 1 test row (the first: row 1)" in error.message
    error = refused(card_of(train, [{**row, "topic": "a"} for row in test], columns={"cluster": "topic"}))
    assert "'topic' has one value in all 2 test pairs" in error.message and "leave 'cluster' out" in error.remedy
    error = refused(card_of(train, test, columns={"cluster": "topik"}))
    assert "lacks the column 'topik'" in error.message and "Did you mean 'topic'?" in error.remedy


def test_csv_without_a_header(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text(f"{'long ' * 30},b,c\nd,e,f\n")
    card = TaskCard(
        name="t", title="t", source=FileSource(train="train.csv", test="test.csv"), path=tmp_path / "t.yaml"
    )
    error = refused(card)
    assert "train.csv lacks the column 'chosen'" in error.message and len(error.message) < 400
    assert "first line of a CSV file" in error.remedy and str(tmp_path / "t.yaml") in error.remedy


def test_check_reaches_the_pair_from_json_and_csv() -> None:
    assert load([{**GOOD, "check": {"a": [1]}}]).train[0].check == {"a": [1]}
    assert load([{**GOOD, "check": '{"a": [1]}'}]).train[0].check == {"a": [1]}
    assert load([{**GOOD, "truth": {"b": 2}}], test=[{**GOOD, "truth": None}], columns={"check": "truth"}).train[
        0
    ].check == {"b": 2}
    assert load([{**GOOD, "check": ""}]).train[0].check == {}


CONVERSATIONS: list[dict[str, Any]] = [
    {"prompt": [user("p")], "chosen": [bot("c")], "rejected": [bot("r")]},
    {"prompt": [user("p")], "chosen": "c", "rejected": "r"},
    {"prompt": "p", "chosen": [bot("c")], "rejected": [bot("r")]},
    {"prompt": "p", "chosen": [user("p"), bot("c")], "rejected": [user("p"), bot("r")]},
    {"prompt": [user("p")], "chosen": [user("p"), bot("c")], "rejected": [user("p"), bot("r")]},
    {"chosen": [user("p"), bot("c")], "rejected": [user(" p"), {**bot("r"), "name": "x"}]},
]


@pytest.mark.parametrize("row", CONVERSATIONS)
def test_all_formats_of_trl_are_the_same_pair(row: dict[str, Any]) -> None:
    assert only_pair(row) == ([("user", "p")], "c", "r")


def parts(*texts: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text} for text in texts]


def gpt(text: str) -> dict[str, str]:
    return {"from": "gpt", "value": text}


def human(text: str) -> dict[str, str]:
    return {"from": "human", "value": text}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [{"role": "user", "content": parts("q", "?")}], "chosen": "c", "rejected": "r"},
        {"prompt": [human("q?")], "chosen": [gpt("c")], "rejected": [gpt("r")]},
        {"conversations": [human("q?")], "chosen": gpt("c"), "rejected": gpt("r")},
        {"messages": [user("q?")], "chosen": bot("c"), "rejected": bot("r")},
        {"chosen": [human("q?"), gpt("c")], "rejected": [human("q?"), gpt("r")]},
        {"chosen": [human("q?"), gpt("c")], "rejected": [human("q?"), gpt("r")], "messages": [user("q?"), bot("c")]},
        {
            "prompt": [{"role": "Human", "content": "q?"}],
            "chosen": [{"role": "model", "content": "c"}],
            "rejected": "r",
        },
        {"prompt": [{**user("q?"), "tool_calls": None}], "chosen": [{**bot("c"), "tool_calls": []}], "rejected": "r"},
    ],
)
def test_every_form_of_a_conversation_is_the_same_pair(row: dict[str, Any]) -> None:
    (pair,) = load([row]).train
    assert ([(turn.role, turn.content) for turn in pair.prompt], pair.chosen, pair.rejected) == (
        [("user", "q?")],
        "c",
        "r",
    )


def test_show_fails_where_the_data_cannot_be_used(call: Call, tmp_path: Path) -> None:
    tools = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    rows = [{"prompt": "q", "chosen": [tools], "rejected": "r"}, {"prompt": "q", "chosen": "", "rejected": "r"}]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "t.yaml").write_text("name: t\ntitle: t\nsource: {type: file, train: d.jsonl, test: d.jsonl}\n")
    code, out, err = call("show", str(tmp_path / "t.yaml"))
    assert code == 2 and "task t: t" in out and "Traceback" not in err
    assert "The data cannot be used" in err and "1 (conversation with tool calls" in err and "1 (empty chosen" in err


def test_conversations_of_several_turns() -> None:
    start = [{"role": "system", "content": "s"}, user("a"), bot("b"), user("q")]
    row = {"chosen": [*start, bot("c")], "rejected": [*start, bot("r")]}
    prompt = [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "q")]
    assert only_pair(row) == (prompt, "c", "r")
    assert only_pair({**row, "prompt": "q"}) == (prompt, "c", "r")
    assert only_pair({**row, "prompt": start}) == (prompt, "c", "r")
    assert load([row]).reports["train"].changed == {"prompt taken from the conversations": 1}
    parting = {"chosen": [user("a"), bot("b"), user("c"), bot("d")], "rejected": [user("a"), bot("x")]}
    assert load([row, parting]).reports["train"].dropped == {"response is not one assistant turn": 1}
    same = {"chosen": row["chosen"], "rejected": row["chosen"]}
    assert load([row, same]).reports["train"].dropped == {"identical chosen and rejected": 1}


def test_empty_and_repeated_turns_are_joined() -> None:
    row = {**GOOD, "prompt": [user("a"), bot(""), user("b")]}
    assert only_pair(row)[0] == [("user", "a\nb")]
    assert "empty turns dropped or turns of one speaker joined" in load([row]).reports["train"].changed


def test_a_card_without_dialogue_leaves_labels_alone() -> None:
    row = {"prompt": "Human: a\nAssistant: b\nHuman: c", "chosen": "Assistant: d", "rejected": "Assistant: e"}
    assert only_pair(row) == ([("user", row["prompt"])], "Assistant: d", "Assistant: e")


def test_dialogue_of_the_papers_files() -> None:
    def mended(prompt: str, chosen: str, rejected: str) -> tuple[list[tuple[str, str]], str, str]:
        return only_pair({"prompt": prompt, "chosen": chosen, "rejected": rejected}, dialogue="human-assistant")

    asked = "Human: a\nAssistant: b\nHuman: c"
    turns = [("user", "a"), ("assistant", "b"), ("user", "c")]
    assert mended(asked, "Assistant: d", "Assistant: e") == (turns, "d", "e")
    assert mended(asked + "\n\nAssistant:", " d", " e") == (turns, "d", "e")
    # A chosen response of two paragraphs: the first stands at the end of the prompt.
    assert mended(asked + "\nAssistant: one", "two", "Assistant: e") == (turns, "one\ntwo", "e")
    assert mended("plain", "Assistant: d", "e") == ([("user", "plain")], "d", "e")


def test_dialogue_notes_a_rejected_response_without_its_opening() -> None:
    prompt = "Human: a"
    rows = [
        {"prompt": prompt, "chosen": "Assistant: c", "rejected": "end"},
        {"prompt": prompt + "\nAssistant: one", "chosen": "two", "rejected": "end"},
        {"prompt": prompt + "\nAssistant: b", "chosen": "Assistant: c", "rejected": "Assistant: r"},
    ]
    report = load(rows, dialogue="human-assistant").reports["train"]
    assert report.noted == {"rejected lacks its opening": 2}
    assert report.changed["opening of chosen moved back from the prompt"] == 1
    assert report.dropped == {"prompt does not end with the user's turn": 1}
    plain = [{"prompt": "Human: a\n\nAssistant:", "chosen": "c", "rejected": "r"}]
    assert load(plain, dialogue="human-assistant").reports["train"].noted == {}


def test_original_hh_rlhf_holds_the_dialogue_in_its_responses() -> None:
    start = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:"
    row = {"chosen": f"{start} d\n\nd2", "rejected": f"{start} e"}
    turns = [("user", "a"), ("assistant", "b"), ("user", "c")]
    assert only_pair(row, dialogue="human-assistant") == (turns, "d\n\nd2", "e")
    assert load([row, {**row, "chosen": start}], dialogue="human-assistant", test=[row]).reports["train"].dropped == {
        "empty chosen": 1
    }


VALUES = st.sampled_from(
    [
        *(None, 1, "", " ", "a", "b ", "Human: a", "Human: a\nAssistant: b", "Assistant: ", "Assistant: c", "\ud800"),
        *(["x"], [user("u")], [user("u"), bot("a")], [user("u"), bot("b")], [bot("c")], {"k": 1}),
    ]
)


@given(
    st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(("prompt", "chosen", "rejected", "check"), VALUES))),
    st.booleans(),
    st.booleans(),
)
def test_whatever_the_rows_nothing_is_lost_and_pairs_are_sound(
    rows: list[dict[str, Any]], dialogue: bool, implicit: bool
) -> None:
    cleaner = Cleaner("t", None if implicit else "prompt", "chosen", "rejected", "check", dialogue)
    pairs, report = clean_rows(cleaner, rows, "train")
    assert report.read == len(rows) == report.kept + sum(report.dropped.values())
    assert report.kept == len(pairs) == len({pair.id for pair in pairs})
    for pair in pairs:
        assert_sound(pair)


def assert_sound(pair: Pair) -> None:
    assert pair.prompt[-1].role == "user"
    roles = [m.role for m in pair.prompt if m.role != "system"]
    assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
    texts = [*(m.content for m in pair.prompt), pair.chosen, pair.rejected]
    assert all(text and text == text.strip() for text in texts)
    assert pair.chosen != pair.rejected
    "".join(texts).encode("utf-8")


def test_local_files_and_folders_of_a_hub_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "set").mkdir()
    row = {"chosen": [user("p"), bot("c")], "rejected": [user("p"), bot("r")], "check": {"n": 1}}
    for split in ("train", "test"):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "set" / f"{split}.parquet")
    local = FileSource(train="set/train.parquet", test="set/test.parquet")
    for source in (local, HubSource(repo="./set")):
        card = TaskCard(name="t", title="t", source=source, path=tmp_path / "t.yaml")
        assert available(card, None) is None
        (pair,) = load_task_data(card, data_dir=None).train
        assert (pair.prompt, pair.chosen, pair.check) == ((Message("user", "p"),), "c", {"n": 1})


def test_problems_name_the_task(tmp_path: Path) -> None:
    source = FileSource(train="a.json", test="a.json")
    card = TaskCard(name="t", title="t", source=source, path=tmp_path / "t.yaml")
    assert "a.json is missing" in str(available(card, None))
    assert refused(card).message.startswith("Task t: The data file")
    (tmp_path / "a.json").write_text("[")
    assert "a.json is truncated" in refused(card).message


# Known of the paper's files: (task, split) -> read, kept, some of what was dropped.
HOLES: dict[tuple[str, Split], tuple[int, int, dict[str, int]]] = {
    ("HC3", "test"): (1000, 985, {"empty rejected": 14, "duplicate pair": 1}),
    ("TruthfulQA", "train"): (653, 653, {}),
    ("TruthfulQA", "test"): (83, 83, {}),
    ("hh-rlhf-harmless-base", "train"): (
        3000,
        2987,
        {"empty chosen": 4, "empty rejected": 1, "prompt does not end with the user's turn": 8},
    ),
    ("hh-rlhf-harmless-base", "test"): (1000, 998, {"empty chosen": 2}),
    ("hh-rlhf-helpful-base", "train"): (3000, 2989, {"empty rejected": 5, "identical chosen and rejected": 6}),
    ("hh-rlhf-helpful-base", "test"): (
        1000,
        994,
        {"empty rejected": 4, "identical chosen and rejected": 1, "prompt does not end with the user's turn": 1},
    ),
    ("safe-rlhf", "train"): (2985, 2972, {"empty chosen": 13}),
    ("safe-rlhf", "test"): (348, 347, {"empty chosen": 1}),
}


@real_data
@pytest.mark.parametrize(("task", "split"), HOLES)
def test_known_holes_of_the_papers_files(task: str, split: Split) -> None:
    pairs, report, source = load_split(load_task(task), split, data_dir=REAL)
    read, kept, dropped = HOLES[task, split]
    assert (report.read, report.kept, dict(report.dropped)) == (read, kept, dropped)
    assert source.digest.startswith("git:")
    for pair in pairs:
        assert_sound(pair)
    if task.startswith("hh-rlhf"):
        assert report.changed["dialogue split into turns"] == kept
        assert max(len(pair.prompt) for pair in pairs) >= 5
        # One response of the four files says the label twice; only the file's own label goes.
        labelled = [pair.id for pair in pairs if pair.chosen.startswith("Assistant:")]
        assert labelled in ([], ["hh-rlhf-harmless-base/train/801"])


@real_data
def test_overlap_of_the_papers_files() -> None:
    assert load_task_data(load_task("safe-rlhf"), data_dir=REAL).overlap == 12
    assert load_task_data(load_task("hh-rlhf-harmless-base"), data_dir=REAL).overlap == 3
    assert available(load_task("safe-rlhf"), REAL) is None


@real_data
def test_a_task_with_half_its_files_is_not_available(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIFEALIGN_BENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("LIFEALIGN_BENCH_DATA", raising=False)
    assert "data/HC3/train.json is missing" in str(available(load_task("HC3"), REAL))
