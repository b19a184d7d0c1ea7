"""The one forward pass: every layout gives what a plain pass over each sequence gives, and nothing leaks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoConfig,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from lifealign_bench.errors import BenchError
from lifealign_bench.models import layout as layouts
from lifealign_bench.models import logprobs
from lifealign_bench.models.attention import SEGMENTS, Segment, segment_attention
from lifealign_bench.models.encode import EncodedPair
from lifealign_bench.models.fake import fake_model
from lifealign_bench.models.layout import choose_layout
from lifealign_bench.models.logprobs import Layout, lay_out, log_probs, pack, pair_log_probs, score_pairs
from lifealign_bench.models.vocabulary import precise_token_log_probs, token_log_probs
from lifealign_bench.pairs import Message, Pair

CPU = torch.device("cpu")
LAYOUTS: tuple[Layout, ...] = ("segments", "mask", "rows", "plain")
PACKED: tuple[Layout, ...] = ("segments", "mask")
SIZES: dict[str, Any] = {
    "vocab_size": 256,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
FAMILIES: dict[str, Any] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(head_dim=8, **SIZES)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(sliding_window=None, **SIZES)),
    "mistral, window of 8": lambda: MistralForCausalLM(MistralConfig(sliding_window=8, **SIZES)),
    "gemma2, window of 8, soft caps": lambda: Gemma2ForCausalLM(
        Gemma2Config(head_dim=8, sliding_window=8, attn_logit_softcapping=5.0, final_logit_softcapping=3.0, **SIZES)
    ),
    "gemma3, window of 8": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(
            head_dim=8,
            sliding_window=8,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            **SIZES,
        )
    ),
    "granite, scaled logits": lambda: GraniteForCausalLM(GraniteConfig(logits_scaling=3.0, **SIZES)),
    "gpt2, learned positions": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=256, n_embd=48, n_layer=2, n_head=4, attn_pdrop=0.0, bos_token_id=1, eos_token_id=2)
    ),
}


def make(prompt: list[int], chosen: list[int], rejected: list[int], name: str = "t/train/0") -> EncodedPair:
    pair = Pair(name, "t", (Message("user", "x"),), "c", "r")
    return EncodedPair(pair, tuple(prompt), tuple(chosen), tuple(rejected))


def family(name: str) -> Any:
    """A random model whose logits are far from flat."""
    torch.manual_seed(0)
    model = FAMILIES[name]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)
    return model.requires_grad_(False)


def prepared(model: Any, layout: Layout) -> Any:
    """The model set up for a layout, as choose_layout does it."""
    model.set_attn_implementation(SEGMENTS if layout == "segments" else "sdpa")
    return model


MODEL = fake_model()[0].eval().requires_grad_(False)


def plain(model: Any, prompt: tuple[int, ...], completion: tuple[int, ...]) -> float:
    """One sequence by itself, log-softmax over all positions: the definition."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*prompt, *completion]])).logits[0].double()
    table = logits.log_softmax(-1)
    return sum(float(table[len(prompt) + i - 1, token]) for i, token in enumerate(completion))


def some_pairs(count: int = 5, longest: int = 40, prefix: tuple[int, ...] = ()) -> list[EncodedPair]:
    generator = torch.Generator().manual_seed(count)

    def ids() -> list[int]:
        size = int(torch.randint(1, longest, (), generator=generator))
        return torch.randint(5, 250, (size,), generator=generator).tolist()

    return [make([*prefix, *ids()], ids(), ids(), f"t/train/{i}") for i in range(count)]


tokens = st.lists(st.integers(5, 250), min_size=1, max_size=12)
prompts = st.builds(lambda shared, own: [5, 6, 7, 8, 9][:shared] + own, st.integers(0, 5), tokens)
encoded_pairs = st.lists(st.builds(make, prompts, tokens, tokens), min_size=1, max_size=5)


