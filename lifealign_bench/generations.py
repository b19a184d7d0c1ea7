"""The responses that a stage left in its folder."""

from __future__ import annotations

import json
from pathlib import Path

from lifealign_bench.errors import BenchError

__all__ = ["GENERATIONS", "read_responses"]

GENERATIONS = "generations.jsonl"


def read_responses(folder: Path, task: str) -> dict[str, str]:
    """Pair id to the response of a task after the stage of a ``folder``; empty where none is kept.

    Raises:
        BenchError: the file is damaged.
    """
    file = folder / GENERATIONS
    if not file.is_file():
        return {}
    try:
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
        return {str(line["pair_id"]): str(line["response"]) for line in lines if line["task"] == task}
    except (ValueError, KeyError, TypeError) as error:
        raise BenchError(f"{file} is damaged: {error}.", "Run the same command again to rebuild it.") from error
