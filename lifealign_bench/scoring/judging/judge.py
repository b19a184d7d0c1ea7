"""What every judge that answers in words is asked and says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from lifealign_bench.data.cards import TaskCard
from lifealign_bench.pairs import Message

__all__ = ["LOSS", "TIE", "WIN", "Contest", "Judge", "Question", "Referee", "Reply", "Stopping", "Verdict"]


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


class Judge(Protocol):
    """Answers questions."""

    @property
    def name(self) -> str:
        """The judge as ``--judge`` names it."""
        ...

    def ask(self, questions: Sequence[Question]) -> list[Reply]:
        """The replies in the order of the questions; equal questions are asked once.

        Raises:
            BenchError: the budget is spent, the key is refused, or the judge cannot be reached; what it answered so far
                is kept.
        """
        ...

    def facts(self) -> dict[str, Any]:
        """For the record: model, settings, calls, tokens, cost. No key, no text."""
        ...


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

    @property
    def value(self) -> float:
        """The mean of both orders; NaN unless both were usable."""
        if self.ours_first is None or self.theirs_first is None:
            return math.nan
        return (self.ours_first + self.theirs_first) / 2

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


T = TypeVar("T")


class Stopping(Exception):
    """Another thread has failed: what is not under way need not begin."""
