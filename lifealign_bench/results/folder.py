"""The names in a run's folder: markers of what is finished, what it began with, the responses of its stages."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lifealign_bench.errors import BenchError
from lifealign_bench.util.files import sha256_file, write_json

__all__ = [
    "GENERATIONS",
    "Notice",
    "StageResponses",
    "began_with",
    "places",
    "read_all_responses",
    "read_marker",
    "read_responses",
    "read_token_ids",
    "write_marker",
]


GENERATIONS = "generations.jsonl"

# Stage to task to pair id to response.
StageResponses = Mapping[int, Mapping[str, Mapping[str, str]]]


def read_responses(folder: Path, task: str) -> dict[str, str]:
    """Pair id to the response of a task after the stage of a ``folder``; empty where none is kept.

    Raises:
        BenchError: the file is damaged.
    """
    return read_all_responses(folder).get(task, {})


def read_all_responses(folder: Path) -> dict[str, dict[str, str]]:
    """Task to pair id to response; empty where none is kept.

    Raises:
        BenchError: the file is damaged.
    """
    found: dict[str, dict[str, str]] = {}
    for line in _lines(folder):
        found.setdefault(line["task"], {})[line["pair_id"]] = line["response"]
    return found


def read_token_ids(folder: Path) -> dict[str, dict[str, list[int]]]:
    """Task to pair id to the tokens of the response; empty where none is kept.

    Raises:
        BenchError: the file is damaged.
    """
    found: dict[str, dict[str, list[int]]] = {}
    for line in _lines(folder):
        if line["token_ids"] is not None:
            found.setdefault(line["task"], {})[line["pair_id"]] = line["token_ids"]
    return found


def _lines(folder: Path) -> list[dict[str, Any]]:
    file = folder / GENERATIONS
    if not file.is_file():
        return []
    try:
        # Not splitlines(): it would also break lines at U+2028 and others that may stand inside a response.
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
        return [
            {
                "task": str(line["task"]),
                "pair_id": str(line["pair_id"]),
                "response": str(line["response"]),
                # A run of before they were kept has none: its responses are generated again.
                "token_ids": line.get("token_ids"),
            }
            for line in lines
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise BenchError(f"{file} is damaged: {error}.", "Run the same command again to rebuild it.") from error


Notice = Callable[[str], None]

PLACES = "places.json"


def write_marker(folder: Path, name: str, files: Mapping[str, Path], content: Mapping[str, Any]) -> None:
    """Declare ``files`` (name to path below ``folder``) finished: their hashes and ``content`` go into ``name``."""
    hashes = {key: sha256_file(path) for key, path in sorted(files.items())}
    write_json(folder / name, {"files": hashes, **content})


def read_marker(folder: Path, name: str, notice: Notice) -> dict[str, Any] | None:
    """A marker's content, or None where there is none or its files are not what it says (which is told)."""
    path = folder / name
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        hashes: dict[str, str] = content["files"]
    except (ValueError, KeyError, TypeError) as error:
        notice(f"{path} is damaged ({error}); that part is done again.")
        return None
    for key, expected in hashes.items():
        file = folder / key
        if not file.is_file() or sha256_file(file) != expected:
            notice(f"{file} is missing or damaged (its hash is not the one written down); that part is done again.")
            return None
    return content


def began_with(path: Path) -> dict[str, Any]:
    """The settings of the run that a folder holds; empty where there is none that can be read."""
    try:
        settings = json.loads((path / "config.json").read_text(encoding="utf-8"))["config"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return settings if isinstance(settings, dict) else {}


def places(path: Path) -> dict[str, Any]:
    """Where the data, the users' own cards and the opponents of the run in a folder lay; empty where that is not
    written down."""
    try:
        content = json.loads((path / PLACES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
