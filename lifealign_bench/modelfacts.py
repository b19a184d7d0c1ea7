"""What is known of a model without loading its weights: configuration, tokenizer, number of parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from httpx2 import HTTPError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from lifealign_bench.chattemplate import template_notices
from lifealign_bench.clock import Clock
from lifealign_bench.config import RunConfig
from lifealign_bench.encode import EncodingReport
from lifealign_bench.errors import BenchError
from lifealign_bench.estimate import Shape
from lifealign_bench.method import Method
from lifealign_bench.models import (
    ADAPTABLE,
    DTYPES,
    EMBEDDED,
    FAKE,
    add_adapter,
    complete_tokenizer,
    embedded_folder,
    foreign_model,
)
from lifealign_bench.pairs import Pair
from lifealign_bench.workload import Lengths

__all__ = ["PUBLISHED", "ModelFacts", "Scale", "estimated_lengths", "find_facts", "measured_scale", "shape_of"]

# The paper's model as its makers publish its shape (Qwen2.5 Technical Report, 2025, and the model's card): 7.62 billion
# parameters. For plans made without a network.
PUBLISHED: dict[str, dict[str, Any]] = {
    "Qwen/Qwen2.5-7B-Instruct": {
        "model_type": "qwen2",
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": False,
    }
}

# English text under the vocabularies of today's models; what a chat template adds to a prompt, and to each turn.
_CHARACTERS_A_TOKEN = 4
_TEMPLATE_TOKENS = 20
_TURN_TOKENS = 5


@dataclass(frozen=True)
class ModelFacts:
    """A model without weights.

    Args:
        config: its configuration.
        tokenizer: None where it is not at hand; lengths are then estimated.
        at_hand: whether its weights are on this machine.
        notices: what had to be assumed.
    """

    config: PretrainedConfig
    tokenizer: PreTrainedTokenizerBase | None
    at_hand: bool
    notices: tuple[str, ...] = ()


def find_facts(config: RunConfig) -> ModelFacts:
    """What is known of the run's model.

    Raises:
        BenchError: nothing, since there is no such model, or no network to look for it.
    """
    if config.model == FAKE:
        from lifealign_bench.fakes import fake_model

        model, tokenizer = fake_model()
        return ModelFacts(model.config, tokenizer, True)
    folder = embedded_folder() if config.model == EMBEDDED else Path(config.model)
    if config.model == EMBEDDED or folder.is_dir():
        return _read(str(folder), config, {}, True)
    try:
        return _read(config.model, config, {"local_files_only": True}, True)
    except BenchError as error:
        if _on_hub(config.model):
            return _read(config.model, config, {}, False)
        if config.model not in PUBLISHED:
            raise BenchError(
                f"The model {config.model!r} is not at hand, and nothing is known of its shape.",
                "Check its name; plan where there is a network, or with HF_HOME at a copy.",
            ) from error
    notice = (
        f"Tokens are estimated: the tokenizer of {config.model} is not at hand, so that {_CHARACTERS_A_TOKEN} "
        "characters count as one. The shape of the model is the published one."
    )
    return ModelFacts(AutoConfig.for_model(**PUBLISHED[config.model]), None, False, (notice,))


def _on_hub(name: str) -> bool:
    """Whether the hub can be asked and has the model: one question, since transformers would ask for half a minute."""
    from huggingface_hub import HfApi

    try:
        HfApi().model_info(name, timeout=10)
    except (OSError, ValueError, HTTPError):  # absent, offline, or no name at all: what follows says so
        return False
    return True


def _read(source: str, config: RunConfig, where: dict[str, bool], at_hand: bool) -> ModelFacts:
    trust = {"trust_remote_code": config.trust_remote_code}
    with foreign_model(config.model):
        found = AutoConfig.from_pretrained(source, **where, **trust)
        tokenizer = AutoTokenizer.from_pretrained(source, **where, **trust)
    said = complete_tokenizer(tokenizer, config.model)
    # Which tokens end a response, only the weights' folder says in full.
    said += template_notices(tokenizer, Clock.of(config.clock), None)
    notices = tuple(f"Model {config.model}: {text}." for text in said)
    return ModelFacts(found, tokenizer, at_hand, notices)


def shape_of(facts: ModelFacts, config: RunConfig, method: Method, stages: int) -> tuple[Shape, tuple[str, ...]]:
    """The shape of the model with the method's adapter, built without weights; notices.

    Args:
        config: the run, its dtype resolved.

    Raises:
        BenchError: a target module that the model does not have.
    """
    dtype = DTYPES[config.dtype]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(facts.config, dtype=dtype, trust_remote_code=config.trust_remote_code)
    parameters = sum(p.numel() for p in model.parameters())
    model.requires_grad_(False)
    adapted = add_adapter(model, config.model, config.adapter, 0)
    notices: tuple[str, ...] = ()
    try:
        adapted = method.prepare(adapted, stages)
    except (NotImplementedError, RuntimeError):  # it computes with weights, and there are none
        notices = ("What the method itself adds to the adapter is not counted.",)
    text = facts.config.get_text_config()
    return (
        Shape(
            parameters=parameters,
            trainable=sum(p.numel() for p in method.trained(adapted)),
            hidden=text.hidden_size,
            intermediate=_intermediate(text, model),
            layers=text.num_hidden_layers,
            kv_width=_kv_width(text),
            value_bytes=dtype.itemsize,
        ),
        notices,
    )


def _intermediate(text: PretrainedConfig, model: torch.nn.Module) -> int:
    """The width of the middle of a block: as the configuration says, else that of the widest layer to adapt."""
    said = getattr(text, "intermediate_size", None)
    if said:
        return int(max(said)) if isinstance(said, list | tuple) else int(said)
    weights = [m.weight for m in model.modules() if isinstance(m, ADAPTABLE)]
    return max(max(w.shape) for w in weights if text.vocab_size not in w.shape)


def _kv_width(text: PretrainedConfig) -> int:
    """Values that attention keeps of a token in each layer, as keys; none without attention."""
    heads = getattr(text, "num_attention_heads", None)
    if not heads:
        return 0
    head = getattr(text, "head_dim", None) or text.hidden_size // heads
    return int((getattr(text, "num_key_value_heads", None) or heads) * head)


@dataclass(frozen=True)
class Scale:
    """How many tokens a text has, about.

    Args:
        characters: of a token.
        template: tokens that the chat template adds to a prompt beside those of its turns.
    """

    characters: float = _CHARACTERS_A_TOKEN
    template: int = _TEMPLATE_TOKENS

    def tokens(self, text: str) -> int:
        """Of a text without its template."""
        return math.ceil(len(text) / self.characters)

    def turns(self, pair: Pair) -> list[int]:
        """Tokens of every turn of a pair's prompt."""
        return [self.tokens(turn.content) + _TURN_TOKENS for turn in pair.prompt]


