"""Reward models that are given: what they read, what they say, what is kept, and what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from lifealign_bench.config import RewardModelConfig, RunConfig
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.models.fake import fake_model
from lifealign_bench.pairs import Message, Pair
from lifealign_bench.results.statistics import Array
from lifealign_bench.scoring.rewardmodel import make_reward_model
from lifealign_bench.scoring.rewardmodel.classifier import ClassifierRewardModel, Eta, RewardStore, buckets, digest_text
from lifealign_bench.scoring.rewardmodel.given import given_reward_model
from lifealign_bench.scoring.rewardmodel.model import Dialogue, RewardModel
from lifealign_bench.scoring.rewardmodel.reader import Reader
from lifealign_bench.scoring.scorers import load_scorers
from lifealign_bench.scoring.scorers.reward_model import FILE, measure_pairs, require_same
from lifealign_bench.util.progress import Progress
from tests.classifiers import random_classifier, reading_classifier

Make = Callable[..., RunConfig]


class Told(Progress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notices: list[str] = []

    def notice(self, text: str) -> None:
        self.notices.append(text)


def ask(*texts: str) -> list[Dialogue]:
    return [((Message("user", "call ant"),), text) for text in texts]


def given(make: Make, folder: Path, told: Progress | None = None, **settings: Any) -> ClassifierRewardModel:
    config = make(reward_model=str(folder), reward_models=RewardModelConfig(**settings), token_budget=None)
    return given_reward_model(config, told or Told())


@contextmanager
def counted(model: ClassifierRewardModel) -> Iterator[list[int]]:
    """The rows of every forward pass."""
    rows: list[int] = []
    hook = model.model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    yield rows
    hook.remove()


def by_itself(model: PreTrainedModel, ids: Sequence[int]) -> float:
    """What transformers says of one text without padding."""
    with torch.no_grad():
        return float(model(input_ids=torch.tensor([ids])).logits[0, 0])


# Reading.


def reader(cut_off: int = 100, template: bool = True) -> Reader:
    tokenizer = fake_model()[1]
    if not template:
        tokenizer.chat_template = None
    return Reader(tokenizer, cut_off, "rm")


def text_of(reader: Reader, dialogue: Dialogue) -> str:
    return str(reader.tokenizer.decode(reader.read(dialogue).ids))


LONG = (Message("user", "one"), Message("assistant", "two"), Message("user", "three"))


def test_a_dialogue_goes_through_the_models_own_template() -> None:
    assert text_of(reader(), (LONG, "four")) == "<u>one<e><a>two<e><u>three<e><a>four<e>"
    assert text_of(reader(), (LONG[:1], "")) == "<u>one<e><a><e>"  # an empty response is an empty turn
    assert not reader().read((LONG, "four")).cut
    system = (Message("system", "be"), *LONG[:1])
    assert text_of(reader(template=False), (system, "two")) == "System: be\nUser: one\nAssistant: two"


@pytest.mark.parametrize(
    ("cut_off", "expected"),
    [
        (23, "<u>one<e><a>two<e><u>three<e><a>four<e>"),  # it fits to the token
        (22, "<u>three<e><a>four<e>"),  # the oldest exchange goes first
        (13, "<u>three<e><a>four<e>"),
        (12, "<u>hree<e><a>four<e>"),  # then the beginning of the question
        (8, "<u><e><a>four<e>"),
        (7, "<u><e><a>fou<e>"),  # then the end of the response
        (4, "<u><e><a><e>"),
    ],
)
def test_what_is_too_long_is_cut_from_the_left_of_the_prompt(cut_off: int, expected: str) -> None:
    found = reader(cut_off).read((LONG, "four"))
    assert reader().tokenizer.decode(found.ids) == expected
    assert len(found.ids) <= cut_off and found.cut == (cut_off < 23)


def test_a_cut_off_below_the_template_is_refused() -> None:
    with pytest.raises(UsageError, match="3 tokens") as caught:
        reader(3).read((LONG, "four"))
    assert "reward_max_length" in caught.value.remedy


def test_a_template_that_refuses_a_dialogue_is_named() -> None:
    strict = reader()
    strict.tokenizer.chat_template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(BenchError, match="'rm' refuses a dialogue with the turns user, assistant: System role not"):
        strict.read(ask("a")[0])


# Scoring.


def test_rewards_by_hand(tmp_path: Path, fake_config: Make) -> None:
    """The classifier says the last token's id modulo 64; in the plain form that is the last character."""
    reading_classifier(tmp_path / "rm")
    (tmp_path / "rm" / "chat_template.jinja").unlink()
    told = Told()
    model = given(fake_config, tmp_path / "rm", told)
    ids = fake_model()[1].get_vocab()
    texts = ["x", "a much longer response than the others, with b at its end: b", "", "ba"]
    wanted = [ids["x"] % 64, ids["b"] % 64, ids["Ġ"] % 64, ids["a"] % 64]  # empty: the blank after "Assistant:"
    assert model.rewards(ask(*texts)).tolist() == pytest.approx(wanted, rel=1e-4)
    assert len(told.notices) == 1 and "no chat template" in told.notices[0]
    assert model.facts()["chat_template"] is False and model.facts()["notices"] == [
        told.notices[0].partition(": ")[2][:-1]
    ]


