"""What a model from a folder is called: two people's ``./mymodel`` are two models."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError

_WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth")
_BLOCK = 1 << 16
_BLOCKS = 256
_MOST_CONFIG = 1 << 20


def with_label(config: RunConfig) -> RunConfig:
    """``config`` with what its model is called in tables and folders, where the model is a folder and nobody says it.

    Raises:
        UsageError: a name is given to a model that has one.
    """
    folder = Path(config.model)
    if not folder.is_dir():
        if config.model_label is not None:
            raise UsageError(
                f"--model-name is for a model in a folder, and {config.model!r} is called what it is called.",
                "Leave it out.",
            )
        return config
    if config.model_label is not None or not (folder / "config.json").is_file():
        return config
    return config.model_copy(update={"model_label": folder_label(folder)})


def folder_label(folder: Path) -> str:
    """``<name>-<digest>``: the name that its configuration has, else the folder's, and a digest of its files.

    A fine-tuned model keeps the name of the one that it was made from, so a name alone tells no two apart. Of a large
    file the digest takes in evenly spaced blocks: wherever a layer was trained, some lie in it.
    """
    return f"{_name(folder)}-{_digest(folder)}"


def _name(folder: Path) -> str:
    path = folder / "config.json"
    said = None
    if path.stat().st_size <= _MOST_CONFIG:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            said = content.get("_name_or_path") if isinstance(content, dict) else None
        except (OSError, ValueError):  # what reads the model says what is wrong with it
            said = None
    name = Path(said).name if isinstance(said, str) else ""
    return name or folder.resolve().name


def _digest(folder: Path) -> str:
    sha = hashlib.sha256()
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        if file.name != "config.json" and file.suffix not in _WEIGHTS:
            continue
        size = file.stat().st_size
        sha.update(f"{file.name} {size}\n".encode())
        with file.open("rb") as stream:
            for start in _starts(size):
                stream.seek(start)
                sha.update(stream.read(_BLOCK))
    return sha.hexdigest()[:8]


def _starts(size: int) -> list[int]:
    """Where the blocks begin: one after the other in a small file, else evenly spaced with both ends."""
    if size <= _BLOCKS * _BLOCK:
        return list(range(0, size, _BLOCK))
    return [(size - _BLOCK) * i // (_BLOCKS - 1) for i in range(_BLOCKS)]
