"""Files that a report wrote carry a mark; others are not overwritten."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lifealign_bench.errors import UsageError

__all__ = ["MARK", "refuse_foreign"]

# In an HTML page's generator, a PDF's creator, a PNG's software.
MARK = "lifealign-bench report"
_READ = 64 * 1024


def refuse_foreign(files: Iterable[Path], force: bool) -> None:
    """Refuse to overwrite what no report wrote.

    Raises:
        UsageError: one of ``files`` is there, without the mark, and ``force`` is not given; or it is no file.
    """
    for file in files:
        if file.is_dir():
            raise UsageError(f"{file} is a folder.", "Name a file.")
        if file.exists() and not force and not _is_own(file):
            raise UsageError(f"{file} is there, and no report wrote it.", "Write elsewhere, or use --force.")


def _is_own(file: Path) -> bool:
    """Whether the mark is near the beginning or the end, where each format has it."""
    with file.open("rb") as stream:
        beginning = stream.read(_READ)
        stream.seek(max(0, file.stat().st_size - _READ))
        return MARK.encode() in beginning or MARK.encode() in stream.read()
