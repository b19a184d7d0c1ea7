"""What a plan says of memory: sums by hand, and passes on shapes against passes on numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from lifealign_bench.config import AdapterConfig, RunConfig, TrainingConfig
from lifealign_bench.errors import as_bench_error
from lifealign_bench.experiments.memory import KERNELS, LIBRARIES, Kept, PassTrace, Sizes, kept_bytes, memory_needed
from lifealign_bench.models.attention import SEGMENTS
from lifealign_bench.models.load import add_adapter
from lifealign_bench.models.recompute import recompute_layers
from lifealign_bench.training.workload import Lengths, ScoreWork, Workload

Make = Callable[..., RunConfig]
PAIR = Lengths(130, 20, 30)
SIZES = Sizes(
    weights=2000, trainable=10, hidden=8, intermediate=16, layers=2, vocabulary=100, kv_width=4, value_bytes=2
)


def work(prompts: tuple[int, ...] = (3, 4), longest: Lengths = PAIR) -> Workload:
    return Workload((), (ScoreWork(0, 10, prompts, 30),), longest, 7)


SHAPES = {
    "llama": (
        LlamaForCausalLM,
        LlamaConfig(
            vocab_size=300,
            hidden_size=48,
            intermediate_size=80,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
        ),
    ),
    "qwen": (
        Qwen2ForCausalLM,
        Qwen2Config(
            vocab_size=500,
            hidden_size=32,
            intermediate_size=160,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            tie_word_embeddings=True,
        ),
    ),
    "deep": (
        LlamaForCausalLM,
        LlamaConfig(
            vocab_size=64,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
        ),
    ),
}


@pytest.mark.parametrize(("name", "dtype"), [("llama", "bfloat16"), ("qwen", "float32"), ("deep", "bfloat16")])
def test_a_pass_on_shapes_keeps_what_a_pass_on_numbers_keeps(fake_config: Make, name: str, dtype: str) -> None:
    cls, settings = SHAPES[name]
    config = fake_config(dtype=dtype, training=TrainingConfig(batch_size=2), token_budget=400)
    kept, found = [], None
    for device in ("meta", "cpu"):
        with torch.device(device):
            base = cls(settings)
        model = add_adapter(base.to(getattr(torch, dtype)).eval().requires_grad_(False), "m", AdapterConfig(), 0)
        if device == "meta":
            found = PassTrace(model).kept(config, work(), 1, "cpu")
            again = config.model_copy(update={"activation_checkpointing": True})
            kept.append(PassTrace(model).kept(again, work(), 1, "cpu"))
            assert PassTrace(model).kept(config, work(), 1, "cpu") == found  # and it left nothing behind
            continue
        base.set_attn_implementation(SEGMENTS)
        assert found == Kept(kept_bytes(model, [PAIR, PAIR])) and found.total > 0
        recompute_layers(model, "m")
        assert kept[0] is not None and kept[0].total == kept_bytes(model, [PAIR, PAIR]) < found.total / 2
        assert kept[0].again == (found.total - kept[0].total) // settings.num_hidden_layers


def test_a_fused_kernel_keeps_no_weights_of_attention(fake_config: Make) -> None:
    cls, settings = SHAPES["llama"]
    with torch.device("meta"):
        model = add_adapter(cls(settings).requires_grad_(False), "m", AdapterConfig(), 0)
    config = fake_config(training=TrainingConfig(batch_size=1), token_budget=5000)
    trace = PassTrace(model)

    def kept(longest: Lengths, device: str) -> int:
        found = trace.kept(config, work(longest=longest), 1, device)
        assert found is not None
        return found.total

    short, long = Lengths(200, 100, 100), Lengths(400, 200, 200)
    assert kept(long, "cuda") == pytest.approx(2 * kept(short, "cuda"), rel=0.02)
    assert kept(long, "cpu") > 2.2 * kept(short, "cpu")


def test_second_copies_of_weights_are_counted_where_responses_are_made(
    fake_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lifealign_bench.experiments.memory.blocked_bytes", {"a model": 7}.__getitem__)
    trace, config = PassTrace("a model"), fake_config(dtype="bfloat16")
    assert trace.blocks(config, work()) == 7
    assert trace.blocks(config, work(prompts=(0, 0))) == 0
    assert trace.blocks(fake_config(dtype="float32"), work()) == 0


def test_memory_is_the_weights_the_adapter_and_the_largest_of_what_takes_turns(fake_config: Make) -> None:
    config = fake_config(training=TrainingConfig(batch_size=4), token_budget=400)
    memory = memory_needed(config, SIZES, work(), Kept(7000, 500), 1, "cpu")
    # Two pairs of 180 tokens a pass: three values of each inner unit and four of each hidden one, 2 bytes each.
    passing = 360 * (3 * 16 + 4 * 8) * 2
    assert (memory.weights, memory.adapter, memory.libraries) == (2000, 10 * 16, LIBRARIES["cpu"])
    assert memory.training == 7000 + max(360 * 100 * 2, passing + 500)
    # 7 prompts of 7 tokens, twice, and 6 new ones: keys and values of 2 layers of 4 values of 2 bytes.
    assert memory.generation == max(7 * 20 * 2 * 2 * 4 * 2, 7 * 7 * 80 * 2 + 7 * 7 * 32)
    assert memory.scoring == passing + 360 * 100 * 4
    assert memory.peak == LIBRARIES["cpu"] + 2000 + 160 + memory.scoring
    assert memory_needed(config, SIZES, work((0,)), Kept(0), 1, "cpu").generation == 0
    assert replace(memory, blocks=50).peak == memory.peak + 50 and memory.kernels == 0  # in float32
    narrow = fake_config(training=TrainingConfig(batch_size=4), token_budget=400, dtype="bfloat16")
    half = memory_needed(narrow, SIZES, work(), Kept(7000, 500), 1, "cpu")
    assert half.kernels == KERNELS and half.peak == memory.peak + KERNELS
    assert memory_needed(narrow, SIZES, work(), Kept(0), 1, "cuda").kernels == 0
    # Logits of a prompt and its longer response, and of that response two tables in float32.
    tried = replace(work(), shortest=Lengths(900, 20, 100))
    trial = memory_needed(config, SIZES, tried, Kept(0), 1, "cpu")
    assert trial.trial == (1000 * 2 + 100 * 8) * 100 and trial.peak == LIBRARIES["cpu"] + 2000 + trial.trial
    without = memory_needed(config, SIZES, work(), None, 1, "cpu")
    assert without.training == 360 * 2 * (16 * 8 + (2 * 8 + 3 * 16) * 2) + 72_000
    assert memory_needed(config, replace(SIZES, weights=500), work(), Kept(0), 2, "cuda").weights == 500


def test_layers_in_pieces_are_shared_and_one_is_whole(fake_config: Make) -> None:
    config, sizes = fake_config(shard=True), replace(SIZES, layered=1200, layers=4)
    weights = [memory_needed(config, sizes, work(), Kept(0), count, "cuda").weights for count in (1, 2, 4)]
    # 800 that every process holds; a half or a quarter of 1200, and a layer of 300.
    assert weights == [2000, 800 + 600 + 300, 800 + 300 + 300]


def test_what_runs_out_of_memory_is_told_how_to_keep_less() -> None:
    told = as_bench_error(MemoryError("no more"))
    assert told is not None and "--activation-checkpointing" in told.remedy and "--quantization nf4" in told.remedy
