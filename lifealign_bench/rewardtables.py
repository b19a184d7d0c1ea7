"""What a run's reward model says, and how far it is to be believed, as a table."""

from __future__ import annotations

import math
from typing import Any

from lifealign_bench.grid import Cell, Grid, number, with_error
from lifealign_bench.record import Record
from lifealign_bench.rewardmodel.yardsticks import WEAK
from lifealign_bench.runview import RunView

__all__ = ["MARK", "reward_grid", "reward_model_facts", "score_heads", "score_note", "weak_tasks"]

SCORE = "model_reward"
SCORER = "reward_model"
MARK = "(!)"


def reward_model_facts(record: Record) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """What a record says of its reward model, and task to its yardsticks; empty where there is none."""
    found = record.facts.get(SCORER)
    if found is None:
        return {}, {}
    model, tasks = found.run.get("model"), found.run.get("tasks")
    return (
        model if isinstance(model, dict) else {},
        {str(k): v for k, v in tasks.items() if isinstance(v, dict)} if isinstance(tasks, dict) else {},
    )


def weak_tasks(record: Record) -> frozenset[str]:
    """Tasks on whose test pairs the reward model is right too rarely: its rewards there say little."""
    _, tasks = reward_model_facts(record)
    return frozenset(name for name, said in tasks.items() if not _value(said, "accuracy") >= WEAK)


def score_note(view: RunView, score: str) -> tuple[str, ...]:
    """What the mark in :func:`score_heads` means; empty where there is none."""
    return _weak_note(view.record) if score == SCORE else ()


def _weak_note(record: Record) -> tuple[str, ...]:
    if not weak_tasks(record):
        return ()
    return (
        f"{MARK}: the reward model is right on fewer than {WEAK:.0f} % of this task's test pairs (chance is 50 %): its "
        "rewards there say little.",
    )


def score_heads(view: RunView, score: str) -> tuple[str, ...]:
    """The tasks as column headings; those on which a reward model is weak are marked where its scores are shown."""
    weak = weak_tasks(view.record) if score == SCORE else frozenset()
    return tuple(f"{task} {MARK}" if task in weak else task for task in view.tasks)


def reward_grid(view: RunView) -> Grid | None:
    """Task by task: how often the reward model is right, and its mean rewards; None in a run without one."""
    model, tasks = reward_model_facts(view.record)
    if not tasks:
        return None
    matrix = view.record.scores.get(SCORE)
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
        rows.append((task, number(_value(said, "n"), 0), accuracy, *yardsticks, *responses))
    final = "final" if view.complete else "so far"
    heads = ("task", "test pairs", "accuracy %", "chosen", "rejected", "base", *([final] if last else []))
    return Grid(
        f"Reward model {model.get('name', '')}: accuracy on the test pairs, and mean rewards",
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
            f"The reward model was trained on the stream's {number(_value(model, 'pairs'), 0)} training pairs, which "
            "the method trains on too: it shares their biases (docs/reward-models.md)."
        )
    cut = sum(int(_value(said, "cut")) for said in tasks.values() if _value(said, "cut") > 0)
    if cut:
        notes.append(f"{cut} of the test pairs' responses with their prompts are beyond its cut-off and were cut.")
    return notes


def _shown(said: dict[str, Any], name: str, digits: int) -> str:
    return with_error(_value(said, name), _value(said, f"{name}_error"), digits)


def _value(said: dict[str, Any], name: str) -> float:
    """A number of a record; NaN where it is none."""
    value = said.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
