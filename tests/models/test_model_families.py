"""Families of models: log-probabilities and responses are those of one sequence at a time, or the model is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from lifealign_bench.config import AdapterConfig, GenerationConfig, RunConfig
from lifealign_bench.errors import BenchError
from lifealign_bench.experiments.estimate import GPUS, ModelFacts, shape_of
from lifealign_bench.experiments.plan import make_plan
from lifealign_bench.experiments.sweep import standing
from lifealign_bench.models.arrangement import choose_arrangement
from lifealign_bench.models.encode import EncodedPair
from lifealign_bench.models.fake import fake_model
from lifealign_bench.models.generate import generate
from lifealign_bench.models.layout import choose_layout
from lifealign_bench.models.load import LoadedModel as BaseModel
from lifealign_bench.models.load import check_ids, fresh_adapter, load_base_model
from lifealign_bench.models.logprobs import log_probs
from lifealign_bench.models.steps import Arrangement
from lifealign_bench.models.window import smallest_window
from lifealign_bench.pairs import Message, Pair
from lifealign_bench.runs.run import run
from lifealign_bench.runs.session import check_responses
from lifealign_bench.runs.setup import make_method

Make = Callable[..., RunConfig]
CPU = torch.device("cpu")
WINDOW = 6
ENDS: dict[str, Any] = {"vocab_size": 97, "bos_token_id": 1, "eos_token_id": 2}
WIDE: dict[str, Any] = ENDS | {"hidden_size": 32, "num_hidden_layers": 2, "pad_token_id": 0}
SIZES: dict[str, Any] = WIDE | {
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
HEADS: dict[str, Any] = SIZES | {"head_dim": 8}
EXPERTS: dict[str, Any] = {"num_local_experts": 4, "num_experts_per_tok": 2}
GPT: dict[str, Any] = ENDS | {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
MAMBA: dict[str, Any] = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_state": 8}
SLIDING: dict[str, Any] = {"sliding_window": WINDOW}
# Name to model type, settings, and the arrangement in which it is generated from.
FAMILIES: dict[str, tuple[str, dict[str, Any], Arrangement]] = {
    "llama": ("llama", SIZES, "shared"),
    "llama, tied": ("llama", SIZES | {"tie_word_embeddings": True}, "shared"),
    "mistral, window": ("mistral", SIZES | SLIDING, "shared"),
    "mixtral, window": ("mixtral", SIZES | EXPERTS | SLIDING, "shared"),
    "gemma2, window on one layer, soft caps": (
        "gemma2",
        HEADS | SLIDING | {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0},
        "shared",
    ),
    "gemma3, window on two layers": (
        "gemma3_text",
        HEADS | SLIDING | {"num_hidden_layers": 3, "layer_types": ["sliding_attention"] * 2 + ["full_attention"]},
        "shared",
    ),
    "phi3, window": ("phi3", SIZES | SLIDING, "shared"),
    "gpt-oss, sinks": ("gpt_oss", HEADS | SLIDING | EXPERTS, "shared"),
    "qwen2, window from the second layer": (
        "qwen2",
        SIZES | SLIDING | {"use_sliding_window": True, "max_window_layers": 1},
        "shared",
    ),
    "qwen3": ("qwen3", HEADS, "shared"),
    "qwen3-moe": ("qwen3_moe", HEADS | {"num_experts": 4, "num_experts_per_tok": 2}, "shared"),
    "llama4, chunks": (
        "llama4_text",
        HEADS
        | {"num_hidden_layers": 4, "attention_chunk_size": WINDOW, "num_local_experts": 2, "intermediate_size_mlp": 32},
        "shared",
    ),
    "gpt-neo, window of its own": (
        "gpt_neo",
        {**WIDE, "num_layers": 2, "attention_types": [[["global", "local"], 1]], "num_heads": 4, "window_size": WINDOW},
        "shared",
    ),
    "gpt-neox": ("gpt_neox", {k: v for k, v in SIZES.items() if k != "num_key_value_heads"}, "shared"),
    "opt": ("opt", SIZES | {"ffn_dim": 48, "word_embed_proj_dim": 32}, "shared"),
    "gpt2": ("gpt2", GPT, "shared"),
    "gptj": ("gptj", GPT | {"rotary_dim": 4}, "shared"),
    "bloom, alibi": ("bloom", ENDS | {"hidden_size": 32, "n_layer": 2, "n_head": 4}, "shared"),
    "mpt, alibi by columns": ("mpt", {"vocab_size": 97, "d_model": 32, "n_layers": 2, "n_heads": 4}, "padded"),
    "mamba": ("mamba", WIDE, "padded"),
    "lfm2": ("lfm2", SIZES | {"layer_types": ["conv", "full_attention"]}, "padded"),
    "qwen3-next": (
        "qwen3_next",
        HEADS
        | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
        | {"shared_expert_intermediate_size": 16, "layer_types": ["linear_attention", "full_attention"]}
        | {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8}
        | {"linear_value_head_dim": 8},
        "padded",
    ),
    "falcon-h1": ("falcon_h1", SIZES | MAMBA | {"mamba_d_ssm": 32, "mamba_n_heads": 4}, "padded"),
    "recurrentgemma, state outside the cache": (
        "recurrent_gemma",
        SIZES
        | {"num_hidden_layers": 3, "lru_width": 32, "attention_window_size": WINDOW}
        | {"block_types": ["recurrent", "recurrent", "attention"]},
        "alone",
    ),
}
SHARED = [60, 61, 62, 63, 64]
# One length twice, so that rows of a batch are alike too; all longer than the window or about as long, one much longer.
PROMPTS = [[*SHARED, *own] for own in ([7, 8, 9], [20], [*range(30, 44)], [40, 41], [50, 51, 52])]
NEW = 8


def family(kind: str, settings: dict[str, Any]) -> Any:
    """A random model whose next tokens depend on all that it sees."""
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    return model.requires_grad_(False)


@torch.no_grad()
def one_by_one(model: Any, prompt: Sequence[int], stop: frozenset[int]) -> list[int]:
    """The greedy response by the definition: the whole sequence again for every token."""
    ids = list(prompt)
    for _ in range(NEW):
        token = int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
        if token in stop:
            break
        ids.append(token)
    return ids[len(prompt) :]


@torch.no_grad()
def summed(model: Any, prompt: Sequence[int], completion: Sequence[int]) -> float:
    """The log-probability of a completion by the definition."""
    table = model(input_ids=torch.tensor([[*prompt, *completion]]), use_cache=False).logits[0].double().log_softmax(-1)
    return sum(float(table[len(prompt) - 1 + i, token]) for i, token in enumerate(completion))


def some_pairs() -> list[EncodedPair]:
    found = []
    for i, prompt in enumerate(PROMPTS):
        pair = Pair(f"t/train/{i}", "t", (Message("user", "x"),), "c", "r")
        found.append(EncodedPair(pair, tuple(prompt), tuple(range(70, 73 + i)), tuple(range(90, 82 - i, -1))))
    return found


@pytest.mark.parametrize("name", FAMILIES)
def test_scores_and_responses_are_those_of_one_sequence_at_a_time(name: str) -> None:
    kind, settings, expected = FAMILIES[name]
    model, pairs = family(kind, settings), some_pairs()
    plain = [one_by_one(model, prompt, frozenset()) for prompt in PROMPTS]
    stop = frozenset({plain[2][2]})  # one row leaves its batch early
    responses = [one_by_one(model, prompt, stop) for prompt in PROMPTS]
    wanted = [[summed(model, p.prompt, completion) for completion in (p.chosen, p.rejected)] for p in pairs]

    layout = choose_layout(model, pairs[:3], 0, CPU)
    for budget in (1, 1000):
        with torch.no_grad():
            found = log_probs(model, pairs, pad_id=0, layout=layout, token_budget=budget, device=CPU)
        torch.testing.assert_close(found, torch.tensor(wanted), rtol=0, atol=1e-4)
    arrangement = choose_arrangement(model, PROMPTS, most=NEW, pad_id=0, device=CPU)
    assert arrangement == choose_arrangement(model, PROMPTS, most=NEW, pad_id=0, device=CPU, layout=layout) == expected
    for size in (1, 2, len(PROMPTS)):
        said = generate(
            model,
            PROMPTS,
            max_new_tokens=NEW,
            batch_size=size,
            stop=stop,
            pad_id=0,
            device=CPU,
            arrangement=arrangement,
        )
        assert said == responses


@pytest.mark.parametrize(
    ("kind", "settings", "reason"),
    [
        ("rwkv", {"hidden_size": 32, "attention_hidden_size": 32}, "keeps nothing of its prompt"),
        ("minimax", HEADS | {"layer_types": ["linear_attention", "full_attention"]}, "uses cache of its own"),
    ],
)
def test_a_family_that_cannot_be_generated_from_is_refused_with_the_reason(
    kind: str, settings: dict[str, Any], reason: str
) -> None:
    model = family(kind, ENDS | {"num_hidden_layers": 2} | settings)
    with pytest.raises(BenchError, match=reason) as caught:
        choose_arrangement(model, PROMPTS, most=NEW, pad_id=0, device=CPU)
    assert type(model).__name__ in caught.value.message and "--scorer preference" in caught.value.remedy


def test_a_window_is_found_by_whatever_name_and_a_number_of_layers_is_none() -> None:
    def window(name: str) -> int | None:
        kind, settings, _ = FAMILIES[name]
        return smallest_window(AutoConfig.for_model(kind, **settings))

    assert {n: window(n) for n in ("mistral, window", "llama4, chunks", "gpt-neo, window of its own")} == {
        "mistral, window": WINDOW,
        "llama4, chunks": WINDOW,
        "gpt-neo, window of its own": WINDOW,
    }
    assert window("qwen3") is None and AutoConfig.for_model("qwen3", **HEADS).max_window_layers == 28
    assert window("mpt, alibi by columns") is None


def test_what_fits_into_the_window_shares_its_beginning() -> None:
    model = family("mistral", SIZES | {"sliding_window": 64})
    seen: list[tuple[int, ...]] = []
    model.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    said = generate(model, PROMPTS, max_new_tokens=NEW, batch_size=5, stop=frozenset(), pad_id=0, device=CPU)
    assert seen[:2] == [(1, len(SHARED)), (5, max(map(len, PROMPTS)) - len(SHARED))]
    assert said == [one_by_one(model, prompt, frozenset()) for prompt in PROMPTS]


def saved(folder: Path, kind: str, settings: dict[str, Any]) -> Path:
    """A model of a family in a folder, with the fakes' tokenizer."""
    tokenizer = fake_model()[1]
    model = family(kind, {**settings, "vocab_size": len(tokenizer), "max_position_embeddings": 512})
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", ["mistral, window", "mamba"])
def test_the_batch_of_a_run_changes_no_response(fake_config: Make, tmp_path: Path, name: str) -> None:
    kind, settings, _ = FAMILIES[name]
    model = saved(tmp_path / "model", kind, settings)
    adapter = AdapterConfig(target_modules=("in_proj",) if kind == "mamba" else ("q_proj",))

    def generations(size: int) -> list[dict[str, Any]]:
        config = fake_config(
            model=str(model),
            adapter=adapter,
            tasks=("fake-upper",),
            scorers=("overlap",),
            train_limit=4,
            token_budget=400,
            out=tmp_path / str(size),
            generation=GenerationConfig(max_new_tokens=6, generation_batch_size=size),
        )
        run(config)
        files = sorted(config.run_directory().glob("stage-*/generations.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    together, alone = generations(64), generations(1)
    assert together == alone and len({line["response"] for line in alone}) > 1


def test_a_run_is_refused_before_anything_is_trained(fake_config: Make, tmp_path: Path) -> None:
    settings = ENDS | HEADS | {"layer_types": ["linear_attention", "full_attention"]}
    model = str(saved(tmp_path / "model", "minimax", settings))
    config = fake_config(model=model, tasks=("fake-upper",), scorers=("overlap",), token_budget=400)
    with pytest.raises(BenchError, match="MiniMaxForCausalLM cannot be generated from"):
        run(config)
    assert not list(config.run_directory().glob("stage-*"))


def test_responses_beyond_the_context_are_refused(fake_config: Make) -> None:
    config = fake_config(generation=GenerationConfig(max_new_tokens=5000), scorers=("overlap",))
    with pytest.raises(BenchError, match="a response up to 5000, the model 'fake' a context of") as caught:
        run(config)
    with pytest.raises(BenchError, match="a response up to 5000"):
        make_plan(config, GPUS["H100"])
    assert "test prompt of fake-" in caught.value.message
    room = int(caught.value.remedy.partition("max_new_tokens=")[2].partition(")")[0])
    assert 0 < room < 5000
    assert not list(config.run_directory().glob("stage-*"))
    # The remedy makes another run of it, and the folder is free for that one.
    assert standing(config.model_copy(update={"generation": GenerationConfig(max_new_tokens=room)})) == ("new", "")


def test_a_prompt_that_leaves_no_room_names_its_tasks_and_the_setting(fake_config: Make) -> None:
    model, config = fake_model()[0].config, fake_config(generation=GenerationConfig(max_new_tokens=24))
    check_responses(model, config, {"short": [1000], "none": []}, 0)
    with pytest.raises(BenchError, match=r"of long, more has 1001 tokens.*context of 1024") as caught:
        check_responses(model, config, {"short": [3, 1], "long": [7, 1000], "more": [1000]}, 1)
    assert "--set max_new_tokens=23" in caught.value.remedy and "max_length" in caught.value.remedy
    with pytest.raises(BenchError) as caught:
        check_responses(model, config, {f"t{n}": [1024 + n] for n in range(7)}, 0)
    assert "of t6, t5, t4, t3, t2 and 2 more has 1030" in caught.value.message and "max_length" in caught.value.remedy


def test_gpt2_is_adapted_in_its_own_kind_of_linear_layer(recwarn: pytest.WarningsRecorder) -> None:
    model = family("gpt2", GPT)
    base = BaseModel(model, fake_model()[1], "g", "r", "f", 0)
    with pytest.raises(BenchError) as caught:
        fresh_adapter(base, AdapterConfig(target_modules=("q_proj",)), 0)
    assert caught.value.remedy.endswith("c_attn, c_fc, c_proj.")
    adapted = fresh_adapter(base, AdapterConfig(target_modules=("c_attn", "c_fc")), 0)
    pairs = some_pairs()
    layout = choose_layout(model, pairs[:3], 0, CPU)
    torch.autograd.backward(log_probs(adapted, pairs, pad_id=0, layout=layout, token_budget=99, device=CPU).sum())
    grads = [p.grad for n, p in adapted.named_parameters() if "lora_B" in n]
    assert len(grads) == 4 and all(g is not None and g.any() for g in grads)
    assert not [w for w in recwarn if "fan_in_fan_out" in str(w.message)]


@pytest.mark.parametrize(
    ("target", "reason"), [("out_proj", "incompatible with Mamba"), ("dt_proj", "would do nothing")]
)
def test_layers_whose_adapter_would_do_nothing_are_refused(target: str, reason: str) -> None:
    base = BaseModel(family("mamba", WIDE), fake_model()[1], "m", "r", "f", 0)
    with pytest.raises(BenchError, match=reason) as caught:
        fresh_adapter(base, AdapterConfig(target_modules=(target,)), 0)
    assert "target_modules" in caught.value.remedy


def test_a_layer_that_is_asked_for_what_an_adapter_does_not_have_is_refused() -> None:
    """The model reads attributes of its router, which an adapter in its place does not have."""
    base = BaseModel(family(*FAMILIES["llama4, chunks"][:2]), fake_model()[1], "m", "r", "f", 0)
    with pytest.raises(BenchError, match="does not run with an adapter in router") as caught:
        fresh_adapter(base, AdapterConfig(target_modules=("router",)), 0)
    assert "target_modules" in caught.value.remedy


def test_a_padding_token_without_an_embedding_is_not_used(fake_config: Make, tmp_path: Path) -> None:
    model, tokenizer = fake_model()
    tokenizer.add_special_tokens({"pad_token": "[NOTHING]"})
    model.save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    config = fake_config(model=str(tmp_path / "m"), tasks=("fake-upper",), scorers=("overlap",))
    record = run(config)
    plain = run(fake_config(tasks=("fake-upper",), scorers=("overlap",), out=tmp_path / "plain"))
    assert "the padding token has the id" in " ".join(record.model.notices)
    assert record.scores == plain.scores


def test_a_token_without_an_embedding_is_named(fake_config: Make, tmp_path: Path) -> None:
    model, tokenizer = fake_model()
    tokenizer.add_tokens(["<turn>"])
    model.save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    base = load_base_model(fake_config(model=str(tmp_path / "m")))
    check_ids(base, [[3, 4], [5]])
    with pytest.raises(BenchError, match="writes '<turn>' as token") as caught:
        check_ids(base, [[3, 4], base.tokenizer("<turn>")["input_ids"]])
    assert "resize_token_embeddings" in caught.value.remedy


def test_a_model_that_fails_in_a_batch_is_refused_for_that() -> None:
    """Not for what recurrent models do: here the padding token has no embedding."""
    model = family("gptj", GPT | {"rotary_dim": 4})
    with pytest.raises(BenchError, match="cannot be scored in a batch: index out of range"):
        choose_layout(model, some_pairs()[:3], 97, CPU, "rows")


@pytest.mark.parametrize("name", ["gpt2", "mamba", "bloom, alibi", "mpt, alibi by columns", "lfm2", "opt"])
def test_a_plan_knows_the_shape_of_every_family(fake_config: Make, name: str) -> None:
    kind, settings, _ = FAMILIES[name]
    target = {"gpt2": "c_attn", "bloom": "query_key_value", "mpt": "Wqkv", "mamba": "in_proj"}.get(kind, "q_proj")
    config = fake_config(adapter=AdapterConfig(target_modules=(target,)))
    facts = ModelFacts(AutoConfig.for_model(kind, **settings), None, True)
    shape, _ = shape_of(facts, config, make_method(config), 1)
    assert (shape.hidden, shape.parameters) == (32, sum(p.numel() for p in family(kind, settings).parameters()))
    assert shape.layers == 2 and shape.intermediate >= 32 and shape.trainable > 0 and shape.kv_width >= 0
