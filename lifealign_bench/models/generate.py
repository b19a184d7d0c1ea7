"""Batched greedy generation: one prefill a batch, finished sequences leave it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedTokenizerBase

from lifealign_bench.errors import BenchError
from lifealign_bench.models.attention import SEGMENTS, make_room, open_columns
from lifealign_bench.models.logprobs import common_prefix
from lifealign_bench.util.distributed import gather_shares, share

__all__ = ["StopTexts", "cut_at", "generate", "stop_ids"]


def stop_ids(model: Any, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Tokens that end a response: the tokenizer's end of sequence and those of the model's generation settings."""
    configured = model.generation_config.eos_token_id
    listed = configured if isinstance(configured, list) else [configured]
    return frozenset(i for i in (tokenizer.eos_token_id, *listed) if i is not None)


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
    whole: bool = False,
    advance: Callable[[int], None] = lambda prompts: None,
) -> list[list[int]]:
    """Greedy continuations of ``prompts``, in their order, without the stop token.

    Batches hold prompts of similar length. The batches, and with them the rounding of the last bits, depend on the set
    of prompts and on ``batch_size`` alone.

    Args:
        stop_texts: what ends a response beside the ``stop`` tokens.
        whole: for a method that looks at whole inputs: no prompt shares its beginning with another, and the first
            pass of a batch brings ``prompt_lengths``.
        advance: called with the number of finished prompts after every batch.
    """
    order = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), i))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    written: list[list[list[int]]] = []
    for batch in share(batches):

        def finished(row: int, response: list[int], batch: list[int] = batch) -> bool:
            return stop_texts is not None and stop_texts.finished(batch[row], response)

        asked = [prompts[i] for i in batch]
        written.append(_batch(model, asked, max_new_tokens, stop, finished, pad_id, device, whole))
        advance(len(batch))
    responses: list[list[int]] = [[] for _ in prompts]
    for batch, texts in zip(batches, gather_shares(written), strict=True):
        for i, text in zip(batch, texts, strict=True):
            responses[i] = text
    return responses


def _remembered(cache: DynamicCache) -> int:
    """Tokens whose keys and values the cache holds; 0 where it has no attention layer or was not used."""
    try:
        return int(cache.get_seq_length())
    except ValueError:
        return 0


def _batch(
    model: Any,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    stop: frozenset[int],
    finished: Callable[[int, list[int]], bool],
    pad_id: int,
    device: torch.device,
    whole: bool,
) -> list[list[int]]:
    cache = DynamicCache(config=model.config)
    # What all prompts begin with (a system message, as a rule) goes through the model once; padding comes after it.
    prefix = 0 if whole else common_prefix(prompts)
    if prefix:
        model(input_ids=torch.tensor([prompts[0][:prefix]], device=device), past_key_values=cache, use_cache=True)
        cache.batch_repeat_interleave(len(prompts))
    width = max(len(p) for p in prompts)
    ids = torch.tensor([[pad_id] * (width - len(p)) + list(p[prefix:]) for p in prompts], device=device)
    mask = torch.tensor(
        [[1] * prefix + [0] * (width - len(p)) + [1] * (len(p) - prefix) for p in prompts], device=device
    )
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, prefix:]
    # An index and not the number 1, for the reason given in logprobs: a sliced hidden state makes the product with the
    # vocabulary copy the head's weight for every prompt, gigabytes for a batch.
    last = torch.tensor([-1], device=device)
    more: dict[str, Any] = {"prompt_lengths": tuple(len(p) for p in prompts)} if whole else {}
    responses: list[list[int]] = [[] for _ in prompts]
    alive = list(range(len(prompts)))
    roomy = False
    for step in range(max_new_tokens):
        logits = model(
            input_ids=ids,
            attention_mask=open_columns(mask[:, :width], max_new_tokens, step) if roomy else mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=last,
            **more,
        ).logits
        more = {}
        if step == 0 and _remembered(cache) < width:  # a method may have put tokens before them
            raise BenchError(
                f"{type(model).__name__} keeps no keys and values of its prompt (a recurrent model?).",
                "Such models cannot be generated from here: leave out the scorers that need responses (--scorer).",
            )
        # On a CPU the greatest of bfloat16 values takes eight times as long as that of the same in float32.
        following = logits[:, -1].float().argmax(-1)
        keep: list[int] = []
        for row, token in enumerate(following.tolist()):
            if token not in stop:
                responses[alive[row]].append(token)
                if not finished(alive[row], responses[alive[row]]):
                    keep.append(row)
        if not keep or step == max_new_tokens - 1:
            break
        if step == 0 and not whole and device.type == "cpu" and model.config._attn_implementation == SEGMENTS:
            roomy = make_room(cache, max_new_tokens)
        if len(keep) < len(alive):
            rows = torch.tensor(keep, device=device)
            cache.batch_select_indices(rows)
            mask, positions, following = mask[rows], positions[rows], following[rows]
            alive = [alive[row] for row in keep]
        ids = following[:, None]
        mask = torch.cat([mask, mask.new_ones((len(alive), 1))], dim=1)
        positions = positions[:, -1:] + 1
    return responses
