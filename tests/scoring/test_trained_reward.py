"""``--reward trained``: what determines it, that it learns, and whole runs with it."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock

from lifealign_bench.config import RewardModelConfig, RunConfig
from lifealign_bench.data.tasks import load_data
from lifealign_bench.errors import BenchError, Interrupted
from lifealign_bench.models.fake import fake_model
from lifealign_bench.models.load import load_base_model
from lifealign_bench.results.record import read_record
from lifealign_bench.runs.run import run
from lifealign_bench.scoring.rewardmodel import classifier as forward
from lifealign_bench.scoring.rewardmodel import trained
from lifealign_bench.scoring.rewardmodel.classifier import ClassifierRewardModel
from lifealign_bench.scoring.rewardmodel.trained import FOLDER, SEED, trained_reward_model, with_head
from lifealign_bench.scoring.scorers.reward_model import measure_pairs
from lifealign_bench.util.progress import Progress
from tests.classifiers import random_classifier
from tests.command import Call
from tests.scoring.test_reward_model import Told, ask, by_itself

Make = Callable[..., RunConfig]
FAKE_TASKS = ("fake-upper", "fake-lower", "fake-digits")
SCORERS = ("preference", "reward", "reward_model")


def settings(**changes: Any) -> RewardModelConfig:
    return RewardModelConfig.model_validate({"reward_learning_rate": 5e-3, "reward_batch_size": 4} | changes)


def config_of(make: Make, tasks: tuple[str, ...] = FAKE_TASKS, seed: int = 0, **changes: Any) -> RunConfig:
    return make(reward_model="trained", reward_models=settings(**changes), tasks=tasks, seed=seed, scorers=SCORERS)


def make_it(config: RunConfig, told: Progress | None = None) -> ClassifierRewardModel:
    return trained_reward_model(config, load_data(config, Progress()), told or Told())


def kept(cache: Path) -> list[Path]:
    return sorted(path for path in (cache / FOLDER).iterdir() if path.is_dir())


def test_all_orders_seeds_and_methods_share_one(own_cache: Path, fake_config: Make) -> None:
    first = make_it(config_of(fake_config))
    told = Told()
    other = config_of(fake_config, tuple(reversed(FAKE_TASKS)), seed=3).model_copy(update={"method": "replay"})
    second = make_it(other, told)
    assert len(kept(own_cache)) == 1 and told.notices == []  # not trained again
    assert first.fingerprint == second.fingerprint and first.facts() == second.facts()
    assert first.facts()["seed"] == SEED and "all methods, seeds and orders" in first.facts()["shared"]
    assert not list((own_cache / FOLDER).glob(".training*"))


def test_other_settings_or_data_make_another(own_cache: Path, fake_config: Make) -> None:
    tasks = FAKE_TASKS[:2]
    others = [
        config_of(fake_config, tasks),
        config_of(fake_config, tasks, reward_learning_rate=4e-3),
        config_of(fake_config, tasks, reward_lora_r=4),
        config_of(fake_config, tasks, reward_dtype="bfloat16"),
        config_of(fake_config, tasks).model_copy(update={"train_limit": 2}),
        config_of(fake_config, FAKE_TASKS[:1]),
    ]
    assert len({make_it(other).fingerprint for other in others}) == len(kept(own_cache)) == len(others)


def test_training_again_gives_the_same_weights(own_cache: Path, fake_config: Make) -> None:
    """To the bit, whatever happened in the process before; and the process's random numbers go on as they were."""
    config = config_of(fake_config)
    first = make_it(config)
    said = first.rewards(ask("a", "b", "an ant"))
    weights = (kept(own_cache)[0] / "adapter" / "adapter_model.safetensors").read_bytes()
    for kind in (FOLDER, "rewards"):
        shutil.rmtree(own_cache / kind)
    torch.manual_seed(99)
    expected = torch.rand(3, generator=torch.Generator().manual_seed(99))
    second = make_it(config)
    assert torch.equal(torch.rand(3), expected)
    assert (kept(own_cache)[0] / "adapter" / "adapter_model.safetensors").read_bytes() == weights
    assert second.fingerprint == first.fingerprint
    shutil.rmtree(own_cache / "rewards", ignore_errors=True)
    third = make_it(config)  # read from the cache, not trained in this object
    assert third.rewards(ask("a", "b", "an ant")).tolist() == said.tolist()


