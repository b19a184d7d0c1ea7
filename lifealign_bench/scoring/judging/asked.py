"""Asking a judge that may be anybody's: it fails, or answers in another shape, with one clear message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lifealign_bench.data.cards import TaskCard
from lifealign_bench.errors import BenchError
from lifealign_bench.scoring.judging.judge import Contest, Judge, Question, Reply, Verdict
from lifealign_bench.scoring.judging.worded import WordedJudge
from lifealign_bench.util.extensions import own_code


def decide(judge: Judge, card: TaskCard, contests: Sequence[Contest]) -> tuple[list[Verdict], dict[str, Any]]:
    """See :meth:`Judge.decide`.

    Raises:
        BenchError: the judge cannot go on, or says something else than a verdict for each contest.
    """
    with own_code(f"judge {judge.name}", type(judge)):
        said, cost = judge.decide(card, contests)
        verdicts = list(said)
    wrong = next((v for v in verdicts if not (isinstance(v, Verdict) and v.sound)), None)
    if len(verdicts) != len(contests) or wrong is not None or not isinstance(cost, dict):
        what = f"{len(verdicts)} verdicts" if wrong is None else repr(wrong)[:80]
        raise BenchError(
            f"The judge {judge.name} says {what} of {len(contests)} contests of {card.name}.",
            "Its decide has to return a list of one Verdict for each contest, with outcomes from 0 to 1 or None, and a "
            "dict of what it cost.",
        )
    return verdicts, cost


def ask(judge: WordedJudge, questions: Sequence[Question]) -> list[Reply]:
    """See :meth:`WordedJudge.ask`.

    Raises:
        BenchError: the judge cannot go on, or does not give a reply to each question.
    """
    with own_code(f"judge {judge.name}", type(judge)):
        replies = list(judge.ask(questions))
    if len(replies) != len(questions) or not all(isinstance(reply, Reply) for reply in replies):
        raise BenchError(
            f"The judge {judge.name} gives {len(replies)} replies to {len(questions)} questions.",
            "Its ask has to return a list of one Reply for each question.",
        )
    return replies
