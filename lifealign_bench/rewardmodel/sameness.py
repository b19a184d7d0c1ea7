"""A run is scored by one reward model from its first stage to its last."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

from lifealign_bench.errors import BenchError
from lifealign_bench.scoring.rewardmodel.model import TRAINED, RewardModel
from lifealign_bench.util.files import write_json

__all__ = ["FILE", "require_same"]

FILE = "reward-model.json"


def require_same(folder: Path, model: RewardModel, notice: Callable[[str], None]) -> None:
    """Write down which reward model a run has; where it goes on, compare.

    The configuration holds its name alone, and what is behind a name can change. A trained one is determined by the
    configuration and the data but for rounding (threads, processor, versions), so that another one is only told.

    Args:
        folder: the run's.

    Raises:
        BenchError: the run began with another one.
    """
    mark = model.facts().get("fingerprint")
    path = folder / FILE
    began: object = None
    with contextlib.suppress(OSError, ValueError):
        said = json.loads(path.read_text(encoding="utf-8"))
        began = said.get("fingerprint") if isinstance(said, dict) else None
    if began is None:
        write_json(path, {"name": model.name, "fingerprint": mark})
    elif began != mark and model.name == TRAINED:
        notice(
            "The run began with a reward model that was trained on another processor, with other threads or by other "
            "versions of lifealign-bench and its libraries: the rewards of earlier stages are not quite comparable."
        )
    elif began != mark:
        raise BenchError(
            f"The run in {folder} began with another reward model {model.name!r}: its weights are not the same.",
            "Bring the old ones back, or use another --out.",
        )
