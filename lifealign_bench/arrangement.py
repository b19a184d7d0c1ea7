"""Which arrangement of prompts in a batch leaves every response what it is by itself, found by trying.

Whether a model counts columns or positions, and what its recurrent layers make of padding, cannot be told from its
configuration; so a few prompts are continued by given tokens, and every next token's probabilities are compared with
those of one pass over one sequence without a cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice
from typing import Any

import torch
from peft import PeftModel

from lifealign_bench.errors import BenchError, is_out_of_memory
from lifealign_bench.steps import Arrangement, Steps
from lifealign_bench.window import smallest_window

__all__ = ["choose_arrangement"]

# Mean difference of a next token's log-probabilities, in nats, under which two passes are one: see logprobs.
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.2, torch.float16: 0.05}
_LONGEST = 24  # tokens of a prompt that are tried, where no window is to be reached
_PADDING = 24  # tokens more in one of the prompts: what counts columns is off by so many
_STEPS = 4
# What a model that cannot be called in some way answers.
_FAILURES = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError, AssertionError, BenchError)

Probe = tuple[list[int], list[int]]  # a prompt, and the tokens that continue it


@torch.no_grad()
def choose_arrangement(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    most: int,
    pad_id: int,
    device: torch.device,
    whole: bool = False,
) -> Arrangement:
    """The fastest arrangement that gives the probabilities of one sequence at a time.

    Args:
        prompts: some of those that will be continued; what is tried is made of their tokens.
        most: new tokens at most; where ``prompts`` with so many exceed a window, what is tried does too.
        pad_id, device: see ``steps``.
        whole: nothing may be shared, see ``steps``.

    Raises:
        BenchError: there is none, with the reason.
    """
    probe = _probe(prompts, most, smallest_window(model.config))
    truth = [_one_by_one(model, prompt, said, device) for prompt, said in probe]
    arrangements: tuple[Arrangement, ...] = ("padded", "alone") if whole else ("shared", "padded", "alone")
    reason = "its next tokens depend on what else is in the batch"
    for arrangement in arrangements:
        try:
            apart = _apart(model, probe, truth, arrangement, pad_id, device, whole)
        except _FAILURES as error:
            if is_out_of_memory(error):
                raise
            told = error.message if isinstance(error, BenchError) else str(error)
            reason = told.strip().partition("\n")[0]  # the model does not take such calls
            continue
        if apart <= _TOLERANCE.get(model.dtype, 1e-3):
            return arrangement
    kind = type(model.get_base_model() if isinstance(model, PeftModel) else model).__name__
    raise BenchError(
        f"{kind} cannot be generated from in batches: {reason.removesuffix('.')}.",
        "Leave out the scorers that need responses (--scorer preference), or take another model.",
    )


def _probe(prompts: Sequence[Sequence[int]], most: int, window: int | None) -> list[Probe]:
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
    probe: Sequence[Probe],
    truth: Sequence[torch.Tensor],
    arrangement: Arrangement,
    pad_id: int,
    device: torch.device,
    whole: bool,
) -> float:
    """The greatest mean difference over the vocabulary, of any next token."""
    worst = 0.0
    rows = list(range(len(probe)))
    for batch in [[row] for row in rows] if arrangement == "alone" else [rows]:
        asked = [probe[i][0] for i in batch]
        steps = Steps(model, asked, arrangement, most=_STEPS, pad_id=pad_id, device=device, whole=whole)
        for step in range(_STEPS):
            if not batch:
                break
            found = _log_probs(steps.logits())
            for row, i in enumerate(batch):
                worst = max(worst, float((found[row] - truth[i][step]).abs().mean().nan_to_num(torch.inf)))
            # The second row ends early, as responses do.
            kept = [row for row, i in enumerate(batch) if step != 1 or i != 1]
            if kept and step < _STEPS - 1:
                said = torch.tensor([probe[i][1][step] for i in batch], device=device)
                steps.go_on(said, kept)
            batch = [batch[row] for row in kept]
    return worst


def _log_probs(logits: torch.Tensor) -> torch.Tensor:
    return logits.float().log_softmax(-1)
