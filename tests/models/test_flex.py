"""Packed attention by flex_attention: its mask is the written-out one, its values and gradients are those of one
sequence at a time, with windows and soft caps; compiled it gives the same; where it cannot be made, a mask is used."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from lifealign_bench.models import flex
from lifealign_bench.models import layout as layouts
from lifealign_bench.models.attention import Segment, segment_attention
from lifealign_bench.models.encode import EncodedPair
from lifealign_bench.models.flex import FLEX, flexible_attention
from lifealign_bench.models.layout import choose_layout
from lifealign_bench.models.logprobs import lay_out, log_probs, pair_log_probs
from lifealign_bench.models.visibility import Visibility, visibility_of
from lifealign_bench.pairs import Message, Pair

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SIZES: dict[str, Any] = {
    **{"vocab_size": 256, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2},
    **{"num_attention_heads": 6, "num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
}
MODELS: dict[str, Any] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "mistral, window of 8": lambda: MistralForCausalLM(MistralConfig(sliding_window=8, **SIZES)),
    # A window in every other layer, scores capped in all; the final cap is not the attention's.
    "gemma2, window of 8 and a cap of 3": lambda: Gemma2ForCausalLM(
        Gemma2Config(head_dim=8, sliding_window=8, attn_logit_softcapping=3.0, final_logit_softcapping=None, **SIZES)
    ),
}


@pytest.fixture
def differentiable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch has the gradients written out for all devices, and refuses them on a CPU, for which it has no kernel."""
    monkeypatch.setattr(torch.nn.attention.flex_attention, "_validate_device", lambda *_: None)


@pytest.fixture(autouse=True)
def untraced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uncompiled it is traced all the same, which takes longer than all products of these tests."""
    monkeypatch.setattr(torch.nn.attention.flex_attention, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)


def make(prompt: list[int], chosen: list[int], rejected: list[int], number: int = 0) -> EncodedPair:
    pair = Pair(f"t/train/{number}", "t", (Message("user", "x"),), "c", "r")
    return EncodedPair(pair, tuple(prompt), tuple(chosen), tuple(rejected))


def some_pairs() -> list[EncodedPair]:
    generator = torch.Generator().manual_seed(3)

    def ids(size: int) -> list[int]:
        return torch.randint(5, 250, (size,), generator=generator).tolist()

    shared = [60, 61, 62]
    # The first is longer than a block of 128, and all responses than the window.
    sizes = ((150, 20, 31), (4, 9, 12), (17, 40, 1))
    return [make(shared + ids(p), ids(c), ids(r), i) for i, (p, c, r) in enumerate(sizes)]


def model_named(name: str) -> Any:
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)
    return model.requires_grad_(False)


def one_at_a_time(model: Any, pair: EncodedPair, completion: tuple[int, ...]) -> torch.Tensor:
    table = model(input_ids=torch.tensor([[*pair.prompt, *completion]])).logits[0].log_softmax(-1)
    start = len(pair.prompt) - 1
    picked: torch.Tensor = table[torch.arange(start, start + len(completion)), torch.tensor(completion)]
    return picked.sum()


def seen_by_hand(segments: list[Segment], window: int | None) -> torch.Tensor:
    """Column by column, from the words of the module's description."""
    prefix = segments[0].prefix
    sequences: list[list[int]] = [list(range(prefix))]  # the columns of every sequence by itself, in order
    for s in segments:
        prompt = [*range(prefix), *range(s.start, s.start + s.prompt)]
        sequences += [prompt, *([*prompt, *range(first, last)] for first, last in s.columns())]
    wanted = torch.zeros((segments[-1].end,) * 2, dtype=torch.bool)
    for columns in sequences:
        for place, column in enumerate(columns):
            for earlier in range(place + 1):
                if window is None or place - earlier < window:
                    wanted[column, columns[earlier]] = True
    return wanted


sizes = st.tuples(st.integers(1, 9), st.lists(st.integers(0, 9), min_size=1, max_size=3))


