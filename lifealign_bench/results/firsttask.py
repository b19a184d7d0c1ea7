"""Which methods learned anything at all: one that did not is no measure of how a method keeps what it learned."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifealign_bench.results.paired import PairedRuns

# Preference accuracy of the base model, percent: by its gains over itself it prefers neither response of any pair.
BASE = 50.0


def first_gain(scores: NDArray[np.float64]) -> Any:
    """R[1, 1] - R[0, 1] of preference accuracies (..., stages + 1, tasks): what the first stage did to its task, (...).

    The start is :data:`BASE` by definition, also where a run did not score it.
    """
    start = scores[..., 0, 0]
    return scores[..., 1, 0] - np.where(np.isnan(start), BASE, start)


def learned_nothing(runs: PairedRuns, method: str) -> bool:
    """Whether a method's first stage did not surely bring the preference accuracy of its task above the base model's.

    That is so where the 95 % interval of :func:`first_gain`, over seeds and items, does not lie above 0. False where
    the first task was not scored after its stage: there is nothing to hold against the method.
    """
    low = runs.estimate(method, first_gain).low
    return not math.isnan(low) and low <= 0
