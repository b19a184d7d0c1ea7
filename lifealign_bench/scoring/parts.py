"""The parts of a stage's scoring, kept between interruptions until the stage is scored."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lifealign_bench.errors import Interrupted
from lifealign_bench.results.folder import StageFolder
from lifealign_bench.util.distributed import broadcast, is_main
from lifealign_bench.util.files import write_json


def keep_part(
    folder: Path,
    part: str,
    weights: str,
    stage: int,
    stopped: Callable[[], bool],
    compute: Callable[[], dict[str, Any]],
) -> dict[str, Any]:
    """A part of a stage's scoring that is in ``folder`` already, or that is computed now and kept there.

    Args:
        weights: names the weights that are asked; a part of other weights is not used.

    Returns:
        What ``compute`` gave, as plain JSON values, with the ``seconds`` that it took.

    Raises:
        Interrupted: it is not there, and the user asked to stop.
    """
    file = StageFolder(folder).parts / f"{part}.json"
    found = broadcast(_read(file, weights) if is_main() else None)
    if found is not None:
        return found
    if broadcast(stopped()):
        raise Interrupted(f"Stopped while scoring after stage {stage}; what was scored so far is kept.")
    clock = time.perf_counter()
    found = {"weights": weights, **compute()}
    found["seconds"] = time.perf_counter() - clock
    if is_main():
        write_json(file, found)
    return found


def _read(path: Path, weights: str) -> dict[str, Any] | None:
    try:
        part: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # not there, or damaged by a full disk: it is computed again
    return part if part.get("weights") == weights else None
