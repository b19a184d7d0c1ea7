"""Writing that never leaves half a file under a final name, and hashes of files."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from platformdirs import user_cache_dir

from lifealign_bench.redaction import redact

__all__ = ["atomic_path", "cache_folder", "git_blob_file", "sha256_file", "write_json", "write_text"]


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
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
