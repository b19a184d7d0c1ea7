"""Measuring an ability of the session's model as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lifealign_bench.abilities.ability import Ability, prepare
from lifealign_bench.abilities.inside import quiet_and_safe
from lifealign_bench.abilities.lm import BenchLM, Ids, Voice
from lifealign_bench.encode import EncodedPair
from lifealign_bench.errors import BenchError
from lifealign_bench.generate import StopTexts, generate, stop_ids
from lifealign_bench.scorers.array import Array

if TYPE_CHECKING:
    from lifealign_bench.session import Session

__all__ = ["measure"]

_CONTEXT = 2048  # tokens, of a model that does not say


def measure(session: Session, ability: Ability) -> tuple[Array, int]:
    """The metric of every item, in the order of ``ability.ids``, and the tokens that went through the model.

    The model is asked with plain text, without its chat template, which is how lm-eval's tasks are written. Nothing is
    changed on the model, and no global random generator is used.

    Raises:
        BenchError: the model gives no numbers, or an item's value is none between 0 and 1.
    """
    from lm_eval.evaluator import evaluate

    values: list[float] = []
    tokens = 0
    with quiet_and_safe(session.config.trust_remote_code), torch.no_grad():
        for task in ability.tasks:
            prepare(task)
            lm = BenchLM(_voice(session), _wants_greedy(task))
            # Never lm-eval's cache: it does not look at the weights.
            found: Any = evaluate(lm=lm, task_dict={"tasks": {task.task_name: task}}, bootstrap_iters=0)
            values += _item_values(ability, task, found["samples"][task.task_name])
            tokens += lm.tokens
            task._instances = None  # the requests hold the answers; they are built anew
    if len(values) != len(ability.ids):
        raise RuntimeError(f"{ability.name} has {len(ability.ids)} items and {len(values)} values")
    return np.array(values, dtype=float), tokens


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


def _voice(session: Session) -> Voice:
    def respond(prompts: Sequence[Ids], most: int, stops: Sequence[tuple[str, ...]] | None) -> list[list[int]]:
        ends = frozenset[int]() if stops is None else stop_ids(session.base.model, session.base.tokenizer)
        return generate(
            session.model,
            prompts,
            max_new_tokens=most,
            batch_size=session.config.generation.generation_batch_size,
            stop=ends,
            pad_id=session.pad_id,
            device=session.device,
            stop_texts=StopTexts(stops, session.base.tokenizer.decode) if stops and any(stops) else None,
            whole=session.layout == "whole",
        )

    def score(pairs: Sequence[EncodedPair]) -> torch.Tensor:
        return session.score(pairs)

    context = getattr(session.base.model.config.get_text_config(), "max_position_embeddings", None) or _CONTEXT
    return Voice(session.base.tokenizer, int(context) - session.method.added_tokens(), score, respond)