def test_with_a_template_the_closing_token_is_read(tmp_path: Path, fake_config: Make) -> None:
    reading_classifier(tmp_path / "rm")
    assert given(fake_config, tmp_path / "rm").rewards(ask("x", "longer", "")).tolist() == pytest.approx(
        [1, 1, 1], rel=1e-4
    )


TEXTS = ["", "a", "an ant", "ANT", "the quick brown fox " * 4, "b" * 37, "é" * 9]


def test_a_reward_is_transformers_own_and_does_not_depend_on_the_batch(tmp_path: Path, fake_config: Make) -> None:
    """Beyond rounding: a relative 1e-5 in float32."""
    plain = random_classifier(tmp_path / "rm")
    model = given(fake_config, tmp_path / "rm")
    alone = [by_itself(plain, model.reader.read(d).ids) for d in ask(*TEXTS)]
    assert len({round(value, 3) for value in alone}) == len(TEXTS)  # the cases are different
    for budget in (1, 64, 300, 4096):
        model.token_budget, model.store = budget, RewardStore({"budget": budget}, pytest.fail)
        order = list(reversed(range(len(TEXTS)))) if budget == 300 else list(range(len(TEXTS)))
        with counted(model) as rows:
            found = model.rewards(ask(*(TEXTS[i] for i in order)))
        assert found.tolist() == pytest.approx([alone[i] for i in order], rel=1e-5, abs=1e-6)
        assert sum(rows) == len(TEXTS) and (len(rows) == len(TEXTS)) == (budget == 1)


def test_bfloat16_is_as_exact_as_it_says(tmp_path: Path, fake_config: Make) -> None:
    random_classifier(tmp_path / "rm", dtype=torch.bfloat16)
    model = given(fake_config, tmp_path / "rm")
    assert model.facts()["dtype"] == "bfloat16"  # as it is saved
    alone = [float(model.rewards(ask(text))[0]) for text in TEXTS]
    model.store = RewardStore({"again": 1}, pytest.fail)
    assert model.rewards(ask(*TEXTS)).tolist() == pytest.approx(alone, rel=2e-2, abs=2e-2)
    exact = given(fake_config, tmp_path / "rm", reward_dtype="float32")
    assert exact.facts()["dtype"] == "float32" and exact.fingerprint != model.fingerprint


def test_half_precision_becomes_float32_on_a_cpu(tmp_path: Path, fake_config: Make) -> None:
    random_classifier(tmp_path / "rm", dtype=torch.float16)
    assert given(fake_config, tmp_path / "rm").facts()["dtype"] == "float32"


