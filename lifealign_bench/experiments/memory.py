"""Memory of a run by what holds it, computed before anything is loaded.

What a training pass keeps for its backward pass is not guessed: the pass is taken on torch's meta device, where tensors
have shapes and no values, and what autograd keeps is added up. So it holds for every family of models, with the run's
layout, adapter and activation checkpointing. Everything else is a sum of sizes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from lifealign_bench.config import RunConfig
from lifealign_bench.models.attention import SEGMENTS
from lifealign_bench.models.blocked import blocked_bytes
from lifealign_bench.models.device import DTYPES
from lifealign_bench.models.encode import EncodedPair
from lifealign_bench.models.logprobs import lay_out, pair_log_probs
from lifealign_bench.models.recompute import recompute_layers
from lifealign_bench.pairs import Pair
from lifealign_bench.training.phases import PHASES
from lifealign_bench.training.workload import Lengths, Workload

# The interpreter with all libraries of a run; on a GPU its context with the products' workspaces.
LIBRARIES = {"cpu": 610 * 2**20, "cuda": 900 * 2**20}
# What oneDNN keeps of each shape of product that it has met, up to a thousand of them, and what the allocator then does
# not give back. Runs of SmolLM2-135M in bfloat16 were above the sum of all else by 0.5 GiB after four tasks, by 0.8 to
# 0.9 after seven and by 1.0 on longer texts; of Gemma 3 270M by 1.1 to 1.2.
KERNELS = 2**30
# Logits of one chunk, see models/vocabulary.py.
_CHUNK_VALUES = 2**24
_RECOMPUTING = 80 * 2**20  # what torch loads when a layer is computed again for the first time, in main memory
_OPTIMIZER_BYTES = 16  # of a trained parameter: itself, its gradient and AdamW's two moments, in float32
_FUSED = "lifealign_fused"


class _Fused(torch.autograd.Function):
    """Attention as a fused kernel keeps it: its inputs, its result, and one number a query; shapes alone."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """(B, H, T, E)."""
        result = query.new_empty((*query.shape[:3], value.shape[3]))
        ctx.save_for_backward(query, key, value, result, query.new_empty(query.shape[:3], dtype=torch.float32))
        return result

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Never asked for."""
        raise NotImplementedError


def _fused_attention(
    module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, **more: Any
) -> tuple[torch.Tensor, None]:
    return _Fused.apply(query, key, value).transpose(1, 2), None  # type: ignore[no-untyped-call]


AttentionInterface.register(_FUSED, _fused_attention)

AttentionMaskInterface.register(_FUSED, sdpa_mask)


@dataclass(frozen=True)
class Kept:
    """Bytes that a training pass keeps until its backward pass.

    Args:
        total: at the end of the forward pass.
        again: what the layer that is computed again adds to that; 0 without activation checkpointing.
    """

    total: int
    again: int = 0


