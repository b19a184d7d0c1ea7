"""A tiny sentence encoder as a folder, for tests of what reads with one."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

__all__ = ["random_encoder"]


def random_encoder(folder: Path, seed: int = 7) -> Any:
    """A random one-layer BERT that reads letter by letter, saved in ``folder``."""
    letters = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *string.ascii_letters, *string.digits, " ", "."]
    reads = Tokenizer(models.WordLevel({letter: i for i, letter in enumerate(letters)}, unk_token="[UNK]"))
    reads.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    reads.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=reads, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
    )
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = BertModel(BertConfig(vocab_size=len(letters), max_position_embeddings=512, **size)).eval()
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return model
