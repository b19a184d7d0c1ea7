"""Floating-point operations of a model's passes over pairs: what the products take, by a formula and not by measuring.

A multiplication with an addition counts as two operations. With W weights that every token passes (all but the input
embedding and the vocabulary's head), H weights of the head, which is taken for response tokens alone, A weights of the
adapter, T tokens of which R are of responses, and S the pairs of a token with one that it attends to, summed over the
attention's width and layers::

    forward   2 (W + A) T  + 2 H R + 4 S
    backward  2 (W + 2 A) T + 2 H R + 8 S

The base model is frozen: its weights pass gradients on and get none, so that a training pass takes 4 operations a
weight and token, not the 6 of full fine-tuning (Kaplan et al. 2020, "Scaling Laws for Neural Language Models", 2.1).
What an implementation computes again, element-wise functions and the optimizer are not counted; a mixture of experts
counts with all of its experts and a sliding window as if it were open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lifealign_bench.models.encode import Encoded

# Tokens of a prompt and of what continues it: of a pair, of its chosen and of its rejected response.
Size = tuple[int, ...]


@dataclass(frozen=True)
class PassCost:
    """What a pass over a pair takes; see the module's docstring.

    Args:
        body: weights that every token passes (W).
        head: of the vocabulary's head (H).
        adapter: of the adapter (A).
        attention: width of all heads times layers.
        packed: both responses of a pair stand behind one prompt, else each behind a prompt of its own.
        added: tokens that the method puts before every prompt.
    """

    body: int
    head: int
    adapter: int
    attention: int
    packed: bool = True
    added: int = 0

    def forward(self, size: Size) -> int:
        """Operations of a pass without gradients, e.g. for the reference."""
        tokens, predicted, seen = self._counts(size)
        return 2 * (self.body + self.adapter) * tokens + 2 * self.head * predicted + 4 * self.attention * seen

    def training(self, size: Size) -> int:
        """Operations of a pass with its gradients."""
        tokens, predicted, seen = self._counts(size)
        backward = 2 * (self.body + 2 * self.adapter) * tokens + 2 * self.head * predicted + 8 * self.attention * seen
        return self.forward(size) + backward

    def _counts(self, size: Size) -> tuple[int, int, int]:
        """Tokens, those of responses, and pairs of a token with one that it attends to."""
        prompt, *branches = size
        responses = [length for length in branches if length]
        prompt += self.added
        prompts = 1 if self.packed else len(responses)
        seen = prompts * _triangle(prompt) + sum(length * prompt + _triangle(length) for length in responses)
        return prompts * prompt + sum(responses), sum(responses), seen


def _triangle(length: int) -> int:
    """Every token attends to itself and to all before it."""
    return length * (length + 1) // 2


def pass_cost(model: Any, parameters: int, *, packed: bool = True, added: int = 0) -> PassCost:
    """The cost of passes of a model with an adapter.

    Args:
        model: the transformers model, on any device, also on torch's meta device; the adapter's layers are in it.
        parameters: how many it has without the adapter.
        packed, added: see :class:`PassCost`.
    """
    text = model.config.get_text_config()
    embedding = model.get_input_embeddings().weight
    output = model.get_output_embeddings()
    head = embedding if output is None else output.weight
    apart = embedding.numel() + (0 if head is embedding else head.numel())
    heads = getattr(text, "num_attention_heads", None) or 0
    width = heads * (getattr(text, "head_dim", None) or text.hidden_size // heads) if heads else 0
    return PassCost(
        body=parameters - apart,
        head=head.numel(),
        adapter=sum(p.numel() for name, p in model.named_parameters() if "lora_" in name),
        attention=width * text.num_hidden_layers,
        packed=packed,
        added=added,
    )


def size_of_pair(pair: Encoded) -> Size:
    """The tokens of an encoded pair, or of a group."""
    return len(pair.prompt), *map(len, pair.branches)
