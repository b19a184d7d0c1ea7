"""The GPU itself: what it is, and the products and copies that all else is held against."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

import torch

from benchmarks.gpucheck.bench import Bench, median
from benchmarks.gpucheck.part import Findings, is_here
from lifealign_bench.models.accelerator import has_bfloat16

VERSIONS = (
    *("torch", "transformers", "peft", "accelerate", "trl", "triton", "datasets", "lm-eval", "alpaca-eval"),
    "bitsandbytes",
)
OPTIONAL = ("trl", "lm_eval", "alpaca_eval", "bitsandbytes")


def facts(device: torch.device) -> dict[str, Any]:
    """The machine and its libraries; nothing that tells whose it is."""
    found: dict[str, Any] = {"device": device.type, "python": platform.python_version()}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "gpu": properties.name,
            "memory, GiB": round(properties.total_memory / 2**30, 1),
            "compute capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda,
            "bfloat16": has_bfloat16(),
        }
    return found | {"versions": {name: _version(name) for name in VERSIONS}}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def product(bench: Bench, dtype: torch.dtype, size: int) -> float:
    """Operations a second of a product of two square matrices of random numbers; an addition counts as well."""
    a, b = (torch.randn(size, size, device=bench.device, dtype=dtype) for _ in range(2))
    times = 1 if bench.tiny else 10

    def several() -> None:
        for _ in range(times):
            torch.matmul(a, b)

    return 2.0 * size**3 * times / median(bench.seconds(several))


def copied(bench: Bench, size: int) -> float:
    """Bytes a second, read and written."""
    source = torch.ones(size, dtype=torch.uint8, device=bench.device)
    target = torch.empty_like(source)
    return 2.0 * size / median(bench.seconds(lambda: target.copy_(source)))


def machine(bench: Bench, findings: Findings) -> None:
    """Products in each type, copies, and what is not here."""
    size = 128 if bench.tiny else 8192
    for dtype in (torch.float32, torch.bfloat16):
        kind = str(dtype).removeprefix("torch.")
        findings.row({"what": f"product, {kind}", "TFLOP/s": product(bench, dtype, size) / 1e12})
    findings.row({"what": "copy", "GB/s": copied(bench, 2**20 if bench.tiny else 2**31) / 1e9})
    findings.truth("a product is the same twice", _twice(bench, size))
    for name in OPTIONAL:
        if not is_here(name):
            findings.say(f"{name} is not here.")


def _twice(bench: Bench, size: int) -> bool:
    a = torch.randn(size, size, device=bench.device)
    return torch.equal(a @ a, a @ a)
