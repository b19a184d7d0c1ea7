"""What a method that mixes pairs in will train on, before it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, cast

import torch
from peft import PeftModel

from lifealign_bench.config import RunConfig
from lifealign_bench.method import Method, Phase, Response, Stage
from lifealign_bench.pairs import Pair
from lifealign_bench.training.phases import phases_of
from lifealign_bench.util.seeds import derive_seed

# Stage and phase to the pairs that are trained on: task, and place among its training pairs.
Mixes = Mapping[tuple[int, Phase], Sequence[tuple[str, int]]]


def mixes_in(method: Method) -> bool:
    """Whether a method chooses what it trains on."""
    return type(method).training_pairs is not Method.training_pairs


def foreseen_mixes(config: RunConfig, method: Method, counts: Mapping[str, int]) -> Mixes | None:
    """The pairs of every phase of every stage.

    A method that mixes some in goes through the run's stages without a model, as a new instance with the run's own
    generators. Its pairs have ids and tasks and no text, and the model says 0 of each: where a method chooses by these,
    how many pairs it takes is foreseen and not which. In a process that trains, for methods alone that keep nothing
    outside of their instances: it would be kept twice.

    Args:
        counts: training pairs of each task, in the stream's order.

    Returns:
        None where the method mixes none in, or cannot do without a model or a text.
    """
    if not mixes_in(method):
        return None
    train = {task: [Pair(f"{task}/train/{i}", task, (), "", "") for i in range(n)] for task, n in counts.items()}
    places = {pair.id: (task, i) for task, pairs in train.items() for i, pair in enumerate(pairs)}
    plan = method.plan(list(counts))
    phases = phases_of(config, method)
    fresh = type(method)(method.config)
    model = cast(PeftModel, torch.nn.Module())
    mixes: dict[tuple[int, Phase], Sequence[tuple[str, int]]] = {}
    for index in range(1, len(plan) + 1):
        for phase in phases:
            stage = _stage(config, train, plan, index, phase.name, final=phase == phases[-1])
            try:
                fresh.before_stage(stage, model)
                mixed = fresh.training_pairs(stage, stage.pairs)
                fresh.after_stage(stage, model)
                mixes[index, phase.name] = [places[pair.id] for pair in mixed]
            except Exception:  # noqa: BLE001 - a stranger's code that wants what is not there: nothing is foreseen
                return None
    return mixes


def _stage(
    config: RunConfig,
    train: Mapping[str, Sequence[Pair]],
    plan: Sequence[tuple[str, ...]],
    index: int,
    phase: Phase,
    final: bool,
) -> Stage:
    """A stage as the run has it, but for what needs a model."""
    everything = {pair.id: pair for pairs in train.values() for pair in pairs}
    known: dict[str, Any] = {
        "index": index,
        "count": len(plan),
        "phase": phase,
        "final": final,
        "tasks": plan[index - 1],
        "pairs": tuple(pair for task in plan[index - 1] for pair in train[task]),
        "generator": torch.Generator().manual_seed(derive_seed(config.seed, "stage", index, phase)),
        "find_pairs": lambda ids: [everything[i] for i in ids],
        # What a buffer keeps beside ids, a model that says nothing of any pair can give; texts have no tokens.
        "log_probs": lambda model, pairs: torch.zeros(len(pairs), 2),
        "response_log_probs": lambda model, pairs: [(torch.zeros(0), torch.zeros(0)) for _ in pairs],
        "references": lambda pairs: torch.zeros(len(pairs), 2),
        "margins": lambda model, pairs: torch.zeros(len(pairs)),
        "losses": lambda model, pairs: torch.zeros(len(pairs)),
        "sample": lambda model, pairs, n, temperature, top_p: [(Response((0,)),) * n for _ in pairs],
        "reward": lambda pairs, responses: [(0.0,) * len(group) for group in responses],
        "demonstrations": lambda pairs: [Response((0,)) for _ in pairs],
        "longest": config.generation.max_new_tokens,
    }
    absent: dict[str, Any] = {field.name: _without_model for field in fields(Stage) if field.name not in known}
    return Stage(**known, **absent)


def _without_model(*args: object) -> Any:
    raise NotImplementedError("there is no model in a plan")