@pytest.mark.parametrize("layout", LAYOUTS)
@given(pairs=encoded_pairs, budget=st.integers(1, 120))
@settings(max_examples=25, deadline=None)
def test_equals_one_sequence_at_a_time(layout: Layout, pairs: list[EncodedPair], budget: int) -> None:
    model = prepared(MODEL, layout)
    with torch.no_grad():
        found = log_probs(model, pairs, pad_id=0, layout=layout, token_budget=budget, device=CPU)
    wanted = torch.tensor([[plain(model, p.prompt, p.chosen), plain(model, p.prompt, p.rejected)] for p in pairs])
    assert torch.allclose(found, wanted.float(), atol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_equals_one_sequence_at_a_time(name: str) -> None:
    model = family(name)
    # Longer than a block of queries and than the window, besides short ones.
    shared = tuple(range(60, 80))
    long = make([*shared, *range(5, 205)], list(range(20, 60)), list(range(30, 200)))
    pairs = [*some_pairs(4, prefix=shared), long]
    assert lay_out(pairs, 0, "segments").ids.numel() == sum(p.tokens for p in pairs) - 4 * len(shared)
    layout = choose_layout(model, pairs, 0, CPU)
    assert layout == "segments"
    with torch.no_grad():
        found = pair_log_probs(model, lay_out(pairs, 0, layout))
    wanted = torch.tensor([[plain(model, p.prompt, p.chosen), plain(model, p.prompt, p.rejected)] for p in pairs])
    assert torch.allclose(found, wanted.float(), atol=1e-4 * max(len(p.rejected) for p in pairs) / 10)


@pytest.mark.parametrize("layout", PACKED)
@pytest.mark.parametrize("name", [name for name in FAMILIES if "window" in name])
def test_windows_and_caps_pack(layout: Layout, name: str) -> None:
    """On the attention paths of both packed layouts, whatever the device: 1e-5 nats a token in float32."""
    model = family(name)
    pairs = [
        *some_pairs(3, longest=20, prefix=(60, 61, 62)),
        make([60, 61, *range(5, 150)], [20, 21], [*range(30, 60)]),
    ]
    wanted = torch.tensor([[plain(model, p.prompt, p.chosen), plain(model, p.prompt, p.rejected)] for p in pairs])
    assert choose_layout(model, pairs, 0, CPU, wanted=layout) == layout
    with torch.no_grad():
        found = pair_log_probs(model, lay_out(pairs, 0, layout))
    lengths = torch.tensor([[len(p.chosen), len(p.rejected)] for p in pairs])
    assert float(((found - wanted).abs() / lengths).max()) < 1e-5
    # The window and the caps are what makes it so: without them the same rows say something else.
    if layout == "mask":
        model.config.sliding_window = None
    for layer in model.model.layers:
        layer.self_attn.sliding_window = layer.self_attn.attn_logit_softcapping = None
    if layout == "mask" or not name.startswith("mistral"):  # which reads its window from the configuration
        with torch.no_grad():
            other = pair_log_probs(model, lay_out(pairs, 0, layout))
        assert float((other - wanted).abs().max()) > 1


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["llama", "qwen3", "mistral", "gemma2, window of 8, soft caps"])
def test_gradients_are_those_of_single_sequences(layout: Layout, name: str) -> None:
    model = family(name)
    given = model.config._attn_implementation
    model.set_attn_implementation(SEGMENTS if layout == "segments" else given)
    weights = [model.model.layers[i].self_attn.q_proj.weight.requires_grad_() for i in (0, 2)]
    pairs = [*some_pairs(3, prefix=(9, 9, 9, 9)), make([9] * 4 + [6] * 150, [40, 41, 42], [50])]
    torch.autograd.backward(pair_log_probs(model, lay_out(pairs, 0, layout)).sum())
    found = [w.grad.clone() for w in weights]
    model.zero_grad()
    model.set_attn_implementation(given)
    for pair in pairs:
        for completion in (pair.chosen, pair.rejected):
            ids = torch.tensor([[*pair.prompt, *completion]])
            table = model(input_ids=ids).logits[0].log_softmax(-1)
            start = len(pair.prompt) - 1
            torch.autograd.backward(table[torch.arange(start, ids.shape[1] - 1), ids[0, start + 1 :]].sum())
    for a, w in zip(found, weights, strict=True):
        assert torch.allclose(a, w.grad, atol=1e-4 * max(1.0, float(w.grad.abs().max())))


@pytest.mark.parametrize("layout", PACKED)
def test_nothing_leaks_from_branch_to_branch_or_pair_to_pair(layout: Layout) -> None:
    model = prepared(MODEL, layout)
    a = [make([9, 8], [20, 21, 22], [30, 31]), make([5, 6, 7], [60], [61, 62])]
    b = [make([9, 8], [20, 21, 22], [77, 78]), make([5, 6, 7], [99], [61, 62])]
    with torch.no_grad():
        first, second = (pair_log_probs(model, lay_out(x, 0, layout)) for x in (a, b))
    # The same products on the same rows: what did not change is equal to the bit.
    assert first[0, 0] == second[0, 0] and first[1, 1] == second[1, 1]
    assert not torch.allclose(first[0, 1], second[0, 1], atol=1e-3)
    assert not torch.allclose(first[1, 0], second[1, 0], atol=1e-3)


