"""What a run's reward model says, and how far it is to be believed, as a table."""

from __future__ import annotations

import math
from typing import Any

from lifealign_bench.record import Record
from lifealign_bench.reporting.tables.grid import Cell, Grid
from lifealign_bench.rewardfacts import MODEL_REWARD, WEAK, by_reward_model, reward_model_facts, value_of, weak_tasks
from lifealign_bench.runview import RunView
from lifealign_bench.util.text import number, with_error

__all__ = ["MARK", "reward_grid", "score_heads", "score_note"]

MARK = "(!)"


def score_note(view: RunView, score: str) -> tuple[str, ...]:
    """How good the reward model is, below every table of what it says; empty for other scores."""
    _, tasks = reward_model_facts(view.record)
    if not tasks or not by_reward_model(view.record, score):
        return ()
    accuracy = ", ".join(f"{task} {number(value_of(tasks.get(task, {}), 'accuracy'))} %" for task in view.tasks)
    return (f"Accuracy of the reward model on the test pairs: {accuracy}.", *_weak_note(view.record))


def _weak_note(record: Record) -> tuple[str, ...]:
    if not weak_tasks(record):
        return ()
    return (
        f"{MARK}: the reward model is right on fewer than {WEAK:.0f} % of this task's test pairs (chance is 50 %): its "
        "rewards there say little.",
    )


def score_heads(view: RunView, score: str) -> tuple[str, ...]:
    """The tasks as column headings; those on which a reward model is weak are marked where it speaks."""
    weak = weak_tasks(view.record) if by_reward_model(view.record, score) else frozenset()
    return tuple(f"{task} {MARK}" if task in weak else task for task in view.tasks)


def reward_grid(view: RunView) -> Grid | None:
    """Task by task: how often the reward model is right, and its mean rewards; None in a run without one."""
    model, tasks = reward_model_facts(view.record)
    if not tasks:
        return None
    matrix = view.record.scores.get(MODEL_REWARD)
    last = view.rows[-1].row
    rows: list[tuple[Cell | str, ...]] = []
    for j, task in enumerate(view.tasks):
        said = tasks.get(task, {})
        accuracy = _shown(said, "accuracy", 1)
        if task in weak_tasks(view.record):
            accuracy += f" {MARK}"
        responses = []
        for row in dict.fromkeys((0, last)):
            value = matrix.array()[row, j] if matrix is not None else math.nan
            error = matrix.errors()[row, j] if matrix is not None else math.nan
            responses.append(with_error(float(value), float(error), 2))
        yardsticks = (_shown(said, "chosen", 2), _shown(said, "rejected", 2))
        rows.append((task, number(value_of(said, "n"), 0), accuracy, *yardsticks, *responses))
    final = "final" if view.complete else "so far"
    heads = ("task", "test pairs", "accuracy %", "chosen", "rejected", "base", *([final] if last else []))
    return Grid(
        f"The reward model ({model.get('name', '')}): accuracy on the test pairs, and mean rewards",
        heads,
        tuple(rows),
        tuple(_notes(view.record, model, tasks)),
    )


def _notes(record: Record, model: dict[str, Any], tasks: dict[str, dict[str, Any]]) -> list[str]:
    notes = [
        "accuracy: test pairs whose chosen response has the higher reward, a tie counts half; chosen, rejected: of the "
        "data's responses; base, final: of the model's greedy responses. ± is one standard error.",
        *_weak_note(record),
    ]
    if model.get("trained"):
        notes.append(
            f"The reward model was trained on the stream's {number(value_of(model, 'pairs'), 0)} training pairs, which "
            "the method trains on too: it shares their biases (docs/reward-models.md)."
        )
    cut = sum(int(value_of(said, "cut")) for said in tasks.values() if value_of(said, "cut") > 0)
    if cut:
        notes.append(f"{cut} of the test pairs' responses with their prompts are beyond its cut-off and were cut.")
    return notes


def _shown(said: dict[str, Any], name: str, digits: int) -> str:
    return with_error(value_of(said, name), value_of(said, f"{name}_error"), digits)
