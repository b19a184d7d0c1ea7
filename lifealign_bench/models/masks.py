"""Written-out masks of packed rows, as a model's layers want them; what is seen in them, ``visibility`` says."""

from __future__ import annotations

from typing import Any

import torch

from lifealign_bench.models.visibility import Visibility

_FULL, _SLIDING = "full_attention", "sliding_attention"


def window_of(config: Any) -> int | None:
    """The width of a model's sliding layers as transformers' masks have it, if it has such layers and no other kind of
    narrow ones."""
    text = config.get_text_config()
    width = getattr(text, "sliding_window", None)
    return int(width) if type(width) is int and width > 0 and set(_kinds(text)) <= {_FULL, _SLIDING} else None


def masks_by_layer(config: Any, visibility: Visibility) -> torch.Tensor | dict[str, torch.Tensor]:
    """What a model is given as its attention mask of a packed row: one, or one for each kind of its layers where some
    slide; boolean (1, 1, T, T), or numbers to add."""
    text = config.get_text_config()
    window = window_of(config)

    def written(width: int | None) -> torch.Tensor:
        mask = visibility.mask(width)
        return _to_add(mask, text) if text._attn_implementation == "eager" else mask

    if window is None:
        return written(None)
    return {_FULL: written(None), _SLIDING: written(window)} if _kinds(text) else written(window)


def _to_add(mask: torch.Tensor, text: Any) -> torch.Tensor:
    """The mask as plain PyTorch attention takes it: 0 where something is seen, the least number elsewhere."""
    dtype = getattr(text, "dtype", None) or torch.float32
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, torch.finfo(dtype).min)


def _kinds(text: Any) -> tuple[str, ...]:
    """Of its layers; empty where the configuration has them all alike."""
    return tuple(getattr(text, "layer_types", None) or ())
