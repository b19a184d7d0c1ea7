"""Rows of generators: chosen is verified, rejected is refused, and the same card makes the same rows."""

from __future__ import annotations

import json
import random
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lifealign_bench.data import generated, verifiers
from lifealign_bench.data.cards import TaskCard, available_streams, load_stream, load_task
from lifealign_bench.data.generated import GeneratedSource, make_rows
from lifealign_bench.data.holdout import answers_of, plain_answer
from lifealign_bench.data.rewards import load_reward
from lifealign_bench.data.sources import SPLITS, missing, read_source
from lifealign_bench.data.tasks import TaskData, load_task_data
from lifealign_bench.data.verifiers import GENERATORS, gym_score, instruction_score
from lifealign_bench.data.verify import check_files, file_errors
from lifealign_bench.errors import BenchError
from tests.command import Call

GYM = ("gym-needle", "gym-reversal")
IFEVAL = ("ifeval-ending", "ifeval-quotation")
needs_gym = pytest.mark.skipif(find_spec("reasoning_gym") is None, reason="reasoning-gym is not installed")
HOSTILE = (
    "(" * 4000,
    "\n" * 4000,
    "* " * 2000,
    "[" * 4000,
    "<<" * 2000,
    "__import__('os').getpid()",
    "9" * 4000,
    "\x00é",
)


class Sums:
    """A stand-in: sums with answers of one to three digits, each number of ``size`` items."""

    def __init__(self, seed: int, size: int, most: int = 400) -> None:
        assert most > 0, "most must be positive"
        self.seed, self.size, self.most = seed, size, most

    def __getitem__(self, number: int) -> dict[str, Any]:
        rng = random.Random(self.seed + number)
        a, b = rng.randint(0, self.most), rng.randint(0, self.most)
        return {
            "question": f"What is {a} + {b} ?",
            "answer": str(a + b),
            "metadata": {"terms": [a, b], "difficulty": 1},
        }


def judged(response: str, entry: dict[str, Any]) -> float:
    return 1.0 if response == str(sum(entry["metadata"]["terms"])) else 0.01


