"""The tasks' own checking functions: the response with the higher reward wins, equal rewards are a tie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lifealign_bench.config import RunConfig
from lifealign_bench.data.cards import TaskCard, load_task
from lifealign_bench.data.rewards import load_reward
from lifealign_bench.errors import UsageError
from lifealign_bench.scoring.judging.judge import Contest, Judge, Verdict


class CheckJudge(Judge):
    """Costs nothing, and has nothing to say beyond its name: the functions are part of the tasks."""

    @classmethod
    def check(cls, config: RunConfig, model: str) -> None:
        """Some task has a function.

        Raises:
            UsageError: none has.
        """
        if not any(load_task(str(config.task_cards.get(n, n))).reward for n in config.tasks):
            raise UsageError(
                f"--judge check: no task of the stream {config.stream!r} has a checking function.",
                "Use another judge: reward (with --reward), server:MODEL or local:MODEL.",
            )

    def decides(self, card: TaskCard) -> bool:
        """Whether the card names a function."""
        return card.reward is not None

    def decide(self, card: TaskCard, contests: Sequence[Contest]) -> tuple[list[Verdict], dict[str, Any]]:
        """See :class:`Judge`."""
        if card.reward is None:
            raise ValueError(f"{card.name} has no checking function")
        function = load_reward(card.reward, card.home)
        found = [(function(c.ours, dict(c.check)), function(c.theirs, dict(c.check))) for c in contests]
        return [Verdict.by_number(ours, theirs) for ours, theirs in found], {}
