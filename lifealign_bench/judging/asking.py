"""What all judges that answer in words do alike: equal questions are asked once, kept answers not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lifealign_bench.scoring.judging.judge import Question, Reply
from lifealign_bench.scoring.judging.store import Answer, AnswerStore, answer_key

__all__ = ["as_reply", "ask_once"]


def as_reply(answer: Answer, *, kept: bool) -> Reply:
    """An answer as judges give it."""
    return Reply(answer.text, "", answer.prompt_tokens, answer.completion_tokens, kept)


def ask_once(
    questions: Sequence[Question],
    asked_of: Mapping[str, Any],
    store: AnswerStore,
    found: Callable[[Answer], None],
    ask: Callable[[Mapping[str, Question]], Mapping[str, Reply]],
) -> list[Reply]:
    """Replies in the order of the questions.

    A question that is there twice has its tokens counted once: its second reply has none.

    Args:
        asked_of: the judge's model and settings, part of an answer's key.
        found: told of every answer that was kept.
        ask: gives the replies to questions without a kept answer, by key, and keeps them.
    """
    keys = [answer_key(question, asked_of) for question in questions]
    replies: dict[str, Reply] = {}
    open_questions: dict[str, Question] = {}
    for key, question in zip(keys, questions, strict=True):
        if key in replies or key in open_questions:
            continue
        answer = store.find(key)
        if answer is None:
            open_questions[key] = question
        else:
            found(answer)
            replies[key] = as_reply(answer, kept=True)
    if open_questions:
        replies |= ask(open_questions)
    given: set[str] = set()
    ordered = []
    for key in keys:
        again = key in given and replies[key].text is not None
        ordered.append(
            replace(replies[key], kept=True, prompt_tokens=0, completion_tokens=0) if again else replies[key]
        )
        given.add(key)
    return ordered
