"""Writing that never leaves half a file under a final name, and hashes of files."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from platformdirs import user_cache_dir

from lifealign_bench.errors import UsageError
from lifealign_bench.util.redaction import redact


def cache_folder() -> Path:
    """The user's cache: ``LIFEALIGN_BENCH_CACHE`` or the platform's usual place."""
    return Path(os.environ.get("LIFEALIGN_BENCH_CACHE") or user_cache_dir("lifealign-bench")).expanduser()


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that becomes ``path`` when the block ends well and vanishes when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # The data must be on disk before the name is, or a power cut leaves an empty file under the final name.
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        usual_mode(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def usual_mode(path: Path) -> None:
    """Give a file or folder the mode that one made here has: temporary files, and those of some libraries, belong to
    their owner alone, and a run that is shared would be readable in parts."""
    path.chmod((0o777 if path.is_dir() else 0o666) & ~_umask())


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically, without secrets (see ``redaction``)."""
    with atomic_path(path) as temporary:
        temporary.write_text(redact(text), encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; a NaN is an error, since JSON has none (use ``None``)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def remove_leftovers(folder: Path, pattern: str = "*") -> None:
    """Remove the temporary files that :func:`atomic_path` left in ``folder`` and below when its process was killed.

    Args:
        folder: nobody else may be writing in it now.
        pattern: of the files that were to be written (glob).
    """
    for path in folder.rglob(f".{pattern}.????????.tmp"):
        if path.is_file() and not path.is_symlink():
            path.unlink(missing_ok=True)


def read_regular(path: Path, most: int) -> bytes:
    """The bytes of a file that a stranger may have put there, looked at before they are read.

    A pipe would wait for ever for its writer, and a device may never end.

    Args:
        path: a link to a regular file counts as one.
        most: bytes.

    Raises:
        OSError: it is not there or cannot be read.
        ValueError: it is no regular file, or larger.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is no regular file")
    # What was looked at may be another file by now: opening does not wait, and the open one is looked at again.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags), "rb") as stream:
        facts = os.fstat(stream.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise ValueError("it is no regular file")
        if facts.st_size > most:
            raise ValueError(f"it has {facts.st_size:,} bytes; {most:,} are the most")
        content = stream.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return content


def sha256_file(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def git_blob_file(path: Path) -> str:
    """Git's object id of a file: SHA-1 of ``"blob <size>\\0"`` and its bytes, read in pieces."""
    sha = hashlib.sha1(usedforsecurity=False)
    with path.open("rb") as stream:
        sha.update(b"blob %d\0" % os.fstat(stream.fileno()).st_size)
        while piece := stream.read(1 << 20):
            sha.update(piece)
    return sha.hexdigest()


# In an HTML page's generator, a PDF's creator, a PNG's software.
MARK = "lifealign-bench report"

_READ = 64 * 1024


def refuse_foreign(files: Iterable[Path], force: bool, subject: str = "") -> None:
    """Refuse to overwrite what no report wrote, or a report of something else.

    Args:
        subject: what the reports say that they are of; empty: they do not say it.

    Raises:
        UsageError: one of ``files`` is there, without the mark or of another subject, and ``force`` is not given; or it
            is no file.
    """
    for file in files:
        if file.is_dir():
            raise UsageError(f"{file} is a folder.", "Name a file.")
        if force or not file.exists():
            continue
        if not _is_marked(file, MARK):
            raise UsageError(f"{file} is there, and no report wrote it.", "Write elsewhere, or use --force.")
        if subject and not _is_marked(file, subject):
            raise UsageError(f"{file} is there, a report of other runs.", "Write elsewhere, or use --force.")


def _is_marked(file: Path, mark: str) -> bool:
    """Whether the mark is near the beginning or the end, where each format has it."""
    with file.open("rb") as stream:
        beginning = stream.read(_READ)
        stream.seek(max(0, file.stat().st_size - _READ))
        return mark.encode() in beginning or mark.encode() in stream.read()
