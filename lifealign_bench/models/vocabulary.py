"""Log-probabilities of given tokens from hidden states, with at most one chunk of vocabulary-sized logits at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# Logits of one chunk: 64 MiB in float32, whatever the vocabulary and however many tokens there are.
_CHUNK_VALUES = 2**24
# Of the head's weight so many values are in float32 at a time: 16 MiB.
_BLOCK_VALUES = 2**22
# Of these so many at a time go through the softmax on a CPU: 4 MiB in float32.
_ROW_VALUES = 2**20


@dataclass(frozen=True)
class Head:
    """What makes logits of hidden states; all of it is taken as constant.

    Args:
        weight, bias: (V, H) and (V,) or None.
        cap: the logits are bent to within so much, ``cap * tanh(logits / cap)`` (Gemma 2); None: they are not.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None = None
    cap: float | None = None

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(N, V) of (N, H), in the weights' type."""
        return capped(F.linear(hidden, self.weight, self.bias), self.cap)


def capped(logits: torch.Tensor, cap: float | None) -> torch.Tensor:
    """``cap * tanh(logits / cap)``, written in place of the logits; with None just these."""
    return logits if cap is None else logits.div_(cap).tanh_().mul_(cap)


def slope_of_cap(bent: torch.Tensor, cap: float) -> torch.Tensor:
    """The derivative of :func:`capped` by its input, from its value."""
    return 1 - (bent / cap).square()


def token_log_probs(
    hidden: torch.Tensor,
    targets: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    cap: float | None = None,
) -> torch.Tensor:
    """log softmax(hidden @ weight.T + bias)[target], float32.

    Args:
        hidden: (N, H), what the vocabulary head is given; differentiable.
        targets: (N,) token ids.
        weight, bias, cap: see :class:`Head`.

    Returns:
        (N,) in nats.
    """
    result: torch.Tensor = _TokenLogProbs.apply(hidden, targets, weight, bias, cap)  # type: ignore[no-untyped-call]
    return result


@torch.no_grad()
def precise_token_log_probs(
    hidden: torch.Tensor,
    targets: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    cap: float | None = None,
) -> torch.Tensor:
    """:func:`token_log_probs` with product and softmax in float32 whatever the type of the weights, without gradients.

    A logit that is rounded to bfloat16 is off by up to 1/256 of itself, and what a token gained over the base model is
    a difference of such numbers. The vocabulary is taken block by block, so that no copy of the head is made in
    float32: with l_b the logarithm of the summed exponentials of a block's logits, that of all is log sum_b exp(l_b).
    """
    states = hidden.float()
    total = torch.full((len(targets),), -torch.inf, device=hidden.device)
    logit = torch.zeros(len(targets), device=hidden.device)
    rows = max(1, min(_CHUNK_VALUES // max(1, len(targets)), _BLOCK_VALUES // weight.shape[1]))
    for start in range(0, weight.shape[0], rows):
        block = slice(start, min(start + rows, weight.shape[0]))
        table = capped(F.linear(states, weight[block].float(), None if bias is None else bias[block].float()), cap)
        total = torch.logaddexp(total, table.logsumexp(dim=-1))
        place = (targets - block.start).clamp(0, table.shape[1] - 1)
        here = (targets >= block.start) & (targets < block.stop)
        logit = torch.where(here, table.gather(1, place[:, None])[:, 0], logit)
    return logit - total


def _pick(logits: torch.Tensor, target: torch.Tensor, differentiated: bool, cap: float | None) -> torch.Tensor:
    """log softmax(capped logits)[target], (n,) float32; where ``differentiated``, its gradient by the logits,
    one-hot - softmax (times the slope of the cap), is left in their place.

    A few rows at a time on a CPU: what is made of them in float32 stays in its cache, which halves the time.
    """
    rows = max(1, _ROW_VALUES // logits.shape[1]) if logits.device.type == "cpu" else len(logits)
    values = torch.empty(len(logits), dtype=torch.float32, device=logits.device)
    for start in range(0, len(logits), rows):
        few = slice(start, start + rows)
        bent = capped(logits[few].float(), cap)
        table = torch.log_softmax(bent, dim=-1)
        values[few] = table.gather(1, target[few])[:, 0]
        if differentiated:
            gradient = table.exp_().neg_()
            gradient.scatter_add_(1, target[few], torch.ones_like(target[few], dtype=torch.float32))
            logits[few] = gradient if cap is None else gradient.mul_(slope_of_cap(bent, cap))
    return values


class _TokenLogProbs(torch.autograd.Function):
    """The gradient, weight[target] - softmax @ weight, is made beside the value, so that no logits outlive a chunk."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        targets: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        cap: float | None,
    ) -> torch.Tensor:
        """(N,)."""
        values = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
        slope = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        size = max(1, _CHUNK_VALUES // weight.shape[0])
        for start in range(0, len(targets), size):
            part = slice(start, start + size)
            logits = F.linear(hidden[part], weight, bias)
            values[part] = _pick(logits, targets[part, None], slope is not None, cap)
            if slope is not None:
                slope[part] = logits @ weight
        ctx.save_for_backward(*([] if slope is None else [slope]))
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The gradient of ``hidden``."""
        (slope,) = ctx.saved_tensors
        return (grads[0][:, None] * slope).to(slope.dtype), None, None, None, None
