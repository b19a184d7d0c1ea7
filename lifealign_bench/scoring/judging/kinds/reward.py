"""The reward model of --reward: the response with the higher score wins, equal scores are a tie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lifealign_bench.config import RunConfig
from lifealign_bench.data.cards import TaskCard
from lifealign_bench.errors import UsageError
from lifealign_bench.scoring.judging.judge import Contest, Judge, JudgeContext, Verdict
from lifealign_bench.scoring.rewardmodel.model import TRAINED

if TYPE_CHECKING:
    from lifealign_bench.results.statistics import Array
    from lifealign_bench.scoring.rewardmodel.model import RewardModel


class RewardJudge(Judge):
    """A score that is no number makes a contest unusable."""

    def __init__(self, model: RewardModel) -> None:
        self._model = model

    @classmethod
    def check(cls, config: RunConfig, model: str) -> None:
        """There is a reward model.

        Raises:
            UsageError: there is none.
        """
        if config.reward_model is None:
            raise UsageError("--judge reward needs a reward model.", "Name one with --reward, e.g. --reward trained.")

    @classmethod
    def make(cls, model: str, context: JudgeContext) -> RewardJudge:
        """With the reward model that scorers share."""
        return cls(context.reward_model())

    @classmethod
    def models(cls, config: RunConfig, model: str) -> tuple[str, ...]:
        """The reward model."""
        return (config.reward_model or TRAINED,)

    def decide(self, card: TaskCard, contests: Sequence[Contest]) -> tuple[list[Verdict], dict[str, Any]]:
        """See :class:`Judge`; all responses are scored in one call."""
        dialogues = [(c.prompt, text) for c in contests for text in (c.ours, c.theirs)]
        scores: Array = self._model.rewards(dialogues, [card.name] * len(dialogues)).reshape(-1, 2)
        return [Verdict.by_number(float(ours), float(theirs)) for ours, theirs in scores], {}

    def facts(self) -> dict[str, Any]:
        """The reward model's."""
        return {"reward_model": {**self._model.facts(), "name": self._model.name}}
