"""Memory and time of a run on GPUs, estimated from published peaks and from the run's tokens; no GPU is touched.

A launch of n processes has n copies of the model; they share the pairs of a step, the scoring passes and the batches of
prompts. What is left out: pairs that a method mixes in where that is not foreseen, a method's own work between phases,
loading the model, the products of attention (a few percent at these lengths), and the exchange of the adapter's
gradients.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from httpx2 import HTTPError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import BenchError
from lifealign_bench.experiments.decoding import decoding_seconds, sampled_groups
from lifealign_bench.experiments.memory import MemoryNeed, PassTrace, Sizes, memory_needed
from lifealign_bench.method import Method
from lifealign_bench.models.chattemplate import template_notices
from lifealign_bench.models.device import DTYPES
from lifealign_bench.models.embedded import wheel_config
from lifealign_bench.models.encode import EncodingReport
from lifealign_bench.models.fake import fake_model
from lifealign_bench.models.load import ADAPTABLE, add_adapter
from lifealign_bench.models.passcost import PassCost, pass_cost
from lifealign_bench.models.quantization import NF4_BYTES
from lifealign_bench.models.tokenizer import FAKE, complete_tokenizer, foreign_model, load_tokenizer
from lifealign_bench.models.wheel import WHEELS
from lifealign_bench.pairs import Pair
from lifealign_bench.training.phases import PHASES
from lifealign_bench.training.workload import Lengths, Workload
from lifealign_bench.util.clock import Clock
from lifealign_bench.util.progress import TRAIN_WORK
from lifealign_bench.util.registry import unknown_name

COUNTS = (1, 2, 8)

# Shares of the published peaks that are reached in practice: of the products in training and scoring, and of the memory
# bandwidth when one token after the other is generated.
TRAINING_UTILISATION = 0.4

DECODING_UTILISATION = 0.3


@dataclass(frozen=True)
class Gpu:
    """A kind of GPU by its maker's data sheet: dense products a second, bytes a second from memory, bytes of memory."""

    name: str
    bfloat16: float
    float32: float
    bandwidth: float
    memory: float


GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("A100", 312e12, 19.5e12, 2.039e12, 80e9),
        Gpu("H100", 989e12, 67e12, 3.35e12, 80e9),
        Gpu("H200", 989e12, 67e12, 4.8e12, 141e9),
        Gpu("L40S", 362e12, 91.6e12, 0.864e12, 48e9),
        Gpu("RTX 4090", 165e12, 82.6e12, 1.008e12, 24e9),
    )
}


@dataclass(frozen=True)
class Shape:
    """What a model's memory and time depend on.

    Args:
        packed: of the parameters, those of linear layers that quantization keeps in four bits.
        trainable: parameters of the adapter.
        kv_width: values a token and layer in the cache of keys (as many again of values).
        value_bytes: bytes of a weight.
        cost: of the model's passes.
    """

    parameters: int
    trainable: int
    hidden: int
    intermediate: int
    layers: int
    kv_width: int
    value_bytes: int
    cost: PassCost | None = None
    packed: int = 0
    vocabulary: int = 0

    def sizes(self, config: RunConfig) -> Sizes:
        """What the memory of its passes depends on."""
        packed = self.packed if config.quantization is not None else 0
        return Sizes(
            weights=int((self.parameters - packed) * self.value_bytes + packed * NF4_BYTES),
            trainable=self.trainable,
            hidden=self.hidden,
            intermediate=self.intermediate,
            layers=self.layers,
            vocabulary=self.vocabulary,
            kv_width=self.kv_width,
            value_bytes=self.value_bytes,
            layered=self.packed * self.value_bytes,
        )


@dataclass(frozen=True)
class GpuEstimate:
    """A run on ``count`` GPUs; memory is that of each, times are seconds by part of the run."""

    gpu: Gpu
    count: int
    memory: MemoryNeed
    times: Mapping[str, float]

    @property
    def memory_bytes(self) -> int:
        """Of each GPU, at most."""
        return self.memory.peak

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return sum(self.times.values())

    @property
    def fits(self) -> bool:
        """Whether a GPU of this kind holds it."""
        return self.memory_bytes <= self.gpu.memory


def gpu_named(name: str) -> Gpu:
    """The kind of GPU that ``name`` stands for, also as drivers write it (``NVIDIA H100 80GB HBM3``).

    Raises:
        UsageError: none that is known.
    """
    given = _letters(name)
    found = [gpu for gpu in GPUS.values() if _letters(gpu.name) in given]
    found = found or [gpu for gpu in GPUS.values() if given and given in _letters(gpu.name)]
    if len(found) != 1:
        raise unknown_name("GPU", name, GPUS)
    return found[0]


