"""Who decides a contest: the task's checking function, a reward model, or a judge that answers in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lifealign_bench.data.cards import TaskCard
from lifealign_bench.data.rewards import load_reward
from lifealign_bench.scoring.judging.judge import LOSS, TIE, WIN, Contest, Verdict

if TYPE_CHECKING:
    from lifealign_bench.results.statistics import Array
    from lifealign_bench.scoring.rewardmodel.model import RewardModel

__all__ = ["CheckReferee", "RewardReferee"]


class CheckReferee:
    """The task's own checking function: the response with the higher reward wins, equal rewards are a tie."""

    name = "check"
    sees_order = False

    def decides(self, card: TaskCard) -> bool:
        """Whether the card names a function."""
        return card.reward is not None

    def decide(self, card: TaskCard, contests: Sequence[Contest]) -> tuple[list[Verdict], dict[str, Any]]:
        """See :class:`Referee`; costs nothing."""
        if card.reward is None:
            raise ValueError(f"{card.name} has no checking function")
        function = load_reward(card.reward, card.home)
        found = [(function(c.ours, dict(c.check)), function(c.theirs, dict(c.check))) for c in contests]
        return [_by_number(ours, theirs) for ours, theirs in found], {}

    def facts(self) -> dict[str, Any]:
        """Nothing beyond the name: the functions are part of the tasks."""
        return {}


class RewardReferee:
    """A reward model: the response with the higher score wins; equal scores are a tie, one that is none is unusable."""

    name = "reward"
    sees_order = False

    def __init__(self, model: RewardModel) -> None:
        self._model = model

    def decides(self, card: TaskCard) -> bool:
        """Any task."""
        return True

    def decide(self, card: TaskCard, contests: Sequence[Contest]) -> tuple[list[Verdict], dict[str, Any]]:
        """See :class:`Referee`; all responses are scored in one call."""
        dialogues = [(c.prompt, text) for c in contests for text in (c.ours, c.theirs)]
        scores: Array = self._model.rewards(dialogues).reshape(-1, 2)
        return [_by_number(float(ours), float(theirs)) for ours, theirs in scores], {}

    def facts(self) -> dict[str, Any]:
        """The reward model's."""
        return {"reward_model": {**self._model.facts(), "name": self._model.name}}


def _by_number(ours: float, theirs: float) -> Verdict:
    if math.isnan(ours) or math.isnan(theirs):
        return Verdict.both(None)
    return Verdict.both(WIN if ours > theirs else LOSS if ours < theirs else TIE)
