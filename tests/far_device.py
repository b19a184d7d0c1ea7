"""A stand-in for an accelerator, on a processor: a device of its own, ``far``, with tensors that are no processor's.

Values are computed by the processor; what counts is where torch says that a tensor lies. A tensor that was not moved
to the processor meets one that was as it would on a GPU: with an error. Only for a process of its own: a device cannot
be taken away again.
"""

from __future__ import annotations

import itertools
import weakref
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils import backend_registration

__all__ = ["FAR", "FarTensor", "live", "make_far"]

FAR = "far"
_live: weakref.WeakValueDictionary[int, FarTensor] = weakref.WeakValueDictionary()
_numbers = itertools.count()


class FarTensor(torch.Tensor):
    """A tensor on the device.

    Args:
        raw: its values.
    """

    raw: torch.Tensor

    @staticmethod
    def __new__(cls, raw: torch.Tensor) -> FarTensor:
        made: FarTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            raw.size(),
            strides=raw.stride(),
            storage_offset=raw.storage_offset(),
            dtype=raw.dtype,
            device=torch.device(f"{FAR}:0"),
        )
        made.raw = raw
        _live[next(_numbers)] = made
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return _computed(func, args, kwargs or {})

    # torch reads these two past the dispatcher.
    def tolist(self) -> Any:
        return self.raw.tolist()

    def new_tensor(self, data: Any, dtype: torch.dtype | None = None, *more: Any, **named: Any) -> torch.Tensor:
        return torch.tensor(data, dtype=dtype or self.dtype).to(self.device)


def _computed(func: Any, args: Any, kwargs: Any) -> Any:
    """The operation on values; what it makes lies where it was asked for, else where its tensors lie."""

    def near(given: Any) -> Any:
        if isinstance(given, FarTensor):
            return given.raw
        return torch.device("cpu") if isinstance(given, torch.device) and given.type == FAR else given

    device = kwargs.get("device")
    is_far = (
        device.type == FAR
        if isinstance(device, torch.device)
        else any(isinstance(leaf, FarTensor) for leaf in pytree.tree_leaves((args, kwargs)))
    )
    found = func(*pytree.tree_map(near, args), **pytree.tree_map(near, kwargs))
    if func._schema.is_mutable:
        if not func._schema.returns:
            return None
        schema = zip(args, func._schema.arguments, strict=False)
        written = [given for given, told in schema if told.alias_info is not None and told.alias_info.is_write]
        if written:
            return written[0] if len(func._schema.returns) == 1 else tuple(written)
    return pytree.tree_map(lambda x: FarTensor(x) if is_far and type(x) is torch.Tensor else x, found)


class _Module(backend_registration._DummyBackendModule):
    """What torch asks ``torch.far`` for."""

    def get_rng_state(self, device: Any = None) -> torch.Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: torch.Tensor, device: Any = None) -> None:
        torch.set_rng_state(state)

    def manual_seed_all(self, seed: int) -> None:
        pass

    def _is_in_bad_fork(self) -> bool:
        return False

    def empty_cache(self) -> None:
        pass


def make_far() -> torch.library.Library:
    """Have the device in this process, for as long as what is given back is kept."""
    backend_registration._setup_privateuseone_for_python_backend(FAR, _Module())
    library = torch.library.Library("_", "IMPL")  # type: ignore[no-untyped-call]
    library.fallback(lambda func, *args, **kwargs: _computed(func, args, kwargs), dispatch_key="PrivateUse1")  # type: ignore[no-untyped-call]
    plain = torch.tensor

    def tensor(data: Any, *, device: Any = None, **more: Any) -> torch.Tensor:
        made = plain(data, **more)
        return made if device is None else made.to(device)

    torch.tensor = tensor  # type: ignore[assignment] # it moves what it makes past the dispatcher
    return library


def live() -> list[FarTensor]:
    """The tensors that are on the device now."""
    return list(_live.values())
