"""Who decides a contest: the task's checking function, a reward model, or a judge that answers in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from lifealign_bench.config import RunConfig
from lifealign_bench.data.cards import TaskCard, load_task
from lifealign_bench.data.rewards import REWARD_FUNCTIONS
from lifealign_bench.errors import UsageError
from lifealign_bench.judging.names import judge_name
from lifealign_bench.scoring.judging import check_judge
from lifealign_bench.scoring.judging.judge import Judge
from lifealign_bench.scoring.judging.worded import WordsReferee
from lifealign_bench.scoring.winrate.contest import LOSS, TIE, WIN, Contest, Verdict

if TYPE_CHECKING:
    from lifealign_bench.results.statistics import Array
    from lifealign_bench.scoring.rewardmodel.model import RewardModel

__all__ = ["CheckReferee", "Referee", "RewardReferee", "check_referee", "make_referee"]


class Referee(Protocol):
    """Decides contests."""

    @property
    def name(self) -> str:
        """As ``--judge`` names it."""
        ...

    @property
    def sees_order(self) -> bool:
        """Whether it is shown both responses together, so that their order may sway it."""
        ...

    def decides(self, card: TaskCard) -> bool:
        """Whether it can decide contests of this task."""
        ...

    def decide(self, card: TaskCard, contests: Sequence[Contest]) -> tuple[list[Verdict], dict[str, Any]]:
        """A verdict for each contest, in their order; and what it cost, for the record.

        Raises:
            BenchError: it cannot go on.
        """
        ...

    def facts(self) -> dict[str, Any]:
        """For the record: which judge, its settings. No text."""
        ...


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
        function = REWARD_FUNCTIONS[card.reward]
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


def check_referee(config: RunConfig) -> None:
    """Refuse a judge that cannot be, before anything is loaded.

    Raises:
        UsageError: none is named, or an unknown one; it lacks a reward model; no task has a checking function; a judge
            in words cannot work.
    """
    if config.judge is None:
        raise UsageError(
            "The scorer 'win' needs a judge.",
            "Name one: --judge check (the tasks' own functions), reward (with --reward), server:MODEL or local:MODEL.",
        )
    name = judge_name(config.judge)
    if name.in_words:
        check_judge(config)
    elif name.kind == "reward" and config.reward_model is None:
        raise UsageError("--judge reward needs a reward model.", "Name one with --reward, e.g. --reward trained.")
    elif name.kind == "check" and not any(load_task(str(config.task_cards.get(n, n))).reward for n in config.tasks):
        raise UsageError(
            f"--judge check: no task of the stream {config.stream!r} has a checking function.",
            "Use another judge: reward (with --reward), server:MODEL or local:MODEL.",
        )


def make_referee(config: RunConfig, judge: Callable[[], Judge], reward_model: Callable[[], RewardModel]) -> Referee:
    """The referee of a run.

    Args:
        judge, reward_model: give those that the run's scorers share; the one that is needed is asked for.

    Raises:
        BenchError: it cannot be had.
    """
    check_referee(config)
    kind = judge_name(config.judge).kind
    if kind == "check":
        return CheckReferee()
    if kind == "reward":
        return RewardReferee(reward_model())
    return WordsReferee(judge())


def _by_number(ours: float, theirs: float) -> Verdict:
    if math.isnan(ours) or math.isnan(theirs):
        return Verdict.both(None)
    return Verdict.both(WIN if ours > theirs else LOSS if ours < theirs else TIE)
