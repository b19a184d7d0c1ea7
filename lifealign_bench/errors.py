"""Errors that a user can act on: what is wrong, where, and what to do about it."""

from __future__ import annotations

__all__ = ["BenchError", "Interrupted", "UsageError", "is_out_of_memory"]


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
