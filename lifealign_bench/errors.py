"""Errors that a user can act on: what is wrong, where, and what to do about it."""

from __future__ import annotations

import errno

__all__ = ["BenchError", "Interrupted", "UsageError", "as_bench_error", "is_out_of_memory"]


class BenchError(Exception):
    """Something the user can mend.

    The command line shows ``message`` and ``remedy`` without a traceback and exits with ``exit_code``.

    Args:
        message: one sentence that names the thing and the place.
        remedy: what to do now; empty when nothing can be advised.
    """

    exit_code = 2

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the words that the command line has for it, and no traceback."""
        return [f"error: {self.message}", *([self.remedy] if self.remedy else [])]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that no memory is left: Python's own, torch's on an accelerator, torch's on a CPU."""
    # Told by name and text, so that nothing needs to import torch for it; on a CPU torch raises a plain RuntimeError.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


class UsageError(BenchError):
    """An unknown name, a value of the wrong type, options that contradict each other."""


class Interrupted(BenchError):
    """The user stopped the run (Ctrl-C); what was done up to here is kept."""

    exit_code = 130


_REMEDIES = {
    errno.ENOSPC: "Free some space there, or write elsewhere with --out (caches: LIFEALIGN_BENCH_CACHE, HF_HOME).",
    errno.EDQUOT: "Free some of that quota, or write elsewhere with --out (caches: LIFEALIGN_BENCH_CACHE, HF_HOME).",
    errno.EACCES: "Change the rights, or use another place: --out, LIFEALIGN_BENCH_CACHE, HF_HOME.",
    errno.EPERM: "Change the rights, or use another place: --out, LIFEALIGN_BENCH_CACHE, HF_HOME.",
    errno.EROFS: "That file system is read-only; use another place: --out, LIFEALIGN_BENCH_CACHE, HF_HOME.",
    errno.EFBIG: "Files of that size are not allowed there (ulimit -f, or the file system): use another place (--out).",
    errno.EMFILE: "Raise the number of open files (ulimit -n).",
}

_OUT_OF_MEMORY = (
    "Set a smaller token_budget, generation_batch_size or max_length with --set "
    "(the first two change no result beyond rounding), or keep less: --activation-checkpointing, --quantization nf4."
)


def as_bench_error(error: BaseException) -> BenchError | None:
    """The error in words that help, if it is one that the user or the machine causes; else None."""
    if isinstance(error, BenchError):
        return error
    if isinstance(error, OSError) and error.errno in _REMEDIES:
        names = [str(name) for name in (error.filename, error.filename2) if name]
        where = f": {' -> '.join(names)}" if names else ""
        return BenchError(f"{error.strerror or 'No access'}{where}.", _REMEDIES[error.errno])
    # safetensors tells of a failed write with an error of its own.
    if type(error).__name__ == "SafetensorError":
        return BenchError(f"A file of weights cannot be read or written: {error}.", _REMEDIES[errno.ENOSPC])
    if is_out_of_memory(error):
        first = (str(error).strip().splitlines() or ["no more memory"])[0]
        return BenchError(f"Out of memory: {first.rstrip('.')}.", _OUT_OF_MEMORY)
    return None