def test_a_damaged_one_is_trained_again_and_said(own_cache: Path, fake_config: Make) -> None:
    config = config_of(fake_config, FAKE_TASKS[:1])
    first = make_it(config)
    (folder,) = kept(own_cache)
    weights, facts = folder / "adapter" / "adapter_model.safetensors", folder / "reward-model.json"
    whole, said = weights.read_bytes(), json.loads(facts.read_text())

    def another_key() -> None:
        facts.write_text(json.dumps(said | {"key": said["key"] | {"seed": 1}}))

    damages: dict[str, Callable[[], object]] = {
        "one bit": lambda: weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1])),
        "half of the facts": lambda: facts.write_text('{"key": '),
        "no facts": facts.unlink,
        "another key": another_key,
    }
    for name, damage in damages.items():
        damage()
        told = Told()
        assert make_it(config, told).fingerprint == first.fingerprint, name
        assert "is damaged" in told.notices[0] and str(folder) in told.notices[0], name
        assert "8 training pairs of 1 task" in told.notices[1], name
    make_it(config, told := Told())
    assert told.notices == []


def test_others_wait_for_the_one_that_trains(own_cache: Path, fake_config: Make) -> None:
    config = config_of(fake_config)
    make_it(config)
    (folder,) = kept(own_cache)
    hidden = folder.with_name("hidden")
    folder.rename(hidden)
    locked = threading.Event()

    def other() -> None:
        with FileLock(f"{folder}.lock"):
            locked.set()
            time.sleep(0.5)
            hidden.rename(folder)

    thread = threading.Thread(target=other)
    thread.start()
    locked.wait()
    told = Told()
    make_it(config, told)
    thread.join()
    assert told.notices == ["Another process trains this reward model; waiting for it."]


def test_several_processes_of_one_run_do_not_train_it(fake_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trained, "world_size", lambda: 2)
    config = config_of(fake_config)
    with pytest.raises(BenchError, match="one process alone") as caught:
        make_it(config)
    assert "single process" in caught.value.remedy
    monkeypatch.undo()