@pytest.fixture
def gym(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """reasoning-gym is there; what was asked of it."""
    asked: list[dict[str, Any]] = []

    def create_dataset(name: str, **settings: Any) -> Sums:
        asked.append({"name": name, **settings})
        return Sums(**settings)

    module = ModuleType("reasoning_gym")
    vars(module).update(create_dataset=create_dataset, get_score_answer_fn=lambda name: judged)
    monkeypatch.setitem(sys.modules, "reasoning_gym", module)
    monkeypatch.setattr(generated, "package_version", lambda package: "9.9")
    verifiers.gym_verifier.cache_clear()
    monkeypatch.setattr(verifiers, "gym_verifier", verifiers.gym_verifier.__wrapped__)
    return asked


def source(**more: Any) -> GeneratedSource:
    settings = {"package": "reasoning-gym", "generator": "chain_sum", "train": 40, "test": 20, **more}
    return GeneratedSource.model_validate(settings)


def instructions(topics: str = "topics.jsonl", **more: Any) -> GeneratedSource:
    settings = {"package": "if-verifiable", "generator": "detectable_format:title", "topics": topics, **more}
    return source(train=3, test=2, **settings)


def topics(folder: Path, count: int = 5) -> None:
    lines = [
        json.dumps({"topic": f"a thing{n}", "statement": f"A thing{n} is a small, round thing."}) for n in range(count)
    ]
    (folder / "topics.jsonl").write_text("\n".join(lines))


def rows_of(of: GeneratedSource, home: Path) -> dict[str, list[Any]]:
    return {split: list(read_source(of, split, home, None, "x").rows) for split in SPLITS}


def refused(of: GeneratedSource, home: Path) -> BenchError:
    with pytest.raises(BenchError) as caught:
        read_source(of, "train", home, None, "mine")
    assert caught.value.remedy and "\n" not in str(caught.value)
    return caught.value


def test_chosen_is_accepted_and_rejected_refused(gym: list[dict[str, Any]], tmp_path: Path) -> None:
    found = rows_of(source(), tmp_path)
    assert (len(found["train"]), len(found["test"])) == (40, 20)
    rows = found["train"] + found["test"]
    for row in rows:
        assert gym_score(row["chosen"], row["check"]) == 1.0 and gym_score(row["rejected"], row["check"]) < 0.1
        assert set(row["check"]["entry"]["metadata"]) == {"terms"}  # bookkeeping is left out
    assert len({row["cluster"] for row in rows}) == len({row["chosen"] for row in rows}) == 60
    assert not {row["chosen"] for row in rows} & {row["rejected"] for row in rows}
    longer = [len(row["chosen"]) - len(row["rejected"]) for row in rows]
    assert longer.count(0) > 50 and abs(sum(longer)) <= 4


def test_questions_in_another_order_of_words_are_one(gym: list[dict[str, Any]], tmp_path: Path) -> None:
    few = rows_of(source(settings={"most": 9}, distinct="questions", train=30, test=10), tmp_path)
    rows = few["train"] + few["test"]
    sums = [tuple(sorted(row["check"]["entry"]["metadata"]["terms"])) for row in rows]
    assert len(set(sums)) == 40 and len({row["chosen"] for row in rows}) < 20


def test_the_same_card_makes_the_same_rows_once(
    gym: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read_source(source(), "train", tmp_path, None, "x")
    assert read_source(source(), "test", tmp_path, None, "x").rows and len(gym) == 1
    monkeypatch.setenv("LIFEALIGN_BENCH_CACHE", str(tmp_path / "other"))
    again = read_source(source(), "train", tmp_path, None, "x")
    assert (again.digest, len(gym)) == (first.digest, 2) and again.digest.startswith("sha256:")
    assert read_source(source(seed=1), "train", tmp_path, None, "x").digest != first.digest


def test_rows_are_verified_by_hash(
    gym: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    digest = read_source(source(), "train", tmp_path, None, "x").digest.removeprefix("sha256:")
    right = source(version="9.9", sha256={"train": digest, "test": "0" * 64})
    card = TaskCard(name="mine", title="T", source=right)
    checks = check_files(card, None)
    assert [check.state for check in checks] == ["right", "wrong"]
    (problem,) = file_errors(checks)
    assert "cache clear generated" in problem.remedy and "9.9" in problem.remedy
    older = source(version="1.0", sha256={"train": "0" * 64})
    assert "pip install reasoning-gym==1.0" in refused(older, tmp_path).remedy
    code, out, _ = call("cache", "info")
    assert code == 0 and "data of generated tasks" in out


def test_without_the_package_there_is_one_message(monkeypatch: pytest.MonkeyPatch, call: Call, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    error = refused(source(), tmp_path)
    assert error.message == "The generator chain_sum needs the package reasoning-gym, which is not installed."
    assert "pip install 'lifealign-bench[verifiable]'" in error.remedy
    card = load_task("gym-needle")
    reason = missing(card.source, card.home, None, card.word)
    assert reason == str(error).replace("chain_sum", "needle_haystack")
    code, _, err = call("run", "--model", "fake", "--stream", "verifiable", "--out", str(tmp_path / "runs"))
    assert code == 2 and err.count("lifealign-bench[verifiable]") == 1 and "Task gym-needle: The generator" in err
    assert "lifealign-bench[verifiable]" in " ".join(call("show", "gym-needle")[1].split())
    absent = dict(available_streams(None)[1])
    assert "lifealign-bench[verifiable]" in absent["verifiable"]
    code, out, _ = call("list", "tasks")
    assert code == 0 and "gym-needle" in out


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"generator": "countdown"}, "no generator of reasoning-gym called 'countdown'"),
        ({"settings": {"most": 0}}, "do not fit it: most must be positive"),
        ({"settings": {"least": 0}}, "do not fit it"),
        ({"settings": {"most": 9}}, "has 19 different items, and 120 are needed"),
        ({"settings": {"most": 3}, "distinct": "questions"}, "different items, and 60 are needed"),
    ],
)
def test_settings_that_cannot_be_satisfied(
    gym: list[dict[str, Any]], tmp_path: Path, more: dict[str, Any], what: str
) -> None:
    assert what in refused(source(**more), tmp_path).message


@pytest.mark.parametrize("more", [{"topics": "t.jsonl"}, {"package": "if-verifiable"}, {"train": 0}, {"seed": -1}])
def test_broken_sources_are_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        source(**more)


SETTINGS: dict[str, dict[str, Any]] = {
    "detectable_content:number_placeholders": {"num_placeholders": 1},
    "detectable_content:postscript": {"postscript_marker": "P.S."},
    "detectable_format:number_bullet_lists": {"num_bullets": 2},
    "detectable_format:number_highlighted_sections": {"num_highlights": 1},
    "startend:end_checker": {"end_phrase": "Is there more to say?"},
}


