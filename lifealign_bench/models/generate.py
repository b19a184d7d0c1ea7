"""Batched greedy generation: one prefill a batch, finished sequences leave it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lifealign_bench.models.blocked import blocked_products
from lifealign_bench.models.steps import Arrangement, Steps
from lifealign_bench.util.distributed import gather_shares, share

# Whether a prompt's response, given its place in the batch and its tokens, has come to an end.
Finished = Callable[[int, list[int]], bool]


@dataclass(frozen=True)
class StopTexts:
    """The stop rule of every prompt's card: a response that holds one of its texts is finished.

    Args:
        texts: for each prompt, the texts that end its response; they are still in the tokens, see :func:`cut_at`.
        decode: token ids to text.
    """

    texts: Sequence[tuple[str, ...]]
    decode: Callable[[list[int]], str]

    def finished(self, prompt: int, response: list[int]) -> bool:
        """Whether the response to a prompt has come to one of its texts with its last token."""
        texts = self.texts[prompt]
        if not texts:
            return False
        # A text of n bytes ends in the last n tokens at most.
        tail = self.decode(response[-max(len(text.encode()) for text in texts) :])
        return any(text in tail for text in texts)


def cut_at(response: str, texts: Sequence[str]) -> str:
    """The response before the first of the stop texts in it."""
    return response[: min((at for text in texts if (at := response.find(text)) >= 0), default=len(response))]


@torch.no_grad()
def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    batch_size: int,
    stop: frozenset[int],
    pad_id: int,
    device: torch.device,
    stop_texts: StopTexts | None = None,
    arrangement: Arrangement = "shared",
    whole: bool = False,
    advance: Callable[[int], None] = lambda prompts: None,
) -> list[list[int]]:
    """Greedy continuations of ``prompts``, in their order, without the stop token.

    Batches hold prompts of similar length. The batches, and with them the rounding of the last bits, depend on the set
    of prompts, on ``batch_size`` and on ``arrangement`` alone.

    Args:
        stop_texts: what ends a response beside the ``stop`` tokens.
        arrangement: one that suits the model, see ``arrangement``.
        whole: for a method that looks at whole inputs: no prompt shares its beginning with another, and the first
            pass of a batch brings ``prompt_lengths``.
        advance: called with the number of finished prompts after every batch.
    """
    order = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), i))
    size = 1 if arrangement == "alone" else batch_size
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    written: list[list[list[int]]] = []
    with blocked_products(model):
        for batch in share(batches):

            def finished(row: int, response: list[int], batch: list[int] = batch) -> bool:
                return stop_texts is not None and stop_texts.finished(batch[row], response)

            asked = [prompts[i] for i in batch]
            steps = Steps(model, asked, arrangement, most=max_new_tokens, pad_id=pad_id, device=device, whole=whole)
            written.append(_batch(steps, len(batch), max_new_tokens, stop, finished))
            advance(len(batch))
    responses: list[list[int]] = [[] for _ in prompts]
    for batch, texts in zip(batches, gather_shares(written), strict=True):
        for i, text in zip(batch, texts, strict=True):
            responses[i] = text
    return responses


def _batch(steps: Steps, size: int, most: int, stop: frozenset[int], finished: Finished) -> list[list[int]]:
    responses: list[list[int]] = [[] for _ in range(size)]
    alive = list(range(size))
    for step in range(most):
        # On a CPU the greatest of bfloat16 values takes eight times as long as that of the same in float32.
        following = steps.logits().float().argmax(-1)
        keep: list[int] = []
        for row, token in enumerate(following.tolist()):
            if token not in stop:
                responses[alive[row]].append(token)
                if not finished(alive[row], responses[alive[row]]):
                    keep.append(row)
        if not keep or step == most - 1:
            break
        steps.go_on(following, keep)
        alive = [alive[row] for row in keep]
    return responses
