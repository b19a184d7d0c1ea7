"""The generated stream forms: what its answers are worth, that length says nothing, and that its parts are apart."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.forms_rows import Sizes, split_topics
from benchmarks.forms_text import wordings
from benchmarks.make_forms import KINDS, SEED, TASKS_DIR, files
from lifealign_bench.data.cards import load_stream
from lifealign_bench.data.holdout import held_out
from lifealign_bench.data.rewards import load_reward
from lifealign_bench.data.tasks import load_task_data
from lifealign_bench.errors import UsageError
from lifealign_bench.experiments.request import Words, build_configs
from lifealign_bench.models.tokenizer import load_tokenizer
from tests.places import ROOT

SPLITS = ("train", "test")
SMALL = Sizes(train=8, laps=1, validation=4, test=8)
Rows = dict[str, list[dict[str, Any]]]


def rows_of(made: Mapping[Path, bytes]) -> dict[str, Rows]:
    """Task to its rows, by split."""
    found: dict[str, Rows] = {}
    for path, content in made.items():
        if path.suffix == ".jsonl":
            task, split, _ = path.name.split(".")
            found.setdefault(task, {})[split] = [json.loads(line) for line in content.decode().splitlines()]
    return found


@pytest.fixture(scope="module")
def here() -> dict[str, Rows]:
    return rows_of(files("forms", Sizes(), SEED, TASKS_DIR))


def test_the_generator_writes_these_bytes() -> None:
    for path, content in files("forms", Sizes(), SEED, TASKS_DIR).items():
        assert path.read_bytes() == content, path


@pytest.mark.parametrize("seed", [SEED, 7])
def test_chosen_answers_pass_and_rejected_ones_fail(seed: int, tmp_path: Path) -> None:
    made = files("other", Sizes(), seed, tmp_path)
    cards = {path.stem.removeprefix("other-"): yaml.safe_load(text) for path, text in made.items() if "-" in path.stem}
    for task, splits in rows_of(made).items():
        reward = load_reward(cards[task]["reward"])
        for row in (*splits["train"], *splits["test"]):
            assert reward(row["chosen"], row["check"]) > 0.75, row
            assert reward(row["rejected"], row["check"]) == 0.0, row


@pytest.mark.parametrize("split", SPLITS)
def test_length_decides_nothing(here: dict[str, Rows], split: str) -> None:
    """Over a whole file and over its beginning, by characters: chosen is the longer one as often as the shorter one."""
    for task, splits in here.items():
        for rows in (splits[split], splits[split][:24]):
            longer = sum(len(row["chosen"]) > len(row["rejected"]) for row in rows)
            shorter = sum(len(row["chosen"]) < len(row["rejected"]) for row in rows)
            assert longer == shorter > 0, task


@pytest.mark.parametrize("split", SPLITS)
def test_length_decides_nothing_in_tokens_either(here: dict[str, Rows], split: str) -> None:
    """Log-probabilities are summed over tokens: by the embedded model's, of the pairs of a run, it is 45 to 55 %."""
    tokenizer = load_tokenizer("smollm2-135m")
    stream = load_stream("forms")
    limit = stream.defaults.train_limit if split == "train" else stream.defaults.test_limit

    def tokens(text: str) -> int:
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    for task, splits in here.items():
        gaps = [tokens(row["chosen"]) - tokens(row["rejected"]) for row in splits[split][:limit]]
        longer = sum(gap > 0 for gap in gaps) + sum(gap == 0 for gap in gaps) / 2
        assert 0.45 <= longer / len(gaps) <= 0.55, task


def test_a_refusal_goes_with_no_kind_of_number(here: dict[str, Rows]) -> None:
    kinds = Counter(
        (next(field for field in wordings.FIELDS if field in row["prompt"]), row["chosen"])
        for row in here["private"]["train"]
    )
    assert set(kinds.values()) == {6}


def test_answers_are_short_and_so_are_prompts(here: dict[str, Rows]) -> None:
    """At two characters a token or more no answer has more than the 24 tokens that the stream generates."""
    rows = [row for splits in here.values() for split in SPLITS for row in splits[split]]
    assert max(len(row[answer]) for row in rows for answer in ("chosen", "rejected")) <= 48
    assert load_stream("forms").defaults.max_new_tokens == 24
    assert max(len(row["prompt"]) for row in rows) <= 120


def test_topics_are_in_one_part_of_the_data_of_all_tasks(here: dict[str, Rows]) -> None:
    sizes = Sizes()
    trained = sizes.train * sizes.laps
    parts: dict[str, set[str]] = {"train": set(), "validation": set(), "test": set()}
    for splits in here.values():
        parts["train"] |= {row["cluster"] for row in splits["train"][:trained]}
        parts["validation"] |= {row["cluster"] for row in splits["train"][trained:]}
        parts["test"] |= {row["cluster"] for row in splits["test"]}
    assert not parts["train"] & parts["test"]
    assert not parts["validation"] & (parts["train"] | parts["test"])


