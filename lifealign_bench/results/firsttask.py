"""Which methods learned anything at all: one that did not is no measure of how a method keeps what it learned."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifealign_bench.results.paired import PairedRuns


def first_gain(scores: NDArray[np.float64]) -> Any:
    """R[1, 1] - R[0, 1] of score matrices (..., stages + 1, tasks): what the first stage did to its task, (...)."""
    return scores[..., 1, 0] - scores[..., 0, 0]


def learned_nothing(runs: PairedRuns, method: str) -> bool:
    """Whether a method's first stage did not surely bring its task above the base model.

    That is so where the 95 % interval of :func:`first_gain`, over seeds and items, does not lie above 0. False where
    it is not known: there is nothing to hold against the method.
    """
    low = runs.estimate(method, first_gain).low
    return not math.isnan(low) and low <= 0
