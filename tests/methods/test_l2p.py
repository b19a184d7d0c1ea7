"""L2P: the prompts that a query picks act as if they stood before the text, and nothing but the pool is trained."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from lifealign_bench.config import RunConfig, TrainingConfig
from lifealign_bench.data.tasks import load_data
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.models.encode import EncodedPair
from lifealign_bench.models.generate import generate
from lifealign_bench.models.layout import choose_layout
from lifealign_bench.models.logprobs import lay_out, log_probs, pair_log_probs, score_pairs
from lifealign_bench.pairs import Message, Pair
from lifealign_bench.runs.run import run
from lifealign_bench.runs.session import Session
from lifealign_bench.runs.setup import make_method
from lifealign_bench.training.checkpoint import load_adapter
from lifealign_bench.util.progress import Progress

l2p = importlib.import_module("lifealign_bench.methods.l2p")
L2P, L2PConfig, PromptPool = l2p.L2P, l2p.L2PConfig, l2p.PromptPool
Make = Callable[..., RunConfig]
CPU = torch.device("cpu")
SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
FAMILIES: dict[str, Any] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(head_dim=8, **SIZES)),
    "mistral, window of 16": lambda: MistralForCausalLM(MistralConfig(sliding_window=16, **SIZES)),
}


def base_model(family: str = "llama") -> Any:
    torch.manual_seed(0)
    model = FAMILIES[family]().eval().requires_grad_(False)
    with torch.no_grad():
        model.lm_head.weight.mul_(20)  # so that prompts, and not rounding, decide what is said
    return model


def prepared(family: str = "llama", **settings: Any) -> tuple[Any, PeftModel]:
    """A pool of six prompts of two tokens, three of which are picked; in units of its own, large enough to matter."""
    lora = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(base_model(family), lora)
    torch.manual_seed(1)
    method = L2P(L2PConfig(**({"pool_size": 6, "prompt_length": 2, "picked": 3} | settings)))
    prepared_model = method.prepare(model, 3).eval()
    with torch.no_grad():
        pool_of(prepared_model).scale.mul_(20)
    return method, prepared_model


def pool_of(model: PeftModel) -> Any:
    return model.get_submodule("prompt_pool")


def make(prompt: Sequence[int], chosen: Sequence[int], rejected: Sequence[int]) -> EncodedPair:
    return EncodedPair(Pair("x", "t", (Message("user", "?"),), "a", "b"), tuple(prompt), tuple(chosen), tuple(rejected))


PAIRS = [
    make([9, 8, 7, 30, 31], [20, 21], [30, 31, 32]),
    make([40], list(range(10, 35)), [33]),
    make(list(range(5, 29)), [50], [51, 52]),
    make([61, 62, 63], [11, 12, 13], [14, 15]),
]


def by_hand(model: PeftModel, prompt: Sequence[int], completion: Sequence[int], query: str) -> float:
    """Picked prompts written before one sequence, the definition: no hooks, no mask, no padding."""
    pool = pool_of(model)
    with torch.no_grad(), model.disable_adapter():
        base: Any = model.get_base_model()
        table = base.get_input_embeddings().weight
        if query == "embedding":
            feature = torch.stack([table[t] for t in prompt]).mean(0)
        else:
            feature = base.model(input_ids=torch.tensor([list(prompt)])).last_hidden_state[0].mean(0)
        near = [float(torch.cosine_similarity(feature, key, dim=0)) for key in pool.keys]
        best = sorted(range(len(near)), key=lambda i: -near[i])[:3]
        soft = torch.cat([pool.prompts[i] * pool.scale for i in best])
        text = torch.cat([soft, table[torch.tensor([*prompt, *completion])]])
        table_of_logs = base(inputs_embeds=text[None]).logits[0].log_softmax(-1)
        start = len(soft) + len(prompt) - 1
        return sum(float(table_of_logs[start + i, token]) for i, token in enumerate(completion))


def scores(model: PeftModel, pairs: Sequence[EncodedPair], budget: int = 1000) -> torch.Tensor:
    return score_pairs(model, pairs, pad_id=0, layout="whole", token_budget=budget, device=CPU)


def test_the_nearest_keys_are_picked() -> None:
    pool = PromptPool(torch.randn(4, 2, 3))
    with torch.no_grad():
        pool.keys.copy_(torch.tensor([[1.0, 0, 0], [0, 5, 0], [0, 3, 3], [-1, 0, 0]]))
    # Cosines with (1, 2, 0): .45, .89, .63, -.45; the length of a key does not count.
    assert pool.pick(torch.tensor([1.0, 2, 0]), 3).tolist() == [1, 2, 0]
    assert pool.pick(torch.tensor([-9.0, 0, 1]), 2).tolist() == [3, 2]
    found = pool.distances(torch.tensor([[1.0, 2, 0]]), torch.tensor([[1, 3]]))
    torch.testing.assert_close(found, 1 - torch.tensor([[2.0, -1.0]]) / 5**0.5)


def test_prompts_are_kept_in_units_of_the_embeddings_spread() -> None:
    torch.manual_seed(0)
    start = 0.02 * torch.randn(4, 2, 3)
    pool = PromptPool(start)
    assert float(pool.prompts.detach().std()) == pytest.approx(1)
    torch.testing.assert_close(pool.soft_tokens(torch.tensor([[2, 0]])), torch.cat([start[2], start[0]])[None])


@pytest.mark.parametrize("query", ["embedding", "hidden"])
@pytest.mark.parametrize("family", FAMILIES)
def test_log_probabilities_are_those_of_prompts_written_before_the_text(family: str, query: str) -> None:
    _, model = prepared(family, query=query)
    found = scores(model, PAIRS)
    wanted = torch.tensor([[by_hand(model, p.prompt, c, query) for c in (p.chosen, p.rejected)] for p in PAIRS])
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-4)
    with model.disable_adapter():
        assert (scores(model, PAIRS) - found).abs().max() > 1, "the prompts matter"


def test_padding_and_company_change_nothing() -> None:
    _, model = prepared()
    together = scores(model, PAIRS)
    alone = torch.cat([scores(model, [pair]) for pair in PAIRS])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(scores(model, list(reversed(PAIRS)), budget=60).flip(0), alone, atol=1e-4, rtol=1e-5)
    # The rejected response does not reach the chosen one, by its prompts either.
    changed = [replace(PAIRS[0], rejected=(1, 2, 3, 4, 5, 6)), *PAIRS[1:]]
    torch.testing.assert_close(scores(model, changed)[:, 0], alone[:, 0], atol=1e-4, rtol=1e-5)


def test_chosen_rejected_and_generated_responses_have_the_same_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    _, model = prepared()
    seen: list[list[list[int]]] = []
    original = PromptPool.soft_tokens

    def listen(pool: Any, picks: torch.Tensor) -> torch.Tensor:
        seen.append(picks.tolist())
        return original(pool, picks)  # type: ignore[no-any-return]

    monkeypatch.setattr(PromptPool, "soft_tokens", listen)
    pair_log_probs(model, lay_out(PAIRS, 0, "whole"))
    generate_from(model, [p.prompt for p in PAIRS], limit=3)
    pairs, generated = seen
    # Generation takes the longest prompts first.
    order = sorted(range(len(PAIRS)), key=lambda i: -len(PAIRS[i].prompt))
    assert pairs[0::2] == pairs[1::2] == [generated[order.index(i)] for i in range(len(PAIRS))]
    assert len({tuple(p) for p in generated}) > 1


def test_gradients_reach_the_picked_prompts_and_keys_alone() -> None:
    method, model = prepared()
    pair = PAIRS[0]
    prompter = method._prompter
    picks = prompter.pool.pick(prompter.query(pair.prompt), 3).tolist()
    torch.autograd.backward(log_probs(model, [pair], pad_id=0, layout="whole", token_budget=99, device=CPU).sum())
    assert not pool_of(model).keys.grad.any(), "which keys are near is not differentiable"
    penalty = method.pass_penalty(model)
    torch.autograd.backward(penalty)
    for parameter in method.trained(model):
        touched = {i for i, part in enumerate(parameter.grad) if part.any()}
        assert touched == set(picks)
    near = torch.cosine_similarity(prompter.query(pair.prompt), pool_of(model).keys[picks], dim=-1)
    assert float(penalty.detach()) == pytest.approx(0.5 * float((1 - near).detach().sum()))
    assert {n for n, p in model.named_parameters() if p.grad is not None} == {"prompt_pool.prompts", "prompt_pool.keys"}
    # It moves the picked keys towards the query.
    with torch.no_grad():
        pool_of(model).keys.sub_(0.1 * pool_of(model).keys.grad)
        closer = torch.cosine_similarity(prompter.query(pair.prompt), pool_of(model).keys[picks], dim=-1)
    assert bool((closer > near).all())


def test_a_pull_is_taken_once_and_scoring_leaves_none() -> None:
    method, model = prepared()
    scores(model, PAIRS)
    assert method.pass_penalty(model) is None
    pair_log_probs(model, lay_out(PAIRS, 0, "whole"))
    assert method.pass_penalty(model) is not None and method.pass_penalty(model) is None


def generate_from(
    model: PeftModel, prompts: Sequence[Sequence[int]], limit: int, stop: frozenset[int] = frozenset(), batch: int = 4
) -> list[list[int]]:
    return generate(model, prompts, max_new_tokens=limit, batch_size=batch, stop=stop, pad_id=0, device=CPU, whole=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_generation_with_a_cache_is_that_of_repeated_whole_passes(family: str) -> None:
    _, model = prepared(family)
    # All begin alike: nothing may be shared, as each has its own prompts.
    prompts = [[3, 4, *pair.prompt] for pair in PAIRS]

    def slowly(prompt: list[int], limit: int) -> list[int]:
        said: list[int] = []
        for _ in range(limit):
            ids = torch.tensor([prompt + said])
            with torch.no_grad():
                logits = model(
                    input_ids=ids, attention_mask=torch.ones_like(ids), prompt_lengths=(len(prompt),), use_cache=False
                ).logits
            said.append(int(logits[0, -1].argmax()))
        return said

    wanted = [slowly(prompt, 20) for prompt in prompts]
    assert generate_from(model, prompts, 20) == wanted
    # Rows that end early leave the batch, the others go on.
    stop = wanted[0][4]
    ended = [row[: row.index(stop)] if stop in row else row for row in wanted]
    assert generate_from(model, prompts, 20, frozenset({stop}), batch=3) == ended
    with model.disable_adapter():
        assert generate_from(model, prompts, 20) != wanted


@pytest.mark.parametrize("family", FAMILIES)
def test_with_the_adapter_off_it_is_the_base_model(family: str) -> None:
    plain = base_model(family)
    _, model = prepared(family)
    prompts = [pair.prompt for pair in PAIRS]
    with model.disable_adapter():
        assert torch.equal(scores(model, PAIRS), scores(plain, PAIRS))
        assert generate_from(model, prompts, 5) == generate_from(plain, prompts, 5)
    assert not torch.equal(scores(model, PAIRS), scores(plain, PAIRS))


def test_state_is_restored_to_the_bit_and_is_no_alias() -> None:
    method, model = prepared()
    state, before = method.state_dict(), scores(model, PAIRS)
    with torch.no_grad():
        for parameter in method.trained(model):
            parameter.add_(1)
        pool_of(model).scale.mul_(2)
    assert not torch.equal(scores(model, PAIRS), before)
    method.load_state_dict(state)
    assert torch.equal(scores(model, PAIRS), before)


def test_packed_rows_and_rows_without_lengths_are_refused() -> None:
    _, model = prepared()
    with pytest.raises(ValueError, match="rows of one sequence"):
        pair_log_probs(model, lay_out(PAIRS, 0, "mask"))
    with pytest.raises(ValueError, match="prompt_lengths"):
        pair_log_probs(model, lay_out(PAIRS, 0, "rows"))


def test_models_it_cannot_work_with_are_refused() -> None:
    torch.manual_seed(0)
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=16, n_layer=1, n_head=2)).eval()
    lora = LoraConfig(r=2, target_modules=["c_attn"], task_type="CAUSAL_LM", fan_in_fan_out=True)
    with pytest.raises(BenchError, match="GPT2LMHeadModel") as caught:
        L2P(L2PConfig()).prepare(get_peft_model(gpt2, lora), 1)
    assert "Llama" in caught.value.remedy
    with pytest.raises(BenchError, match="_Deaf cannot be scored one response a row"):
        choose_layout(_Deaf(), PAIRS[:3], 0, CPU, "whole")


class _Deaf(torch.nn.Module):
    """A model that takes no ``prompt_lengths``."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = base_model()
        self.config, self.dtype = self.inner.config, self.inner.dtype

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.inner.get_output_embeddings()  # type: ignore[no-any-return]

    def forward(
        self, input_ids: Any, attention_mask: Any = None, position_ids: Any = None, use_cache: Any = None, **more: int
    ) -> Any:
        if "prompt_lengths" in more:
            raise TypeError("unexpected keyword argument 'prompt_lengths'")
        return self.inner(input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, **more)