def measured_scale(pairs: Sequence[Pair], lengths: Sequence[Lengths]) -> Scale:
    """The scale of pairs whose lengths were counted, none of them cut."""
    characters = sum(len(pair.chosen) + len(pair.rejected) for pair in pairs)
    tokens = sum(length.chosen + length.rejected - 2 for length in lengths)
    scale = Scale(max(1e-3, characters / max(1, tokens)), 0)
    over = sum(length.prompt - sum(scale.turns(pair)) for pair, length in zip(pairs, lengths, strict=True))
    return Scale(scale.characters, round(over / max(1, len(pairs))))


def estimated_lengths(
    pairs: Sequence[Pair], max_length: int, overlong: str, scale: Scale | None = None
) -> tuple[list[Lengths], EncodingReport]:
    """Lengths by characters, with what the cut-off does to them; see ``encode.encode_pairs``."""
    scale = scale or Scale()
    kept: list[Lengths] = []
    shortened = cut = 0
    dropped: list[str] = []
    for pair in pairs:
        chosen, rejected = scale.tokens(pair.chosen) + 1, scale.tokens(pair.rejected) + 1
        turns = scale.turns(pair)
        prompt = max(1, scale.template + sum(turns))
        gone = 0
        while overlong == "shorten" and gone < len(turns) - 1 and prompt + max(chosen, rejected) > max_length:
            prompt -= turns[gone]
            gone += 1
        shortened += gone > 0
        if prompt >= max_length:
            dropped.append(pair.id)
            continue
        room = max_length - prompt
        cut += max(chosen, rejected) > room
        kept.append(Lengths(prompt, min(chosen, room), min(rejected, room)))
    return kept, EncodingReport(len(kept), shortened, cut, len(dropped), dropped[:5])
