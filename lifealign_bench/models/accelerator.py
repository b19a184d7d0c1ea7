"""What of a GPU has to be there for a run, and in which words it is said where it is not."""

from __future__ import annotations

import re

import torch

from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.util.distributed import from_all

_INSTALL = "install the CUDA build of torch (docs/cluster.md)"
_CPU = "use --device cpu"
# As CUDA counts: 12020 is version 12.2.
_TOO_OLD = re.compile(r"driver on your system is too old \(found version (\d+)\)")


def why_no_cuda() -> tuple[str, str]:
    """The reason why torch sees no CUDA device, and the remedy; without a full stop."""
    if torch.version.cuda is None and torch.version.hip is None:
        return "torch here is the CPU build", f"Use --device cpu, or {_INSTALL}."
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        return _in_words(str(error).strip())
    return (
        "no GPU is visible to this process",
        f"Look at CUDA_VISIBLE_DEVICES and nvidia-smi, ask the batch system for a GPU, or {_CPU}.",
    )


def _in_words(said: str) -> tuple[str, str]:
    found = _TOO_OLD.search(said)
    if found:
        number = int(found[1])
        driver = f"CUDA {number // 1000}.{number % 1000 // 10}"
        return (
            f"the NVIDIA driver is too old: it knows {driver}, and torch {torch.__version__} needs CUDA "
            f"{torch.version.cuda}",
            f"Update the driver, install a build of torch for {driver} or older (pytorch.org), or {_CPU}.",
        )
    if "Found no NVIDIA driver" in said:
        return "there is no NVIDIA driver", f"Install the driver of the GPU (nvidia-smi must list it), or {_CPU}."
    return (
        (said.splitlines() or ["CUDA cannot be started"])[0].removesuffix("."),
        f"Look at nvidia-smi and CUDA_VISIBLE_DEVICES, or {_CPU}.",
    )


def require_cuda(device: str) -> None:
    """Refuse a CUDA device that cannot compute here.

    Raises:
        UsageError: torch sees none, or has no kernels for the one that is there.
    """
    if not torch.cuda.is_available():
        reason, remedy = why_no_cuda()
        raise UsageError(f"Device {device!r} was asked for, but torch sees no CUDA device here: {reason}.", remedy)
    if torch.version.hip is not None:
        return
    major, minor = torch.cuda.get_device_capability()
    built = torch.cuda.get_arch_list()
    if built and not any(_runs_on(name, major, minor) for name in built):
        raise UsageError(
            f"torch {torch.__version__} has no kernels for the GPU {torch.cuda.get_device_name()} (compute capability "
            f"{major}.{minor}); it has them for {', '.join(built)}.",
            f"Choose another GPU with CUDA_VISIBLE_DEVICES, install a build of torch for this one, or {_CPU}.",
        )


def _runs_on(built: str, major: int, minor: int) -> bool:
    """Whether what is called ``sm_80`` (machine code) or ``compute_80`` (compiled when it is loaded) runs on a GPU."""
    kind, _, number = built.partition("_")
    digits = re.match(r"\d+", number)
    if digits is None:
        return False
    of, least = divmod(int(digits[0]), 10)
    if kind == "sm":
        return of == major and least <= minor
    return (of, least) <= (major, minor)


def require_one_kind(device: str) -> None:
    """Refuse a launch whose processes would compute one run on GPUs of different kinds; all processes call it.

    Raises:
        UsageError: which kinds there are.
    """
    if torch.device(device).type != "cuda":
        return
    kinds = list(dict.fromkeys(from_all(torch.cuda.get_device_name())))
    if len(kinds) > 1:
        raise UsageError(
            f"The processes of this launch have GPUs of different kinds ({', '.join(kinds)}): one would wait for the "
            "other, and the run would be of no machine that can be named.",
            "Start it on GPUs of one kind: name them with CUDA_VISIBLE_DEVICES, or ask the batch system for them.",
        )


def has_bfloat16() -> bool:
    """Whether the GPU multiplies in bfloat16 by itself; older ones do it in software, many times slower."""
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def require_bfloat16() -> None:
    """Refuse bfloat16 on a GPU that does not have it.

    Raises:
        UsageError: with the remedy.
    """
    if not has_bfloat16():
        major, minor = torch.cuda.get_device_capability()
        raise UsageError(
            f"The GPU {torch.cuda.get_device_name()} (compute capability {major}.{minor}) has no bfloat16, which "
            "begins with 8.0.",
            "Use --dtype float32 (or auto, which takes it there), or another GPU (CUDA_VISIBLE_DEVICES).",
        )


def require_memory(needed: int, what: str, device: torch.device) -> None:
    """Refuse what does not fit a GPU, before it is half-way there.

    Args:
        needed: bytes.
        what: that needs them, with its verb: ``The weights of X in bfloat16 take``.
        device: the GPU; nothing is looked at on a CPU.

    Raises:
        BenchError: less is free.
    """
    if device.type != "cuda":
        return
    free, total = torch.cuda.mem_get_info(device)
    # What torch holds and does not use, it gives.
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if needed > free:
        raise BenchError(
            f"{what} {_gib(needed)} GiB, and of the {_gib(total)} GiB of the GPU {torch.cuda.get_device_name(device)} "
            f"{_gib(free)} are free.",
            "Take a smaller model, a larger GPU (CUDA_VISIBLE_DEVICES), end what else uses this one (nvidia-smi), or "
            f"{_CPU}.",
        )


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f}"
