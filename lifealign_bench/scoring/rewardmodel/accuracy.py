"""How good the reward model of a stream was when it was last measured on this machine, for who asks without a run."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lifealign_bench.config import RunConfig, safe_name
from lifealign_bench.util.files import cache_folder, write_json

FOLDER = "reward-heads"


def keep_accuracy(config: RunConfig, model: Mapping[str, Any], tasks: Mapping[str, Any]) -> None:
    """Write down what was measured in a run; a cache that cannot be written is no reason to stop it.

    Args:
        model: the reward model's facts.
        tasks: task to its measures, see :func:`lifealign_bench.scoring.scorers.reward_model.measure_pairs`.
    """
    limits = {"train_limit": config.train_limit, "test_limit": config.test_limit, "validation": config.validation}
    with contextlib.suppress(OSError):
        write_json(_place(config.stream), {"limits": limits, "model": dict(model), "tasks": dict(tasks)})


def kept_accuracy(stream: str) -> dict[str, Any] | None:
    """What :func:`keep_accuracy` wrote last: ``limits``, ``model`` and ``tasks``; None where there is nothing."""
    with contextlib.suppress(OSError, ValueError):
        said = json.loads(_place(stream).read_text(encoding="utf-8"))
        if isinstance(said, dict) and all(isinstance(said.get(name), dict) for name in ("limits", "model", "tasks")):
            return said
    return None


def _place(stream: str) -> Path:
    return cache_folder() / FOLDER / f"{safe_name(stream)}.json"
