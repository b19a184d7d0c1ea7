"""Where a record comes from: versions, commit, machine."""

from __future__ import annotations

import importlib.metadata
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import torch

import lifealign_bench
from lifealign_bench.distributed import world_size
from lifealign_bench.launchenv import numeric_settings
from lifealign_bench.probe import processor_name

__all__ = ["git_state", "hardware", "peak_memory", "versions"]

_PACKAGES = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "tokenizers",
    "numpy",
    "safetensors",
    "sacrebleu",
    "rouge-score",
)


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of what computes."""
    found = {"python": platform.python_version(), "lifealign-bench": lifealign_bench.__version__}
    for name in _PACKAGES:
        found[name] = importlib.metadata.version(name)
    return found


def git_state() -> dict[str, str | bool | None]:
    """Commit and dirtiness of the checkout this package runs from; None where it is an installed wheel.

    What is published in ``results`` while other runs go on makes no other code of them.
    """
    root = Path(__file__).resolve().parent.parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # A wheel may lie below somebody else's repository: only a repository of this project counts.
    if not (root / "pyproject.toml").is_file() or git("rev-parse", "--show-toplevel") != str(root):
        return {"commit": None, "dirty": None}
    status = git("status", "--porcelain", "--", ".", ":(exclude)results")
    return {"commit": git("rev-parse", "HEAD"), "dirty": None if status is None else bool(status)}


def hardware(device: str, dtype: str, layout: str) -> dict[str, Any]:
    """The machine in words and numbers; no names of hosts or users."""
    found: dict[str, Any] = {
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": processor_name(),
        # Processors of one name may have other instructions, and these decide in which order torch adds up.
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": psutil.cpu_count(),
        "threads": torch.get_num_threads(),
        "processes": world_size(),
        "memory_bytes": psutil.virtual_memory().total,
        "device": device,
        "dtype": dtype,
        "layout": layout,
    }
    if settings := numeric_settings():
        found["environment"] = settings
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(torch.device(device))
        found |= {"gpu": properties.name, "gpu_memory_bytes": properties.total_memory, "cuda": torch.version.cuda}
    return found


def peak_memory() -> int:
    """Peak resident memory of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
