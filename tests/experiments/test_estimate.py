"""Estimates against cases that can be computed by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from lifealign_bench.config import PRESETS, GenerationConfig, RunConfig, TrainingConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.experiments.estimate import (
    DECODING_UTILISATION,
    GPUS,
    TRAINING_UTILISATION,
    Gpu,
    Shape,
    estimate_gpu,
    gpu_named,
)
from lifealign_bench.methods import load_method
from lifealign_bench.training.workload import Lengths, Workload, workload_of
from lifealign_bench.util.progress import TRAIN_WORK

Make = Callable[..., RunConfig]
TASKS = ("a", "b")
TRAIN = {"a": [Lengths(10, 4, 6)] * 5, "b": [Lengths(1, 2, 3)] * 4}
TEST = {"a": [Lengths(7, 1, 1)] * 3, "b": [Lengths(2, 2, 2)] * 2}
# One operation a second reached, and a byte a second: estimates are counts.
SLOW = Gpu("slow", 1 / TRAINING_UTILISATION, 1 / TRAINING_UTILISATION, 1 / DECODING_UTILISATION, 1e9)
SHAPE = Shape(parameters=1000, trainable=10, hidden=8, intermediate=16, layers=2, kv_width=4, value_bytes=2)


def config_of(fake_config: Make, **changes: object) -> RunConfig:
    training = TrainingConfig(batch_size=4, epochs=2, max_length=64)
    generation = GenerationConfig(max_new_tokens=5, generation_batch_size=2)
    settings = {"training": training, "generation": generation, "token_budget": None, "tasks": TASKS, "sft": True}
    return fake_config(**(settings | changes))


def work_of(config: RunConfig, name: str = "dpo", generating: tuple[str, ...] = ("a",)) -> Workload:
    cls = load_method(name)
    return workload_of(config, cls(cls.Config()), TRAIN, TEST, generating)


def test_the_work_of_every_phase_stage_and_scoring(fake_config: Make) -> None:
    work = work_of(config_of(fake_config))
    first, second = work.stages
    assert [(p.phase, p.steps, p.tokens) for p in first.phases] == [("sft", 2, 70), ("preference", 4, 200)]
    assert [(p.phase, p.steps, p.tokens) for p in second.phases] == [("sft", 1, 12), ("preference", 2, 48)]
    assert (first.reference_tokens, second.reference_tokens) == (100, 24)
    assert [(s.tokens, s.prompts, s.prompt_tokens) for s in work.scores] == [(39, (3,), 21)] * 3
    assert (work.longest, work.longest_prompt) == (Lengths(10, 4, 6), 7)


def test_what_is_scored_is_what_is_counted(fake_config: Make) -> None:
    seen = work_of(config_of(fake_config, evaluate="seen"))
    assert [s.tokens for s in seen.scores] == [0, 27, 39]
    together = work_of(config_of(fake_config, sft=False), "joint")
    assert [(s.tasks, s.pairs, s.tokens) for s in together.stages] == [(TASKS, 9, 248)]
    assert len(together.scores) == 2


def test_another_reference_is_computed_again_for_all_earlier_pairs(fake_config: Make) -> None:
    training = TrainingConfig(batch_size=4, epochs=2, max_length=64, reference="previous")
    work = work_of(config_of(fake_config, training=training))
    assert [s.reference_tokens for s in work.stages] == [100, 124]


def test_times_are_operations_over_speed(fake_config: Make) -> None:
    config = config_of(fake_config)
    estimate = estimate_gpu(config, SHAPE, work_of(config), SLOW, 1)
    times = estimate.times
    assert times["sft"] == pytest.approx(82 * TRAIN_WORK * 2000)
    assert times["preference"] == pytest.approx(248 * TRAIN_WORK * 2000)
    assert times["reference"] == pytest.approx(124 * 2000)
    assert times["scoring"] == pytest.approx(3 * 39 * 2000)
    # Three times: 3 prompts in 2 batches, 5 steps each, every step reads 2000 bytes; 21 tokens of prompts.
    assert times["generation"] == pytest.approx(3 * (2 * 5 * 2000 + 21 * 2000))
    assert estimate.seconds == pytest.approx(sum(times.values()))


def test_gpus_share_what_can_be_shared(fake_config: Make) -> None:
    config = config_of(fake_config)
    work = work_of(config)
    one, two, eight = (estimate_gpu(config, SHAPE, work, SLOW, count).times for count in (1, 2, 8))
    assert two["preference"] == pytest.approx(one["preference"] / 2)
    assert eight["preference"] == pytest.approx(one["preference"] / 4)  # a step has 4 pairs
    assert eight["scoring"] == pytest.approx(one["scoring"] / 8)
    assert two["generation"] == pytest.approx(3 * (5 * 2000 + 21 * 1000))  # one batch each
    assert eight["generation"] == pytest.approx(3 * (5 * 2000 + 21 * 250))  # and no less


def test_weights_in_four_bits_and_layers_computed_again_move_memory_and_time(fake_config: Make) -> None:
    config = config_of(fake_config)
    shape, work = replace(SHAPE, packed=640), work_of(config)
    plain = estimate_gpu(config, shape, work, SLOW, 1)
    packed = estimate_gpu(config.model_copy(update={"quantization": "nf4"}), shape, work, SLOW, 1)
    assert plain.memory.weights == 2000
    # 640 weights of half a byte, ten scales of a byte, and a share of a scale's scale; 360 of two bytes.
    assert packed.memory.weights == 360 * 2 + 320 + 10
    assert packed.times["generation"] == pytest.approx(3 * (2 * 5 * 1050 + 21 * 2000))
    again = estimate_gpu(config.model_copy(update={"activation_checkpointing": True}), shape, work, SLOW, 1)
    assert again.times["preference"] == pytest.approx(248 * (TRAIN_WORK + 1) * 2000)
    assert again.times["scoring"] == plain.times["scoring"]


def test_a_gpu_that_is_too_small_is_known(fake_config: Make) -> None:
    config = config_of(fake_config)
    large = replace(SHAPE, parameters=7_615_616_512)
    assert estimate_gpu(config, large, work_of(config), GPUS["H100"], 1).fits
    assert not estimate_gpu(config, replace(large, value_bytes=4), work_of(config), GPUS["RTX 4090"], 1).fits


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("H100", "H100"),
        ("h200", "H200"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("4090", "RTX 4090"),
        ("l40s", "L40S"),
    ],
)
def test_gpus_are_found_by_their_names(given: str, name: str) -> None:
    assert gpu_named(given).name == name


@pytest.mark.parametrize("given", ["", "100", "V100", "abacus"])
def test_an_unknown_gpu_is_one_clear_error(given: str) -> None:
    with pytest.raises(UsageError, match="no GPU called") as caught:
        gpu_named(given)
    assert "H100" in caught.value.remedy


def test_the_paper_s_model_can_be_planned_without_a_network() -> None:
    from lifealign_bench.experiments.estimate import PUBLISHED

    assert PRESETS["paper"]["model"] in PUBLISHED
