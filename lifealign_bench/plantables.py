"""What a run would do, before it does it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lifealign_bench.grid import Grid, duration, number
from lifealign_bench.methods import effective_settings

if TYPE_CHECKING:
    from lifealign_bench.plan import Plan

__all__ = ["plan_grids", "plan_summary"]


def plan_grids(plan: Plan) -> list[Grid]:
    """The plan's tables: the run, its tasks, its stages."""
    return [_overview(plan), _tasks(plan), _stages(plan)]


def plan_summary(plan: Plan) -> dict[str, Any]:
    """The plan as plain JSON values."""
    return {**asdict(plan), "config": plan.config.model_dump(mode="json"), "directory": str(plan.directory)}


def _overview(plan: Plan) -> Grid:
    config = plan.config
    training = config.training
    trainable = f"{plan.trainable_parameters:,} of {plan.parameters:,} parameters"
    rows = [
        ("method", config.method),
        ("stream", f"{config.stream} ({len(plan.tasks)} tasks)"),
        ("model", f"{config.model} ({trainable} trained)"),
        ("seed", str(config.seed)),
        ("device", f"{config.device}, {config.dtype}, layout {plan.layout}"),
        (
            "training",
            f"learning rate {training.learning_rate:g}, {training.epochs} epochs, {training.batch_size} pairs a step, "
            f"cut-off {training.max_length} tokens, beta {training.beta:g}",
        ),
        (
            "tokens",
            f"{plan.train_tokens:,} trained, {plan.score_tokens:,} scored, at most "
            f"{plan.generated_tokens_at_most:,} generated",
        ),
        ("memory", f"about {number(plan.memory_bytes / 2**30)} GiB"),
        ("time", f"about {duration(plan.seconds)}"),
        ("writes to", str(plan.directory)),
    ]
    effective = effective_settings(config.method, config.method_settings)
    if effective:
        settings = ", ".join(f"{key} {value}" for key, value in effective.items())
        rows.insert(1, ("method's settings", settings))
    return Grid("Plan", ("what", "value"), tuple(rows), plan.notices, prose=(1,))


def _tasks(plan: Plan) -> Grid:
    rows = []
    notes = []
    for task in plan.tasks:
        rows.append(
            (
                task.name,
                number(task.train_pairs, 0),
                number(task.test_pairs, 0),
                number(sum(task.dropped.values()), 0),
                number(task.shortened, 0),
                number(task.cut, 0),
                number(task.tokens_per_pair),
                number(task.overlap, 0),
            )
        )
        if task.dropped:
            reasons = ", ".join(f"{count} {reason}" for reason, count in task.dropped.items())
            notes.append(f"{task.name} dropped: {reasons}.")
    notes.append(
        "train, test: pairs that are used; shortened: prompts beyond the cut-off; cut: pairs with a cut response; "
        "in train: test prompts that are also training prompts."
    )
    heads = ("task", "train", "test", "dropped", "shortened", "cut", "tokens a pair")
    return Grid("Data", (*heads, "in train"), tuple(rows), tuple(notes))


def _stages(plan: Plan) -> Grid:
    rows = [
        (
            f"{stage.index} {', '.join(stage.tasks)}",
            number(stage.pairs, 0),
            number(stage.steps, 0),
            number(stage.tokens, 0),
        )
        for stage in plan.stages
    ]
    notes = ("Pairs that a method replays are chosen while it runs, and not counted here.",)
    return Grid("Stages", ("stage", "pairs", "steps", "tokens"), tuple(rows), notes)
