"""The folder of a run: where everything in it lies, what is finished, what it began with, its responses."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lifealign_bench.errors import BenchError
from lifealign_bench.util.files import sha256_file, write_json
from lifealign_bench.util.progress import Notice

# Stage to task to pair id to response.
StageResponses = Mapping[int, Mapping[str, Mapping[str, str]]]


class _Folder:
    def __init__(self, path: Path) -> None:
        self.path = path


class _Inside:
    """A path below a folder, as its attribute."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, folder: _Folder, kind: type[_Folder]) -> Path:
        return folder.path / self.name


class StageFolder(_Folder):
    """The folder of a stage, or inside it of a phase that is not its last."""

    adapter = _Inside("adapter")
    weights = _Inside("adapter/adapter_model.safetensors")
    adapter_config = _Inside("adapter/adapter_config.json")
    state = _Inside("method.safetensors")
    checkpoints = _Inside("checkpoints")
    trained = _Inside("trained.json")
    parts = _Inside("parts")  # of a scoring that is not finished
    generations = _Inside("generations.jsonl")
    rollouts = _Inside("rollouts.jsonl")  # what was sampled while it was trained
    scores = _Inside("scores.parquet")
    abilities = _Inside("abilities.parquet")
    scored = _Inside("scored.json")

    def phase(self, name: str) -> StageFolder:
        """Of a phase."""
        return StageFolder(self.path / name)


class RunFolder(_Folder):
    """A run's folder, to be read; ``runs.directory`` writes it."""

    config = _Inside("config.json")
    record = _Inside("record.json")
    log_file = _Inside("log.jsonl")
    lock = _Inside(".lock")
    holder = _Inside("holder.json")
    attempts_file = _Inside("attempts.json")
    threads_file = _Inside("threads.json")
    abilities_file = _Inside("abilities.json")
    clock_file = _Inside("clock.json")
    places_file = _Inside("places.json")

    def stage(self, index: int) -> StageFolder:
        """Of a stage."""
        return StageFolder(self.path / f"stage-{index}")

    def stages(self) -> Iterator[StageFolder]:
        """Of those that were begun."""
        return map(StageFolder, self.path.glob("stage-*"))

    def began_with(self) -> dict[str, Any]:
        """The settings of the run; empty where there is none that can be read."""
        return read_mapping(self.config, "config")

    def fixed(self) -> dict[str, Any]:
        """What beside its settings must not change between two attempts; empty where that cannot be read."""
        return read_mapping(self.config, "fixed")

    def places(self) -> dict[str, Any]:
        """Where the data, the users' own cards and the opponents of the run lay; empty where that is not written
        down."""
        return read_mapping(self.places_file)


def read_mapping(file: Path, *keys: str) -> dict[str, Any]:
    """A JSON object, or one in it; empty where there is none that can be read."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        for key in keys:
            content = content[key]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return content if isinstance(content, dict) else {}


def record_file(path: Path) -> Path:
    """The record that is meant by a file or by the folder of its run."""
    return RunFolder(path).record if path.is_dir() else path


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


def read_prompts(folder: Path) -> dict[str, dict[str, list[dict[str, str]]]]:
    """Task to pair id to the messages (``role``, ``content``) that were answered; empty where none is kept.

    Raises:
        BenchError: the file is damaged.
    """
    found: dict[str, dict[str, list[dict[str, str]]]] = {}
    for line in _lines(folder):
        if line["prompt"]:
            found.setdefault(line["task"], {})[line["pair_id"]] = line["prompt"]
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
    file = StageFolder(folder).generations
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
                "prompt": [{key: str(said[key]) for key in ("role", "content")} for said in line.get("prompt") or ()],
                # A run of before they were kept has none: its responses are generated again.
                "token_ids": line.get("token_ids"),
            }
            for line in lines
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise BenchError(f"{file} is damaged: {error}.", "Run the same command again to rebuild it.") from error


def write_marker(marker: Path, files: Iterable[Path], content: Mapping[str, Any]) -> None:
    """Declare ``files`` below the marker's folder finished: their hashes and ``content`` go into it."""
    hashes = {path.relative_to(marker.parent).as_posix(): sha256_file(path) for path in sorted(files)}
    write_json(marker, {"files": hashes, **content})


def read_marker(path: Path, notice: Notice) -> dict[str, Any] | None:
    """A marker's content, or None where there is none or its files are not what it says (which is told)."""
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        hashes: dict[str, str] = content["files"]
    except (ValueError, KeyError, TypeError) as error:
        notice(f"{path} is damaged ({error}); that part is done again.")
        return None
    for key, expected in hashes.items():
        file = path.parent / key
        if not file.is_file() or sha256_file(file) != expected:
            notice(f"{file} is missing or damaged (its hash is not the one written down); that part is done again.")
            return None
    return content
