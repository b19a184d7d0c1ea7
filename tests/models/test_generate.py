"""Greedy generation equals transformers' own, whatever the batch."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F
from transformers import DynamicCache, MistralConfig, MistralForCausalLM, RwkvConfig, RwkvForCausalLM

from lifealign_bench.errors import BenchError
from lifealign_bench.models.attention import SEGMENTS, grouped_attention, make_room, open_columns
from lifealign_bench.models.chattemplate import stop_ids
from lifealign_bench.models.fake import fake_model
from lifealign_bench.models.generate import StopTexts, cut_at, generate

MODEL, TOKENIZER = fake_model()
PROMPTS = [[7, 8, 9], [20], [30, 31, 32, 33, 34, 35], [40, 41], [50, 51, 52]]


def ours(batch_size: int, stop: frozenset[int] = frozenset({1}), limit: int = 12) -> list[list[int]]:
    return generate(
        MODEL.eval(),
        PROMPTS,
        max_new_tokens=limit,
        batch_size=batch_size,
        stop=stop,
        pad_id=0,
        device=torch.device("cpu"),
    )


def reference(prompt: list[int], stop: frozenset[int], limit: int = 12) -> list[int]:
    ids = torch.tensor([prompt])
    with torch.no_grad():
        whole = MODEL.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=limit,
            do_sample=False,
            eos_token_id=sorted(stop),
            pad_token_id=0,
        )
    out: list[int] = whole[0, len(prompt) :].tolist()
    ends = [i for i, token in enumerate(out) if token in stop]
    return out[: ends[0]] if ends else out


def test_equals_transformers_generate() -> None:
    assert ours(3) == [reference(p, frozenset({1})) for p in PROMPTS]


def test_a_shared_beginning_goes_through_the_model_once() -> None:
    shared = [60, 61, 62, 63, 64, 65]
    prompts = [shared + p for p in PROMPTS]
    seen: list[int] = []
    handle = MODEL.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    found = generate(
        MODEL.eval(), prompts, max_new_tokens=9, batch_size=5, stop=frozenset({1}), pad_id=0, device=torch.device("cpu")
    )
    handle.remove()
    assert found == [reference(p, frozenset({1}), 9) for p in prompts]
    assert seen[:2] == [len(shared), 5 * max(len(p) for p in PROMPTS)]


def test_batch_size_changes_nothing() -> None:
    assert ours(1) == ours(2) == ours(5)


def test_sequences_stop_by_themselves() -> None:
    """Tokens that the model likes are made stop tokens: sequences end at different steps and the rest goes on."""
    plain = ours(5)
    stop = frozenset({plain[0][2], plain[2][5], plain[3][0]})
    stopped = ours(5, stop)
    assert stopped == [reference(p, stop) for p in PROMPTS]
    assert len({len(r) for r in stopped}) > 1
    assert all(not stop & set(r) for r in stopped)


def test_stop_texts_end_a_response_and_are_no_part_of_it() -> None:
    plain = ours(5)
    # The first prompt's response is to end after its fourth token, by a text that spans two tokens.
    text = TOKENIZER.decode(plain[0][2:4])
    rules = StopTexts([(text, "never said"), (), (), (), ()], TOKENIZER.decode)
    found = generate(
        MODEL.eval(),
        PROMPTS,
        max_new_tokens=12,
        batch_size=5,
        stop=frozenset({1}),
        pad_id=0,
        device=torch.device("cpu"),
        stop_texts=rules,
    )
    assert len(found[0]) <= 4 and text in TOKENIZER.decode(found[0])
    assert found[0] == plain[0][: len(found[0])] and found[1:] == plain[1:]
    assert text not in cut_at(TOKENIZER.decode(found[0]), (text, "never said"))
    assert cut_at("one two three", ("three", "two")) == "one " and cut_at("one", ()) == "one"


def test_a_model_that_keeps_nothing_of_its_prompt_is_refused() -> None:
    model = RwkvForCausalLM(RwkvConfig(vocab_size=64, hidden_size=32, attention_hidden_size=32, num_hidden_layers=2))
    with pytest.raises(BenchError, match="RwkvForCausalLM keeps nothing of its prompt"):
        generate(
            model.eval(),
            [[7, 8]],
            max_new_tokens=4,
            batch_size=1,
            stop=frozenset(),
            pad_id=0,
            device=torch.device("cpu"),
        )


def test_segments_generate_what_the_stock_attention_does() -> None:
    before = ours(5)
    MODEL.set_attn_implementation(SEGMENTS)
    try:
        assert ours(5) == before
    finally:
        MODEL.set_attn_implementation("sdpa")


def test_limit_is_kept() -> None:
    assert all(len(r) == 4 for r in ours(2, frozenset(), limit=4))


def test_stop_ids_are_the_tokenizers_and_the_models() -> None:
    MODEL.generation_config.eos_token_id = [1, 17]
    try:
        assert stop_ids(MODEL, TOKENIZER) == frozenset({1, 17})
    finally:
        MODEL.generation_config.eos_token_id = 1


def test_sequences_that_stop_leave_the_room_for_keys_too() -> None:
    """Under the package's own attention the keys and values lie in a room of their own; rows leave it as they stop."""
    plain = ours(5)
    stop = frozenset({plain[0][2], plain[2][5], plain[3][0]})
    expected = ours(5, stop)
    MODEL.set_attn_implementation(SEGMENTS)
    try:
        assert ours(5, stop) == expected and ours(2, stop) == expected
    finally:
        MODEL.set_attn_implementation("sdpa")


