"""Measuring the abilities after a stage: one row an item, kept ability by ability until the stage is scored."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from lifealign_bench.abilities.measure import measure
from lifealign_bench.distributed import broadcast, is_main
from lifealign_bench.files import atomic_path, write_json
from lifealign_bench.scoring import read_part, stop_if_asked

if TYPE_CHECKING:
    from lifealign_bench.session import Session

__all__ = ["ABILITIES", "measure_stage"]

ABILITIES = "abilities.parquet"


def measure_stage(
    session: Session, stage: int, folder: Path, weights: str, stopped: Callable[[], bool]
) -> tuple[float, int]:
    """Measure the model as it is and write ``abilities.parquet`` into ``folder``.

    Args:
        weights: names the weights that are measured; parts of other weights are not used.

    Returns:
        Seconds, and tokens that went through the model.

    Raises:
        Interrupted: the user asked to stop; the abilities that are done are kept.
        BenchError: see :func:`lifealign_bench.abilities.measure.measure`.
    """
    frames = []
    seconds, tokens = 0.0, 0
    for ability in session.abilities.tests:
        name = hashlib.sha256(f"{ability.name} {ability.digest}".encode()).hexdigest()[:16]
        part = folder / "parts" / f"ability-{name}.json"
        said = broadcast(read_part(part, weights) if is_main() else None)
        if said is None:
            stop_if_asked(stopped, stage)
            session.progress.phase_started(stage, "ability", (ability.name,), 0)
            clock = time.perf_counter()
            # Stage 0 is the untouched base model, whatever the method: nothing of it is computed twice.
            values, count = session.base_ability(ability) if stage == 0 else measure(session, ability)
            said = {"weights": weights, "values": values.tolist(), "tokens": count}
            said["seconds"] = time.perf_counter() - clock
            if is_main():
                write_json(part, said)
        seconds += said["seconds"]
        tokens += said["tokens"]
        frames.append(
            pd.DataFrame(
                {"ability": ability.name, "item": list(ability.ids), "metric": ability.metric, "value": said["values"]}
            )
        )
    if is_main():
        with atomic_path(folder / ABILITIES) as temporary:
            pd.concat(frames, ignore_index=True).to_parquet(temporary, index=False)
    return seconds, tokens
