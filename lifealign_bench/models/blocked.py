"""Products of few rows with frozen bfloat16 weights that oneDNN laid out beforehand: the same bits, a fifth sooner.

A step of generation multiplies a few rows with every weight of the model, and a product that finds its weight in plain
rows has to rearrange it each time. Here that is done once a weight, in a second copy, and only where the product is
known to be the same to the bit: the order in which a product is summed depends on shapes and threads and not on
values, so that one product which would show another order (its terms cancel, and what is left is rounding alone) tells
for all of its shape. Everywhere else (another type or processor, more rows, a weight that is trained) nothing changes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch.nn import functional as F

# Products of more rows gain next to nothing.
_MOST_ROWS = 128
# Values of a weight: below, a product is overhead; above, the copies that the trial of a shape needs are too large.
_LEAST_VALUES, _MOST_VALUES = 2**16, 2**25
# Of the copies of a model's weights together; a larger model is left as it is.
_MOST_BYTES = 2**30
# Different rows of the weight that a shape is tried with.
_TRIED_ROWS = 256


@dataclass(frozen=True)
class _Kept:
    """A weight laid out, and the sums by which it is seen that the weight is still what it was."""

    sums: tuple[torch.Tensor, torch.Tensor]
    block: torch.Tensor


_KEPT: WeakKeyDictionary[torch.nn.Linear, _Kept] = WeakKeyDictionary()


def is_supported() -> bool:
    """Whether this processor and this torch are of the kind on which the products were found to be equal."""
    return bool(
        torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.mkldnn.enabled
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
        and torch.cpu._is_avx512_bf16_supported()
        and not torch.cpu._is_amx_tile_supported()
    )


def blocked_bytes(model: torch.nn.Module) -> int:
    """What the copies of a model's weights will take in bfloat16 on this processor, before it has values.

    Args:
        model: with its adapter, on any device, the meta device included.
    """
    if not is_supported():
        return 0
    layers = [module for module in model.modules() if isinstance(module, torch.nn.Linear) and module.bias is None]
    frozen = [layer.weight for layer in layers if type(layer) is torch.nn.Linear and not layer.weight.requires_grad]
    values = sum(weight.numel() for weight in frozen if _is_sized(weight))
    found = values * torch.bfloat16.itemsize
    return found if found <= _MOST_BYTES else 0


@contextmanager
def blocked_products(model: torch.nn.Module) -> Iterator[None]:
    """Within, and without gradients, frozen linear layers of ``model`` take products of few rows from weights laid out.

    The weights must not change within; what they were before is not relied on.
    """
    modules = model.modules() if is_supported() else ()
    layers = [module for module in modules if isinstance(module, torch.nn.Linear) and _is_fit(module)]
    if sum(layer.weight.numel() * layer.weight.element_size() for layer in layers) > _MOST_BYTES:
        layers = []
    for layer in layers:
        layer.forward = _product(layer.weight, _block(layer))  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)
        _trial.cache_clear()


def _is_fit(layer: torch.nn.Linear) -> bool:
    """Whether it is plain and frozen, its forward its own, and of a size for which it is worth it."""
    if type(layer) is not torch.nn.Linear or layer.bias is not None or "forward" in layer.__dict__:
        return False
    weight = layer.weight
    return (
        weight.dtype == torch.bfloat16
        and weight.device.type == "cpu"
        and type(weight) is torch.nn.Parameter
        and not weight.requires_grad
        and weight.is_contiguous()
        and _is_sized(weight)
    )


def _is_sized(weight: torch.Tensor) -> bool:
    return weight.shape[1] % 4 == 0 and _LEAST_VALUES <= weight.numel() <= _MOST_VALUES


def _block(layer: torch.nn.Linear) -> torch.Tensor:
    """The layer's weight laid out; made again where it is not to the bit what it was.

    A version counter would not do: what is written through ``weight.data`` (a merged adapter) passes it by.
    """
    # Four values at once, as integers that wrap around; of rows and of columns, so that no exchange is missed.
    bits = layer.weight.view(torch.int64)
    sums = bits.sum(0), bits.sum(1)
    kept = _KEPT.get(layer)
    if kept is None or not all(map(torch.equal, kept.sums, sums)):
        kept = _KEPT[layer] = _Kept(sums, _laid_out(layer.weight))
    return kept.block


def _laid_out(weight: torch.Tensor) -> torch.Tensor:
    block: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), 32)
    return block


def _multiplied(rows: torch.Tensor, block: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, block, None, "none", [], "")
    return found


def _product(weight: torch.Tensor, block: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    columns, inputs = weight.shape

    def product(rows: torch.Tensor) -> torch.Tensor:
        count = rows.numel() // inputs
        if (
            not 0 < count <= _MOST_ROWS
            or rows.dtype != torch.bfloat16
            or not rows.is_contiguous()
            or torch.is_grad_enabled()
            or not _is_same(count, columns, inputs, torch.get_num_threads())
        ):
            return F.linear(rows, weight)
        return _multiplied(rows, block)

    return product


@functools.cache
def _is_same(count: int, columns: int, inputs: int, threads: int) -> bool:
    """Whether both products of ``count`` rows with a weight (columns, inputs) are summed in one order."""
    weight, block, order = _trial(columns, inputs)
    generator = torch.Generator().manual_seed(count)
    half = torch.randn((count, inputs // 2), generator=generator)
    rows = torch.cat([half, -half], dim=1)[:, order].bfloat16().contiguous()
    return torch.equal(_multiplied(rows, block), F.linear(rows, weight))


@functools.lru_cache(maxsize=8)
def _trial(columns: int, inputs: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A weight whose two halves are equal but for the ``order`` of its inputs, plain and laid out.

    With rows whose halves differ in sign the exact products are 0, and what comes out is the rounding of float32.
    """
    generator = torch.Generator().manual_seed(0)
    half = torch.randn((min(columns, _TRIED_ROWS), inputs // 2), generator=generator)
    order = torch.randperm(inputs // 2 * 2, generator=generator)
    few = torch.cat([half, half], dim=1)[:, order].bfloat16()
    weight = few.repeat(-(-columns // len(few)), 1)[:columns].contiguous()
    return weight, _laid_out(weight), order
