"""Several processes of one run (``accelerate launch``, ``torchrun``): who writes, and how work is split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object

from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.util.launchenv import check_launch, own_settings

T = TypeVar("T")

# One process, and several that each hold the whole model.
_WHOLE = ("NO", "MULTI_CPU", "MULTI_GPU")
_TOGETHER: ContextVar[bool] = ContextVar("together", default=False)


def join(cpu: bool) -> None:
    """Join the other processes of the launch; on a CPU they would otherwise not find each other.

    Args:
        cpu: the run asks for a CPU, also where there is an accelerator.

    Raises:
        UsageError: the launch is half described, or asks for another way of training than a run's.
    """
    check_launch()
    with own_settings():
        PartialState(cpu=cpu or not torch.cuda.is_available())


def require_own_type(accelerator: Any) -> None:
    """Refuse an accelerator that would not train a run in its own type and as it is recorded.

    Nothing that is known of leads to this: it is for what another version of the libraries may read.

    Args:
        accelerator: the one that a trainer made.

    Raises:
        UsageError: it casts, splits or compiles the model, or gathers gradients over several steps.
    """
    kind, compiler = accelerator.distributed_type.value, accelerator.state.dynamo_plugin.backend.value
    gathered = accelerator.gradient_accumulation_steps
    wrong = {
        f"mixed precision {accelerator.mixed_precision}": accelerator.mixed_precision != "no",
        f"the kind of training {kind}": kind not in _WHOLE,
        f"{gathered} steps of accumulation": gathered != 1,
        f"compilation by {compiler}": compiler != "NO",
    }
    found = [what for what, is_so in wrong.items() if is_so]
    if found:
        raise UsageError(
            f"Accelerate's settings ask for {', '.join(found)}, which a run does not follow and could not overrule.",
            "Remove the file that accelerate config wrote and the variables ACCELERATE_*, FSDP_* and DEEPSPEED_*, and "
            "start again.",
        )


def is_main() -> bool:
    """Whether this process writes files and talks to the user."""
    return bool(PartialState().is_main_process)


def world_size() -> int:
    """Number of processes."""
    return int(PartialState().num_processes)


def barrier() -> None:
    """Wait for the others."""
    PartialState().wait_for_everyone()


@contextmanager
def together(split: bool) -> Iterator[None]:
    """Within, where the model is ``split``, every process does all of the work of :func:`share`.

    A piece of a model is with one process and needed by all at the same time, so that all have to take the same passes;
    how many a response takes is not known beforehand.
    """
    token = _TOGETHER.set(split)
    try:
        yield
    finally:
        _TOGETHER.reset(token)


def in_pieces() -> bool:
    """Whether the model is split over the processes, see :func:`together`."""
    return _TOGETHER.get()


def sharers() -> int:
    """Number of processes that :func:`share` splits work between."""
    return 1 if in_pieces() else world_size()


def own_part(items: Sequence[T]) -> list[T]:
    """This process's part of ``items``: every n-th, beginning at its rank."""
    state = PartialState()
    return list(items[state.process_index :: state.num_processes])


def share(items: Sequence[T]) -> list[T]:
    """What of ``items`` this process does: its part, or all of them, see :func:`together`."""
    return list(items) if sharers() == 1 else own_part(items)


def gather_shares(part: list[T]) -> list[T]:
    """The inverse of :func:`share` for one result an item: all results in the items' order, on every process."""
    if sharers() == 1:
        return part
    parts: list[list[T]] = gather_object([part])
    total = sum(len(p) for p in parts)
    return [parts[i % len(parts)][i // len(parts)] for i in range(total)]


def total(part: torch.Tensor) -> torch.Tensor:
    """The sum of the sharing processes' tensors, on every process; in place where there are several."""
    if sharers() > 1:
        torch.distributed.all_reduce(part)
    return part


def most(number: int) -> int:
    """The largest of all processes' numbers, on every process."""
    return number if world_size() == 1 else max(gather_object([number]))


def from_all(value: T) -> list[T]:
    """Every process's ``value``, in the order of their ranks, on every process."""
    found: list[T] = gather_object([value]) if world_size() > 1 else [value]
    return found


def broadcast(value: T) -> T:
    """Rank 0's ``value`` on every process."""
    if world_size() == 1:
        return value
    box: list[Any] = [value]
    broadcast_object_list(box, from_process=0)
    return box[0]  # type: ignore[no-any-return]


def from_main(compute: Callable[[], T]) -> T:
    """What rank 0 computes, on every process.

    Raises:
        BenchError: that which it raised, on every process.
    """
    result: T | None = None
    trouble: BenchError | None = None
    if is_main():
        try:
            result = compute()
        except BenchError as error:
            if world_size() == 1:
                raise
            trouble = error
    result, trouble = broadcast((result, trouble))
    if trouble is not None:
        raise trouble
    return result  # type: ignore[return-value]
