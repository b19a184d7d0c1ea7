"""The forward passes of a reward model: texts of similar length together, padding on the right.

A text's reward does not depend on what else is in its batch beyond the rounding of sums in another order: within 1e-5
of its size in float32, 2e-2 in bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from lifealign_bench.errors import BenchError, is_out_of_memory

__all__ = ["buckets", "raw_rewards"]


def buckets(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Indices of texts in batches of at most ``token_budget`` tokens, padding counted; a longer text goes alone.

    The longest come first: what does not fit into memory shows at once.
    """
    groups: list[list[int]] = []
    width = 0
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if groups and (len(groups[-1]) + 1) * width <= token_budget:
            groups[-1].append(i)
        else:
            groups.append([i])
            width = lengths[i]
    return groups


def raw_rewards(
    model: Any,
    texts: Sequence[Sequence[int]],
    *,
    pad_id: int,
    token_budget: int,
    device: torch.device,
    notice: Callable[[str], None],
) -> Iterator[dict[int, float]]:
    """Rewards of ``texts``, batch by batch: index of a text to the model's one output, unscaled.

    Out of memory, it goes on with half as many tokens a batch.

    Args:
        model: a sequence classifier with one label.
        texts: token ids, none empty.
        pad_id: what rows are filled up with; transformers' decoders take the output of the last other token.

    Raises:
        BenchError: no memory for a single text.
    """
    waiting = buckets([len(text) for text in texts], token_budget)
    while waiting:
        group = waiting[0]
        try:
            values = _batch(model, [texts[i] for i in group], pad_id, device)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            token_budget, waiting = _halved(texts, waiting, token_budget)
            if device.type == "cuda":
                torch.cuda.empty_cache()
            notice(f"The reward model is out of memory: it goes on with {token_budget} tokens a batch.")
            continue
        waiting = waiting[1:]
        yield dict(zip(group, values, strict=True))


@torch.no_grad()
def _batch(model: Any, texts: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> list[float]:
    width = max(len(text) for text in texts)
    ids = torch.tensor([[*text, *[pad_id] * (width - len(text))] for text in texts], device=device)
    mask = torch.tensor([[1] * len(text) + [0] * (width - len(text)) for text in texts], device=device)
    logits: torch.Tensor = model(input_ids=ids, attention_mask=mask).logits
    return [float(value) for value in logits.reshape(len(texts)).float().cpu()]


def _halved(
    texts: Sequence[Sequence[int]], waiting: Sequence[Sequence[int]], token_budget: int
) -> tuple[int, list[list[int]]]:
    """Half of the budget, and what is waiting in batches of that size."""
    group = waiting[0]
    longest = len(texts[group[0]])
    if len(group) == 1:
        raise BenchError(
            f"The reward model is out of memory with a single text of {longest} tokens.",
            "Lower reward_max_length, put it on another device (--set reward_device=cpu), or use a smaller one.",
        )
    budget = max(longest, min(token_budget, longest * len(group)) // 2)
    left = [i for bucket in waiting for i in bucket]
    return budget, [[left[i] for i in bucket] for bucket in buckets([len(texts[i]) for i in left], budget)]
