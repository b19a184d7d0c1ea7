"""Measuring the abilities after a stage: one row an item, kept ability by ability until the stage is scored."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from lifealign_bench.models.speaker import Speaker
from lifealign_bench.scoring.abilities.ability import Ability
from lifealign_bench.scoring.abilities.measure import measure, measure_base
from lifealign_bench.scoring.parts import keep_part
from lifealign_bench.util.distributed import is_main
from lifealign_bench.util.files import atomic_path

__all__ = ["ABILITIES", "measure_stage", "measured_names"]

ABILITIES = "abilities.parquet"


def measured_names(folder: Path) -> set[str]:
    """The abilities that a stage's folder has values of."""
    file = folder / ABILITIES
    return set(pd.read_parquet(file, columns=["ability"])["ability"].unique()) if file.is_file() else set()


def measure_stage(
    speaker: Speaker,
    tests: Sequence[Ability],
    stage: int,
    folder: Path,
    weights: str,
    stopped: Callable[[], bool],
    adding: bool = False,
) -> tuple[float, int]:
    """Measure the model as it is and write ``abilities.parquet`` into ``folder``.

    Args:
        weights: names the weights that are measured; parts of other weights are not used.
        adding: to the abilities that the file holds already.

    Returns:
        Seconds, and tokens that went through the model.

    Raises:
        Interrupted: the user asked to stop; the abilities that are done are kept.
        BenchError: see :func:`lifealign_bench.scoring.abilities.measure.measure`.
    """
    frames = []
    seconds, tokens = 0.0, 0
    present = measured_names(folder) if adding else set()
    for ability in tests:
        if ability.name in present:
            continue
        name = hashlib.sha256(f"{ability.name} {ability.digest}".encode()).hexdigest()[:16]
        kept = keep_part(folder, f"ability-{name}", weights, stage, stopped, partial(_ask, speaker, stage, ability))
        seconds += kept["seconds"]
        tokens += kept["tokens"]
        frames.append(
            pd.DataFrame(
                {"ability": ability.name, "item": list(ability.ids), "metric": ability.metric, "value": kept["values"]}
            )
        )
    if is_main() and frames:
        if present:
            frames.insert(0, pd.read_parquet(folder / ABILITIES))
        with atomic_path(folder / ABILITIES) as temporary:
            pd.concat(frames, ignore_index=True).to_parquet(temporary, index=False)
    return seconds, tokens


def _ask(speaker: Speaker, stage: int, ability: Ability) -> dict[str, Any]:
    speaker.progress.phase_started(stage, "ability", (ability.name,), 0)
    # Stage 0 is the untouched base model, whatever the method: nothing of it is computed twice.
    values, tokens = measure_base(speaker, ability) if stage == 0 else measure(speaker, ability)
    return {"values": values.tolist(), "tokens": tokens}