@given(prefix=st.integers(0, 5), pairs=st.lists(sizes, min_size=1, max_size=4), window=st.none() | st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_what_sees_what_is_what_each_sequence_sees_by_itself(
    prefix: int, pairs: list[tuple[int, list[int]]], window: int | None
) -> None:
    segments, start = [], prefix
    for prompt, branches in pairs:
        segments.append(Segment(start, prompt, tuple(branches), prefix))
        start = segments[-1].end
    found = visibility_of(segments)
    wanted = seen_by_hand(segments, window)
    assert torch.equal(found.mask(window)[0, 0], wanted)
    # The blocks hold the same: all that is seen is in a block that is looked at.
    blocks = found.blocks(window)
    assert blocks is found.blocks(window)
    columns = torch.arange(len(wanted))
    none = torch.zeros(())
    assert torch.equal(blocks.mask_mod(none, none, columns[:, None], columns[None]), wanted)


def test_blocks_that_nothing_sees_are_left_out() -> None:
    """Two pairs of 256 tokens each: of 16 blocks of 128, the 6 of the two triangles are left."""
    blocks = visibility_of([Segment(0, 128, (128,)), Segment(256, 128, (128,))]).blocks()
    looked_at = blocks.kv_num_blocks.sum()
    if blocks.full_kv_num_blocks is not None:
        looked_at = looked_at + blocks.full_kv_num_blocks.sum()
    assert int(looked_at) == 6


@pytest.mark.usefixtures("differentiable")
@pytest.mark.parametrize("name", MODELS)
def test_values_and_gradients_are_those_of_one_sequence_at_a_time(name: str) -> None:
    model, pairs = model_named(name), some_pairs()
    weight = model.model.layers[0].self_attn.q_proj.weight.requires_grad_()
    model.set_attn_implementation("eager")  # which knows caps, where torch's own attention does not
    wanted = torch.stack([torch.stack([one_at_a_time(model, p, c) for c in p.branches]) for p in pairs])
    (slope,) = torch.autograd.grad(wanted.sum(), weight)
    model.set_attn_implementation(FLEX)
    found = pair_log_probs(model, lay_out(pairs, 0, "flex"))
    lengths = torch.tensor([[len(c) for c in p.branches] for p in pairs])
    assert ((found - wanted).abs() / lengths).max() < 1e-4
    (gradient,) = torch.autograd.grad(found.sum(), weight)
    assert torch.allclose(gradient, slope, atol=1e-4 * float(slope.abs().max()))
    with torch.no_grad():
        in_passes = log_probs(model, pairs, pad_id=0, layout="flex", token_budget=100, device=CPU)
    assert torch.allclose(in_passes, found, atol=1e-3)


def inputs(visibility: Visibility) -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.randn(1, heads, len(visibility.part), 16) for heads in (4, 2, 2)]


@pytest.mark.parametrize("window", [None, 7])
def test_it_is_the_attention_by_segments(window: int | None) -> None:
    segments = (Segment(3, 40, (50, 60), prefix=3), Segment(153, 9, (8, 1), prefix=3))
    visibility = visibility_of(segments)
    query, key, value = inputs(visibility)
    given = {"segments": segments, "sliding_window": window}
    wanted, _ = segment_attention(torch.nn.Module(), query, key, value, None, **given)  # type: ignore[arg-type]
    found = flexible_attention(query, key, value, visibility, scale=0.25, window=window)
    assert torch.allclose(found.transpose(1, 2), wanted, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for a CPU with g++")
def test_compiled_it_gives_the_same() -> None:
    """The kernel for a CPU, with a window and a cap, without gradients: torch makes none for them there."""
    visibility = visibility_of([Segment(3, 40, (50, 60), prefix=3), Segment(153, 9, (8, 1), prefix=3)])
    query, key, value = inputs(visibility)
    compiled = torch.compile(torch.nn.attention.flex_attention.flex_attention, dynamic=False)
    with torch.no_grad():
        wanted = flexible_attention(query, key, value, visibility, scale=0.25, window=7, cap=3.0)
        found = flexible_attention(query, key, value, visibility, scale=0.25, window=7, cap=3.0, function=compiled)
    assert torch.allclose(found, wanted, atol=1e-5) and not torch.equal(wanted, torch.zeros_like(wanted))


@pytest.mark.usefixtures("differentiable")
@pytest.mark.parametrize("name", ["llama", "mistral, window of 8"])
def test_on_an_accelerator_it_is_tried_first_and_what_fails_in_it_leads_to_the_next(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs, told = some_pairs(), list[str]()
    accelerated = layouts._candidates

    def candidates(config: Any, device: torch.device, wanted: Any = None) -> Any:
        return accelerated(config, CUDA, wanted)

    monkeypatch.setattr(layouts, "_candidates", candidates)
    model = model_named(name)
    assert choose_layout(model, pairs, 0, CPU, notice=told.append) == "flex" and not told
    assert model.config._attn_implementation == FLEX and not model.training
    assert not model.get_input_embeddings()._forward_hooks

    def uncompiled(*_: Any, **__: Any) -> torch.Tensor:
        raise RuntimeError("No valid triton configs. OutOfResources: out of resource: shared memory")

    monkeypatch.setattr(flex, "flex_attention", uncompiled)
    model = model_named(name)
    found = choose_layout(model, pairs, 0, CPU, notice=told.append)
    assert found == "mask"
    assert len(told) == 1 and "flex_attention" in told[0] and "shared memory" in told[0]


def test_a_kernel_without_gradients_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch's own on a CPU; scores alone would agree."""
    pairs, model, told = some_pairs(), model_named("llama"), list[str]()
    monkeypatch.setattr(layouts, "_candidates", lambda *_: ("flex", "mask"))
    assert choose_layout(model, pairs, 0, CPU, notice=told.append) == "mask"
    assert "does not support backward" in told[0]