def test_segment_attention_has_the_gradient_of_its_value() -> None:
    """Against finite differences in float64, over blocks, key groups, a window and a cap."""
    segments = (Segment(2, 2, (1, 3), prefix=2), Segment(8, 2, (1, 1), prefix=2))
    module = torch.nn.Module()
    torch.manual_seed(1)
    inputs = [torch.randn(1, heads, 12, 2, dtype=torch.float64, requires_grad=True) for heads in (4, 2, 2)]
    for window, cap in ((None, None), (2, None), (2, 1.5)):

        def attend(
            q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int | None = window, cap: float | None = cap
        ) -> torch.Tensor:
            return segment_attention(module, q, k, v, None, segments=segments, sliding_window=window, softcap=cap)[0]

        assert torch.autograd.gradcheck(attend, inputs)


def test_token_log_probs_by_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(2)
    weight, bias = torch.randn(50, 6, dtype=torch.float64), torch.randn(50, dtype=torch.float64)
    hidden = torch.randn(7, 6, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([0, 49, 3, 3, 17, 8, 1])
    wanted = torch.log_softmax(hidden @ weight.T + bias, -1)[torch.arange(7), targets]
    (slope,) = torch.autograd.grad(wanted @ torch.arange(7.0, dtype=torch.float64), hidden)
    for values in (1, 100, 10**6):  # one token a chunk, two, all
        monkeypatch.setattr("lifealign_bench.models.vocabulary._CHUNK_VALUES", values)
        found = token_log_probs(hidden, targets, weight, bias)
        (gradient,) = torch.autograd.grad(found.double() @ torch.arange(7.0, dtype=torch.float64), hidden)
        assert found.dtype == torch.float32 and torch.allclose(found.double(), wanted, atol=1e-6)
        assert torch.allclose(gradient, slope, atol=1e-5)


def test_precise_log_probs_of_bfloat16_weights_are_those_of_their_product_in_float64(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(3)
    weight, bias = torch.randn(50, 64).bfloat16(), torch.randn(50).bfloat16()
    hidden = 3 * torch.randn(9, 64).bfloat16()
    targets = torch.tensor([0, 49, 48, 7, 8, 31, 32, 3, 3])
    wanted = torch.log_softmax(hidden.double() @ weight.double().T + bias.double(), -1)[torch.arange(9), targets]
    assert (token_log_probs(hidden, targets, weight, bias) - wanted).abs().max() > 0.02  # logits of about 50
    for values in (1, 64 * 8, 10**6):  # blocks of one token of the vocabulary, of eight, all at once
        monkeypatch.setattr("lifealign_bench.models.vocabulary._BLOCK_VALUES", values)
        found = precise_token_log_probs(hidden, targets, weight, bias)
        assert found.dtype == torch.float32 and torch.allclose(found.double(), wanted, atol=1e-4)
    assert torch.allclose(
        precise_token_log_probs(hidden, targets, weight, None).double(),
        torch.log_softmax(hidden.double() @ weight.double().T, -1)[torch.arange(9), targets],
        atol=1e-4,
    )


@pytest.mark.parametrize("layout", ["segments", "rows"])
def test_scores_in_bfloat16_have_their_head_in_float32(layout: Layout) -> None:
    """The hidden states are the model's own; what the vocabulary makes of them is not rounded again."""
    model = prepared(family("llama").bfloat16(), layout)
    pairs = some_pairs(3)
    rows = lay_out(pairs, 0, layout)
    with torch.no_grad():
        hidden, head = logprobs.predictions(model, rows)
        assert head is not None and hidden.dtype == torch.bfloat16
        table = (hidden.double() @ head.weight.double().T).log_softmax(-1)
        wanted = logprobs.summed(table.gather(1, rows.target[:, None])[:, 0], rows)
        trained = pair_log_probs(model, rows)

    def score(*, precise: bool = True) -> torch.Tensor:
        budget = 10**6
        return score_pairs(model, pairs, pad_id=0, layout=layout, token_budget=budget, device=CPU, precise=precise)

    order = pack(pairs, 10**6, layout)
    assert len(order) == 1
    place = torch.tensor(order[0]).argsort()
    again = lay_out([pairs[i] for i in order[0]], 0, layout)
    with torch.no_grad():
        assert torch.equal(score(precise=False), pair_log_probs(model, again)[place])
    assert (score().double() - wanted).abs().max() < 1e-3 < (trained.double() - wanted).abs().max()


def test_the_head_is_as_before_after_a_pass_that_failed() -> None:
    model = prepared(family("llama"), "segments")
    rows = lay_out(some_pairs(2), 0, "segments")
    wanted = model(input_ids=torch.tensor([[5, 6]])).logits
    model.model.layers[1].register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pair_log_probs(model, rows)
    model.model.layers[1]._forward_hooks.clear()
    assert torch.equal(model(input_ids=torch.tensor([[5, 6]])).logits, wanted)


@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=12), budget=st.integers(1, 150))
@settings(deadline=None)
def test_packs_hold_every_pair_once_within_the_budget(sizes: list[int], budget: int) -> None:
    pairs = [make([5] * n, [6] * (1 + n % 3), [7] * (1 + n % 5)) for n in sizes]
    for layout in LAYOUTS:
        groups = pack(pairs, budget, layout)
        assert sorted(i for group in groups for i in group) == list(range(len(pairs)))
        for group in groups:
            cost = lay_out([pairs[i] for i in group], 0, layout).ids.numel()
            assert len(group) == 1 or cost <= budget


