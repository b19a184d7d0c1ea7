"""Rewards of a reward model never stand without its accuracy, and not as if they meant much where it is weak."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lifealign_bench.reporting.tables.files import run_summary
from lifealign_bench.reporting.tables.grid import to_markdown
from lifealign_bench.reporting.tables.run import matrix_grid, record_grids
from lifealign_bench.reporting.tables.scores import reward_grid
from lifealign_bench.results.record import Record, ScorerFacts, reward_model_of, weak_tasks
from lifealign_bench.results.view import RunView
from tests.places import V1


def yardstick(accuracy: float | None, **more: Any) -> dict[str, Any]:
    values = {"accuracy_error": 4.0, "chosen": 1.5, "chosen_error": 0.25, "rejected": -1.0, "rejected_error": None}
    return {"n": 8, "accuracy": accuracy, **values, "ties": 0, "cut": 0, **more}


def view_of(accuracies: list[float | None], **model: Any) -> RunView:
    """The oldest record with rewards of a reward model added to it."""
    content = json.loads(V1.read_text(encoding="utf-8"))
    content["schema_version"] = Record.model_fields["schema_version"].default
    tasks = list(content["data"])
    size = len(content["scores"]["preference_accuracy"]["value"])
    values = [[0.5 + row + j / 4 for j in range(len(tasks))] for row in range(size)]
    content["scores"]["model_reward"] = {
        "percent": False,
        "unit": "points",
        "value": values,
        "standard_error": [[0.125] * len(tasks)] * size,
        "n": [[8] * len(tasks)] * size,
    }
    said = {task: yardstick(accuracy) for task, accuracy in zip(tasks, accuracies, strict=False)}
    content["facts"] = {"reward_model": {"run": {"model": {"name": "rm", **model}, "tasks": said}, "stages": {}}}
    return RunView(Record.model_validate(content))


def test_below_sixty_percent_a_task_is_marked(tmp_path: Path) -> None:
    tasks = view_of([]).tasks
    count = len(tasks)
    view = view_of([60.0, 59.9, None, *[90.0] * (count - 3)][:count])
    weak = set(tasks[1:3])
    assert weak_tasks(view.record) == weak
    grid = matrix_grid(view, "model_reward")
    assert grid.title == "Model reward (points) after every stage, on every task"
    assert [head.endswith(" (!)") for head in grid.heads[1:]] == [task in weak for task in tasks]
    notes = " ".join(grid.notes)
    assert f"{tasks[0]} 60.0 %, {tasks[1]} 59.9 %" in notes and "fewer than 60 %" in notes
    assert all("(!)" not in head for head in matrix_grid(view, "preference_accuracy").heads)
    record = view.record
    judged = {**record.scores, "judged_win_rate_base": record.scores["preference_accuracy"]}
    by = {
        judge: record.model_copy(update={"scores": judged, "config": record.config | {"judge": judge}})
        for judge in ("reward", "check")
    }
    heads = {judge: matrix_grid(RunView(one), "judged_win_rate_base").heads for judge, one in by.items()}
    assert heads["reward"] == grid.heads and heads["check"] == ("after stage", *tasks)
    strong = view_of([75.0] * count)
    assert weak_tasks(strong.record) == frozenset()
    shown = "".join(to_markdown(g) for g in record_grids(strong))
    assert "(!)" not in shown and "75.0 %" in shown


def test_the_table_of_the_reward_model() -> None:
    view = view_of([62.5, 50.0, 80.0, 80.0, 80.0], trained=True, pairs=320)
    grid = reward_grid(view)
    assert grid is not None
    assert grid.heads == ("task", "test pairs", "accuracy %", "chosen", "rejected", "base", "final")
    last = view.rows[-1].row
    first = (view.tasks[0], "8", "62.5 ±4.0", "1.50 ±0.25", "-1.00", "0.50 ±0.12", f"{0.5 + last:.2f} ±0.12")
    assert grid.rows[0] == first
    assert grid.rows[1][2] == "50.0 ±4.0 (!)"
    assert any("320 training pairs" in note for note in grid.notes)
    assert not any("training pairs" in note for note in (reward_grid(view_of([62.5])) or grid).notes)


def test_cut_texts_are_told() -> None:
    view = view_of([70.0] * 5)
    run = view.record.facts["reward_model"].run
    run["tasks"][view.tasks[0]]["cut"] = 3
    grid = reward_grid(view)
    assert grid is not None and any(note.startswith("3 of the test pairs' responses") for note in grid.notes)


def test_a_summary_has_it_for_programs() -> None:
    view = view_of([62.5] * 5, fingerprint="f")
    summary = run_summary(view)
    assert summary["reward_model"]["tasks"][view.tasks[0]]["accuracy"] == 62.5
    assert summary["reward_model"]["model"]["name"] == "rm" and reward_model_of(view.record) == "f"


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"reward_model": ScorerFacts()},
        {"reward_model": ScorerFacts(run={"model": "x", "tasks": ["a"]})},
        {"reward_model": ScorerFacts(run={"tasks": {"mini-facts": "good"}})},
    ],
)
def test_a_record_without_or_with_strange_facts_shows_no_table(facts: dict[str, ScorerFacts]) -> None:
    view = RunView(view_of([]).record.model_copy(update={"facts": facts}))
    assert reward_grid(view) is None and run_summary(view)["reward_model"] is None
    assert record_grids(view) and reward_model_of(view.record) is None
