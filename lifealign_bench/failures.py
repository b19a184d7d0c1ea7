"""Errors as a user sees them: what is wrong and what to do; a traceback only where the program itself is at fault."""

from __future__ import annotations

import errno
import traceback

from rich.console import Console
from rich.text import Text

from lifealign_bench.errors import BenchError, is_out_of_memory
from lifealign_bench.grid import clean

__all__ = ["as_bench_error", "show_error", "show_trace", "show_unexpected"]

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
    "(the first two change no result beyond rounding)."
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


def show_error(console: Console, error: BenchError) -> None:
    """Print message and remedy."""
    console.print(Text("error: ", style="bold red"), Text(_one_paragraph(error.message)), sep="", soft_wrap=True)
    if error.remedy:
        console.print(Text(_one_paragraph(error.remedy)), soft_wrap=True)


def show_unexpected(console: Console, error: BaseException) -> None:
    """Print an error that nobody foresaw, with its traceback: it is a bug here or in a user's method."""
    show_trace(console, f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error)))


def show_trace(console: Console, message: str, trace: str) -> None:
    """:func:`show_unexpected` for an error of another process, of which only the words are left."""
    for line in trace.rstrip().split("\n") if trace else []:
        console.print(Text(clean(line), style="dim"), soft_wrap=True)
    console.print(
        Text("error: ", style="bold red"), Text(clean(f"This should not happen: {message}")), sep="", soft_wrap=True
    )
    if trace:
        console.print(Text("It is a bug, in a method of yours if the last lines above name its file, else here."))


def _one_paragraph(text: str) -> str:
    return " ".join(clean(text).split())
