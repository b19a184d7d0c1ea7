"""The one forward pass: both layouts give what a plain pass over each sequence gives, and nothing leaks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lifealign_bench.encode import EncodedPair
from lifealign_bench.fakes import fake_model
from lifealign_bench.logprobs import Layout, choose_layout, lay_out, pair_log_probs, score_pairs
from lifealign_bench.pairs import Message, Pair

MODEL = fake_model()[0].eval()
CPU = torch.device("cpu")
LAYOUTS: tuple[Layout, ...] = ("shared", "rows")


def make(prompt: list[int], chosen: list[int], rejected: list[int], name: str = "t/train/0") -> EncodedPair:
    pair = Pair(name, "t", (Message("user", "x"),), "c", "r")
    return EncodedPair(pair, tuple(prompt), tuple(chosen), tuple(rejected))


def plain(prompt: tuple[int, ...], completion: tuple[int, ...]) -> float:
    """One sequence by itself, log-softmax over all positions: the definition."""
    with torch.no_grad():
        logits = MODEL(input_ids=torch.tensor([[*prompt, *completion]])).logits[0].double()
    table = logits.log_softmax(-1)
    return sum(float(table[len(prompt) + i - 1, token]) for i, token in enumerate(completion))


tokens = st.lists(st.integers(5, 250), min_size=1, max_size=12)
encoded_pairs = st.lists(st.builds(make, tokens, tokens, tokens), min_size=1, max_size=5)


@pytest.mark.parametrize("layout", LAYOUTS)
@given(pairs=encoded_pairs)
@settings(max_examples=25, deadline=None)
def test_equals_one_sequence_at_a_time(layout: Layout, pairs: list[EncodedPair]) -> None:
    with torch.no_grad():
        found = pair_log_probs(MODEL, lay_out(pairs, 0, layout))
    wanted = torch.tensor([[plain(p.prompt, p.chosen), plain(p.prompt, p.rejected)] for p in pairs])
    assert torch.allclose(found, wanted.float(), atol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_are_those_of_single_sequences(layout: Layout) -> None:
    pairs = [make([9, 8, 7], [20, 21], [30, 31, 32, 33]), make([6], [40, 41, 42], [50])]
    model: Any = fake_model()[0].eval()
    weight = model.model.layers[0].self_attn.q_proj.weight
    torch.autograd.backward(pair_log_probs(model, lay_out(pairs, 0, layout)).sum())
    found = weight.grad.clone()
    weight.grad = None
    for pair in pairs:
        for completion in (pair.chosen, pair.rejected):
            ids = torch.tensor([[*pair.prompt, *completion]])
            table = model(input_ids=ids).logits[0].log_softmax(-1)
            start = len(pair.prompt) - 1
            torch.autograd.backward(table[torch.arange(start, ids.shape[1] - 1), ids[0, start + 1 :]].sum())
    assert torch.allclose(found, weight.grad, atol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_branch_does_not_see_the_other(layout: Layout) -> None:
    a = [make([9, 8], [20, 21, 22], [30, 31]), make([5, 6, 7], [60], [61, 62])]
    b = [make([9, 8], [20, 21, 22], [77, 78]), make([5, 6, 7], [99], [61, 62])]
    with torch.no_grad():
        first, second = (pair_log_probs(MODEL, lay_out(x, 0, layout)) for x in (a, b))
    assert torch.allclose(first[0, 0], second[0, 0], atol=1e-6)
    assert torch.allclose(first[1, 1], second[1, 1], atol=1e-6)
    assert not torch.allclose(first[0, 1], second[0, 1], atol=1e-3)


def test_batch_size_and_order_do_not_change_a_score() -> None:
    pairs = [make(list(range(5, 6 + i)), [40 + i], [50, 51, 52][: 1 + i % 3], f"t/train/{i}") for i in range(7)]

    def score(batch: int, items: list[EncodedPair]) -> torch.Tensor:
        return score_pairs(MODEL, items, pad_id=0, layout="shared", batch_size=batch, device=CPU)

    whole = score(7, pairs)
    assert torch.allclose(whole, score(2, pairs), atol=1e-5)
    assert torch.allclose(whole.flip(0), score(3, pairs[::-1]), atol=1e-5)


class _IgnoresMask(torch.nn.Module):
    """A model that falls back to its own causal mask whatever it is given, as some architectures do."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = MODEL
        self.config = MODEL.config
        self.dtype = torch.float32

    def forward(self, attention_mask: torch.Tensor, **kwargs: Any) -> Any:
        plain_mask = attention_mask if attention_mask.dim() == 2 else None
        return self.inner(attention_mask=plain_mask, **kwargs)


def test_layout_is_chosen_by_trying() -> None:
    probe = [make([9, 8, 7], [20, 21], [30, 31, 32])]
    assert choose_layout(MODEL, probe, 0, CPU) == "shared"
    assert choose_layout(_IgnoresMask(), probe, 0, CPU) == "rows"
