"""The type of weights that ``auto`` means here, and whether runs of it can stand beside those that are there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from lifealign_bench.config import RunConfig
from lifealign_bench.results.folder import RunFolder
from lifealign_bench.util.process import quieten_libraries


def settled(configs: Sequence[RunConfig]) -> list[RunConfig]:
    """``configs`` with the device and type that ``auto`` means here, asked once.

    The type is measured (``probe``); runs that measure beside each other would not all find the same. A run that goes
    on keeps its own.

    Raises:
        UsageError: the device does not exist here.
    """
    resolved: dict[tuple[str, str], tuple[str, str]] = {}
    found = []
    for config in configs:
        began = RunFolder(config.run_directory()).began_with()
        asked = config.device, began.get("dtype", "auto") if config.dtype == "auto" else config.dtype
        if asked not in resolved:
            resolved[asked] = asked if asked[0] == "cpu" and asked[1] != "auto" else _resolve(*asked)
        device, dtype = resolved[asked]
        found.append(config.model_copy(update={"device": device, "dtype": dtype}))
    return found


def told_of_other_types(asked: Sequence[RunConfig], meant: Sequence[RunConfig]) -> list[str]:
    """What the user should know before runs begin that no leaderboard will rank with those beside them.

    Args:
        asked: as the user said it; who names a type has chosen it.
        meant: the same runs, :func:`settled`.
    """
    new = [m for a, m in zip(asked, meant, strict=True) if a.dtype == "auto" and not _types_in([m.run_directory()])]
    own = {config.run_directory().parents[1]: config.dtype for config in new}
    told = []
    for folder, dtype in own.items():
        there = _types_in(file.parent for file in folder.glob("*/*/config.json"))
        if there and dtype not in there:
            told.append(
                f"The runs in {folder} have weights in {' and '.join(there)}; --dtype auto takes {dtype} on this "
                f"machine, and a leaderboard does not rank one with the other. To have them together: "
                f"--dtype {there[0]}."
            )
    return told


def _types_in(runs: Iterable[Path]) -> list[str]:
    types = {str(RunFolder(run).began_with().get("dtype", "")) for run in runs}
    return sorted(types - {"", "auto"})


def _resolve(device: str, dtype: str) -> tuple[str, str]:
    quieten_libraries()
    from lifealign_bench.models.device import resolve_device

    return resolve_device(device, dtype)