def _letters(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def estimate_gpu(
    config: RunConfig, shape: Shape, work: Workload, gpu: Gpu, count: int, trace: PassTrace | None = None
) -> GpuEstimate:
    """A run on ``count`` GPUs of a kind.

    Args:
        trace: of the model's passes; without one, what they keep is estimated by the model's shape.
    """
    kept = trace.kept(config, work, count, "cuda") if trace is not None else None
    memory = memory_needed(config, shape.sizes(config), work, kept, count, "cuda")
    return GpuEstimate(gpu, count, memory, _times(config, shape, work, gpu, count))


def _times(config: RunConfig, shape: Shape, work: Workload, gpu: Gpu, count: int) -> dict[str, float]:
    peak = gpu.bfloat16 if shape.value_bytes == 2 else gpu.float32
    # A forward pass multiplies every weight with every token once: two operations.
    a_token = 2 * shape.parameters / (peak * TRAINING_UTILISATION)
    pairs = config.training.batch_size
    step_share = math.ceil(pairs / count) / pairs
    phases = [phase for stage in work.stages for phase in stage.phases]
    # Layers that are computed again take a forward pass more.
    training = TRAIN_WORK + (1 if config.activation_checkpointing else 0)
    trained = {phase.name: sum(p.tokens for p in phases if p.phase == phase.name) for phase in PHASES.values()}
    prompts = sum(sum(score.prompts) for score in work.scores)
    prompt_tokens = sum(score.prompt_tokens for score in work.scores)
    decoding = partial(
        decoding_seconds,
        config,
        shape.sizes(config),
        prompt=prompt_tokens // max(1, prompts),
        memory=gpu.memory,
        bandwidth=gpu.bandwidth * DECODING_UTILISATION,
    )
    # Layers in pieces are needed by all processes at the same time: they train together and do all else alike.
    sharers = 1 if config.shard else count
    shared = [math.ceil(sum(score.prompts) / sharers) for score in work.scores]
    times: dict[str, float] = {
        **{name: tokens * training * a_token * step_share for name, tokens in trained.items()},
        "sampling": decoding([math.ceil(group / sharers) for group in sampled_groups(config, work)]),
        "reference": sum(stage.reference_tokens for stage in work.stages) * a_token / sharers,
        "scoring": sum(score.tokens for score in work.scores) * a_token / sharers,
        "generation": prompt_tokens * a_token / sharers + decoding(shared),
    }
    return times if times["sampling"] else {name: value for name, value in times.items() if name != "sampling"}


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
        tokenizer: None where it is not available; lengths are then estimated.
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
        model, tokenizer = fake_model()
        return ModelFacts(model.config, tokenizer, True)
    if config.model in WHEELS:
        return _described(config, wheel_config(config.model), load_tokenizer(config.model), True)
    if Path(config.model).is_dir():
        return _read(config.model, config, {}, True)
    try:
        return _read(config.model, config, {"local_files_only": True}, True)
    except BenchError as error:
        if _on_hub(config.model):
            return _read(config.model, config, {}, False)
        if config.model not in PUBLISHED:
            raise BenchError(
                f"The model {config.model!r} is not available, and nothing is known of its shape.",
                "Check its name; plan where there is a network, or with HF_HOME at a copy.",
            ) from error
    notice = (
        f"Tokens are estimated: the tokenizer of {config.model} is not available, so that {_CHARACTERS_A_TOKEN} "
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
    return _described(config, found, tokenizer, at_hand)


def _described(
    config: RunConfig, found: PretrainedConfig, tokenizer: PreTrainedTokenizerBase, at_hand: bool
) -> ModelFacts:
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
    shape, _, notices = plan_model(facts, config, method, stages)
    return shape, notices


def plan_model(
    facts: ModelFacts, config: RunConfig, method: Method, stages: int
) -> tuple[Shape, PassTrace, tuple[str, ...]]:
    """:func:`shape_of`, and the model itself on the meta device, to take passes of."""
    dtype = DTYPES[config.dtype]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(facts.config, dtype=dtype, trust_remote_code=config.trust_remote_code)
    parameters = sum(p.numel() for p in model.parameters())
    head = model.get_output_embeddings()
    packed = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head)
    model.eval().requires_grad_(False)
    adapted = add_adapter(model, config.model, config.adapter, 0)
    notices: tuple[str, ...] = ()
    try:
        adapted = method.prepare(adapted, stages)
    except (NotImplementedError, RuntimeError):  # it computes with weights, and there are none
        notices = ("What the method itself adds to the adapter is not counted.",)
    text = facts.config.get_text_config()
    shape = Shape(
        parameters=parameters,
        trainable=sum(p.numel() for p in method.trained(adapted)),
        hidden=text.hidden_size,
        intermediate=_intermediate(text, model),
        layers=text.num_hidden_layers,
        kv_width=_kv_width(text),
        value_bytes=dtype.itemsize,
        cost=pass_cost(model, parameters, packed=method.packs, added=method.added_tokens()),
        packed=packed,
        vocabulary=text.vocab_size,
    )
    return shape, PassTrace(adapted), notices


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
class TextScale:
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


def measured_scale(pairs: Sequence[Pair], lengths: Sequence[Lengths]) -> TextScale:
    """The scale of pairs whose lengths were counted, none of them cut."""
    characters = sum(len(pair.chosen) + len(pair.rejected) for pair in pairs)
    tokens = sum(length.chosen + length.rejected - 2 for length in lengths)
    scale = TextScale(max(1e-3, characters / max(1, tokens)), 0)
    over = sum(length.prompt - sum(scale.turns(pair)) for pair, length in zip(pairs, lengths, strict=True))
    return TextScale(scale.characters, round(over / max(1, len(pairs))))


def estimated_lengths(
    pairs: Sequence[Pair], max_length: int, overlong: str, scale: TextScale | None = None
) -> tuple[list[Lengths], EncodingReport]:
    """Lengths by characters, with what the cut-off does to them; see ``encode.encode_pairs``."""
    scale = scale or TextScale()
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
