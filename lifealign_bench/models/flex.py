"""Attention of packed pairs by torch's ``flex_attention``: one kernel that skips the blocks which nothing sees.

On a GPU it is compiled, once for all lengths; compiling takes some seconds the first time on a machine. On a CPU torch
computes it for comparison, without gradients: ``attention`` is what serves there. Windows and soft caps come from the
layer that asks. What a model is not given ``visibility`` for (a plain batch, generation) goes to ``attention``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.attention.flex_attention import flex_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from lifealign_bench.models.attention import segment_attention
from lifealign_bench.models.visibility import Visibility

FLEX = "lifealign_flex"

_VERSIONS = 64

# What a model may ask its attention for and is not computed here.
_UNKNOWN = ("s_aux", "position_bias")


@functools.cache
def compiled() -> Callable[..., torch.Tensor]:
    """torch's function, to be compiled when it is first called; for any number of tokens, which differs every pass."""
    # A version for every window, with gradients and without; beyond the limit nothing would be compiled any more.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _VERSIONS)
    # Short rows would take another kernel, made for a step of generation, whose rounding is another.
    function: Callable[..., torch.Tensor] = torch.compile(flex_attention, dynamic=True)
    return functools.partial(function, kernel_options={"FORCE_USE_FLEX_ATTENTION": True})


def flexible_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    visibility: Visibility,
    *,
    scale: float,
    window: int | None = None,
    cap: float | None = None,
    function: Callable[..., Any] | None = None,
) -> torch.Tensor:
    """softmax(cap * tanh(scale * q k^T / cap)) v over what is seen, (1, H, T, E).

    Args:
        query, key, value: (1, H, T, D), (1, K, T, D) and (1, K, T, E) with H a multiple of K.
        window: see :meth:`Visibility.sees`.
        cap: no score is larger; None: scores are as they are.
        function: what torch's is compiled to; None: itself.
    """

    result: torch.Tensor = (function or flex_attention)(
        query,
        key,
        value,
        score_mod=None if cap is None else _capped_at(cap),
        block_mask=visibility.blocks(window),
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return result


def _capped_at(cap: float) -> Callable[..., torch.Tensor]:
    def capped(score: torch.Tensor, *place: Any) -> torch.Tensor:
        return cap * torch.tanh(score / cap)

    return capped


def visible_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    visibility: Visibility | None = None,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """Attention function for transformers: query (1, H, T, D), key and value (1, K, T, D) -> (1, T, H, D).

    Raises:
        ValueError: the model asks for what is not computed here (dropout, sinks, a position bias).
    """
    if visibility is None:
        more |= {"scaling": scaling, "dropout": dropout, "sliding_window": sliding_window}
        return segment_attention(module, query, key, value, attention_mask, softcap=softcap, **more)
    asked = [name for name in _UNKNOWN if more.get(name) is not None]
    if asked or dropout or query.shape[0] != 1:
        raise ValueError(f"packed attention has no {', '.join(asked) or 'dropout or batch'}")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    given: dict[str, Any] = {"scale": scale, "window": sliding_window, "cap": softcap}
    if query.device.type == "cuda":
        given["function"] = compiled()
    result = flexible_attention(query, key, value, visibility, **given)
    return result.transpose(1, 2), None


AttentionInterface.register(FLEX, visible_attention)

AttentionMaskInterface.register(FLEX, sdpa_mask)
