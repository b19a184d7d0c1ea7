"""Which layout of a batch a model takes: tried on a few pairs against one sequence at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from lifealign_bench.errors import BenchError, is_out_of_memory
from lifealign_bench.models.attention import SEGMENTS
from lifealign_bench.models.encode import EncodedPair
from lifealign_bench.models.logprobs import Layout, hands_on, lay_out, logit_cap, pair_log_probs
from lifealign_bench.models.masks import window_of
from lifealign_bench.models.window import smallest_window

# Mean difference a token, in nats, under which two layouts are one: float32 rounding, and bfloat16's.
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.2, torch.float16: 0.05}

# The same products on the same rows differ by nothing; more than this, in nats, is another branch's doing.
_LEAK = 1e-4


@torch.no_grad()
def choose_layout(
    model: Any, pairs: Sequence[EncodedPair], pad_id: int, device: torch.device, wanted: Layout | None = None
) -> Layout:
    """The first layout that gives the log-probabilities of one sequence at a time; sets up the model for it.

    It is tried out on ``pairs``: whether a model honours a written-out mask or the attention interface (its attention
    kernel, sliding windows, recurrent layers, scaled or capped logits) cannot be told from its configuration.

    Args:
        pairs: at least two, so that leaks from pair to pair show; longer than a sliding window, if there are such.
        wanted: try this one only, before the plain one; ``whole``, which a method needs, alone.

    Raises:
        BenchError: the model gives other values in any batch, or in the layout that is needed.
    """
    config = model.config.get_text_config()
    given = config._attn_implementation
    truth = _one_by_one(model, pairs, device)
    reason = ""
    for layout in _candidates(config, device, wanted):
        try:
            if layout == "segments":
                model.set_attn_implementation(SEGMENTS)
                # Dropout is asked for in training mode only, and this layout has none.
                pair_log_probs(model.train(), lay_out(pairs[:1], pad_id, layout).to(device))
                model.eval()
            elif config._attn_implementation != given:
                model.set_attn_implementation(given)
            agrees = _agrees(model, pairs, truth, pad_id, layout, device)
        except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
            if is_out_of_memory(error):
                raise
            reason = str(error).strip().partition("\n")[0]
            continue  # the model does not take such a call at all
        finally:
            model.eval()
        reason = ""
        if agrees:
            return layout
    if wanted == "whole":
        raise BenchError(
            f"{type(model).__name__} cannot be scored one response a row with prompt_lengths, which this method needs.",
            "Take another method, or a model of a common family (Llama, Qwen, Mistral).",
        )
    if reason:
        raise BenchError(
            f"{type(model).__name__} cannot be scored in a batch: {reason.removesuffix('.')}.",
            "Take a model that transformers can run on padded rows, as it can all common families.",
        )
    raise BenchError(
        f"{type(model).__name__} gives other log-probabilities in a batch than for one text at a time.",
        "Models whose state runs through padding (recurrent ones) cannot be scored in batches, which is all there is.",
    )


def _candidates(config: Any, device: torch.device, wanted: Layout | None = None) -> tuple[Layout, ...]:
    """Layouts to try, fastest first."""
    if wanted == "whole":
        return (wanted,)
    if wanted is not None:
        return (wanted, "plain")
    if smallest_window(config) != window_of(config):
        # A written-out mask would take the place of a window that is of no known kind.
        return ("rows", "plain")
    # Block by block costs kernel launches, which an accelerator feels and a processor does not.
    packed: tuple[Layout, ...] = ("segments", "mask") if device.type == "cpu" else ("mask", "segments")
    return (*packed, "rows", "plain")


def _one_by_one(model: Any, pairs: Sequence[EncodedPair], device: torch.device) -> torch.Tensor:
    """(P, 2) by the definition: one sequence a pass, nothing padded, the model's own logits."""
    sums = []
    for pair in pairs:
        for completion in (pair.chosen, pair.rejected):
            ids = torch.tensor([[*pair.prompt, *completion]], device=device)
            table = model(input_ids=ids, use_cache=False).logits[0, len(pair.prompt) - 1 : -1].float().log_softmax(-1)
            sums.append(table.gather(1, ids[0, len(pair.prompt) :, None]).sum())
    return torch.stack(sums).view(-1, 2)


def _agrees(
    model: Any, pairs: Sequence[EncodedPair], truth: torch.Tensor, pad_id: int, layout: Layout, device: torch.device
) -> bool:
    """Whether a layout gives the true values, and no branch or pair hears of another."""
    # A cap bends large logits only, which the comparison could miss.
    if logit_cap(model.config) and layout != "plain" and not hands_on(model, lay_out(pairs, pad_id, layout).to(device)):
        return False
    found = pair_log_probs(model, lay_out(pairs, pad_id, layout).to(device))
    lengths = torch.tensor([[len(p.chosen), len(p.rejected)] for p in pairs], device=device)
    if ((found - truth).abs() / lengths).max().item() > _TOLERANCE.get(model.dtype, 1e-3):
        return False
    # Other tokens in one branch: all other values stay. Rounding could hide a leak from the comparison above.
    first = pairs[0]
    changed = [
        replace(first, chosen=tuple(reversed(first.prompt * len(first.chosen)))[: len(first.chosen)]),
        *pairs[1:],
    ]
    again = pair_log_probs(model, lay_out(changed, pad_id, layout).to(device))
    return bool(torch.allclose(again.flatten()[1:], found.flatten()[1:], rtol=0, atol=_LEAK))
