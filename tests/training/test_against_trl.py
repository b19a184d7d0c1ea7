"""Log-probabilities and gradients of packed pairs are those of TRL's own forward pass, for every family of models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from torch.nn.functional import logsigmoid
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from trl import DPOConfig, DPOTrainer

from lifealign_bench.models.encode import encode_pairs
from lifealign_bench.models.fake import fake_model
from lifealign_bench.models.layout import choose_layout
from lifealign_bench.models.logprobs import log_probs
from lifealign_bench.pairs import Message, Pair
from lifealign_bench.training.checkpoint import adapter_tensors

TOKENIZER = fake_model()[1]
SIZES: dict[str, Any] = {
    "vocab_size": len(TOKENIZER),
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
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
TEXTS = [
    ("say hello", "hello there", "no"),
    ("a", "b", "a much longer answer than the other one, which goes on for quite a while and then ends"),
    ("a prompt that is longer than its two answers, and longer than a window of sixteen tokens too", "yes", "no"),
    ("count to three", "one two three", "three two one zero"),
]
BETA = 0.1


@pytest.mark.parametrize("budget", [60, 200, 1000])
@pytest.mark.parametrize("family", FAMILIES)
def test_log_probabilities_and_gradients_are_those_of_trl(family: str, budget: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    base = FAMILIES[family]().eval().requires_grad_(False)
    base.generation_config.eos_token_id = 1
    model: Any = get_peft_model(
        base, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    )
    trainer = DPOTrainer(
        model=model,
        processing_class=TOKENIZER,
        train_dataset=Dataset.from_list(
            [
                {
                    "prompt": [{"role": "user", "content": prompt}],
                    "chosen": [{"role": "assistant", "content": chosen}],
                    "rejected": [{"role": "assistant", "content": rejected}],
                }
                for prompt, chosen, rejected in TEXTS
            ]
        ),
        args=DPOConfig(
            output_dir=str(tmp_path),
            per_device_train_batch_size=len(TEXTS),
            beta=BETA,
            max_length=None,
            precompute_ref_log_probs=True,
            bf16=False,
            activation_checkpointing=False,
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
        ),
    )
    theirs = trainer.train_dataset
    reference = torch.stack([torch.tensor(theirs["ref_chosen_logps"]), torch.tensor(theirs["ref_rejected_logps"])], 1)
    (batch,) = list(trainer.get_train_dataloader())
    torch.autograd.backward(trainer.compute_loss(model, batch))
    model.delete_adapter("ref")
    model.set_adapter("default")
    wanted = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    base.__dict__.pop("forward", None)  # TRL's

    pairs, _ = encode_pairs(
        TOKENIZER,
        [Pair(f"t/train/{i}", "t", (Message("user", p),), c, r) for i, (p, c, r) in enumerate(TEXTS)],
        1000,
        "shorten",
    )
    cpu = torch.device("cpu")
    assert choose_layout(base, pairs, 0, cpu) == "segments"
    # TRL's reference of an adapter that is given is its copy: the policy as it is.
    found = log_probs(model, pairs, pad_id=0, layout="segments", token_budget=budget, device=cpu)
    assert torch.allclose(found.detach(), reference, atol=1e-4)
    gained = found - reference
    torch.autograd.backward(-logsigmoid(BETA * (gained[:, 0] - gained[:, 1])).mean())
    assert len(wanted) == len(adapter_tensors(model))
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert torch.allclose(parameter.grad, wanted[name], atol=1e-4), name
            assert float(parameter.grad.abs().max()) > 1e-4