@pytest.mark.parametrize("name", GENERATORS["if-verifiable"])
def test_every_instruction_is_kept_and_not_kept_at_one_length(name: str, tmp_path: Path) -> None:
    topics(tmp_path)
    found = rows_of(instructions(generator=name, settings=SETTINGS.get(name, {})), tmp_path)
    rows = found["train"] + found["test"]
    assert [len(part) for part in found.values()] == [3, 2] and len({row["cluster"] for row in rows}) == 5
    for row in rows:
        assert "thing" in row["prompt"] and row["prompt"] == row["check"]["prompt"]
        assert (instruction_score(row["chosen"], row["check"]), instruction_score(row["rejected"], row["check"])) == (
            1,
            0,
        )
        assert len(row["chosen"]) == len(row["rejected"])
    assert all(0 <= instruction_score(text, rows[0]["check"]) <= 1 for text in HOSTILE)


def test_instructions_that_cannot_be_made(tmp_path: Path) -> None:
    assert "topics.jsonl cannot be read" in refused(instructions(), tmp_path).message
    topics(tmp_path, 4)
    error = refused(instructions(), tmp_path)
    assert "has 4 topics, and 5 are needed" in error.message and "more topics" in error.remedy
    topics(tmp_path)
    bullets = instructions(generator="detectable_format:number_bullet_lists")
    assert "it takes num_bullets" in refused(bullets, tmp_path).message
    seven = bullets.model_copy(update={"settings": {"num_bullets": 7}})
    assert "no sentence about a topic is written so" in refused(seven, tmp_path).message
    (tmp_path / "topics.jsonl").write_text('{"topic": "a b", "statement": "c"}\n{"topic": 3}\n')
    assert "line 2" in refused(instructions(), tmp_path).message
    unknown = instructions(generator="language:response_language")
    assert "no generator of if-verifiable" in refused(unknown, tmp_path).message


def check_registered(data: TaskData, of: TaskCard) -> None:
    """Read by its hashes, and what the card promises of the rows."""
    reward = load_reward(str(of.reward), of.home)
    assert (len(data.train), len(data.test), data.overlap) == (96, 64, 0)
    assert len({pair.cluster for pair in data.train + data.test}) == 160
    assert not answers_of(data.train) & {plain_answer(pair.chosen) for pair in data.test}
    for pair in data.train + data.test:
        assert reward(pair.chosen, pair.check) == 1.0 and reward(pair.rejected, pair.check) <= 0.1
    for pairs in (data.train, data.test):
        shorter = sum((len(p.chosen) < len(p.rejected)) + (len(p.chosen) == len(p.rejected)) / 2 for p in pairs)
        assert 45 <= 100 * shorter / len(pairs) <= 55
    held_out = load_task_data(of, data_dir=None, validation=24, train_limit=72)
    assert (len(held_out.train), len(held_out.test)) == (72, 24)


@pytest.mark.parametrize("name", IFEVAL)
def test_the_registered_instructions(name: str) -> None:
    check_registered(load_task_data(load_task(name), data_dir=None), load_task(name))


@needs_gym
@pytest.mark.parametrize("name", GYM)
def test_the_registered_problems(name: str) -> None:
    check_registered(load_task_data(load_task(name), data_dir=None), load_task(name))


@needs_gym
@pytest.mark.parametrize("name", GENERATORS["reasoning-gym"])
def test_every_generator_makes_rows_and_its_verifier_takes_any_text(name: str, tmp_path: Path) -> None:
    found = rows_of(source(generator=name, train=3, test=2, distinct="questions"), tmp_path)
    reward = load_reward("solved")
    for row in found["train"] + found["test"]:
        assert reward(row["chosen"], row["check"]) == 1.0 and reward(row["rejected"], row["check"]) <= 0.1
        assert all(0 <= reward(text, row["check"]) < 0.5 for text in HOSTILE)


def test_rewards_without_what_they_need_are_zero() -> None:
    assert load_reward("solved")("x", {}) == load_reward("kept_instruction")("x", {"instruction": "os:system"}) == 0.0
    assert load_reward("solved")("x", {"generator": "countdown", "entry": {}}) == 0.0


def test_generated_tasks_are_a_stream(call: Call, tmp_path: Path) -> None:
    assert load_stream("verifiable").tasks == ("gym-needle", "ifeval-ending", "gym-reversal", "ifeval-quotation")
    words = ("--model", "fake", "--stream", ",".join(IFEVAL), "--limit", "4", "--set", "max_new_tokens=4", "--json")
    code, _, err = call("run", "--method", "dpo", "--out", str(tmp_path / "runs"), *words)
    assert code == 0, err
    record = json.loads(next((tmp_path / "runs").rglob("record.json")).read_text())
    assert set(record["data"]) == set(IFEVAL) and "reward" in record["scores"]


def test_half_made_rows_are_not_taken(gym: list[dict[str, Any]], tmp_path: Path) -> None:
    path = make_rows(source(), "train", tmp_path)
    path.with_name("test.jsonl").unlink()
    assert len(read_source(source(), "test", tmp_path, None, "x").rows) == 20
