"""What can be known of a search before its first run: that its table cannot be written, or that no run can start."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from lifealign_bench.config import RunConfig
from lifealign_bench.data.tasks import TaskData
from lifealign_bench.errors import UsageError
from lifealign_bench.results.tuning import Tuning

_PATH_BEGINS = (".", "~", os.sep)


def check_search(config: RunConfig, table: Path, there: Tuning | None, data: Mapping[str, TaskData]) -> None:
    """Refuse a search that would train for hours and end in nothing.

    Args:
        config: of its first run.
        table: where its result goes.
        there: the table that is there already.
        data: that the runs will have.

    Raises:
        UsageError: the model's folder is missing, the table or the runs cannot be written, the table has other pairs.
    """
    if config.model.startswith(_PATH_BEGINS) and not Path(config.model).is_dir():
        raise UsageError(f"There is no folder {config.model} with a model.", "Give --model a folder that exists.")
    for place, option in ((table.parent, "--results"), (config.out, "--out")):
        _refuse_unwritable(place, option)
    if there is None:
        return
    pairs = {
        name: {"train": task.hashes()["train"], "validation": task.hashes()["test"]} for name, task in data.items()
    }
    if pairs != there.data:
        raise UsageError(
            f"{table} was made with other pairs.", "Choose with those, or write elsewhere with --results, or delete it."
        )


def _refuse_unwritable(folder: Path, option: str) -> None:
    nearest = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        what = "is no folder" if not nearest.is_dir() else "cannot be written to"
        raise UsageError(f"{nearest} {what}.", f"Give another folder with {option}.")
