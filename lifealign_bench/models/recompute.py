"""Activation checkpointing: a layer keeps its input alone and is computed again when its gradient is taken.

Memory of a training pass falls from all that every layer computes to one hidden state a layer and what one layer
computes, for a second forward pass (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"). The same
products are taken of the same numbers, so no value changes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from lifealign_bench.errors import UsageError


def recompute_layers(model: torch.nn.Module, name: str) -> None:
    """Have every transformer layer of ``model`` computed again in backward passes.

    transformers' own switch works in training mode alone, and hooks of methods take gradients in evaluation mode too.

    Raises:
        UsageError: the model has no layers that transformers marks as such.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise UsageError(
            f"The model {name!r} has no layers that can be computed again in the backward pass.",
            "Leave out --activation-checkpointing; a smaller token_budget (--set) needs less memory too.",
        )
    for layer in layers:
        layer.forward = partial(_recomputed, layer.forward)


def _recomputed(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(partial(forward, **kwargs), *args, use_reentrant=False)
