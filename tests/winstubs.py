"""Judges whose taste is known, and what they are shown."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lifealign_bench.config import RunConfig
from lifealign_bench.data.cards import load_task
from lifealign_bench.pairs import Message, Pair
from lifealign_bench.results.statistics import Array
from lifealign_bench.scoring.judging.judge import Question, Reply
from lifealign_bench.scoring.judging.worded import WordedJudge
from lifealign_bench.scoring.rewardmodel.model import Dialogue
from lifealign_bench.scoring.scorer import Scored, ScorerContext, TaskView
from lifealign_bench.scoring.scorers.win import WinScorer
from lifealign_bench.util.progress import Progress

ASK = (Message("user", "What is a wolf?"),)


def shown(question: Question) -> tuple[str, str]:
    """The two answers as the judge sees them, between their fences."""
    text = question.messages[-1].content
    mark = text.removeprefix("The mark is ")[:16]

    def between(what: str) -> str:
        return text.partition(f"- {what} begins {mark} -----\n")[2].partition(f"\n----- {what} ends {mark} -")[0]

    return between("answer 1"), between("answer 2")


@dataclass
class StubJudge(WordedJudge):
    """Answers with ``say(first, second)``; counts what it was asked."""

    say: Callable[[str, str], str | None]
    asked: list[Question] = field(default_factory=list)
    name: str = "server:stub"

    def ask(self, questions: Sequence[Question]) -> list[Reply]:
        replies = []
        for question in questions:
            kept = question in self.asked
            self.asked.append(question)
            text = self.say(*shown(question))
            replies.append(Reply(text, "" if text is not None else "timed out", 50, 5, kept))
        return replies

    def facts(self) -> dict[str, Any]:
        return {"model": "stub"}


@dataclass
class StubRewards:
    """Scores a response with ``worth``."""

    worth: Callable[[str], float]
    calls: list[int] = field(default_factory=list)
    name: str = "stub"

    def rewards(self, dialogues: Sequence[Dialogue], tasks: Sequence[str]) -> Array:
        self.calls.append(len(dialogues))
        return np.array([self.worth(text) for _, text in dialogues])

    def facts(self) -> dict[str, Any]:
        return {"fingerprint": "f"}


def longer(first: str, second: str) -> str:
    """Prefers the longer answer."""
    better = "1" if len(first) > len(second) else "2" if len(second) > len(first) else "tie"
    return f"It says more.\nBetter: {better}"


def config_of(**changes: Any) -> RunConfig:
    base: dict[str, Any] = {"method": "dpo", "stream": "fake", "tasks": ("fake-upper",), "scorers": ("win",)}
    return RunConfig.model_validate(base | {"judge": "server:stub", "judge_url": "http://127.0.0.1:9/v1"} | changes)


def prepared(stub: StubJudge | StubRewards | None = None, **changes: Any) -> WinScorer:
    """A scorer with a stub in the place of what judges."""
    context = ScorerContext(config_of(**changes), {}, (), Progress())
    if stub is not None:
        # Where a context keeps what it made; it makes nothing then.
        vars(context)["judge" if isinstance(stub, StubJudge) else "reward_model"] = stub
    scorer = WinScorer()
    scorer.prepare(context)
    return scorer


def view_of(ours: Sequence[str], base: Sequence[str], folder: Path | None = None, **changes: Any) -> TaskView:
    """Test pairs with prompts of their own, whose chosen response is ``right``."""
    pairs = tuple(
        Pair(f"t/test/{i}", "t", (Message("user", f"question {i}"),), "right", "wrong", {"text": "right"})
        for i in range(len(ours))
    )
    zero = np.zeros((len(ours), 2))
    view = TaskView(load_task("fake-upper"), pairs, zero, zero, zero, tuple(ours), tuple(base), stage=1, folder=folder)
    return replace(view, **changes)


def values(scored: Scored, name: str = "judged_win_rate_base") -> list[float | None]:
    return [None if math.isnan(v) else v for v in scored.values[name].tolist()]


def board(path: Path) -> dict[str, dict[str, str]]:
    """A leaderboard of alpaca-eval by the model's name."""
    with path.open(newline="") as stream:
        return {row[""]: row for row in csv.DictReader(stream)}


OURS = ["long answer", "x", "same", "abc", "longest answer of all", "tiny"]
BASE = ["short", "longer one", "same", "xyz", "less", "quite a long reply"]
