"""What every judge is asked and says."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from lifealign_bench.config import RunConfig
from lifealign_bench.data.cards import TaskCard
from lifealign_bench.pairs import Message

if TYPE_CHECKING:
    from lifealign_bench.scoring.rewardmodel.model import RewardModel


@dataclass(frozen=True)
class Question:
    """One call of a judge.

    Args:
        messages: the dialogue; its last turn is the user's.
        version: names the prompt that the messages are made from; part of what an answer is kept under.
    """

    messages: tuple[Message, ...]
    version: str


@dataclass(frozen=True)
class Reply:
    """What a judge said.

    Args:
        text: None where it gave no answer that could be read (see ``trouble``). Never trusted: parse it strictly.
        trouble: why there is none, in a few words; empty where there is one.
        prompt_tokens, completion_tokens: as the judge counts them; 0 where it does not say.
        kept: whether it was answered earlier and read from the store of answers.
    """

    text: str | None
    trouble: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    kept: bool = False


WIN, TIE, LOSS = 1.0, 0.5, 0.0


@dataclass(frozen=True)
class Contest:
    """A test pair's response against its opponent's.

    Args:
        prompt: the dialogue so far.
        ours: the response of the model that is scored.
        theirs: the opponent's.
        check: what the task's checking function needs to know of the pair.
    """

    prompt: tuple[Message, ...]
    ours: str
    theirs: str
    check: Mapping[str, Any]

    @property
    def identical(self) -> bool:
        """Whether there is nothing to judge."""
        return self.ours == self.theirs


@dataclass(frozen=True)
class Verdict:
    """What a judge said of a contest: :data:`WIN`, :data:`TIE` or :data:`LOSS` of ours in each order.

    Args:
        ours_first: with our response shown first; None where the answer was not usable.
        theirs_first: with the opponent's shown first.
        said_ours_first, said_theirs_first: the judge's own words, where it uses any.
    """

    ours_first: float | None
    theirs_first: float | None
    said_ours_first: str | None = None
    said_theirs_first: str | None = None

    @classmethod
    def both(cls, outcome: float | None) -> Verdict:
        """The same in both orders: identical texts, or a judge that looks at one response at a time."""
        return cls(outcome, outcome)

    @classmethod
    def by_number(cls, ours: float, theirs: float) -> Verdict:
        """The higher number wins in both orders; with one that is none there is no outcome."""
        if math.isnan(ours) or math.isnan(theirs):
            return cls.both(None)
        return cls.both(WIN if ours > theirs else LOSS if ours < theirs else TIE)

    @property
    def value(self) -> float:
        """The mean of both orders; NaN unless both were usable."""
        if self.ours_first is None or self.theirs_first is None:
            return math.nan
        return (self.ours_first + self.theirs_first) / 2

    @property
    def sound(self) -> bool:
        """Whether each outcome is a number from 0 to 1, or none."""
        return all(
            said is None or (isinstance(said, int | float) and 0 <= said <= 1)
            for said in (self.ours_first, self.theirs_first)
        )

    @property
    def disagrees(self) -> bool:
        """Whether the order changed the outcome."""
        return not math.isnan(self.value) and self.ours_first != self.theirs_first

    @property
    def favours_first(self) -> bool:
        """Whether the order changed the outcome in favour of what was shown first."""
        if self.ours_first is None or self.theirs_first is None:
            return False
        return self.ours_first > self.theirs_first


@dataclass(frozen=True)
class JudgeContext:
    """What a judge may be made of.

    Args:
        config: the run's settings.
        reward_model: gives the reward model that the run's scorers share; it is made when it is asked for.
    """

    config: RunConfig
    reward_model: Callable[[], RewardModel]


class Judge:
    """Decides contests of two responses; base of all kinds of judges.

    A file of ``scoring/judging/kinds``, of a user or of an installed package holds one class derived from it, or from
    :class:`lifealign_bench.scoring.judging.worded.WordedJudge`. What
    stands after ``kind:`` in ``--judge`` is its model.

    Attributes:
        takes: what stands after the colon, for messages (``MODEL``); empty where nothing may.
        in_words: whether it answers questions, so that it can also grade single responses.
        sees_order: whether it is shown both responses together, so that their order may sway it.
        name: as ``--judge`` names it; set by who makes the judge where it sets none itself.
    """

    takes: ClassVar[str] = ""
    in_words: ClassVar[bool] = False
    sees_order: ClassVar[bool] = False
    name: str = ""

    @classmethod
    def check(cls, config: RunConfig, model: str) -> None:
        """Refuse what cannot work, before anything is loaded or reached.

        Raises:
            BenchError: says what is missing.
        """

    @classmethod
    def make(cls, model: str, context: JudgeContext) -> Judge:
        """The judge of a run, loaded or reached.

        Raises:
            BenchError: it cannot be had.
        """
        return cls()

    @classmethod
    def models(cls, config: RunConfig, model: str) -> tuple[str, ...]:
        """The models that it loads, by name or folder."""
        return ()

    @classmethod
    def absent(cls, config: RunConfig, model: str) -> str:
        """Why it is not available for who repeats a run from its record; empty where it may be."""
        return ""

    def decides(self, card: TaskCard) -> bool:
        """Whether it can decide contests of this task."""
        return True

    def decide(self, card: TaskCard, contests: Sequence[Contest]) -> tuple[list[Verdict], dict[str, Any]]:
        """A verdict for each contest, in their order; and what it cost, for the record.

        Raises:
            BenchError: it cannot go on.
        """
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        """For the record: model, settings, calls, tokens, cost. No key, no text."""
        return {}

    def contest_facts(self) -> dict[str, Any]:
        """The same where it decided contests."""
        return self.facts()
