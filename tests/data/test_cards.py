"""The registered cards are whole, and every mistake in a card is named with its line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lifealign_bench.data import cards
from lifealign_bench.data.cards import (
    TaskCard,
    available_streams,
    check_reward,
    load_stream,
    load_task,
    stream_names,
    task_names,
)
from lifealign_bench.data.sources import FileSource, GitSource, InlineSource
from lifealign_bench.data.tasks import load_task_data
from lifealign_bench.errors import BenchError, UsageError

PAPER = ["Capybara-Preferences", "HC3", "hh-rlhf-harmless-base", "hh-rlhf-helpful-base", "safe-rlhf", "TruthfulQA"]
GOOD = """\
name: mine
title: My task
source:
  type: file
  train: a.jsonl
  test: b.jsonl
"""


def write(folder: Path, text: str, name: str = "mine.yaml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def refused(call: Any, argument: str) -> BenchError:
    with pytest.raises(BenchError) as caught:
        call(argument)
    assert caught.value.remedy and "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("name", task_names())
def test_every_registered_task_card(name: str) -> None:
    card = load_task(name)
    assert card.name == name and card.title and card.description and card.kind and card.license
    check_reward(card)
    assert set(card.relations) <= set(task_names()) - {name}
    if isinstance(card.source, FileSource):
        assert set(card.source.sha256) == {"train", "test"}


@pytest.mark.parametrize("name", stream_names())
def test_every_registered_stream_card(name: str) -> None:
    stream = load_stream(name)
    assert stream.name == name and stream.title
    assert [card.name for card in stream.task_cards()] == list(stream.tasks)


def test_paper_cards_and_orders() -> None:
    assert set(PAPER) <= set(task_names())
    for name in PAPER:
        source = load_task(name).source
        assert isinstance(source, GitSource)
        assert source.commit == "e7e5581f905251901a166b3a2db536c83ae07049"
        assert {split: file.path for split, file in source.files.items()} == {
            split: f"data/{name}/{split}.json" for split in ("train", "test")
        }
    assert load_stream("order1").tasks == tuple(PAPER)
    assert load_stream("order2").tasks == tuple(reversed(PAPER))
    assert load_stream("order3").tasks == tuple(PAPER[i] for i in (2, 0, 5, 3, 1, 4))


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys; from lifealign_bench.data.cards import *; [load_stream(s).task_cards() for s in stream_names()]; "
        "assert task_names(); print({'torch', 'pandas', 'datasets', 'pyarrow', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_users_card(tmp_path: Path) -> None:
    card = load_task(write(tmp_path, GOOD))
    assert card.name == "mine" and card.home == tmp_path
    assert (card.overlong, card.dialogue, card.columns.prompt) == ("shorten", "none", "prompt")
    assert "path" not in card.model_dump()


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        (GOOD + "titel: x\n", 7, "did you mean 'title'"),
        (GOOD + "path: x\n", 7, "unknown key 'path'"),
        (GOOD.replace("  test: b", "  tset: b"), 6, "did you mean 'test'"),
        (GOOD.replace("  test: b.jsonl\n", ""), 3, "source.test: Field required"),
        (GOOD.replace("title: My task\n", ""), 1, "title: Field required"),
        (GOOD.replace("type: file", "type: fiel"), 3, "'fiel'"),
        (GOOD + "version: '1'\n", 7, "version"),
        (GOOD + "version: 0\n", 7, "greater than or equal to 1"),
        (GOOD + "dialogue: human\n", 7, "'human-assistant' or 'none'"),
        (GOOD + "overlong: cut\n", 7, "'shorten' or 'drop'"),
        (GOOD + "columns:\n  prompt: q\n  chosen: [1]\n", 9, "columns.chosen"),
        (GOOD + "  sha256: {train: 12}\n", 7, "source.sha256.train"),
        (GOOD.replace("name: mine", "name: a,b"), 1, "name"),
        (GOOD.replace("name: mine", "name: 2024"), 1, "valid string"),
        (GOOD + "title: again\n", 7, "'title' is there twice"),
        (GOOD + "kind: [a\n", 8, "not YAML"),
        (GOOD + "kind:\tx: y\n", 7, "not YAML"),
        ("- name\n", 1, "a mapping"),
        ("", 1, "a mapping"),
    ],
)
def test_a_broken_card_names_path_and_line(text: str, line: int, what: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    message = refused(load_task, path).message
    assert f"{path}, line {line}: " in message and what in message


def test_several_mistakes_are_announced(tmp_path: Path) -> None:
    assert "1 more mistake" in refused(load_task, write(tmp_path, GOOD + "version: 0\noverlong: cut\n")).remedy


def test_unreadable_cards(tmp_path: Path) -> None:
    assert "nowhere.yaml" in refused(load_task, str(tmp_path / "nowhere.yaml")).message
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe9\n")
    assert "not UTF-8 (byte 6)" in refused(load_task, str(tmp_path / "latin.yaml")).message
    (tmp_path / "folder.yaml").mkdir()
    assert "cannot be read" in refused(load_task, str(tmp_path / "folder.yaml")).message
    assert "not YAML" in refused(load_task, write(tmp_path, "name: 2024-13-45\n")).message
    assert "not YAML" in refused(load_task, write(tmp_path, "a: !!python/object/apply:os.getcwd []\n")).message


NINE = ", ".join(["*{0}"] * 9)
BILLIONS = "a: &a [x, x]\n" + "".join(
    f"{new}: &{new} [{NINE.format(old)}]\n" for old, new in zip("abcdefghijkl", "bcdefghijklm", strict=True)
)


@pytest.mark.parametrize("place", ["title", "whole"])
@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[" * 100_000, "nested deeper than 64"),
        ("[" * 100_000 + "]" * 100_000, "nested deeper than 64"),
        ("{a: " * 100_000, "nested deeper than 64"),
        ("\n" + "\n".join(" " * n + "- " for n in range(1, 300)), "nested deeper than 64"),
        ("&x [*x]", "an alias stands inside what it names"),
        ("x\n" + BILLIONS, "aliases stand for too much"),
        ("x\n" + BILLIONS + "<<: [*m, *m]\n", "aliases stand for too much"),
        ("x\nb: &b " + "y" * 100_000 + "\nc: [" + "*b, " * 200 + "]\n", "aliases stand for too much"),
        ("1" + ":59" * 100_000, "a number without end"),
        ("x" * (5 << 20), "larger than 4 MiB"),
        ("x\n? [a, b]\n: c\n", "a key is not a word"),
    ],
    ids=range(11),
)
def test_a_card_without_bounds_is_refused_before_it_is_parsed(tmp_path: Path, text: str, what: str, place: str) -> None:
    """In a process of its own, since at worst the parser ends it."""
    path = write(tmp_path, f"title: {text}" if place == "title" else f"{GOOD}kind: {text}")
    code = (
        f"import sys; from lifealign_bench.__main__ import main; sys.argv = ['x', 'show', {path!r}]; sys.exit(main())"
    )
    if what == "nested deeper than 64":
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 2 and what in " ".join(done.stderr.split())
    with pytest.raises(BenchError, match=what):
        load_task(path)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    for name, target in (("zero.yaml", "/dev/zero"), ("null.yaml", "/dev/null")):
        (tmp_path / name).symlink_to(target)
        with pytest.raises(BenchError, match="not a regular file"):
            load_task(str(tmp_path / name))
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(BenchError, match="not a regular file"):
        load_task(str(tmp_path / "pipe.yaml"))


def test_aliases_and_merge_keys_within_the_bounds_are_read(tmp_path: Path) -> None:
    path = write(tmp_path, f"{GOOD}relations: &r {{other: near}}\ncolumns: {{<<: {{prompt: a}}, chosen: b}}\n")
    card = load_task(path)
    assert card.relations == {"other": "near"} and (card.columns.prompt, card.columns.chosen) == ("a", "b")


def test_unknown_names_have_suggestions() -> None:
    error = refused(load_task, "truthfulqa")
    assert isinstance(error, UsageError) and "'TruthfulQA'" in error.remedy and "HC3" in error.remedy
    assert "'order1'" in refused(load_stream, "order11").remedy
    assert "'safe-rlhf'" in refused(load_stream, "HC3,safe-rhlf").remedy


def test_a_users_card_may_not_take_a_registered_name(tmp_path: Path) -> None:
    assert "'HC3'" in refused(load_task, write(tmp_path, GOOD.replace("mine", "HC3"))).message
    stream = "name: order1\ntasks: [HC3]\n"
    assert "'order1'" in refused(load_stream, write(tmp_path, stream)).message
    path = load_task("HC3").path
    assert load_task(str(path)) == load_task("HC3")


def test_a_registered_card_is_called_as_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, GOOD, "other.yaml")
    monkeypatch.setattr(cards, "_folder", tmp_path)
    assert "Set its name to 'other'" in refused(load_task, "other").remedy


def test_streams_of_the_command_line(tmp_path: Path) -> None:
    assert load_stream("HC3").tasks == ("HC3",)
    mine = write(tmp_path, GOOD)
    stream = load_stream(f"HC3, {mine},TruthfulQA")
    assert stream.name == "HC3,mine,TruthfulQA"
    assert stream.tasks == ("HC3", mine, "TruthfulQA")
    assert [card.name for card in stream.task_cards()] == ["HC3", "mine", "TruthfulQA"]
    assert load_stream(mine).name == "mine"


@pytest.mark.parametrize("text", ["HC3,HC3", "HC3,", ",", "", "HC3,,TruthfulQA"])
def test_bad_lists_of_tasks(text: str) -> None:
    refused(load_stream, text)


def test_a_users_stream(tmp_path: Path) -> None:
    mine = write(tmp_path, GOOD)
    path = write(tmp_path, "name: s\ntasks: [mine.yaml, HC3]\ndefaults: {learning_rate: 5e-6, epochs: 3}\n", "s.yml")
    stream = load_stream(path)
    assert stream.tasks == (mine, "HC3")
    assert stream.defaults.model_dump(exclude_none=True) == {"learning_rate": 5e-6, "epochs": 3}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("name: s\ntasks: []\n", ", line 2: tasks"),
        ("name: s\n", ", line 1: tasks: Field required"),
        ("name: s\ntasks: [HC3, HC3]\n", "'HC3' twice"),
        ("name: s\ntasks: [HC33]\n", "no task called 'HC33'"),
        ("name: s\ntasks: [HC3, nowhere.yaml]\n", "nowhere.yaml"),
        ("name: s\ntasks: [HC3]\ndefaults:\n  epoch: 3\n", "line 4: unknown key 'epoch'; did you mean 'epochs'"),
        ("name: s\ntasks: [HC3]\ndefaults: {epochs: 1.5}\n", "line 3: defaults.epochs"),
        ("name: s\ntasks: [HC3]\ndefaults: {train_limit: true}\n", "defaults.train_limit"),
        ("name: s\ntasks: [HC3]\ndefaults: {learning_rate: -1}\n", "defaults.learning_rate"),
        ("name: a,b\ntasks: [HC3]\n", "commas"),
    ],
)
def test_a_broken_stream(text: str, what: str, tmp_path: Path) -> None:
    path = write(tmp_path, text, "s.yaml")
    error = refused(load_stream, path)
    assert what in str(error)
    if "nowhere" not in what:
        assert path in error.message


def test_made_up_cards_are_found_and_not_listed() -> None:
    assert "fake-upper" not in task_names() and "fake" not in stream_names()
    assert "fake-upper" in task_names(fakes=True) and "fake" in stream_names(fakes=True)
    assert load_stream("fake").tasks == ("fake-upper", "fake-lower", "fake-digits")
    assert load_stream("fake-upper,HC3").tasks == ("fake-upper", "HC3")
    assert load_task("fake-upper").word == "fake-upper"


# SHA-256 of the pairs and of the source's rows. Runs on them of whatever version stay comparable.
MADE_UP = {
    "fake-digits": ("bae91986740f09a9", "44aaad9e75d056d7", "21c28dc273bfcafc", "6407234601d891a1"),
    "fake-lower": ("7889b2e00b1f0042", "06c2bc973c5b1197", "8f42e0f9e8f067ea", "db64da7ac902cd17"),
    "fake-upper": ("c28fa572999550e0", "d0a55d1144f51e52", "012e65ca47adef18", "13aa986484709d6d"),
    "made-up-1": ("bab739139c41a945", "a186a9ebe84eaa3b", "53de77b36aebf1c3", "667eedd50841e801"),
    "made-up-10": ("0921aaad4bec8a69", "44e4c174ae58fe25", "7efee78582058c67", "c928b484feaea192"),
    "made-up-2": ("4be1b08ff11bba7f", "3124e804334c7e82", "71e76cdc67f02e0f", "48a77ca5a1bce61c"),
    "made-up-3": ("cee13fa726471d29", "3bee7510072cc2cd", "4382e5fb0a8ded7a", "08a2a416a65a2a9d"),
    "made-up-4": ("1f0aa789da94ccc9", "cb4e6811b987f5ca", "1dc9042b70bcf9b4", "fd893d0a5c1e6391"),
    "made-up-5": ("1648125d1500e7d5", "f4e5573aa2dbee5b", "a63512ee344fe81a", "990ea24c1d66db13"),
    "made-up-6": ("eca1ea2e5cce0e4a", "972d2076269d7e38", "e6c1d81f0fc005d9", "8c081b718a4112e1"),
    "made-up-7": ("2fef481c21b5dcb2", "3f31f63876733f9e", "38f336d00853f80b", "869561fc96c16fa8"),
    "made-up-8": ("ed1f5195547cbb27", "0b0b90b8c616afb9", "6bd161f67fd25e1d", "ca8a3ed264d3f229"),
    "made-up-9": ("e854c53155172a50", "8fa196da21131424", "62598f58961b20d2", "536e055793483276"),
}


@pytest.mark.parametrize("name", MADE_UP)
def test_made_up_tasks_stay_what_they_are(name: str) -> None:
    data = load_task_data(load_task(name), data_dir=None)
    found = [*data.hashes().values(), *data.source_hashes.values()]
    assert tuple(digest.removeprefix("sha256:")[:16] for digest in found) == MADE_UP[name]
    assert data.test[0].id.startswith(f"{name}/test/")


def test_available_streams_say_why_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIFEALIGN_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LIFEALIGN_BENCH_DATA", raising=False)
    ready, absent = available_streams(tmp_path)
    assert "mini" in [stream.name for stream in ready]
    reasons = dict(absent)
    downloaded = {"aifgen", "helpsteer3", "pku-harms", "stack-sites", "tldr"}
    assert all("not in the Hugging Face cache" in reasons[name] for name in downloaded)
    reasons = {name: reason for name, reason in reasons.items() if name not in {*downloaded, "verifiable"}}
    assert set(reasons) == {"order1", "order2", "order3", "paper-512", "paper-small"}
    assert "Run lifealign-bench data fetch order1, or" in reasons["order1"]
    assert "--data-dir" in reasons["order1"] and "Also missing" in reasons["order1"]
    for name in PAPER:
        (tmp_path / name).mkdir()
        for split in ("train", "test"):
            (tmp_path / name / f"{split}.json").touch()
    assert {name for name, _ in available_streams(tmp_path)[1]} <= {*downloaded, "verifiable"}


def test_unknown_reward_function() -> None:
    row = {"prompt": "p", "chosen": "c", "rejected": "r"}
    card = TaskCard(name="x", title="x", source=InlineSource(train=(row,), test=(row,)), reward="one_sentense")
    error = refused(lambda _: check_reward(card), "")
    assert "'x'" in error.message and "'one_sentence'" in error.remedy