def test_budget_and_order_do_not_change_a_score() -> None:
    model = prepared(MODEL, "segments")
    pairs = [make(list(range(5, 6 + i)), [40 + i], [50, 51, 52][: 1 + i % 3], f"t/train/{i}") for i in range(7)]

    def score(budget: int, items: list[EncodedPair]) -> torch.Tensor:
        return score_pairs(model, items, pad_id=0, layout="segments", token_budget=budget, device=CPU)

    whole = score(1000, pairs)
    assert torch.allclose(whole, score(20, pairs), atol=1e-5)
    assert torch.allclose(whole.flip(0), score(30, pairs[::-1]), atol=1e-5)


def test_scoring_that_runs_out_of_memory_goes_on_in_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    model = prepared(MODEL, "segments")
    pairs = some_pairs(7)
    whole = score_pairs(model, pairs, pad_id=0, layout="segments", token_budget=1000, device=CPU)
    original = logprobs.pair_log_probs

    def limited(model: Any, rows: logprobs.Rows, **more: Any) -> torch.Tensor:
        if rows.pairs > most:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory")
        return original(model, rows, **more)

    monkeypatch.setattr(logprobs, "pair_log_probs", limited)
    most, told = 2, list[str]()
    found = score_pairs(model, pairs, pad_id=0, layout="segments", token_budget=1000, device=CPU, notice=told.append)
    assert torch.allclose(found, whole, atol=1e-5)
    assert told and all("token_budget" in text for text in told)
    most = 0
    with pytest.raises(RuntimeError, match="can't allocate"):
        score_pairs(model, pairs, pad_id=0, layout="segments", token_budget=1000, device=CPU)


class _Stubborn(torch.nn.Module):
    """A model that keeps to its own causal mask and attention whatever it is given, as some architectures do."""

    def __init__(self, logits: Any = lambda found: found, model: Any = MODEL) -> None:
        super().__init__()
        self.inner = prepared(model, "rows")
        self.config = model.config
        self.dtype = model.dtype
        self.logits = logits

    def set_attn_implementation(self, name: str) -> None:
        """Does nothing."""

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.inner.get_output_embeddings()  # type: ignore[no-any-return]

    def forward(self, attention_mask: torch.Tensor | None = None, segments: Any = None, **kwargs: Any) -> Any:
        own = attention_mask is None or attention_mask.dim() != 2
        found = self.inner(attention_mask=None if own else attention_mask, **kwargs)
        found.logits = self.logits(found.logits)
        return found


def test_layout_is_chosen_by_trying() -> None:
    probe = [make([9, 8, 7], [20, 21], [30, 31, 32]), make([9, 8], [22], [33])]
    prepared(MODEL, "rows")
    assert choose_layout(_Stubborn(), probe, 0, CPU) == "rows"
    # Logits that are no linear function of the hidden states: the model's own head is kept.
    assert choose_layout(_Stubborn(lambda found: found.clamp(-0.01, 0.01)), probe, 0, CPU) == "plain"
    assert choose_layout(MODEL, probe, 0, torch.device("cpu"), wanted="mask") == "mask"
    assert MODEL.config._attn_implementation == "sdpa"
    assert choose_layout(MODEL, probe, 0, CPU) == "segments"
    assert MODEL.config._attn_implementation == SEGMENTS


