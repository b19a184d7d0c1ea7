"""What every judge that answers in words is asked and says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lifealign_bench.pairs import Message

__all__ = ["Judge", "Question", "Reply"]


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