def test_a_missing_padding_token_is_chosen_and_is_not_the_end(tmp_path: Path, fake_config: Make) -> None:
    """With the end of sequence for padding the output would be that of the token before it."""
    plain = random_classifier(tmp_path / "rm", pad=None)
    file = tmp_path / "rm" / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    file.write_text(json.dumps(settings | {"pad_token": "<e>"}))
    told = Told()
    model = given(fake_config, tmp_path / "rm", told)
    assert model.model.config.pad_token_id != 1 and "no padding token" in told.notices[0]
    alone = [by_itself(plain, model.reader.read(d).ids) for d in ask(*TEXTS)]
    assert model.rewards(ask(*TEXTS)).tolist() == pytest.approx(alone, rel=1e-5, abs=1e-6)


def test_a_models_own_padding_token_stays(tmp_path: Path, fake_config: Make) -> None:
    """It decides which token's output a published reward model means, even if that is strange."""
    plain = reading_classifier(tmp_path / "rm", pad=1)
    model = given(fake_config, tmp_path / "rm")
    texts = ["x", "a longer one: b"]
    alone = [by_itself(plain, model.reader.read(d).ids) for d in ask(*texts)]
    ids = fake_model()[1].get_vocab()
    assert alone == pytest.approx([ids["x"] % 64, ids["b"] % 64], rel=1e-4)
    assert model.rewards(ask(*texts)).tolist() == pytest.approx(alone, rel=1e-5)


def test_buckets_hold_similar_lengths_within_the_budget() -> None:
    assert buckets([5, 100, 6, 1], 12) == [[1], [2, 0], [3]]
    assert buckets([], 12) == []