@pytest.mark.parametrize("window", [None, 4])
def test_generation_with_and_without_a_sliding_window(window: int | None) -> None:
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=window,
        max_position_embeddings=64,
    )
    model = MistralForCausalLM(config).eval()
    prompts = [[7, 8, 9, 10, 11, 12, 13], [20], [30, 31, 32]]

    def generated(batch_size: int) -> list[list[int]]:
        return generate(
            model,
            prompts,
            max_new_tokens=9,
            batch_size=batch_size,
            stop=frozenset(),
            pad_id=0,
            device=torch.device("cpu"),
        )

    stock = generated(1)
    model.set_attn_implementation(SEGMENTS)
    assert generated(1) == generated(3) == stock


def test_a_room_is_what_the_growing_cache_was() -> None:
    torch.manual_seed(0)
    grown = DynamicCache(config=MODEL.config)
    layers = len(grown.layers)
    parts = [torch.randn(2, 3, length, 4) for length in (5, 1, 1)]
    for layer in range(layers):
        grown.update(parts[0], parts[0] + 1, layer)
    roomy = copy.deepcopy(grown)
    assert make_room(roomy, 2)
    for part in parts[1:]:
        for layer in range(layers):
            keys, values = grown.update(part, part + 1, layer)
            wide_keys, wide_values = roomy.update(part, part + 1, layer)
            assert wide_keys.shape[2] == 7  # nothing is copied to grow
            assert torch.equal(wide_keys[:, :, : keys.shape[2]], keys)
            assert torch.equal(wide_values[:, :, : keys.shape[2]], values)
    assert roomy.get_seq_length() == grown.get_seq_length() == 7


def test_one_query_a_sequence_is_the_stock_attention() -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 6, 1, 8), torch.randn(3, 2, 11, 8), torch.randn(3, 2, 11, 8)
    mask = open_columns(torch.tensor([[1] * 6, [0] * 3 + [1] * 3, [0] * 5 + [1]]), 5, 2)
    assert mask.shape == (3, 1, 1, 11) and mask.sum().item() == 6 + 3 + 1 + 3 * 2
    stock = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=True)
    torch.testing.assert_close(grouped_attention(query, key, value, mask, 8**-0.5), stock.transpose(1, 2))
