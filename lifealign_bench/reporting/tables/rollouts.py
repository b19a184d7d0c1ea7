"""What a method tried while it was trained, and what it got for it: counts of every stage, and how the reward went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lifealign_bench.reporting.tables.grid import Grid
from lifealign_bench.results.rollouts import Rollout
from lifealign_bench.results.view import RunView, StageRow
from lifealign_bench.util.text import DASH, number


def rollout_grid(view: RunView, said: Mapping[int, Sequence[Rollout]]) -> Grid | None:
    """Counts of every stage that sampled; None where none did.

    Args:
        said: stage to what was sampled in it; where it is not available, the first and last rewards are left out.
    """
    rows = []
    for stage in view.record.stages:
        counts = stage.rollouts
        if not counts:
            continue
        label = StageRow(stage.index, stage.index, tuple(stage.tasks)).label
        first, last = _ends(said.get(stage.index, ()))
        responses = counts.get("responses") or 0
        ended = 100 * (1 - (counts.get("cut") or 0) / responses) if responses else None
        rows.append(
            (
                label,
                *(number(counts.get(name), 0) for name in ("groups", "responses", "tokens")),
                DASH if ended is None else f"{ended:.0f} %",
                *(number(value, 3) for value in (counts.get("reward"), first, last)),
                number(counts.get("constant"), 0) if counts.get("rewarded") else DASH,
            )
        )
    if not rows:
        return None
    return Grid(
        "Rollouts: what the model tried in training",
        ("stage", "prompts", "responses", "tokens", "ended", "reward", "first quarter", "last quarter", "constant"),
        tuple(rows),
        (
            "reward: mean of all, and of the first and the last quarter of the responses. constant: prompts whose "
            "responses were all worth the same. --rollouts with --task shows the responses.",
        ),
    )


def _ends(said: Sequence[Rollout]) -> tuple[float | None, float | None]:
    rewards = [one.reward for one in sorted(said, key=lambda one: one.step) if one.reward is not None]
    size = len(rewards) // 4
    return (sum(rewards[:size]) / size, sum(rewards[-size:]) / size) if size else (None, None)
