"""The responses that a stage left in its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lifealign_bench.errors import BenchError

__all__ = ["GENERATIONS", "StageResponses", "read_all_responses", "read_responses", "read_token_ids"]

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
