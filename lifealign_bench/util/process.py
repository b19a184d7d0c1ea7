"""A process and its surroundings: Ctrl-C, who may speak, how many cores there are, what libraries say unasked."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from lifealign_bench.errors import UsageError
from lifealign_bench.util.launchenv import speaks


@contextmanager
def stop_on_interrupt(tell: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Within the block the first SIGINT (or SIGTERM) calls ``tell`` and makes the given function return True.

    The second one raises KeyboardInterrupt. Outside the main thread, where Python takes no signals, nothing changes.
    """
    asked = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        tell()

    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def is_silent() -> bool:
    """Whether this is a process other than the first of a launch: it works, and says nothing."""
    return not speaks()


def cores() -> int:
    """Logical cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def require_processes(what: str, instead: str) -> None:
    """Refuse what starts processes of its own where they cannot be given the files that they talk through.

    Args:
        what: was asked for, as the subject of a sentence.
        instead: the remedy besides WSL.

    Raises:
        UsageError: this is Windows.
    """
    if sys.platform == "win32":
        raise UsageError(
            f"{what} starts processes in a way that Windows does not have.",
            f"Use WSL (Windows Subsystem for Linux), or {instead}.",
        )


def quieten_libraries() -> None:
    """The terminal belongs to the benchmark: libraries show no bars, hints and notices. Call before importing them.

    The processor belongs to whoever has work: torch's threads sleep while they wait for the next piece, where by
    default each would keep a core at 100 %. The numbers stay the same.
    """
    for name, value in {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
        "DATASETS_VERBOSITY": "error",
        "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
        "TQDM_DISABLE": "1",  # bars that no library setting reaches, such as that of the GGUF reader
    }.items():
        os.environ.setdefault(name, value)
    if "GOMP_SPINCOUNT" not in os.environ:  # who sets that has thought about it
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # It looks for faster kernels on a hub, and says whenever it is imported that it found none.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    for module in ("transformers", "peft", "trl", "accelerate", "datasets", "torch", "huggingface_hub"):
        warnings.filterwarnings("ignore", module=rf"{module}(\..*)?")
