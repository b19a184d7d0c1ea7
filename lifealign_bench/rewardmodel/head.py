"""A sequence classifier made of a language model: its layers, a head with one output, a LoRA adapter."""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import AutoModelForSequenceClassification

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import BenchError
from lifealign_bench.models.load import LoadedModel as BaseModel
from lifealign_bench.scoring.rewardmodel.classifier import padding_id

__all__ = ["with_head"]

_HEAD = "score"  # what transformers' decoders call it


def with_head(base: BaseModel, config: RunConfig, seed: int) -> PeftModel:
    """The base model's layers under a fresh head and a fresh adapter called ``default``; no weight is copied.

    The head is random normal by ``seed`` and float32 whatever the dtype of the layers, and so is the adapter: their
    updates are smaller than what bfloat16 can tell apart.

    Raises:
        BenchError: transformers has no sequence classifier of this architecture, or not one that is built like this.
    """
    one_label = {"id2label": {0: "reward"}, "label2id": {"reward": 0}}
    settings = type(base.model.config).from_dict({**base.model.config.to_dict(), **one_label})
    pad = padding_id(settings, base.tokenizer)
    settings.get_text_config().pad_token_id = pad
    base.tokenizer.pad_token = base.tokenizer.convert_ids_to_tokens(pad)
    try:
        with torch.device("meta"):
            classifier: Any = AutoModelForSequenceClassification.from_config(
                settings, trust_remote_code=config.trust_remote_code
            )
    except ValueError as error:
        raise _unsuitable(base, "transformers has no sequence classifier of its architecture") from error
    layers = classifier.base_model_prefix
    if layers != base.model.base_model_prefix or {name for name, _ in classifier.named_children()} != {layers, _HEAD}:
        raise _unsuitable(base, f"{type(classifier).__name__} is built in another way")
    device = base.model.device
    deviation = float(getattr(settings.get_text_config(), "initializer_range", 0.02))
    setattr(classifier, layers, base.model.base_model)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = nn.Linear(settings.get_text_config().hidden_size, 1, bias=False)
        nn.init.normal_(head.weight, 0.0, deviation)
        head.register_forward_pre_hook(_as_float)
        setattr(classifier, _HEAD, head.to(device))
        model = get_peft_model(
            classifier,
            LoraConfig(
                r=config.reward_models.reward_lora_r,
                lora_alpha=2 * config.reward_models.reward_lora_r,
                target_modules=list(config.adapter.target_modules),
                lora_dropout=0.0,
                task_type="SEQ_CLS",  # trains the head too
            ),
        )
    model.eval()
    return model


def _as_float(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return (inputs[0].float(), *inputs[1:])


def _unsuitable(base: BaseModel, reason: str) -> BenchError:
    return BenchError(
        f"No reward model can be made of the model {base.name!r}: {reason}.",
        "Give --reward the folder or the name of a reward model.",
    )
