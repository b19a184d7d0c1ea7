"""The disk cache of computed arrays: found again by what determines them, never trusted without a check, bounded.

An entry is one safetensors file whose header holds its whole key and the hash of its arrays. Several processes may
share the folder: a file appears under its name only when it is whole, and one that is gone, damaged or of another
version is a miss. Nothing here may stop a run: what cannot be read or written costs time, not numbers.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lifealign_bench.errors import UsageError
from lifealign_bench.util.files import atomic_path, cache_folder
from lifealign_bench.util.progress import Notice

Arrays = dict[str, np.ndarray[Any, Any]]

_VERSION = 2
# What run after run adds to, and what may therefore be thrown away to stay within the limit.
BOUNDED = ("logprobs", "generations", "rewards", "abilities")
LIMIT_VARIABLE = "LIFEALIGN_BENCH_CACHE_GIB"
_DEFAULT_LIMIT = 4.0


def load_arrays(kind: str, key: Mapping[str, Any], notice: Notice) -> Arrays | None:
    """The arrays stored under ``key``, or None; a damaged or foreign file is told and counts as none."""
    from safetensors import SafetensorError, safe_open

    path = _path(kind, key)
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            arrays: Arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        notice(f"The cache file {path} cannot be read ({error}); its content is computed again.")
        return None
    if header.get("key") != _text(key) or header.get("sha256") != _digest(arrays):
        notice(f"The cache file {path} is damaged or of another version; its content is computed again.")
        return None
    # The time of last use decides what leaves first; on a read-only cache nothing leaves.
    with contextlib.suppress(OSError):
        os.utime(path)
    return arrays


def store_arrays(kind: str, key: Mapping[str, Any], arrays: Arrays, notice: Notice) -> None:
    """Keep ``arrays`` under ``key`` and drop the longest unused entries beyond the limit."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    path = _path(kind, key)
    try:
        with atomic_path(path) as temporary:
            save_file(arrays, temporary, metadata={"key": _text(key), "sha256": _digest(arrays)})
        _shrink(path)
    except (OSError, SafetensorError) as error:
        # The result is known: a full or read-only cache costs time in the next run, not this run's numbers.
        notice(f"The cache cannot be written ({error}); the run goes on without it.")


def cache_limit() -> int:
    """Bytes that all of :data:`BOUNDED` may take together: ``LIFEALIGN_BENCH_CACHE_GIB``, else 4 GiB.

    Raises:
        UsageError: the variable is no finite number.
    """
    text = os.environ.get(LIMIT_VARIABLE, "")
    try:
        gib = float(text) if text else _DEFAULT_LIMIT
        if not math.isfinite(gib):
            raise ValueError("not finite")
    except ValueError as error:
        raise UsageError(f"{LIMIT_VARIABLE}={text!r} is not a number.", "Give it as GiB, for example 4.") from error
    return int(max(0.0, gib) * 2**30)


@dataclass(frozen=True)
class CacheKind:
    """One folder of the cache: how many files, their bytes, and the times of the least and the most recent use."""

    name: str
    files: int
    size: int
    oldest: float | None
    newest: float | None


def cache_kinds() -> list[CacheKind]:
    """What the cache holds, folder by folder."""
    kinds = []
    for folder in _folders():
        found = _files(folder)
        times = [state.st_mtime for _, state in found]
        size = sum(state.st_size for _, state in found)
        kinds.append(CacheKind(folder.name, len(found), size, min(times, default=None), max(times, default=None)))
    return kinds


def check_names(names: tuple[str, ...]) -> None:
    """Refuse names that are no folder of the cache.

    Raises:
        UsageError: names the folders there are.
    """
    present = [folder.name for folder in _folders()]
    unknown = [name for name in names if name not in present]
    if unknown:
        raise UsageError(
            f"The cache {cache_folder()} has no folder {', '.join(unknown)}.",
            f"It has: {', '.join(present) or 'nothing'}.",
        )


def clear_cache(names: tuple[str, ...]) -> int:
    """Delete the named folders of the cache, all without a name; returns the bytes that are free again.

    Raises:
        UsageError: no such folder.
    """
    check_names(names)
    freed = 0
    for folder in _folders():
        if not names or folder.name in names:
            freed += sum(state.st_size for _, state in _files(folder))
            shutil.rmtree(folder)
    return freed


def _shrink(newest: Path) -> None:
    """Drop entries, longest unused first, until the limit holds; the one just written stays."""
    found = [entry for kind in BOUNDED for entry in _files(cache_folder() / kind)]
    total, limit = sum(state.st_size for _, state in found), cache_limit()
    for path, state in sorted(found, key=lambda entry: entry[1].st_mtime):
        if total <= limit:
            return
        if path != newest:
            # Another process may have dropped it a moment ago.
            path.unlink(missing_ok=True)
            total -= state.st_size


def _folders() -> list[Path]:
    try:
        return sorted(path for path in cache_folder().iterdir() if path.is_dir())
    except FileNotFoundError:
        return []


def _files(folder: Path) -> list[tuple[Path, os.stat_result]]:
    found = []
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file():
                found.append((path, path.lstat()))
    return found


def _path(kind: str, key: Mapping[str, Any]) -> Path:
    return cache_folder() / kind / f"{hashlib.sha256(_text(key).encode()).hexdigest()[:32]}.safetensors"


def _text(key: Mapping[str, Any]) -> str:
    return json.dumps({**key, "cache_version": _VERSION}, sort_keys=True)


def _digest(arrays: Arrays) -> str:
    sha = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        sha.update(f"{name} {array.dtype} {array.shape}".encode())
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()
