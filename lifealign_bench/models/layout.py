"""Which layout of a batch a model takes: tried on a few pairs against one sequence at a time."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from lifealign_bench.errors import BenchError, is_out_of_memory
from lifealign_bench.models.attention import SEGMENTS
from lifealign_bench.models.encode import EncodedPair
from lifealign_bench.models.flex import FLEX
from lifealign_bench.models.logprobs import Layout, Rows, hands_on, lay_out, logit_cap, pair_log_probs
from lifealign_bench.models.masks import window_of
from lifealign_bench.models.window import smallest_window

# Mean difference a token, in nats, under which two layouts are one: float32 rounding, and bfloat16's.
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.2, torch.float16: 0.05}

# The same products on the same rows differ by nothing; more than this, in nats, is another branch's doing.
_LEAK = 1e-4

# The layouts whose attention is this package's.
_OWN: dict[Layout, str] = {"segments": SEGMENTS, "flex": FLEX}

# What a model answers that does not take a call, and what a compiler does that cannot make a kernel here.
_REFUSALS = (
    *(RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError),
    *(AssertionError, ImportError, OSError, subprocess.SubprocessError),
)


@torch.no_grad()
def choose_layout(
    model: Any,
    pairs: Sequence[EncodedPair],
    pad_id: int,
    device: torch.device,
    wanted: Layout | None = None,
    notice: Callable[[str], None] = lambda text: None,
) -> Layout:
    """The first layout that gives the log-probabilities of one sequence at a time; sets up the model for it.

    It is tried out on ``pairs``: whether a model honours a written-out mask or the attention interface (its attention
    kernel, sliding windows, recurrent layers, scaled or capped logits) cannot be told from its configuration.

    Args:
        pairs: at least two, so that leaks from pair to pair show; longer than a sliding window, if there are such.
        wanted: try this one only, before the plain one; ``whole``, which a method needs, alone.
        notice: told where the kernel for accelerators cannot be made.

    Raises:
        BenchError: the model gives other values in any batch, or in the layout that is needed.
    """
    config = model.config.get_text_config()
    given = config._attn_implementation
    truth = _one_by_one(model, pairs, device)
    reason = ""
    for layout in _candidates(config, device, wanted):
        try:
            if layout in _OWN:
                model.set_attn_implementation(_OWN[layout])
                # Dropout is asked for in training mode only, and this layout has none; of a kernel that is compiled,
                # the gradients' part may be the one that cannot be made.
                rows = lay_out(pairs[:1], pad_id, layout).to(device)
                if layout == "flex":
                    _require_gradients(model.train(), rows)
                else:
                    pair_log_probs(model.train(), rows)
                model.eval()
            elif config._attn_implementation != given:
                model.set_attn_implementation(given)
            agrees = _agrees(model, pairs, truth, pad_id, layout, device)
        except _REFUSALS as error:
            if is_out_of_memory(error):
                raise
            reason = str(error).strip().partition("\n")[0]
            if layout == "flex":
                notice(f"flex_attention is not used: {reason.removesuffix('.')[:200]}. Another attention is tried.")
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
    packed: tuple[Layout, ...] = ("segments", "mask") if device.type == "cpu" else ("flex", "mask", "segments")
    return (*packed, "rows", "plain")


@torch.enable_grad()
def _require_gradients(model: Any, rows: Rows) -> None:
    """Take a pass back to the embeddings.

    Raises:
        RuntimeError: there is no gradient, or it is no number; or whatever a kernel raises that cannot be made.
    """
    embedded: list[torch.Tensor] = []
    handle = model.get_input_embeddings().register_forward_hook(
        lambda module, given, found: embedded.append(found.requires_grad_())
    )
    try:
        total = pair_log_probs(model, rows).sum()
        (gradient,) = torch.autograd.grad(total, embedded[:1])
    finally:
        handle.remove()
    if not bool(torch.isfinite(gradient).all()):
        raise RuntimeError("its gradient is no number")


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