def test_dropout_in_the_attention_is_left_to_the_model() -> None:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=256, n_embd=48, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2)
    model = GPT2LMHeadModel(config).eval().requires_grad_(False)
    assert choose_layout(model, some_pairs(3), 0, CPU) == "mask" and not model.training


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_a_window_of_an_unknown_kind_is_never_lost_to_a_mask(kind: str) -> None:
    """A written-out mask takes the place of what narrows a layer, which a probe of short pairs may not show."""
    chunks = AutoConfig.for_model("llama4_text", attention_chunk_size=64, **SIZES)
    assert layouts._candidates(chunks, torch.device(kind)) == ("rows", "plain")
    for known in (MistralConfig(sliding_window=64, **SIZES), MistralConfig(sliding_window=None, **SIZES)):
        assert set(layouts._candidates(known, torch.device(kind))) == set(LAYOUTS)


def test_bfloat16_stays_near_and_a_stubborn_model_is_seen() -> None:
    model = family("llama").to(torch.bfloat16)
    pairs = some_pairs(4)
    assert choose_layout(model, pairs, 0, CPU) == "segments"
    found = pair_log_probs(model, lay_out(pairs, 0, "segments"))
    wanted = torch.tensor([[plain(model, p.prompt, p.chosen), plain(model, p.prompt, p.rejected)] for p in pairs])
    lengths = torch.tensor([[len(p.chosen), len(p.rejected)] for p in pairs])
    assert ((found - wanted).abs() / lengths).max() < 0.2
    with torch.no_grad():
        model.lm_head.weight.mul_(8)  # a model to which the prompt matters by more than rounding does
    assert choose_layout(_Stubborn(model=prepared(model, "rows")), pairs, 0, CPU) == "rows"


def test_a_leak_below_the_tolerance_is_seen() -> None:
    """Every value hears a little of the others: the comparison lets it pass, the changed branch does not."""
    model = prepared(family("llama"), "segments")
    pairs = some_pairs(3)
    original = logprobs.pair_log_probs

    def leaky(model: Any, rows: logprobs.Rows) -> torch.Tensor:
        found = original(model, rows)
        return found + 1e-3 * found.sum() if rows.layout == "segments" else found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layouts, "pair_log_probs", leaky)
        patch.setitem(layouts._TOLERANCE, torch.float32, 0.2)
        assert choose_layout(model, pairs, 0, CPU) == "mask"


def test_a_model_without_attention_is_scored_right_or_refused() -> None:
    torch.manual_seed(0)
    model = MambaForCausalLM(MambaConfig(vocab_size=256, hidden_size=32, num_hidden_layers=2)).eval()
    pairs = some_pairs(3)
    try:
        layout = choose_layout(model.requires_grad_(False), pairs, 0, CPU)
    except BenchError as error:
        assert "in a batch" in error.message
        return
    found = pair_log_probs(model, lay_out(pairs, 0, layout))
    wanted = torch.tensor([[plain(model, p.prompt, p.chosen), plain(model, p.prompt, p.rejected)] for p in pairs])
    assert torch.allclose(found, wanted, atol=1e-3)


def test_a_cap_that_cannot_be_lifted_keeps_the_models_own_head() -> None:
    """Capping bends large logits only: here too little for the comparison, and the head's own values tell."""
    probe = [make([9, 8, 7], [20, 21], [30, 31, 32]), make([9, 8], [22], [33])]
    model = _Stubborn(lambda found: 30 * torch.tanh(found / 30))
    model.config = type(MODEL.config)(**MODEL.config.to_dict() | {"final_logit_softcapping": 30.0})
    assert choose_layout(model, probe, 0, CPU) == "plain"


def test_capped_token_log_probs_have_the_gradient_of_their_value() -> None:
    torch.manual_seed(3)
    weight, targets = torch.randn(9, 4), torch.tensor([0, 8, 3])
    hidden = (3 * torch.randn(3, 4)).requires_grad_()
    logits = 2.5 * torch.tanh(hidden @ weight.T / 2.5)
    wanted = logits.log_softmax(-1)[torch.arange(3), targets]
    (slope,) = torch.autograd.grad(wanted @ torch.tensor([1.0, 2.0, 3.0]), hidden)
    found = token_log_probs(hidden, targets, weight, None, 2.5)
    (gradient,) = torch.autograd.grad(found @ torch.tensor([1.0, 2.0, 3.0]), hidden)
    assert torch.allclose(found, wanted, atol=1e-5) and torch.allclose(gradient, slope, atol=1e-5)
    assert torch.allclose(precise_token_log_probs(hidden.detach(), targets, weight, None, 2.5), wanted, atol=1e-5)