def test_a_training_that_stops_leaves_nothing(
    own_cache: Path, fake_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("transformers.Trainer.training_step", stop)
    with pytest.raises(KeyboardInterrupt):
        make_it(config_of(fake_config))
    assert kept(own_cache) == []


def test_the_loss_is_bradley_and_terrys(fake_config: Make) -> None:
    """One optimizer step: its loss is the mean of -log sigmoid of the untrained model's differences."""
    config = config_of(fake_config, FAKE_TASKS[:1], reward_batch_size=8)
    base = load_base_model(config)
    untrained = with_head(base, config, SEED)
    model = make_it(config)
    assert model.facts()["steps"] == 1
    pairs = load_data(config, Progress())[FAKE_TASKS[0]].train

    def value(dialogue: Any) -> float:
        return by_itself(untrained, model.reader.read(dialogue).ids)

    margins = [value((p.prompt, p.chosen)) - value((p.prompt, p.rejected)) for p in pairs]
    assert np.ptp(margins) > 1e-3
    by_hand = float(np.mean([np.log1p(np.exp(-m)) for m in margins]))
    assert model.facts()["final_loss"] == pytest.approx(by_hand, rel=1e-5)


def test_it_learns_the_training_pairs(fake_config: Make) -> None:
    config = config_of(fake_config, FAKE_TASKS[:1], reward_epochs=8)
    found = measure_pairs(make_it(config), load_data(config, Progress())[FAKE_TASKS[0]].train)
    assert found["accuracy"] == 100.0 and found["chosen"] > found["rejected"] + 1


def test_head_and_adapter_stay_float32_in_bfloat16(fake_config: Make) -> None:
    model = make_it(config_of(fake_config, reward_dtype="bfloat16"))
    kinds = {name: p.dtype for name, p in model.model.named_parameters()}
    assert {kind for name, kind in kinds.items() if "lora_" in name or "modules_to_save" in name} == {torch.float32}
    assert kinds["base_model.model.model.embed_tokens.weight"] == torch.bfloat16
    values = torch.tensor(model.rewards(ask("a", "b", "c")))
    assert not torch.equal(values.to(torch.bfloat16).double(), values)  # the output is not rounded to bfloat16


# Whole runs.


def test_a_run_has_rewards_yardsticks_and_accuracy(tmp_path: Path, call: Call) -> None:
    words = ("run", "--model", "fake", "--stream", "fake", "--method", "dpo", "--reward", "trained", "--out", "runs")
    code, out, err = call(*words, "--limit", "6", "--set", "max_new_tokens=4", "--dtype", "float32", "--full")
    assert code == 0, err
    assert err.count("A reward model is trained on the 18 training pairs of 3 tasks") == 1
    record = read_record(tmp_path / "runs" / "fake" / "fake" / "dpo" / "seed-0" / "record.json")
    matrix = record.scores["model_reward"]
    assert matrix.unit == "points" and not matrix.percent and matrix.n == [[6] * 3] * 4
    assert not np.isnan(matrix.array()).any()
    facts = record.facts["reward_model"].run
    assert list(facts["tasks"]) == list(FAKE_TASKS) and facts["model"]["trained"] is True
    assert all(said["n"] == 6 and 0 <= said["accuracy"] <= 100 for said in facts["tasks"].values())
    assert "Model reward (points) after every stage" in out
    assert "The reward model (trained): accuracy on the test pairs" in out
    marked = [task for task, said in facts["tasks"].items() if said["accuracy"] < 60]
    assert (f"{marked[0]} (!)" in out) if marked else ("(!)" not in out)
    for text in ("call ", "a vole", "VOLE"):  # of the test pairs
        assert text not in json.dumps(record.to_json())


def test_known_texts_are_not_asked_again(own_cache: Path, fake_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Yardsticks and the base model's responses are those of all runs; another seed adds its new responses alone."""
    asked: list[tuple[int, ...]] = []
    batch = forward._batch

    def counting(model: Any, texts: Any, *rest: Any) -> list[float]:
        asked.extend(tuple(text) for text in texts)
        return batch(model, texts, *rest)

    monkeypatch.setattr(forward, "_batch", counting)
    config = config_of(fake_config)
    first = run(config)
    before = len(asked)
    # Known: chosen, rejected; then what the base model and three stages say to 18 prompts, as far as it is new.
    assert len(set(asked)) == before and 18 < before <= 6 * 18
    second = run(config.model_copy(update={"seed": 1}))
    assert len(set(asked)) == len(asked) <= before + 3 * 18
    assert first.facts["reward_model"].run == second.facts["reward_model"].run
    before = len(asked)
    run(config.model_copy(update={"out": config.out / "again"}))
    assert len(asked) == before


def test_a_resumed_run_gives_the_same_numbers(
    tmp_path: Path, fake_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with a cache that knows nothing of the first run, where the reward model is trained again."""
    whole = run(config_of(fake_config))
    monkeypatch.setenv("LIFEALIGN_BENCH_CACHE", str(tmp_path / "another-cache"))
    calls = iter(range(1000))
    config = config_of(fake_config).model_copy(update={"out": tmp_path / "stopped"})
    with pytest.raises(Interrupted):
        run(config, stopped=lambda: next(calls) >= 6)
    resumed = run(config)
    assert np.allclose(resumed.scores["model_reward"].array(), whole.scores["model_reward"].array(), rtol=1e-5)
    ours, theirs = resumed.facts["reward_model"].run, whole.facts["reward_model"].run
    assert ours["tasks"] == theirs["tasks"] and ours["model"]["fingerprint"] == theirs["model"]["fingerprint"]
    again = run(config.model_copy(update={"out": tmp_path / "whole"}))
    assert again.scores["model_reward"] == resumed.scores["model_reward"]  # with the same cache to the bit


def test_a_given_one_is_checked_when_the_run_goes_on(tmp_path: Path, fake_config: Make) -> None:
    plain = random_classifier(tmp_path / "rm")
    config = fake_config(reward_model=str(tmp_path / "rm"), scorers=SCORERS)
    calls = iter(range(1000))
    with pytest.raises(Interrupted):
        run(config, stopped=lambda: next(calls) >= 4)
    plain.score.weight.data *= 2
    plain.save_pretrained(str(tmp_path / "rm"))
    with pytest.raises(BenchError, match="began with another reward model"):
        run(config)


def test_a_plan_loads_none(call: Call) -> None:
    words = ("run", "--model", "fake", "--stream", "fake", "--method", "dpo", "--reward", "nowhere/at-all")
    code, _, err = call(*words, "--dry-run")
    assert code == 0, err
    code, _, err = call(*words, "--limit", "4")
    assert code == 2 and "nowhere/at-all" in err and "cannot be loaded" in err


def test_the_catalog_lists_it(call: Call) -> None:
    code, out, _ = call("list", "scorers")
    assert code == 0 and "reward_model" in out and "model_reward" in out


def test_nothing_from_outside_changes_its_weights(
    own_cache: Path, fake_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its trainer would follow accelerate's settings as the stages' trainer would."""
    config = config_of(fake_config, FAKE_TASKS[:1])
    plain = make_it(config)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    shutil.rmtree(own_cache / FOLDER)
    assert make_it(config).fingerprint == plain.fingerprint


def test_another_date_in_the_chat_template_makes_another(own_cache: Path, fake_config: Make, tmp_path: Path) -> None:
    model, tokenizer = fake_model()
    tokenizer.chat_template = "<s>{{ strftime_now('%d %b %Y') }}<e>" + str(tokenizer.chat_template)
    model.save_pretrained(tmp_path / "dated")
    tokenizer.save_pretrained(tmp_path / "dated")
    config = config_of(fake_config, FAKE_TASKS[:1]).model_copy(update={"model": str(tmp_path / "dated")})
    days = ("2026-01-23T12:00:00+00:00", "2026-01-23T12:00:00+00:00", "2026-01-24T12:00:00+00:00")
    made = [make_it(config.model_copy(update={"clock": day})).fingerprint for day in days]
    assert made[0] == made[1] != made[2] and len(kept(own_cache)) == 2
