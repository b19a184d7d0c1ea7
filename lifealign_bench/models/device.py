"""What ``auto`` means here: the device, its type, and how many threads, for which this processor is measured once.

A training step of a small transformer is matrix products of about these shapes, forward and backward. Which thread
count and type are fastest cannot be read off a processor's name (hyper-threads, limits, emulated bfloat16).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import psutil
import torch

from lifealign_bench.errors import UsageError
from lifealign_bench.models.accelerator import has_bfloat16, require_bfloat16, require_cuda
from lifealign_bench.util.files import cache_folder, write_json
from lifealign_bench.util.process import cores

_VERSION = 1

_TOKENS, _WIDTH, _INNER = 512, 576, 1536

_REPEATS = 5

# Fewer threads count as the best when they are slower by no more than this: they leave room for other work.
_MARGIN = 1.05

# With more runnable processes a core than this, what is measured holds now and may not tomorrow.
_BUSY = 0.5

# How long holds what was measured nevertheless.
_DISTURBED_SECONDS = 3600.0

_LOOK = 0.2  # seconds that are looked at for what others do at the moment


@dataclass(frozen=True)
class Probe:
    """What was measured.

    Args:
        threads: the fewest threads that are as fast as the best.
        seconds: by type, the best (forward, backward) seconds of a product with that many threads.
    """

    threads: int
    seconds: dict[str, tuple[float, float]]

    @property
    def dtype(self) -> Literal["float32", "bfloat16"]:
        """The type in which forward and backward together are faster."""
        return "bfloat16" if sum(self.seconds["bfloat16"]) < sum(self.seconds["float32"]) else "float32"


def processor_name() -> str:
    """The processor as torch names it."""
    return str(torch.cpu.get_capabilities().get("cpu_name") or "unknown")


def speed_of_this_machine(now: Callable[[], float] = time.time) -> Probe:
    """The probe of this processor: from the cache, or measured now and kept there.

    What was measured while other work disturbed it holds for an hour alone: not to measure again with every run, and
    not to keep for ever what is true at the moment.

    Args:
        now: seconds since the epoch.
    """
    facts = {"version": _VERSION, "processor": processor_name(), "cores": cores(), "torch": torch.__version__}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    path = cache_folder() / "probes" / f"{digest}.json"
    kept = _kept(path, now())
    if kept is not None:
        return kept
    busy = _busy()
    probe = _measured_now(cores())
    until = now() + _DISTURBED_SECONDS if busy or _busy() else None
    # Without a writable cache it is measured again the next time.
    with contextlib.suppress(OSError):
        write_json(path, {**asdict(probe), "machine": facts, "until": until})
    return probe


def _kept(path: Path, now: float) -> Probe | None:
    """The probe of a file; None where there is none, or it is damaged or no longer holds."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        probe = Probe(int(stored["threads"]), {t: (float(f), float(b)) for t, (f, b) in stored["seconds"].items()})
        until = stored.get("until")
        # A clock that was set back would make an hour last for years.
        return probe if until is None or 0 <= float(until) - now <= _DISTURBED_SECONDS else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


@functools.cache
def _measured_now(cores: int) -> Probe:
    """One measurement a process, also where it is not kept: what ``auto`` means does not change half-way."""
    return measure_threads(_candidates(cores))


def threads_to_use(wanted: int | None) -> int:
    """The thread count of a run on a CPU: ``wanted``, else OMP_NUM_THREADS, else the measured best."""
    if wanted is not None:
        return wanted
    text = os.environ.get("OMP_NUM_THREADS", "")
    if text.split(",")[0].strip().isdigit():
        return max(1, int(text.split(",")[0]))
    return speed_of_this_machine().threads


def measure_threads(candidates: Iterable[int]) -> Probe:
    """Time the products with every number of threads; the number in use is as before afterwards."""
    before = torch.get_num_threads()
    found: dict[int, dict[str, tuple[float, float]]] = {}
    try:
        for threads in candidates:
            torch.set_num_threads(threads)
            found[threads] = {"float32": _products(torch.float32), "bfloat16": _products(torch.bfloat16)}
    finally:
        torch.set_num_threads(before)
    cost = {threads: min(sum(pair) for pair in seconds.values()) for threads, seconds in found.items()}
    best = min(cost.values())
    threads = min(n for n, seconds in cost.items() if seconds <= _MARGIN * best)
    return Probe(threads, found[threads])


def _products(dtype: torch.dtype) -> tuple[float, float]:
    """Best seconds of tokens x weights, and of the gradient of the tokens."""
    tokens = torch.ones(_TOKENS, _WIDTH, dtype=dtype)
    weight = torch.ones(_INNER, _WIDTH, dtype=dtype)
    gradient = torch.ones(_TOKENS, _INNER, dtype=dtype)
    return _best(lambda: tokens @ weight.T), _best(lambda: gradient @ weight)


def _best(product: Callable[[], torch.Tensor]) -> float:
    product()
    seconds = []
    for _ in range(_REPEATS):
        clock = time.perf_counter()
        product()
        seconds.append(time.perf_counter() - clock)
    return min(seconds)


def _busy() -> bool:
    """Whether other processes have kept the cores at work for the last minute, or do now (the mean over a minute is
    low when somebody has just begun)."""
    if psutil.getloadavg()[0] > _BUSY * cores():
        return True
    # This process waits meanwhile, so all that is used is used by others.
    return bool(psutil.cpu_percent(interval=_LOOK) > 100 * _BUSY / cores())


def _candidates(cores: int) -> list[int]:
    """One thread, half of the cores, the physical ones, all."""
    physical = psutil.cpu_count(logical=False) or cores
    return sorted({1, max(1, cores // 2), min(physical, cores), cores})


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def require_device(device: str) -> str:
    """The kind of a device, ``cpu`` or ``cuda``, if it is here; of ``auto``, what it means here.

    Raises:
        UsageError: the device does not exist here.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind, number = torch.device(device).type, torch.device(device).index
    except RuntimeError as error:
        raise UsageError(f"{device!r} is not a device.", "Use auto, cpu, cuda or cuda:<n>.") from error
    if kind == "cuda" and number is not None:
        raise UsageError(
            f"The device {device!r} names one of several GPUs.",
            f"Choose it with CUDA_VISIBLE_DEVICES={number} and --device cuda.",
        )
    if kind == "cuda":
        require_cuda(device)
    return kind


def resolve_device(device: str, dtype: str) -> tuple[str, Literal["float32", "bfloat16"]]:
    """What ``auto`` means here.

    ``auto`` is CUDA where there is one, else the CPU; its type is bfloat16 on CUDA (float32 on a GPU without it), on a
    CPU the one in which a training step was measured to be faster (``probe``).

    Raises:
        UsageError: the device does not exist here, cannot compute, or not in that type.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    kind = require_device(device)
    if dtype == "auto":
        cuda = "bfloat16" if kind == "cuda" and has_bfloat16() else "float32"
        dtype = cuda if kind == "cuda" else speed_of_this_machine().dtype
    elif dtype == "bfloat16" and kind == "cuda":
        require_bfloat16()
    return device, "bfloat16" if dtype == "bfloat16" else "float32"
