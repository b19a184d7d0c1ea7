"""What the local engine finds on this machine: devices, cores, memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import psutil

from lifealign_bench.config import RunConfig
from lifealign_bench.experiments.engines.local import LocalEngine, gpu_shares
from lifealign_bench.results.folder import began_with

__all__ = ["local_engine", "settled"]


def settled(configs: Sequence[RunConfig]) -> list[RunConfig]:
    """``configs`` with the device and type that ``auto`` means here, asked once.

    The type is measured (``probe``); runs that measure beside each other would not all find the same. A run that goes
    on keeps its own.

    Raises:
        UsageError: the device does not exist here.
    """
    resolved: dict[tuple[str, str], tuple[str, str]] = {}
    found = []
    for config in configs:
        began = began_with(config.run_directory())
        asked = config.device, began.get("dtype", "auto") if config.dtype == "auto" else config.dtype
        if asked not in resolved:
            resolved[asked] = asked if asked[0] == "cpu" and asked[1] != "auto" else _resolve(*asked)
        device, dtype = resolved[asked]
        found.append(config.model_copy(update={"device": device, "dtype": dtype}))
    return found


def _resolve(device: str, dtype: str) -> tuple[str, str]:
    from lifealign_bench.util.process import quieten_libraries

    quieten_libraries()
    from lifealign_bench.models.device import resolve_device

    return resolve_device(device, dtype)


def local_engine(
    configs: Sequence[RunConfig],
    *,
    jobs: int | None,
    gpus_per_run: int | None,
    memory: int | None,
    retries: int,
    notice: Callable[[str], None],
) -> LocalEngine:
    """The engine for ``configs``, whose devices are settled.

    Args:
        jobs: None for one on a CPU, and as many as there are GPUs for.
        memory: bytes of a run; no more go on than fit into this machine.

    Raises:
        UsageError: fewer GPUs than a run wants.
    """
    on_gpu = any(config.device == "cuda" for config in configs)
    count = jobs or 1
    shares: Sequence[tuple[str, ...]] = [()] * count
    if on_gpu:
        shares = gpu_shares(_visible_gpus(), gpus_per_run or 1, jobs)
        if len(set(shares)) < len(shares):
            notice(f"{len(shares)} jobs share {len(set(shares)) * (gpus_per_run or 1)} GPUs.")
    elif gpus_per_run:
        notice("The runs are on the CPU: --gpus-per-run says nothing.")
    if memory is not None:
        fit = max(1, psutil.virtual_memory().total // memory)
        if fit < len(shares):
            notice(f"Only {fit} jobs fit into this machine's memory at a time.")
            shares = shares[:fit]
    return LocalEngine(shares, _cores(), retries)


def _visible_gpus() -> list[str]:
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    import torch

    return [str(i) for i in range(torch.cuda.device_count())]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count() or 1
