"""Written-out masks of packed rows: what each token may see, and where a layer's window ends.

A window counts positions, which in a row of several pairs are not its columns: they restart with every pair, and the
rejected response stands where the chosen one does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from lifealign_bench.models.attention import Segment

_FULL, _SLIDING = "full_attention", "sliding_attention"


def sight_of(segments: Sequence[Segment]) -> torch.Tensor:
    """What each token of a row may see where nothing ends a layer's sight: boolean (1, 1, T, T)."""
    width = segments[-1].end
    mask = torch.zeros((width, width), dtype=torch.bool)
    prefix = segments[0].prefix
    mask[:, :prefix] = True
    mask[:prefix, :prefix] = torch.ones((prefix, prefix), dtype=torch.bool).tril()
    for s in segments:
        size = s.end - s.start
        mask[s.start : s.end, s.start : s.end] = torch.ones((size, size), dtype=torch.bool).tril()
        for first, last in s.columns():
            mask[first:last, s.start + s.prompt : first] = False
    return mask[None, None]


def within_window(mask: torch.Tensor, positions: torch.Tensor, window: int) -> torch.Tensor:
    """Of what ``mask`` (1, 1, T, T) lets be seen, the last ``window`` tokens, the seeing one included.

    Args:
        positions: (1, T); a token sees only such as are on its own way from the beginning, so that their positions
            tell how far back they are.
    """
    back = positions[0][:, None] - positions[0][None, :]
    return mask & (back < window)


def window_of(config: Any) -> int | None:
    """The width of a model's sliding layers as transformers' masks have it, if it has such layers and no other kind of
    narrow ones."""
    text = config.get_text_config()
    width = getattr(text, "sliding_window", None)
    return int(width) if type(width) is int and width > 0 and set(_kinds(text)) <= {_FULL, _SLIDING} else None


def masks_by_layer(config: Any, mask: torch.Tensor, positions: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
    """What a model is given as its attention mask: ``mask``, or one for each kind of its layers where some slide.

    Args:
        mask, positions: of the row, see :func:`sight_of` and :func:`within_window`.
    """
    text = config.get_text_config()
    added = text._attn_implementation == "eager"
    wide = _to_add(mask, text) if added else mask
    window = window_of(config)
    if window is None:
        return wide
    narrow = within_window(mask, positions, window)
    narrow = _to_add(narrow, text) if added else narrow
    return {_FULL: wide, _SLIDING: narrow} if _kinds(text) else narrow


def _to_add(mask: torch.Tensor, text: Any) -> torch.Tensor:
    """The mask as plain PyTorch attention takes it: 0 where something is seen, the least number elsewhere."""
    dtype = getattr(text, "dtype", None) or torch.float32
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, torch.finfo(dtype).min)


def _kinds(text: Any) -> tuple[str, ...]:
    """Of its layers; empty where the configuration has them all alike."""
    return tuple(getattr(text, "layer_types", None) or ())
