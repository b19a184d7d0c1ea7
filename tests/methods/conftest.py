"""A tiny random Llama with a LoRA adapter, and stages to call a method's hooks with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.nn.functional import logsigmoid
from transformers import LlamaConfig, LlamaForCausalLM

from lifealign_bench.method import Phase, Stage
from lifealign_bench.pairs import Message, Pair

VOCABULARY = 24
BETA = 0.1


def make_pairs(task: str, count: int) -> tuple[Pair, ...]:
    """``count`` different pairs of ``task``."""
    return tuple(
        Pair(
            id=f"{task}/train/{i}",
            task=task,
            prompt=(Message("user", f"{task} {i}?"),),
            chosen=f"yes {i * 7}",
            rejected=f"no, not {i * 5}",
        )
        for i in range(count)
    )


def make_model(rank: int = 2, seed: int = 0) -> PeftModel:
    """A fresh model; LoRA B starts away from zero so that every gradient is alive."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    lora = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(LlamaForCausalLM(config), lora)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    return model


def response_log_probs(model: PeftModel, pairs: Sequence[Pair]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Of each token of both responses, one forward pass for each response."""

    def of_tokens(pair: Pair, response: str) -> torch.Tensor:
        prompt = [ord(c) % VOCABULARY for c in pair.prompt[0].content]
        tokens = torch.tensor([prompt + [ord(c) % VOCABULARY for c in response]])
        log_probs: torch.Tensor = model(input_ids=tokens).logits.log_softmax(-1)[0, :-1]
        return log_probs.gather(1, tokens[0, 1:, None])[len(prompt) - 1 :, 0]

    return [(of_tokens(p, p.chosen), of_tokens(p, p.rejected)) for p in pairs]


def log_probs(model: PeftModel, pairs: Sequence[Pair]) -> torch.Tensor:
    """Summed log-probabilities (B, 2)."""
    return torch.stack([x.sum() for both in response_log_probs(model, pairs) for x in both]).view(-1, 2)


def references(pairs: Sequence[Pair]) -> torch.Tensor:
    """(B, 2) by the model of :func:`make_model` without its adapter."""
    model = make_model()
    with torch.no_grad(), model.disable_adapter():
        return log_probs(model, pairs)


def margins(model: PeftModel, pairs: Sequence[Pair]) -> torch.Tensor:
    """DPO logits (B,)."""
    with torch.no_grad(), model.disable_adapter():
        reference = log_probs(model, pairs)
    gained = log_probs(model, pairs) - reference
    return BETA * (gained[:, 0] - gained[:, 1])


def losses(model: PeftModel, pairs: Sequence[Pair]) -> torch.Tensor:
    """DPO's losses (B,)."""
    return -logsigmoid(margins(model, pairs))


def gradient(model: PeftModel, pairs: Sequence[Pair]) -> dict[str, torch.Tensor]:
    """Gradient of the mean of :func:`losses`."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(losses(model, pairs).mean(), list(trained.values()))
    return dict(zip(trained, found, strict=True))


def make_stage(
    index: int = 1,
    count: int = 3,
    tasks: tuple[str, ...] | None = None,
    pairs: Sequence[Pair] | None = None,
    phase: Phase = "preference",
    seed: int = 0,
) -> Stage:
    """A stage whose tasks are ``t1``, ``t2``, ... with ten pairs each, unless told otherwise."""
    tasks = tasks or (f"t{index}",)
    own = tuple(pairs) if pairs is not None else tuple(p for task in tasks for p in make_pairs(task, 10))

    def find(ids: Sequence[str]) -> list[Pair]:
        found = []
        for i in ids:
            task, _, row = i.split("/")
            found.append(make_pairs(task, int(row) + 1)[-1])
        return found

    return Stage(
        index=index,
        count=count,
        phase=phase,
        final=phase != "sft",
        tasks=tasks,
        pairs=own,
        generator=torch.Generator().manual_seed(1000 * seed + index),
        find_pairs=find,
        log_probs=log_probs,
        response_log_probs=response_log_probs,
        references=references,
        margins=margins,
        losses=losses,
        gradient=gradient,
        sample=lambda *asked: pytest.fail("samples"),
        reward=lambda *asked: pytest.fail("asks for rewards"),
        demonstrations=lambda *asked: pytest.fail("asks for demonstrations"),
        longest=8,
    )


def lora_matrices(model: PeftModel) -> dict[str, torch.Tensor]:
    """Copies of the LoRA matrices by name."""
    return {name: p.detach().clone() for name, p in model.named_parameters() if "lora_" in name}


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """So small a model is many times faster on one thread, above all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def model() -> PeftModel:
    return make_model()


@pytest.fixture(name="make_model")
def make_model_fixture() -> Callable[..., PeftModel]:
    return make_model


@pytest.fixture(name="make_stage")
def make_stage_fixture() -> Callable[..., Stage]:
    return make_stage


@pytest.fixture(name="make_pairs")
def make_pairs_fixture() -> Callable[[str, int], tuple[Pair, ...]]:
    return make_pairs


@pytest.fixture(name="lora_matrices")
def lora_matrices_fixture() -> Callable[[PeftModel], dict[str, torch.Tensor]]:
    return lora_matrices