def test_out_of_memory_halves_the_batches(tmp_path: Path, fake_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    random_classifier(tmp_path / "rm")
    told = Told()
    model = given(fake_config, tmp_path / "rm", told)
    wanted = model.rewards(ask(*TEXTS)).tolist()
    forward = model.model.forward

    def small(rows: int) -> None:
        def limited(**inputs: Any) -> Any:
            if len(inputs["input_ids"]) > rows:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
            return forward(**inputs)

        monkeypatch.setattr(model.model, "forward", limited)
        model.store = RewardStore({"rows": rows}, pytest.fail)

    small(2)
    assert model.rewards(ask(*TEXTS)).tolist() == pytest.approx(wanted, rel=1e-5, abs=1e-6)
    assert any("out of memory" in text for text in told.notices)
    small(0)
    with pytest.raises(BenchError, match="a single text of 9") as caught:
        model.rewards(ask(*TEXTS))
    assert "reward_max_length" in caught.value.remedy


def test_nan_is_refused(tmp_path: Path, fake_config: Make) -> None:
    plain = random_classifier(tmp_path / "rm")
    plain.score.weight.data.fill_(math.nan)
    plain.save_pretrained(str(tmp_path / "rm"))
    with pytest.raises(BenchError, match="nan or infinity"):
        given(fake_config, tmp_path / "rm").rewards(ask("a"))


# What is kept.


def test_a_text_is_computed_once_ever(tmp_path: Path, fake_config: Make) -> None:
    random_classifier(tmp_path / "rm")
    model = given(fake_config, tmp_path / "rm")
    with counted(model) as rows:
        first = model.rewards(ask("a", "b", "a"))
        assert sum(rows) == 2 and first[0] == first[2]  # equal texts are equal to the bit
        assert model.rewards(ask("b", "c")).tolist()[0] == first[1]
        assert sum(rows) == 3
    later = given(fake_config, tmp_path / "rm")  # another process, seed or method
    with counted(later) as rows:
        assert later.rewards(ask("c", "b", "a")).tolist()[1:] == [first[1], first[0]]
        assert rows == []
        later.rewards(ask("a", "d"))
        assert rows == [1]


def test_another_model_has_rewards_of_its_own(tmp_path: Path, fake_config: Make) -> None:
    plain = random_classifier(tmp_path / "rm")
    first = given(fake_config, tmp_path / "rm").rewards(ask("a"))
    plain.score.weight.data *= 2
    plain.save_pretrained(str(tmp_path / "rm"))
    assert given(fake_config, tmp_path / "rm").rewards(ask("a")).tolist() == pytest.approx((2 * first).tolist())


def test_a_damaged_cache_is_told_and_computed_again(tmp_path: Path, own_cache: Path, fake_config: Make) -> None:
    random_classifier(tmp_path / "rm")
    first = given(fake_config, tmp_path / "rm").rewards(ask("a", "b"))
    (file,) = (own_cache / "rewards").iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    told = Told()
    model = given(fake_config, tmp_path / "rm", told)
    with counted(model) as rows:
        assert model.rewards(ask("a", "b")).tolist() == first.tolist()
        assert sum(rows) == 2 and "computed again" in told.notices[0]


def test_processes_add_to_one_table_and_the_first_word_stays() -> None:
    texts = [digest_text([n]) for n in range(3)]
    one, two = RewardStore({"m": 1}, pytest.fail), RewardStore({"m": 1}, pytest.fail)
    assert one.unknown(texts[:2]) == two.unknown(texts[:2]) == set(texts[:2])
    one.add({texts[0]: 1.0})
    two.add({texts[0]: 1.5, texts[1]: 2.0})  # computed both at the same time
    assert two.known == {texts[0]: 1.0, texts[1]: 2.0}
    assert RewardStore({"m": 1}, pytest.fail).unknown(texts) == {texts[2]}
    assert RewardStore({"m": 2}, pytest.fail).unknown(texts) == set(texts)


def test_without_a_cache_it_goes_on_from_memory(
    tmp_path: Path, fake_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    random_classifier(tmp_path / "rm")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LIFEALIGN_BENCH_CACHE", str(tmp_path / "file"))
    told = Told()
    model = given(fake_config, tmp_path / "rm", told)
    with counted(model) as rows:
        assert model.rewards(ask("a")).tolist() == model.rewards(ask("a")).tolist()
        assert rows == [1] and any("goes on without it" in text for text in told.notices)


# What is refused.


@pytest.mark.parametrize("labels", [2, 5])
def test_more_than_one_label_is_no_reward_model(tmp_path: Path, fake_config: Make, labels: int) -> None:
    random_classifier(tmp_path / "rm", labels=labels)
    with pytest.raises(BenchError, match=f"it has {labels} labels") as caught:
        given(fake_config, tmp_path / "rm")
    assert "--reward trained" in caught.value.remedy


def test_a_language_model_is_no_reward_model(tmp_path: Path, fake_config: Make) -> None:
    model, tokenizer = fake_model()
    tokenizer.save_pretrained(str(tmp_path / "lm"))
    model.save_pretrained(str(tmp_path / "lm"))
    with pytest.raises(BenchError, match="no reward model: it has 2 labels"):
        given(fake_config, tmp_path / "lm")
    model.config.num_labels = 1  # it says that it is one, and has no head
    model.save_pretrained(str(tmp_path / "lm"))
    with pytest.raises(BenchError, match=r"lack the weights score\.weight"):
        given(fake_config, tmp_path / "lm")


@pytest.mark.parametrize("damage", ["nowhere", "empty", "pickle", "broken weights", "hub"])
def test_what_cannot_be_loaded_is_said_with_a_remedy(tmp_path: Path, fake_config: Make, damage: str) -> None:
    folder = tmp_path / "rm"
    if damage == "empty":
        folder.mkdir()
    elif damage in ("pickle", "broken weights"):
        plain = random_classifier(folder)
        weights = folder / "model.safetensors"
        if damage == "pickle":
            weights.unlink()
            torch.save(plain.state_dict(), folder / "pytorch_model.bin")
        else:
            weights.write_bytes(weights.read_bytes()[:100])
    name = Path("someone/a-reward-model") if damage == "hub" else folder
    with pytest.raises(BenchError, match="cannot be loaded") as caught:
        given(fake_config, name)
    assert str(name) in caught.value.message and "trained" in caught.value.remedy


def test_a_device_that_is_not_there(tmp_path: Path, fake_config: Make) -> None:
    with pytest.raises(UsageError, match="gpu9"):
        given(fake_config, tmp_path, reward_device="gpu9")


def test_none_given_is_a_usage_error(fake_config: Make) -> None:
    for call in (
        lambda: make_reward_model(fake_config(), {}, Progress()),
        lambda: type(load_scorers(("reward_model",))["reward_model"]).check(fake_config()),
    ):
        with pytest.raises(UsageError, match="none is given") as caught:
            call()
        assert "--reward trained" in caught.value.remedy
    type(load_scorers(("reward_model",))["reward_model"]).check(fake_config(reward_model="trained"))


# How good it is.


class Stub:
    """Says what a table says."""

    name = "stub"

    def __init__(self, table: dict[str, float], fingerprint: str = "f") -> None:
        self.table = table
        self.fingerprint = fingerprint

    def rewards(self, dialogues: Sequence[Dialogue], tasks: Sequence[str]) -> Array:
        return np.array([self.table[response] for _, response in dialogues])

    def cut(self, dialogues: Sequence[Dialogue]) -> int:
        return sum(response == "long" for _, response in dialogues)

    def facts(self) -> dict[str, Any]:
        return {"name": self.name, "fingerprint": self.fingerprint}


def pair(number: int, chosen: str, rejected: str) -> Pair:
    return Pair(f"t/test/{number}", "t", (Message("user", "q"),), chosen, rejected)


def test_accuracy_and_yardsticks_by_hand() -> None:
    model: RewardModel = Stub({"good": 2.0, "fair": 0.5, "bad": -1.0, "long": 0.5})
    pairs = [pair(0, "good", "bad"), pair(1, "fair", "good"), pair(2, "fair", "long"), pair(3, "good", "fair")]
    found = measure_pairs(model, pairs)
    # Right, wrong, tie, right: 1, 0, 1/2, 1 with a mean of 5/8 and squared deviations that sum to 11/16.
    assert found["n"] == 4 and found["ties"] == 1 and found["cut"] == 1
    assert found["accuracy"] == 62.5
    assert found["accuracy_error"] == pytest.approx(100 * math.sqrt(11 / 16 / 3 / 4))
    assert found["chosen"] == (2 + 0.5 + 0.5 + 2) / 4 and found["rejected"] == (-1 + 2 + 0.5 + 0.5) / 4
    assert found["chosen_error"] == pytest.approx(math.sqrt(4 * 0.75**2 / 3 / 4))
    single = measure_pairs(model, pairs[:1])
    assert single["accuracy"] == 100.0 and single["accuracy_error"] is None and json.dumps(single)


def test_a_run_keeps_its_reward_model(tmp_path: Path) -> None:
    told: list[str] = []
    require_same(tmp_path, Stub({}, "a"), told.append)
    require_same(tmp_path, Stub({}, "a"), told.append)
    with pytest.raises(BenchError, match="began with another reward model 'stub'") as caught:
        require_same(tmp_path, Stub({}, "b"), told.append)
    assert "--out" in caught.value.remedy and told == []
    trained = Stub({}, "b")
    trained.name = "trained"
    require_same(tmp_path, trained, told.append)
    assert len(told) == 1 and "not quite comparable" in told[0]
    (tmp_path / FILE).write_text("[")  # damaged: nothing is known of the beginning
    require_same(tmp_path, Stub({}, "b"), told.append)
    assert len(told) == 1


def test_time_left_is_told_now_and_then_and_not_of_short_work() -> None:
    now = [0.0]
    told: list[str] = []
    eta = Eta("Step", 10, told.append, every=20.0, clock=lambda: now[0])
    for step in range(1, 11):
        now[0] += 11.0
        eta.at(step)
    assert told[0] == "Step 2 of 10, 1 min 28 s left." and len(told) == 4
    short: list[str] = []
    eta = Eta("Step", 10, short.append, clock=lambda: 0.0)
    for step in range(1, 11):
        eta.at(step)
    assert short == []


def test_facts_say_what_it_is_and_hold_no_text(tmp_path: Path, fake_config: Make) -> None:
    random_classifier(tmp_path / "rm")
    model = given(fake_config, tmp_path / "rm", reward_max_length=9)
    model.rewards(ask("a secret text"))
    facts = model.facts()
    assert facts["class"] == "LlamaForSequenceClassification" and facts["cut_off"] == 9 and facts["device"] == "cpu"
    assert "secret" not in json.dumps(facts)
    assert model.cut(ask("a secret text", "")) == 2  # "<u>call ant<e><a><e>" has 12 tokens
