"""A run in words while it goes on: after each stage what was learned, what was lost, and a response of each to read."""

from __future__ import annotations

from collections.abc import Mapping

from lifealign_bench.results.view import score_title
from lifealign_bench.util.progress import ShownAnswer
from lifealign_bench.util.text import clean, number

_SCORES = ("reward", "preference_accuracy")  # the first that a run has is told
_LOST = 10.0  # points since the stage before that are worth a line
_MOST_LOST = 3
_WIDTH = 90  # of a prompt or response


class Story:
    """Takes what a run says of its stages; gives lines.

    Args:
        stages: of the run.
    """

    def __init__(self, stages: int) -> None:
        self.stages = stages
        self._answers: Mapping[str, ShownAnswer] = {}
        self._before: dict[str, float] = {}

    def answered(self, answers: Mapping[str, ShownAnswer]) -> None:
        """Task to a response, of the stage that is scored next."""
        self._answers = answers

    def scored(self, stage: int, tasks: tuple[str, ...], values: Mapping[str, Mapping[str, float]]) -> list[str]:
        """The lines for a stage that was scored; none for a run whose scores nobody knows.

        Args:
            tasks: trained in it; empty for stage 0.
            values: see ``Progress.scored``.
        """
        score = next((name for name in _SCORES if name in values), None)
        if score is None:
            return []
        now, before, self._before = values[score], self._before, dict(values[score])
        if stage == 0:
            return []
        own = [task for task in tasks if task in now]
        parts = [f"{clean(task)} {_change(before, now, task)}" for task in own]
        lines = [f"stage {stage}/{self.stages}: {score_title(score)} of {', '.join(parts)}"] if parts else []
        fell = sorted((task for task in now if task not in own and task in before), key=lambda t: now[t] - before[t])
        lost = [task for task in fell if before[task] - now[task] >= _LOST][:_MOST_LOST]
        if lost:
            lines.append("  lost: " + ", ".join(f"{clean(task)} {_change(before, now, task)}" for task in lost))
        for task in (*own[:1], *lost[:1]):
            lines += self._told(task)
        return lines

    def _told(self, task: str) -> list[str]:
        answer = self._answers.get(task)
        if answer is None:
            return []
        return [
            f"  {clean(task)} is asked: {_short(answer.prompt)}",
            f"    base model: {_short(answer.before)}",
            f"    now:        {_short(answer.now)}",
        ]


def _change(before: Mapping[str, float], now: Mapping[str, float], task: str) -> str:
    was = f"{number(before[task], 0)} → " if task in before else ""
    return f"{was}{number(now[task], 0)}"


def _short(text: str) -> str:
    """On one line, cut where it is long."""
    line = clean(" / ".join(part.strip() for part in text.splitlines() if part.strip()))
    return (line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…") or "(nothing)"