def test_a_model_that_ignores_the_prompts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(l2p.Prompter, "_before", lambda self, d, a, kwargs: (a, kwargs))
    monkeypatch.setattr(l2p.Prompter, "_after", lambda self, d, a, output: output)
    with pytest.raises(BenchError, match="do not do what they should"):
        prepared()


def test_settings_that_cannot_be(fake_config: Make) -> None:
    with pytest.raises(UsageError, match="pick 5 prompts from a pool of 4"):
        make_method(fake_config(method="l2p", method_settings={"pool_size": 4}))
    config = fake_config(method="l2p", method_settings={"prompt_length": 250})
    with pytest.raises(BenchError, match="the method adds 1250") as caught:
        Session.build(config, load_data(config, Progress()), make_method(config), Progress())
    assert "fewer" in caught.value.remedy


SMALL = {"pool_size": 6, "prompt_length": 2, "picked": 3}


def pool_file(config: RunConfig, stage: int) -> dict[str, torch.Tensor]:
    return load_file(config.run_directory() / f"stage-{stage}" / "method.safetensors")


@pytest.mark.parametrize("sft", [False, True])
def test_a_whole_run_trains_the_pool_and_nothing_else(fake_config: Make, sft: bool) -> None:
    config = fake_config(method="l2p", sft=sft, method_settings=SMALL)
    record = run(config)
    assert record.status == "complete"
    assert record.model.layout == "whole"
    assert record.model.trainable_parameters == 6 * 2 * 64 + 6 * 64
    adapters = [load_file(f) for f in config.run_directory().glob("stage-*/adapter/adapter_model.safetensors")]
    assert len(adapters) == 4
    assert all(torch.equal(a[name], adapters[0][name]) for a in adapters for name in a)
    assert all(not a[name].any() for a in adapters for name in a if "lora_B" in name)
    for stage in (1, 2, 3):
        before, after = pool_file(config, stage - 1), pool_file(config, stage)
        assert not torch.equal(before["prompts"], after["prompts"]) and not torch.equal(before["keys"], after["keys"])
    entries = [json.loads(line) for line in (config.run_directory() / "log.jsonl").read_text().splitlines()]
    rates = {e["phase"]: max(x["learning_rate"] for x in entries if x["phase"] == e["phase"]) for e in entries}
    assert rates == pytest.approx(dict.fromkeys(("sft", "preference") if sft else ("preference",), 0.03))
    # What is saved is what was scored.
    session = Session.build(config, load_data(config, Progress()), make_method(config), Progress())
    folder = config.run_directory() / "stage-3"
    load_adapter(session.model, folder / "adapter")
    session.method.load_state_dict(dict(pool_file(config, 3)))
    pairs = session.test["fake-lower"]
    gained = session.speaker.score(pairs) - session.speaker.base_score(pairs)
    accuracy = 100 * (gained[:, 0] > gained[:, 1]).double().mean()
    assert record.scores["preference_accuracy"].array()[3, 1] == pytest.approx(float(accuracy))


