"""The text of the stream mini: enough of it, never the same in train and test, and worth what it should be."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from lifealign_bench.data.rewards import load_reward
from tests.places import ROOT

TASKS = ROOT / "tasks"
STREAM = yaml.safe_load((TASKS / "streams" / "mini.yaml").read_text(encoding="utf-8"))
NAMES: list[str] = STREAM["tasks"]


def card(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((TASKS / f"{name}.yaml").read_text(encoding="utf-8"))
    return loaded


def rows(name: str, split: str) -> list[dict[str, Any]]:
    path = TASKS / card(name)["source"][split]
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def make_mini() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_mini", ROOT / "benchmarks" / "make_mini.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generator_writes_these_bytes(make_mini: ModuleType) -> None:
    assert make_mini.write(TASKS, check=True) == []
    assert make_mini.build() == make_mini.build()


def test_the_generator_repairs_a_changed_file(make_mini: ModuleType, tmp_path: Path) -> None:
    for name in NAMES:
        text = re.sub(r"train: [0-9a-f]{64}", 'train: ""', (TASKS / f"{name}.yaml").read_text(encoding="utf-8"))
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    assert len(make_mini.write(tmp_path, check=True)) == 15
    assert not (tmp_path / "mini").exists()
    make_mini.write(tmp_path, check=False)
    for path in [*tmp_path.glob("*.yaml"), *tmp_path.glob("mini/*")]:
        assert path.read_bytes() == (TASKS / path.relative_to(tmp_path)).read_bytes()


def test_five_tasks_that_know_each_other() -> None:
    assert len(NAMES) == len(set(NAMES)) == 5
    for name in NAMES:
        relations = card(name)["relations"]
        assert set(relations) == set(NAMES) - {name}
        for other, relation in relations.items():
            assert relation in {"pulls against", "compatible", "independent"}
            assert card(other)["relations"][name] == relation
    found = {relation for name in NAMES for relation in card(name)["relations"].values()}
    assert found == {"pulls against", "compatible", "independent"}


@pytest.mark.parametrize("name", NAMES)
def test_the_card_pins_its_files(name: str) -> None:
    source = card(name)["source"]
    for split in ("train", "test"):
        assert hashlib.sha256((TASKS / source[split]).read_bytes()).hexdigest() == source["sha256"][split]


@pytest.mark.parametrize("name", NAMES)
def test_enough_pairs_with_every_field(name: str) -> None:
    assert len(rows(name, "train")) >= 200
    assert len(rows(name, "test")) >= 64
    for row in rows(name, "train") + rows(name, "test"):
        assert set(row) == {"prompt", "chosen", "rejected", "check"}
        for field in ("prompt", "chosen", "rejected"):
            text = row[field]
            assert text == text.strip()
            assert text[0].isupper()
            assert text[-1] in ".?!"
            assert "  " not in text
            assert not re.search(r"[{}|~]", text)
            assert not re.search(r"\b(?:an [bcdfgjklmnpqrstvwxyz]|a [aeio]|(the|a|an) (the|a|an))\b", text), text
        assert row["chosen"] != row["rejected"]


def test_no_prompt_twice_and_none_in_train_and_test() -> None:
    train = [row["prompt"].casefold() for name in NAMES for row in rows(name, "train")]
    test = [row["prompt"].casefold() for name in NAMES for row in rows(name, "test")]
    assert len(set(train)) == len(train)
    assert len(set(test)) == len(test)
    assert not set(train) & set(test)


def test_topics_of_the_style_tasks_are_unseen_in_the_test() -> None:
    styles = [name for name in NAMES if card(name)["kind"] == "style"]
    assert len(styles) == 3
    seen = {row["check"]["topic"][0] for name in styles for row in rows(name, "train")}
    unseen = {row["check"]["topic"][0] for name in styles for row in rows(name, "test")}
    assert len(seen) >= 150
    assert len(unseen) >= 48
    assert not seen & unseen


def test_style_tasks_ask_in_the_same_words() -> None:
    def wordings(name: str) -> set[str]:
        found = set()
        for row in rows(name, "train"):
            topic = re.escape(row["check"]["topic"][0])
            found.add(re.sub(rf"\b(?:(?:an?|the) )?{topic}\b", "X", row["prompt"]))
        return found

    assert wordings("mini-brief") == wordings("mini-detailed") == wordings("mini-direct")


@pytest.mark.parametrize("name", NAMES)
def test_chosen_beats_rejected(name: str) -> None:
    function = load_reward(card(name)["reward"])
    for row in rows(name, "train") + rows(name, "test"):
        chosen, rejected = function(row["chosen"], row["check"]), function(row["rejected"], row["check"])
        assert chosen > rejected, row
        assert chosen >= 0.99, row
        assert rejected <= 0.5, row


def test_facts_cannot_be_told_by_length_or_place() -> None:
    pairs = rows("mini-facts", "train")
    longer = sum(len(row["chosen"]) > len(row["rejected"]) for row in pairs)
    shorter = sum(len(row["chosen"]) < len(row["rejected"]) for row in pairs)
    assert abs(longer - shorter) <= 0.15 * len(pairs)
    said_first = 0
    for row in pairs:
        note = row["prompt"].casefold()
        said_first += note.index(row["check"]["answer"][0].casefold()) < note.index(row["check"]["wrong"][0].casefold())
    assert abs(said_first - len(pairs) / 2) <= 0.05 * len(pairs)


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_first_rows_are_a_fair_sample(split: str) -> None:
    first = rows("mini-refusal", split)[:32]
    assert sum(row["check"]["harmful"] for row in first) == 16
    for name in NAMES:
        if card(name)["kind"] == "style":
            head = rows(name, split)[: 50 if split == "train" else 16]
            assert len({row["check"]["topic"][0] for row in head}) == len(head)
