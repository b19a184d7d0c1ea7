"""Products with weights laid out beforehand: the same bits as without, of the weights as they are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from lifealign_bench.models import attention, blocked
from lifealign_bench.models.attention import SEGMENTS, grouped_attention
from lifealign_bench.models.blocked import blocked_bytes, blocked_products
from lifealign_bench.models.generate import generate
from lifealign_bench.models.sampling import Drawn, draw_responses
from lifealign_bench.models.steps import Steps

# Shapes of SmolLM2-135M and of Gemma 3 270M: (outputs, inputs).
SHAPES = ((192, 576), (576, 576), (1536, 576), (576, 1536), (1024, 640), (256, 640), (640, 2048))
PROMPTS = [[5, 9, 3, 7, 2, 8], [5, 9, 3, 11], [5, 9, 4, 4, 6]]
here = pytest.mark.skipif(not blocked.is_supported(), reason="on this processor all takes the plain way")


def small(dtype: torch.dtype = torch.bfloat16) -> Any:
    """A model of two layers whose weights are large enough to be laid out, with an adapter that says something."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=640,
        attn_implementation=SEGMENTS,
    )
    model: PreTrainedModel = LlamaForCausalLM(config).to(dtype).eval().requires_grad_(False)
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    return adapted.eval()


def sampled(model: Any) -> list[Drawn]:
    """Two responses to each of the prompts, over more columns than a cache grows by."""
    steps = Steps(model, PROMPTS, "shared", most=40, pad_id=0, device=torch.device("cpu"))
    with blocked_products(model):
        return draw_responses(
            steps,
            [0, 0, 1, 1, 2, 2],
            list(range(6)),
            most=40,
            stop=frozenset(range(6)),
            finished=lambda row, tokens: False,
            temperature=1.0,
            top_p=1.0,
        )


def written(model: Any) -> list[list[int]]:
    asked: dict[str, Any] = {"stop": frozenset({1}), "pad_id": 0, "device": torch.device("cpu")}
    return generate(model, PROMPTS, max_new_tokens=12, batch_size=2, **asked)


@here
def test_the_copies_take_what_a_plan_says() -> None:
    model = small()
    written(model)
    kept = [layer for layer in model.modules() if layer in blocked._KEPT]
    assert len(kept) == 2 * 5 + 1  # of each layer all but the small ones for keys and values, and the head
    assert blocked_bytes(model) == sum(layer.weight.numel() * 2 for layer in kept)
    planned = small().to("meta", torch.float32)
    assert blocked_bytes(planned) == blocked_bytes(model)


def test_a_plan_counts_no_copies_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocked, "is_supported", lambda: True)
    model = small()
    assert blocked_bytes(model) > 0
    monkeypatch.setattr(blocked, "_MOST_BYTES", blocked_bytes(model) - 1)
    assert blocked_bytes(model) == 0
    monkeypatch.undo()
    monkeypatch.setattr(blocked, "is_supported", lambda: False)
    assert blocked_bytes(model) == 0


def uses(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of every product that is taken from a weight laid out, from now on."""
    seen: list[int] = []
    multiplied = blocked._multiplied

    def counted(rows: torch.Tensor, block: torch.Tensor) -> torch.Tensor:
        seen.append(len(rows))
        return multiplied(rows, block)

    monkeypatch.setattr(blocked, "_multiplied", counted)
    return seen


@here
@pytest.mark.parametrize("shape", SHAPES)
def test_the_order_of_a_sum_is_that_of_the_plain_product(shape: tuple[int, int]) -> None:
    for rows in (1, 2, 3, 7, 8, 16, 31, 32, 33, 64, 127, 128):
        assert blocked._is_same(rows, *shape, torch.get_num_threads())


@here
def test_a_trial_shows_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    def turned(rows: torch.Tensor, block: torch.Tensor) -> torch.Tensor:
        order = torch.arange(rows.shape[1] - 1, -1, -1)
        return torch.nn.functional.linear(rows[:, order], blocked._trial(192, 576)[0][:, order])

    monkeypatch.setattr(blocked, "_multiplied", turned)
    assert not blocked._is_same.__wrapped__(1, 192, 576, 1)


@here
def test_sampling_and_generation_are_the_same_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small()
    seen = uses(monkeypatch)
    fast = sampled(model), written(model)
    assert seen
    for module in (blocked, attention):
        monkeypatch.setattr(module, "is_supported", lambda: False)
    seen.clear()
    assert (sampled(model), written(model)) == fast
    assert not seen
    assert any(one.ended for one in fast[0]) and any(len(one.tokens) == 40 for one in fast[0])


@pytest.mark.parametrize("reason", ["float32", "no op", "another order", "trained"])
def test_what_is_not_known_takes_the_plain_way(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small(torch.float32 if reason == "float32" else torch.bfloat16)
    seen = uses(monkeypatch)
    if reason == "no op":
        monkeypatch.setattr(blocked, "hasattr", lambda *asked: False, raising=False)
    if reason == "another order":
        monkeypatch.setattr(blocked, "_is_same", lambda *asked: False)
    if reason == "trained":
        model.requires_grad_(True)
    written(model)
    assert not seen


@here
def test_a_gradient_is_taken_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small()
    seen = uses(monkeypatch)
    with blocked_products(model):
        model(input_ids=torch.tensor([PROMPTS[0]])).logits.sum().backward()
    assert not seen
    assert all("forward" not in module.__dict__ for module in model.modules())


@here
def test_a_weight_that_was_changed_is_laid_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small()
    layer = model.get_base_model().model.layers[0].mlp.up_proj
    rows = torch.randn(3, 256).bfloat16()
    changes = (
        lambda: None,
        lambda: layer.weight.data.mul_(2),  # past the version counter, as a merged adapter is
        lambda: layer.weight.data.copy_(layer.weight.flip(0)),
        lambda: layer.weight.data.copy_(layer.weight.flip(1)),
        lambda: setattr(layer, "weight", torch.nn.Parameter(torch.ones_like(layer.weight), requires_grad=False)),
    )
    seen = uses(monkeypatch)
    for change in changes:
        change()
        plain = layer(rows)
        with torch.no_grad(), blocked_products(model):
            assert torch.equal(layer(rows), plain)
    assert seen


@here
def test_a_cache_that_grows_says_what_the_whole_room_says() -> None:
    torch.manual_seed(0)
    heads, width, whole = 6, 16, 92
    for filled, columns in ((37, 64), (63, 64), (64, 64)):
        query, key, value = (torch.randn(8, n, m, width).bfloat16() for n, m in ((heads, 1), (2, whole), (2, whole)))
        mask = torch.arange(whole)[None, None, None] < filled
        found = [
            grouped_attention(query, key[:, :, :n].contiguous(), value[:, :, :n].contiguous(), mask[..., :n], 0.25)
            for n in (whole, columns)
        ]
        assert torch.equal(*found)


@pytest.mark.parametrize(("threads", "dtype"), [(1, torch.float32), (2, torch.bfloat16)])
def test_a_cache_has_all_its_room_at_once_where_growing_was_not_looked_at(threads: int, dtype: torch.dtype) -> None:
    filled = DynamicLayer()
    states = torch.ones(1, 2, 20, 4, dtype=dtype)
    filled.update(states, states)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        room = attention._Room(filled, 60)
    finally:
        torch.set_num_threads(before)
    assert room.keys.shape[-2] == room.columns(1) == 80
