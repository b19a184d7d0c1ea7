"""The contract of a scorer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from lifealign_bench.cards import TaskCard
from lifealign_bench.pairs import Pair

__all__ = ["Array", "ScoreInfo", "Scorer", "TaskView"]

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class ScoreInfo:
    """What one score is.

    Args:
        name: its column in ``scores.parquet``.
        percent: a share: its mean is shown times 100.
        summary: what it measures, in one sentence; larger is better for every score.
    """

    name: str
    percent: bool
    summary: str

    @property
    def scale(self) -> float:
        """Factor from a mean over pairs to the value in a score matrix."""
        return 100.0 if self.percent else 1.0


@dataclass(frozen=True)
class TaskView:
    """What is known of a task's P test pairs after a stage.

    Args:
        card: the task.
        pairs: its test pairs.
        policy, base: (P, 2) summed log-probabilities of chosen and rejected, in nats, of the model after the stage and
            of the base model.
        lengths: (P, 2) tokens of the two completions.
        responses, base_responses: greedy responses of the two models; None where no scorer asked for them.
    """

    card: TaskCard
    pairs: tuple[Pair, ...]
    policy: Array
    base: Array
    lengths: Array
    responses: tuple[str, ...] | None = None
    base_responses: tuple[str, ...] | None = None


class Scorer:
    """Base of all scorers."""

    summary: ClassVar[str] = ""
    scores: ClassVar[tuple[ScoreInfo, ...]] = ()
    generates: ClassVar[bool] = False  # whether it needs responses

    def applies(self, card: TaskCard) -> bool:
        """Whether the task can be scored; where not, its cells stay empty (NaN)."""
        return True

    def score(self, view: TaskView) -> dict[str, Array]:
        """One array of shape (P,) for each of ``scores``."""
        raise TypeError(f"{type(self).__name__} does not define score()")
