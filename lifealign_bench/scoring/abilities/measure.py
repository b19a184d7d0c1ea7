"""Measuring an ability of a model as it is; of the base model at most once on this machine."""

from __future__ import annotations

import hashlib
import importlib.metadata
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from lifealign_bench.errors import BenchError
from lifealign_bench.models.cache import load_arrays, store_arrays
from lifealign_bench.models.speaker import Speaker, with_versions
from lifealign_bench.results.folder import StageFolder
from lifealign_bench.results.pairtable import read_frame
from lifealign_bench.results.record import AbilityRecord, AbilityStage
from lifealign_bench.results.scores import PERCENT
from lifealign_bench.results.statistics import Array, mean_and_se
from lifealign_bench.scoring.abilities.ability import Ability, quiet_and_safe, settle
from lifealign_bench.scoring.parts import keep_part
from lifealign_bench.util.distributed import is_main
from lifealign_bench.util.files import atomic_path


def measure_ability(speaker: Speaker, ability: Ability) -> tuple[Array, int]:
    """The metric of every item, in the order of ``ability.ids``, and the tokens that went through the model.

    The model is asked with plain text, without its chat template, which is how lm-eval's tasks are written. Nothing is
    changed on the model, and no global random generator is used.

    Raises:
        BenchError: the model gives no numbers, or an item's value is none between 0 and 1.
    """
    from lm_eval.evaluator import evaluate

    from lifealign_bench.scoring.abilities.lm import BenchLM

    values: list[float] = []
    tokens = 0
    with quiet_and_safe(ability.trusted), torch.no_grad():
        for task in ability.tasks:
            settle(task)
            lm = BenchLM(speaker, _wants_greedy(task))
            # Never lm-eval's cache: it does not look at the weights.
            found: Any = evaluate(lm=lm, task_dict={"tasks": {task.task_name: task}}, bootstrap_iters=0)
            values += _item_values(ability, task, found["samples"][task.task_name])
            tokens += lm.tokens
            task._instances = None  # the requests hold the answers; they are built anew
    if len(values) != len(ability.ids):
        raise RuntimeError(f"{ability.name} has {len(ability.ids)} items and {len(values)} values")
    return np.array(values, dtype=float), tokens


def measure_base(speaker: Speaker, ability: Ability) -> tuple[Array, int]:
    """:func:`measure_ability` of the base model, at most once on this machine."""

    def compute() -> tuple[Array, int]:
        with speaker.model.disable_adapter():
            return measure_ability(speaker, ability)

    return speaker.once(f"ability {ability.name} {ability.digest}", lambda use: _cached(speaker, ability, use), compute)


def _cached(speaker: Speaker, ability: Ability, compute: Callable[[], tuple[Array, int]]) -> tuple[Array, int]:
    """The value of every item and the tokens that this takes, from the cache or by ``compute``."""
    code = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        code.update(file.read_bytes())
    asked = {"ability": ability.digest, "asking": code.hexdigest(), "lm_eval": importlib.metadata.version("lm_eval")}
    together = {"generation_batch_size": speaker.generation.generation_batch_size}
    key = with_versions({**speaker.determined_by(), **together, **asked})
    notice = speaker.progress.notice
    stored = load_arrays("abilities", key, notice)
    if stored is not None and "tokens" in stored and stored.get("values", np.empty(0)).shape == (len(ability.ids),):
        return stored["values"], int(stored["tokens"][0])
    values, tokens = compute()
    store_arrays("abilities", key, {"values": values, "tokens": np.array([tokens])}, notice)
    return values, tokens


def _item_values(ability: Ability, task: Any, samples: Sequence[dict[str, Any]]) -> list[float]:
    """By item; where a task filters answers in several ways, by the first."""
    first = samples[0]["filter"] if samples else ""
    chosen = sorted((s for s in samples if s["filter"] == first), key=lambda s: int(s["doc_id"]))
    values = []
    for sample in chosen:
        value = sample.get(ability.metric)
        if not isinstance(value, bool | int | float | np.number | np.bool_) or not 0 <= float(value) <= 1:
            raise BenchError(
                f"The ability {ability.name} gives an item of {task.task_name} a value of {ability.metric} that is no "
                "share between 0 and 1.",
                "Leave it out of --ability, or mend the task's process_results.",
            )
        values.append(float(value))
    return values


def _wants_greedy(task: Any) -> bool:
    """Whether what the model would say by itself plays a part; of plain choices only their order does."""
    if task.get_config("output_type") == "loglikelihood":
        return True
    return task.get_config("process_results") is not None or "exact_match" in task.aggregation()


def measured_names(folder: Path) -> set[str]:
    """The abilities that a stage's folder has values of."""
    file = StageFolder(folder).abilities
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
        BenchError: see :func:`lifealign_bench.scoring.abilities.measure.measure_ability`.
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
            frames.insert(0, read_frame(StageFolder(folder).abilities))
        with atomic_path(StageFolder(folder).abilities) as temporary:
            pd.concat(frames, ignore_index=True).to_parquet(temporary, index=False)
    return seconds, tokens


def _ask(speaker: Speaker, stage: int, ability: Ability) -> dict[str, Any]:
    speaker.progress.phase_started(stage, "ability", (ability.name,), 0)
    # Stage 0 is the untouched base model, whatever the method: nothing of it is computed twice.
    values, tokens = measure_base(speaker, ability) if stage == 0 else measure_ability(speaker, ability)
    return {"values": values.tolist(), "tokens": tokens}


def ability_records(tests: Sequence[Ability], frames: Mapping[int, pd.DataFrame]) -> dict[str, AbilityRecord]:
    """What was measured.

    The change of an ability is the mean over its items of (value after the stage - value at stage 0), its standard
    error that of this mean: the items are the same ones, so their difficulty cancels.

    Args:
        frames: stage to its rows (ability, item, value).
    """
    records = {}
    for ability in tests:
        series = {k: f[f["ability"] == ability.name].set_index("item")["value"] for k, f in frames.items()}
        base = series.get(0)
        stages = {}
        for stage, values in sorted(series.items()):
            mean, error = mean_and_se(values.to_numpy(dtype=float))
            change, change_error = math.nan, math.nan
            if stage > 0 and base is not None:
                change, change_error = mean_and_se((values - base.reindex(values.index)).to_numpy(dtype=float))
            stages[str(stage)] = AbilityStage(
                value=_percent(mean),
                standard_error=_percent(error),
                change=_percent(change),
                change_error=_percent(change_error),
            )
        chance = None if ability.chance is None else PERCENT * ability.chance
        records[ability.name] = AbilityRecord(
            metric=ability.metric, items=len(ability.ids), chance=chance, digest=ability.digest, stages=stages
        )
    return records


def _percent(share: float) -> float | None:
    return None if math.isnan(share) else PERCENT * share
