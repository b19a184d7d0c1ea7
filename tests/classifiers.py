"""Tiny sequence classifiers as folders, for tests of reward models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from lifealign_bench.models.fake import fake_model

__all__ = ["random_classifier", "reading_classifier"]


def random_classifier(folder: Path, labels: int = 1, pad: int | None = 0, dtype: torch.dtype = torch.float32) -> Any:
    """A random two-layer Llama with ``labels`` outputs and the fake tokenizer, saved in ``folder``."""
    base, tokenizer = fake_model()
    names = {"id2label": {i: str(i) for i in range(labels)}, "label2id": {str(i): i for i in range(labels)}}
    settings = {**base.config.to_dict(), **names, "pad_token_id": pad}
    model: Any = LlamaForSequenceClassification(LlamaConfig.from_dict(settings))
    generator = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
    model.to(dtype).eval().save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return model


def reading_classifier(folder: Path, pad: int | None = 0) -> Any:
    """Its output is the id of a text's last token modulo 64: no layer adds anything, token t has the unit vector of
    t modulo 64, whose norm makes it 8 times as long, and the head weighs it with an eighth of that number."""
    model = random_classifier(folder, pad=pad)
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.data.zero_()
        layer.mlp.down_proj.weight.data.zero_()
    model.model.embed_tokens.weight.data = torch.stack(
        [torch.eye(64)[token % 64] for token in range(model.config.vocab_size)]
    )
    model.score.weight.data = torch.arange(64.0)[None] / 8
    model.save_pretrained(str(folder))
    return model
