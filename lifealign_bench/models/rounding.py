"""How far a sum of log-probabilities may be off because a model computes in few digits."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

# Nats a root of a token, in units of the type's epsilon: ``benchmarks/score_precision.py`` measures 7.3 and 8.7 for
# preference margins in bfloat16 against float32, after one and two stages of the embedded model.
_NATS_PER_EPSILON = 8.0


def rounding_noise(tokens: NDArray[np.float64], dtype: torch.dtype) -> NDArray[np.float64]:
    """Standard deviation in nats of what rounding adds to a margin of summed log-probabilities.

    Every token's log-probability is off by an error of its own, in proportion to the type's epsilon, so that a sum over
    T of them is off by ``c * epsilon * sqrt(T)``. c depends on the model and on how far it was trained; that of the
    embedded model is taken for all, which gives the size of the noise and not its last digit.

    Args:
        tokens: (P,) of both responses together.
        dtype: of the model's weights.
    """
    return _NATS_PER_EPSILON * torch.finfo(dtype).eps * np.sqrt(tokens)
