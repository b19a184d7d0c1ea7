"""Measuring an ability of a model as it is; of the base model at most once on this machine."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lifealign_bench.abilities.ability import Ability, prepare
from lifealign_bench.abilities.inside import quiet_and_safe
from lifealign_bench.abilities.lm import BenchLM
from lifealign_bench.base import with_versions
from lifealign_bench.cache import load_arrays, store_arrays
from lifealign_bench.errors import BenchError
from lifealign_bench.speaker import Speaker
from lifealign_bench.stats import Array

__all__ = ["measure", "measure_base"]


def measure(speaker: Speaker, ability: Ability) -> tuple[Array, int]:
    """The metric of every item, in the order of ``ability.ids``, and the tokens that went through the model.

    The model is asked with plain text, without its chat template, which is how lm-eval's tasks are written. Nothing is
    changed on the model, and no global random generator is used.

    Raises:
        BenchError: the model gives no numbers, or an item's value is none between 0 and 1.
    """
    from lm_eval.evaluator import evaluate

    values: list[float] = []
    tokens = 0
    with quiet_and_safe(ability.trusted), torch.no_grad():
        for task in ability.tasks:
            prepare(task)
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
    """:func:`measure` of the base model, at most once on this machine."""

    def compute() -> tuple[Array, int]:
        with speaker.model.disable_adapter():
            return measure(speaker, ability)

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
