"""Which arrangement of prompts in a batch leaves every response what it is by itself, found by trying.

Whether a model counts columns or positions, and whether it keeps its state where a batch can take it along, cannot be
told from its configuration; so a few prompts are continued by given tokens, and every next token's probabilities are
compared with those of one pass over one sequence without a cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice
from typing import Any

import torch
from peft import PeftModel
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer, LinearAttentionCacheLayerMixin

from lifealign_bench.errors import BenchError, is_out_of_memory
from lifealign_bench.models.logprobs import PACKED, Layout
from lifealign_bench.models.steps import Arrangement, Steps
from lifealign_bench.models.window import smallest_window

# Two passes are one where the mean difference of a next token's log-probabilities is so many times what rounding does
# to a prompt by itself; that depends on the model, so it is measured.
_ROUNDING = 3.0
# Of what is measured, the least and the most that is believed, in nats: float32, and shorter types.
_BOUNDS, _SHORT_BOUNDS = (2e-5, 1e-3), (1e-3, 0.5)
_LONGEST = 24  # tokens of a prompt that are tried, where no window is to be reached
_PADDING = 24  # tokens more in one of the prompts: what counts columns is off by so many
_STEPS = 4
# What a model that cannot be called in some way answers.
_FAILURES = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError, AssertionError, BenchError)

TriedPrompt = tuple[list[int], list[int]]  # a prompt, and the tokens that continue it


@torch.no_grad()
def choose_arrangement(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    most: int,
    pad_id: int,
    device: torch.device,
    layout: Layout | None = None,
) -> Arrangement:
    """The fastest arrangement that gives the probabilities of one sequence at a time.

    Args:
        prompts: some of those that will be continued; what is tried is made of their tokens.
        most: new tokens at most; where ``prompts`` with so many exceed a window, what is tried does too.
        pad_id, device: see ``steps``.
        layout: the layout that was found for the model, if one was. Under a packed one, positions and masks alone
            decide what a token sees; where the model keeps nothing but keys and values, nothing has to be tried.

    Raises:
        BenchError: there is none, with the reason.
    """
    if told_by_layout(model, layout):
        return "shared"
    whole = layout == "whole"
    probe = _probe(prompts, most, smallest_window(model.config))
    truth = [_one_by_one(model, prompt, said, device) for prompt, said in probe]

    def tried(arrangement: Arrangement) -> tuple[float, str]:
        """How far it is from the truth, and what is wrong then."""
        try:
            apart = _apart(model, probe, truth, arrangement, pad_id, device, whole)
            return apart, "it gives other probabilities than without one"
        except _FAILURES as error:  # the model does not take such calls
            if is_out_of_memory(error):
                raise
            told = error.message if isinstance(error, BenchError) else str(error)
            return torch.inf, told.strip().partition("\n")[0].removesuffix(".")

    least, most_believed = _BOUNDS if model.dtype == torch.float32 else _SHORT_BOUNDS
    by_itself, reason = tried("alone")
    if by_itself <= most_believed:
        limit = max(least, _ROUNDING * by_itself)
        batched: tuple[Arrangement, ...] = ("padded",) if whole or _has_states(model) else ("shared", "padded")
        return next((arrangement for arrangement in batched if tried(arrangement)[0] <= limit), "alone")
    kind = type(model.get_base_model() if isinstance(model, PeftModel) else model).__name__
    raise BenchError(
        f"{kind} cannot be generated from with a cache: {reason}.",
        "Leave out the scorers that need responses (--scorer preference), or take another model.",
    )


def told_by_layout(model: Any, layout: Layout | None) -> bool:
    """Whether nothing has to be tried: its packed layout was found, and it keeps nothing but keys and values."""
    return layout in PACKED and _keeps_keys_alone(model)


def _keeps_keys_alone(model: Any) -> bool:
    """Whether keys and values are all that its layers keep of a token."""
    layers = DynamicCache(config=model.config).layers
    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)


def _has_states(model: Any) -> bool:
    """Whether layers carry a state through the tokens, and so through padding between them."""
    return any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in DynamicCache(config=model.config).layers)


def _probe(prompts: Sequence[Sequence[int]], most: int, window: int | None) -> list[TriedPrompt]:
    """Two prompts of one length and a longer one that begin alike."""
    ordered = sorted(prompts, key=len)
    short = [*islice(cycle(ordered[0]), min(max(len(ordered[0]), 4), _LONGEST))]
    beginning, rest = short[: len(short) // 2], short[len(short) // 2 :]
    size = len(short) + _PADDING
    if window is not None and len(ordered[-1]) + most > window:
        size = max(size, window + _STEPS)
    long = [*beginning, *islice(cycle(ordered[-1]), size - len(beginning))]
    asked = [short, [*beginning, *reversed(rest)], long]
    # Continued by their own tokens: different ones in different rows.
    return [(prompt, [*islice(cycle(prompt), i, i + _STEPS)]) for i, prompt in enumerate(asked)]


def _one_by_one(model: Any, prompt: list[int], said: list[int], device: torch.device) -> torch.Tensor:
    """(steps, V) log-probabilities by the definition: one sequence, no padding, no cache."""
    ids = torch.tensor([[*prompt, *said[:-1]]], device=device)
    return _log_probs(model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 :])


def _apart(
    model: Any,
    probe: Sequence[TriedPrompt],
    truth: Sequence[torch.Tensor],
    arrangement: Arrangement,
    pad_id: int,
    device: torch.device,
    whole: bool,
) -> float:
    """The mean difference over the vocabulary and all next tokens; infinite where something is no number."""
    apart = []
    rows = list(range(len(probe)))
    for batch in [[row] for row in rows] if arrangement == "alone" else [rows]:
        asked = [probe[i][0] for i in batch]
        steps = Steps(model, asked, arrangement, most=_STEPS, pad_id=pad_id, device=device, whole=whole)
        for step in range(_STEPS):
            if not batch:
                break
            found = _log_probs(steps.logits())
            for row, i in enumerate(batch):
                apart.append(float((found[row] - truth[i][step]).abs().mean()))
            # The second row ends early, as responses do.
            kept = [row for row, i in enumerate(batch) if step != 1 or i != 1]
            if kept and step < _STEPS - 1:
                said = torch.tensor([probe[i][1][step] for i in batch], device=device)
                steps.go_on(said, kept)
            batch = [batch[row] for row in kept]
    return float(torch.tensor(apart).mean().nan_to_num(torch.inf))


def _log_probs(logits: torch.Tensor) -> torch.Tensor:
    return logits.float().log_softmax(-1)