@pytest.mark.parametrize("sft", [False, True])
def test_passes_of_a_step_change_nothing(fake_config: Make, tmp_path: Path, sft: bool) -> None:
    """The pull counts by pairs however a step is cut into passes."""
    pools = []
    for budget in (50, 1000):
        training = TrainingConfig(learning_rate=5e-3, batch_size=5, epochs=1)
        config = fake_config(
            method="l2p",
            sft=sft,
            tasks=("fake-upper",),
            scorers=("preference",),
            token_budget=budget,
            training=training,
            method_settings=SMALL | {"pull": 50},
            out=tmp_path / str(budget),
        )
        run(config)
        pools.append(pool_file(config, 1))
    for name in pools[0]:
        torch.testing.assert_close(pools[0][name], pools[1][name], atol=2e-4, rtol=0)


def test_scores_of_another_pool_are_not_taken_for_this_ones(fake_config: Make, tmp_path: Path) -> None:
    """The adapter of all of l2p's stages is one and the same file; the pool is what tells them apart."""
    mine, other = (
        fake_config(method="l2p", tasks=("fake-upper",), method_settings=SMALL | {"pull": pull}, out=tmp_path / name)
        for name, pull in (("a", 0.5), ("b", 5.0))
    )
    record = run(mine)
    assert run(other).scores != record.scores
    for name in ("scored.json", "scores.parquet", "generations.jsonl"):
        shutil.copy(other.run_directory() / "stage-1" / name, mine.run_directory() / "stage-1" / name)
    (mine.run_directory() / "record.json").unlink()
    assert run(mine).scores == record.scores