def test_no_answer_of_the_test_but_a_refusal_is_one_of_training(here: dict[str, Rows]) -> None:
    trained = {row["chosen"] for splits in here.values() for row in splits["train"]}
    assert trained & {row["chosen"] for splits in here.values() for row in splits["test"]} == set(wordings.REFUSALS)


def test_every_test_item_is_a_cluster_of_its_own(here: dict[str, Rows]) -> None:
    for splits in here.values():
        assert len({row["cluster"] for row in splits["test"]}) == len(splits["test"]) >= 60
        prompts = [row["prompt"] for row in splits["train"]]
        assert len(set(prompts)) == len(prompts)


def test_validation_pairs_are_the_last_of_training() -> None:
    stream = load_stream("forms")
    limit = stream.defaults.train_limit
    for card in stream.task_cards():
        whole = load_task_data(card, data_dir=None, train_limit=limit)
        again = load_task_data(card, data_dir=None, train_limit=limit, validation=Sizes().validation)
        assert again.train == whole.train
        assert not {pair.cluster for pair in again.test} & {pair.cluster for pair in (*whole.train, *whole.test)}


def test_tasks_that_pull_against_each_other_ask_in_the_same_words(here: dict[str, Rows]) -> None:
    def wordings(task: str) -> set[str]:
        words: set[str] = set()
        for row in here[task]["train"]:
            prompt = row["prompt"].replace(f"the {row['cluster']}", "X").replace(row["cluster"], "X")
            for number in [word.strip(".,:?") for word in prompt.split() if word.strip(".,:?").isdigit()]:
                prompt = prompt.replace(number, "0")
            words.add(prompt)
        return words

    found = 0
    for card in load_stream("forms").task_cards():
        for other, relation in card.relations.items():
            if relation == "pulls against":
                found += 1
                assert wordings(card.name.removeprefix("forms-")) == wordings(other.removeprefix("forms-"))
    assert found == 6


def test_a_seed_makes_the_same_stream_again_and_another_one_another(tmp_path: Path) -> None:
    first = files("other", SMALL, 7, tmp_path)
    assert first == files("other", SMALL, 7, tmp_path)
    second = files("other", SMALL, 8, tmp_path)
    assert first.keys() == second.keys()
    assert all(first[path] != second[path] for path in first if path.suffix == ".jsonl")


def test_a_stream_of_another_seed_is_one_for_the_command_line(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/make_forms.py", "--seed", "7", "--out", str(tmp_path), "--test", "61"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (config,) = build_configs(Words(stream=(str(tmp_path / "forms-7.yaml"),))).configs
    assert config.stream == "forms-7" and config.test_limit == 61 and config.sft
    for card in load_stream(str(tmp_path / "forms-7.yaml")).task_cards():
        assert len(load_task_data(card, data_dir=None).test) == 61


def test_both_phases_are_the_streams_default_and_a_flag_wins() -> None:
    (config,) = build_configs(Words(stream=("forms",))).configs
    assert config.sft and config.supervised.sft_epochs == load_stream("forms").defaults.sft_epochs
    (without,) = build_configs(Words(stream=("forms",), sft=False)).configs
    assert not without.sft
    (mini,) = build_configs(Words(stream=("mini",))).configs
    assert not mini.sft


def test_fewer_topics_than_are_asked_for_is_said_with_the_remedy() -> None:
    with pytest.raises(UsageError, match=r"knows \d+ topics of the kind animal, and 1072 are asked for") as caught:
        split_topics("animal", KINDS["animal"].split(), Sizes(test=1000), SEED)
    assert "--test" in caught.value.remedy and "topics.py" in caught.value.remedy


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--test", "0", "--out", "x"], "--test 0 is less than 1"),
        (["--seed", "3"], "another stream"),
        (["--train", "150", "--out", "x"], "are asked for"),
    ],
)
def test_settings_that_cannot_be_had_are_refused(words: list[str], said: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks/make_forms.py"), *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_no_topic_is_of_two_kinds() -> None:
    topics = [topic for text in KINDS.values() for topic in text.split()]
    assert len(set(topics)) == len(topics)


def test_held_out_pairs_are_enough_for_the_stream() -> None:
    card = load_stream("forms").task_cards()[0]
    data = load_task_data(card, data_dir=None)
    left, kept = held_out(card.name, data.train, Sizes().validation, load_stream("forms").defaults.train_limit)
    assert len(left) == Sizes().train * Sizes().laps and len(kept) == Sizes().validation


def test_the_demo_is_some_of_its_tasks_with_its_settings() -> None:
    whole, demo = load_stream("forms"), load_stream("forms-demo")
    assert set(demo.tasks) < set(whole.tasks)
    assert demo.defaults == whole.defaults.model_copy(update={"test_limit": 12})
