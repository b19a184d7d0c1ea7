"""How good a judge finds the responses, on a rubric for the kind of task."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

import numpy as np

from lifealign_bench.config import RunConfig
from lifealign_bench.results.scores import ScoreInfo
from lifealign_bench.scoring.judging import check_judge, judge_absent, judge_models
from lifealign_bench.scoring.judging.asked import ask
from lifealign_bench.scoring.judging.rubric import RUBRIC_VERSION, read_score, rubric_for, rubric_question
from lifealign_bench.scoring.judging.worded import WordedJudge, in_words
from lifealign_bench.scoring.scorer import Need, Scored, Scorer, ScorerContext, TaskView
from lifealign_bench.util.progress import Progress


class JudgeScorer(Scorer):
    """Scores of 1 to 10 by a judge that answers in words, times 10 (LifeAlign, section on evaluation)."""

    summary = "a judge's score of greedy responses, 1 to 10 times 10, on a rubric for the kind of task (--judge)"
    needs: ClassVar[frozenset[Need]] = frozenset({"responses"})
    scores: ClassVar[tuple[ScoreInfo, ...]] = (
        ScoreInfo(
            "judge",
            False,
            "mean score of the greedy response on the rubric of the task's kind (10 to 100); pairs without a usable "
            "answer of the judge are left out",
            unit="points",
            partial=True,
            judged_by="judge",
            main=40,
        ),
    )

    depends: ClassVar[tuple[str, ...]] = ("judge", "judging")

    def __init__(self) -> None:
        self._judge: WordedJudge | None = None
        self._progress = Progress()

    @classmethod
    def check(cls, config: RunConfig) -> None:
        """Refuse a run without a judge that answers in words.

        Raises:
            UsageError: says what is missing.
        """
        check_judge(config, in_words=True)

    @classmethod
    def models(cls, config: RunConfig) -> tuple[str, ...]:
        """The judge's."""
        return judge_models(config)

    @classmethod
    def absent(cls, config: RunConfig) -> str:
        """Where the judge is not."""
        return judge_absent(config)

    def prepare(self, context: ScorerContext) -> None:
        """Reach the judge.

        Raises:
            BenchError: it cannot be had.
        """
        self._judge, self._progress = in_words(context.judge), context.progress

    def facts(self) -> dict[str, Any]:
        """The judge, its settings, and what it was asked in this process."""
        if self._judge is None:
            return {}
        return {**self._judge.facts(), "prompt": RUBRIC_VERSION}

    def score(self, view: TaskView) -> Scored:
        """See ``scores``; NaN where the judge gave no usable answer.

        Raises:
            BenchError: the budget is spent, or the judge is gone; what it answered is kept.
        """
        if self._judge is None or view.responses is None:
            raise ValueError(f"there is no judge, or {view.card.name} has no responses")
        rubric = rubric_for(view.card.kind)
        self._progress.phase_started(view.stage, "judge", (view.card.name,), 0)
        before = self._judge.facts().get("calls", 0)
        replies = ask(
            self._judge,
            [rubric_question(rubric, p.prompt, text) for p, text in zip(view.pairs, view.responses, strict=True)],
        )
        read = [read_score(reply.text) for reply in replies]
        unusable = Counter(str(found) for found in read if isinstance(found, str))
        self._tell(view, unusable, [reply.trouble for reply in replies if reply.trouble])
        facts: dict[str, Any] = {
            "rubric": rubric.name,
            "judged": len(read) - unusable.total(),
            "unusable": unusable.total(),
            "calls": self._judge.facts().get("calls", 0) - before,
            "from_store": sum(reply.kept for reply in replies),
            "prompt_tokens": sum(reply.prompt_tokens for reply in replies),
            "completion_tokens": sum(reply.completion_tokens for reply in replies),
        }
        if unusable:
            facts["unusable_by_reason"] = dict(sorted(unusable.items()))
        values = [np.nan if isinstance(found, str) else 10.0 * found for found in read]
        return Scored({"judge": np.array(values, dtype=float)}, facts)

    def _tell(self, view: TaskView, unusable: Counter[str], troubles: list[str]) -> None:
        if unusable:
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(unusable.items()))
            first = f" The first trouble: {troubles[0]}." if troubles else ""
            self._progress.notice(
                f"Task {view.card.name}, stage {view.stage}: {unusable.total()} of {len(view.pairs)} answers of the "
                f"judge cannot be used ({reasons}).{first}"
            )
