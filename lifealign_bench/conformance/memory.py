"""Memory after a stage: all tensors alive, and of them what the harness and the method's state account for."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from lifealign_bench.conformance.sizes import size_of
from lifealign_bench.runs.session import Session

__all__ = ["Memory", "memory_of"]


@dataclass(frozen=True)
class Memory:
    """In bytes, after a stage.

    Args:
        tensors: number of tensors alive beside the harness's own.
        tensor_bytes: what they occupy.
        state_tensors, state_tensor_bytes: of the method's ``state_dict``.
        other_bytes: what the method's attributes hold beside tensors: lists, texts, arrays.
        state_other_bytes: the plain values of its ``state_dict``.
    """

    tensors: int
    tensor_bytes: int
    state_tensors: int
    state_tensor_bytes: int
    other_bytes: int
    state_other_bytes: int


def memory_of(session: Session) -> Memory:
    """What is alive now. Deterministic: objects are counted, not pages of the process."""
    gc.collect()
    harness = {_place(t) for t in _harness(session)}
    alive = [t for t in _alive() if _place(t) not in harness]
    state = session.method.state_dict()
    kept = [v for v in state.values() if isinstance(v, torch.Tensor)]
    plain = {k: v for k, v in state.items() if not isinstance(v, torch.Tensor)}
    return Memory(
        tensors=len(alive),
        tensor_bytes=_bytes(alive),
        state_tensors=len(kept),
        state_tensor_bytes=_bytes(kept),
        other_bytes=size_of(vars(session.method)),
        state_other_bytes=size_of(plain),
    )


def _harness(session: Session) -> Iterable[torch.Tensor]:
    """Tensors that the harness keeps from stage to stage: weights, and what the base model said."""
    yield from session.model.parameters()
    yield from session.model.buffers()
    yield from session._reference.values()
    yield from (value for value in session.speaker.said.values() if isinstance(value, torch.Tensor))


def _alive() -> list[torch.Tensor]:
    # By type() and not isinstance: libraries' lazy objects import things when they are asked for their class.
    found: list[Any] = [o for o in gc.get_objects() if issubclass(type(o), torch.Tensor)]
    return [t for t in found if t.device.type != "meta" and t.layout == torch.strided]


def _place(tensor: torch.Tensor) -> int:
    """Where a tensor's memory begins; views of one memory have the same place."""
    return tensor.untyped_storage().data_ptr()


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    """Memory of ``tensors``, each once; of a view the whole that it keeps alive."""
    return sum({_place(t): t.untyped_storage().nbytes() for t in tensors}.values())
