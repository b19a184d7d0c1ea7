"""What a board's tasks have between their own stage and the end, as a text speaks of it."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from benchmarks.board_text import MEND, BoardText, UnsupportedClaimError
from lifealign_bench.results.view import RunView
from lifealign_bench.util.text import number


class CourseText:
    """The stages of a board's runs.

    Args:
        text: the board.
    """

    def __init__(self, text: BoardText) -> None:
        self.text = text

    def after(self, method: str, task: str, stage_of: str, score: str = "") -> str:
        """What a task has after the stage of another (or of itself), on the mean over the seeds: ``50.2``."""
        return number(self._mean(method, task, score, stage_of))

    def before(self, method: str, task: str, stage_of: str, score: str = "") -> str:
        """What it has right before that stage."""
        return number(self._mean(method, task, score, stage_of, 1))

    def next(self, method: str, task: str, score: str = "") -> str:
        """What it has one stage after its own."""
        return number(self._mean(method, task, score, task, -1))

    def gone_before(self, method: str, level: float, within: float, rivals: Mapping[str, str]) -> str:
        """Claim that tasks are within so many points of ``level`` before the stage of the task that contradicts them.

        Args:
            rivals: a task to the one that contradicts it.

        Raises:
            UnsupportedClaimError: one has more.
        """
        for task, rival in rivals.items():
            found = self._mean(method, task, "", rival, 1)
            if abs(found - level) > within:
                raise UnsupportedClaimError(f"{method} has {found:.1f} on {task} before the stage of {rival}.", MEND)
        return ""

    def gaps(self, first: str, second: str) -> str:
        """First minus second at the end by each seed that both have, in their order: ``2.1, -1.4, 0.3``."""
        seeds = sorted(self.text.shared(first, second))
        one, other = ([self.text.of_seeds(seed).mean(name) for seed in seeds] for name in (first, second))
        return ", ".join(number(a - b) for a, b in zip(one, other, strict=True))

    def _mean(self, method: str, task: str, score: str, stage_of: str, earlier: int = 0) -> float:
        """After so many stages before the stage of a task."""
        views = self.text.runs_of(method)
        return fmean(at_stage(view, task, score or self.text.board.score, stage_of, earlier) for view in views)


def at_stage(view: RunView, task: str, score: str, stage_of: str, earlier: int = 0) -> float:
    """What a task of a run has after the stage of another, or so many stages before that."""
    row = view.rows[view.tasks.index(stage_of) + 1 - earlier].row
    return float(view.record.scores[score].array()[row, view.tasks.index(task)])