def kept_bytes(model: Any, pairs: Sequence[Lengths], pad_id: int = 0) -> int:
    """Bytes that autograd keeps in a forward pass over ``pairs`` in one row, parameters and buffers not counted.

    Args:
        model: with an adapter, on any device; on the meta device it takes no memory and little time.
    """
    device = next(model.parameters()).device
    owned = {t.untyped_storage()._cdata for t in (*model.parameters(), *model.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    rows = lay_out([_encoded(i, lengths) for i, lengths in enumerate(pairs)], pad_id, "segments").to(device)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        pair_log_probs(model, rows)
    return sum(storage.nbytes() for place, storage in kept.items() if place not in owned)


def _encoded(number: int, lengths: Lengths) -> EncodedPair:
    # Each begins in its own way: nothing is shared, as in the worst case.
    prompt = (number % 2, *[2] * (lengths.prompt - 1))
    return EncodedPair(Pair(str(number), "", (), "", ""), prompt, (3,) * lengths.chosen, (3,) * lengths.rejected)


def largest_pass(config: RunConfig, work: Workload, count: int) -> list[Lengths]:
    """The pairs of a pass that keeps as much as any: the longest as often as it fits, then pairs of mean length."""
    step = math.ceil(config.training.batch_size / count)
    longest, budget = work.longest, config.tokens_a_pass()
    pairs = [longest] * min(step, max(1, budget // longest.tokens))
    trained = [phase for stage in work.stages for phase in stage.phases if PHASES.get(phase.phase).refers]
    mean = math.ceil(sum(p.tokens for p in trained) / max(1, sum(p.pairs for p in trained)))
    room = budget - sum(p.tokens for p in pairs)
    if trained and 3 <= mean <= room and len(pairs) < step:
        third = mean // 3
        pairs += [Lengths(mean - 2 * third, third, third)] * min(step - len(pairs), room // mean)
    return pairs


@dataclass(frozen=True)
class PassTrace:
    """What passes of a planned model keep.

    Args:
        model: the base model with the method's adapter, on the meta device.
    """

    model: Any
    _known: dict[tuple[Any, ...], Kept | None] = field(default_factory=dict, init=False, repr=False)

    def kept(self, config: RunConfig, work: Workload, count: int, device: str) -> Kept | None:
        """Of the largest pass of one of ``count`` processes; None where the model cannot be traced.

        Args:
            config: the run, its type resolved.
            device: ``cpu``, where attention is computed branch by branch and keeps its weights, or ``cuda``.
        """
        pairs = largest_pass(config, work, count)
        known = (*pairs, config.dtype, config.activation_checkpointing, device)
        if known not in self._known:
            self._known[known] = self._traced(config, pairs, device)
        return self._known[known]

    def blocks(self, config: RunConfig, work: Workload) -> int:
        """Bytes of the second copies of weights on this processor; 0 where no response is made."""
        generates = any(sum(score.prompts) for score in work.scores) or any(stage.sampled for stage in work.stages)
        return blocked_bytes(self.model) if generates and config.dtype == "bfloat16" else 0

    def _traced(self, config: RunConfig, pairs: Sequence[Lengths], device: str) -> Kept | None:
        for name, parameter in self.model.named_parameters():
            if "lora_" not in name:
                parameter.data = parameter.data.to(DTYPES[config.dtype])
        patched = {module for module in self.model.modules() if "forward" in module.__dict__}
        try:
            self.model.get_base_model().set_attn_implementation(SEGMENTS if device == "cpu" else _FUSED)
            total = kept_bytes(self.model, pairs)
            if not config.activation_checkpointing:
                return Kept(total)
            recompute_layers(self.model, config.model)
            inputs = kept_bytes(self.model, pairs)
        except (NotImplementedError, RuntimeError, ValueError, TypeError, AttributeError):
            return None  # what it computes needs values, or it takes no packed row
        finally:
            for module in self.model.modules():
                if module not in patched:
                    module.__dict__.pop("forward", None)
        depth = self.model.config.get_text_config().num_hidden_layers
        return Kept(inputs, (total - inputs) // depth)


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes of one process, by what holds them.

    Args:
        libraries: the program itself, or a GPU's context.
        weights: of the base model.
        adapter: what is trained, with its gradient and the optimizer's state.
        training: a training pass, at its largest.
        scoring: a pass without gradients, at its largest.
        generation: a batch of prompts with the keys and values of its responses.
        trial: the model's own logits of a whole text, which layouts are compared with before there is an adapter.
        blocks: second copies of weights, laid out for generation and kept from the first response on.
        kernels: what products leave behind, see :data:`KERNELS`.
    """

    libraries: int
    weights: int
    adapter: int
    training: int
    scoring: int
    generation: int
    trial: int = 0
    blocks: int = 0
    kernels: int = 0

    @property
    def peak(self) -> int:
        """The most at one time: the trial comes first; training, scoring and generation take turns."""
        in_turn = max(self.training, self.scoring, self.generation)
        return self.libraries + self.weights + max(self.trial, self.blocks + self.kernels + self.adapter + in_turn)


@dataclass(frozen=True)
class Sizes:
    """What the memory of a model's passes depends on.

    Args:
        weights: bytes of the base model.
        trainable: parameters of the adapter.
        hidden, intermediate, layers, vocabulary: of the model.
        kv_width: values a token and layer in the cache of keys (as many again of values).
        value_bytes: bytes of what is computed.
        layered: of the weights, those that several processes may split.
    """

    weights: int
    trainable: int
    hidden: int
    intermediate: int
    layers: int
    vocabulary: int
    kv_width: int
    value_bytes: int
    layered: int = 0


def memory_needed(
    config: RunConfig, sizes: Sizes, work: Workload, kept: Kept | None, count: int, device: str
) -> MemoryNeed:
    """Memory of one of ``count`` processes.

    Args:
        kept: of its largest training pass; None: estimated by the shape of a Llama.
    """
    width = sizes.value_bytes
    tokens = sum(pair.tokens for pair in largest_pass(config, work, count))
    if kept is None:
        # Norms and the adapter work in float32; a gated middle of a block keeps three tensors.
        kept = Kept(tokens * sizes.layers * (16 * sizes.hidden + (2 * sizes.hidden + 3 * sizes.intermediate) * width))
    # Only responses get logits; on a CPU their softmax in float32 goes through a few rows at a time.
    chunk = min(_CHUNK_VALUES, tokens * sizes.vocabulary)
    logits = chunk * (width + (8 if device == "cuda" else 0))
    passing = tokens * (3 * sizes.intermediate + 4 * sizes.hidden) * width
    together = min(config.generation.generation_batch_size, max((sum(s.prompts) for s in work.scores), default=0))
    prompt, most = work.longest_prompt, config.generation.max_new_tokens
    # On a CPU there is room for all new tokens from the beginning, into which what is known of the prompts is copied.
    columns = (2 if device == "cpu" else 1) * prompt + most
    remembered = together * columns * 2 * sizes.layers * sizes.kv_width * width
    first = together * prompt * (3 * sizes.intermediate + 4 * sizes.hidden) * width
    shortest = work.shortest or Lengths(0, 0, 0)
    tried = shortest.longest * width + max(shortest.chosen, shortest.rejected) * 8
    weights = sizes.weights
    if config.shard and count > 1:  # a share of the layers, and one layer whole while it computes
        weights += sizes.layered // count + sizes.layered // sizes.layers - sizes.layered
    return MemoryNeed(
        libraries=LIBRARIES[device] + (_RECOMPUTING if config.activation_checkpointing and device == "cpu" else 0),
        weights=weights,
        adapter=sizes.trainable * _OPTIMIZER_BYTES,
        training=kept.total + max(logits, passing + kept.again),
        scoring=passing + chunk * (8 if device == "cuda" else 4),
        generation=max(first + remembered * prompt // max(1, columns), remembered) if together else 0,
        trial=tried * sizes.vocabulary,
        kernels=KERNELS if device == "cpu" and config.dtype == "bfloat16" else 0,
    )
