"""What training a method cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lifealign_bench.results.budgets import NOT_TRAINING, spent_by
from lifealign_bench.results.view import RunView


@dataclass(frozen=True)
class Cost:
    """What training a method's run cost on the mean over its seeds; NaN where it was not measured.

    Args:
        seconds: wall clock without scoring and generating.
        tokens: likewise.
        memory: peak of the process in bytes.
        storage: bytes that the method keeps beside the adapter at the end.
        steps, pairs, flops: see ``budgets.TrainingTotals``.
    """

    seconds: float
    tokens: float
    memory: float
    storage: float
    steps: float = math.nan
    pairs: float = math.nan
    flops: float = math.nan


def cost_of(views: Sequence[RunView]) -> Cost:
    """Of a method's runs."""

    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    stages = [view.record.stages for view in views]
    spent = [spent_by(view.record) for view in views]
    stored = [own[-1].state_bytes for own in stages]
    return Cost(
        mean([sum(v for s in own for part, v in s.seconds.items() if part not in NOT_TRAINING) for own in stages]),
        mean([own.tokens for own in spent]),
        mean([view.record.peak_memory_bytes or math.nan for view in views]),
        mean([math.nan if size is None else size for size in stored]),
        mean([own.steps for own in spent]),
        mean([own.pairs for own in spent]),
        mean([own.flops for own in spent]),
    )
