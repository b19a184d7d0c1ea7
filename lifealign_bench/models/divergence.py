"""How far a policy is from another: KL divergence a token over the whole vocabulary, some tokens at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from lifealign_bench.models.encode import EncodedPair
from lifealign_bench.models.logprobs import Layout, lay_out, pack, predictions
from lifealign_bench.models.vocabulary import Head, slope_of_cap
from lifealign_bench.util.distributed import gather_shares, share

# Two tables of float32 a chunk, 64 MiB together, whatever the vocabulary.
_CHUNK_VALUES = 2**23


@torch.no_grad()
def divergences(
    model: Any,
    without_adapter: Callable[[], AbstractContextManager[Any]],
    responses: Sequence[EncodedPair],
    *,
    pad_id: int,
    layout: Layout,
    token_budget: int,
    device: torch.device,
    advance: Callable[[int], None] = lambda tokens: None,
) -> torch.Tensor:
    """Mean over a response's tokens of KL(policy || base), in nats.

    Each term is a sum over the whole vocabulary, not an estimate from the token that was taken: of greedy responses the
    latter would be biased. Several processes share the passes.

    Args:
        model: the policy.
        without_adapter: makes the model the base model while its context is open.
        responses: prompts with the response as the chosen completion and no rejected one.
        token_budget: tokens a forward pass at most.
        advance: called with the number of tokens after both passes over some responses.

    Returns:
        (P,) float32 on the CPU, in the order of ``responses``.
    """
    groups = pack(responses, token_budget, layout)
    found = []
    for group in share(groups):
        rows = lay_out([responses[i] for i in group], pad_id, layout).to(device)
        policy, head = predictions(model, rows)
        with without_adapter():
            base, _ = predictions(model, rows)
        token = token_divergence(policy, base, head)
        owner = rows.owner // rows.width
        sums = torch.zeros(len(group), device=device).index_add(0, owner, token)
        found.append((sums / torch.bincount(owner, minlength=len(group))).cpu().tolist())
        advance(2 * sum(responses[i].tokens for i in group))
    result = torch.zeros(len(responses))
    for group, values in zip(groups, gather_shares(found), strict=True):
        result[group] = torch.tensor(values)
    return result


def token_divergence(policy: torch.Tensor, base: torch.Tensor, head: Head | None) -> torch.Tensor:
    """KL(policy || base) of N next-token distributions, (N,) float32 in nats.

    Args:
        policy, base: (N, H) hidden states for ``head``, or (N, V) logits where it is None.
        head: the vocabulary head.
    """
    width = policy.shape[1] if head is None else head.weight.shape[0]
    size = max(1, _CHUNK_VALUES // width)
    parts = []
    for start in range(0, len(policy), size):
        ours, theirs = policy[start : start + size], base[start : start + size]
        if head is not None:
            ours, theirs = head.logits(ours), head.logits(theirs)
        p = F.log_softmax(ours, dim=-1, dtype=torch.float32)
        q = F.log_softmax(theirs, dim=-1, dtype=torch.float32)
        # A divergence is not negative; rounding may take that of equal distributions a hair below.
        parts.append(F.kl_div(q, p, reduction="none", log_target=True).sum(-1).clamp(min=0))
    return torch.cat(parts)


def differentiable_divergence(
    policy: torch.Tensor,
    other: torch.Tensor,
    head: Head | None,
    *,
    from_other: bool,
    temperature: float = 1.0,
) -> torch.Tensor:
    """KL(policy || other) of N next-token distributions, (N,) float32 in nats; differentiable by ``policy`` alone.

    Args:
        policy, other: see :func:`token_divergence`.
        head: the vocabulary head, taken as constant.
        from_other: KL(other || policy) instead, whose gradient pulls the policy over all that the other may say.
        temperature: what the logits of both are divided by.
    """
    result: torch.Tensor = _TokenDivergence.apply(  # type: ignore[no-untyped-call]
        policy, other, head, from_other, temperature
    )
    return result


class _TokenDivergence(torch.autograd.Function):
    """The gradient is made beside the value, so that no table of the vocabulary outlives a chunk.

    By the policy's logits it is p (log p - log q - KL(p || q)) for KL(p || q), and p - q for KL(q || p); both
    divided by the temperature.
    """

    @staticmethod
    def forward(
        ctx: Any,
        policy: torch.Tensor,
        other: torch.Tensor,
        head: Head | None,
        from_other: bool,
        temperature: float,
    ) -> torch.Tensor:
        """(N,)."""
        width = policy.shape[1] if head is None else head.weight.shape[0]
        size = max(1, _CHUNK_VALUES // width)
        values = torch.empty(len(policy), dtype=torch.float32, device=policy.device)
        slope = torch.empty_like(policy) if ctx.needs_input_grad[0] else None
        for start in range(0, len(policy), size):
            part = slice(start, start + size)
            ours, theirs = policy[part], other[part]
            if head is not None:
                ours, theirs = head.logits(ours), head.logits(theirs)
            bent = ours
            if temperature != 1:
                ours, theirs = (x.float() / temperature for x in (ours, theirs))
            p = F.log_softmax(ours, dim=-1, dtype=torch.float32)
            q = F.log_softmax(theirs, dim=-1, dtype=torch.float32)
            one, two = (q, p) if from_other else (p, q)
            values[part] = F.kl_div(two, one, reduction="none", log_target=True).sum(-1)
            if slope is not None:
                by_logits = p.exp() - q.exp() if from_other else p.exp() * (p - q - values[part, None])
                if temperature != 1:
                    by_logits = by_logits / temperature
                if head is not None and head.cap is not None:
                    by_logits = by_logits * slope_of_cap(bent.float(), head.cap)
                slope[part] = by_logits if head is None else by_logits.to(head.weight.dtype) @ head.weight
        ctx.save_for_backward(*([] if slope is None else [slope]))
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The gradient of ``policy``."""
        (slope,) = ctx.saved_tensors
        return (grads[0][:, None] * slope).to(slope.dtype), None, None, None, None
