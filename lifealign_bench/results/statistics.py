"""Numbers of pairs, and how sure what is made of them is: standard errors, spreads and confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Spread", "bootstrap_interval", "half_at_zero", "mean_and_se", "spread", "wilson_interval"]

Array = np.ndarray[Any, np.dtype[np.float64]]
Values = Sequence[float] | NDArray[np.float64]
NAN = float("nan")


def half_at_zero(difference: Array) -> Array:
    """1 where positive, 0 where negative, 1/2 at exactly 0: a model that learnt nothing is at chance, not at 0 %."""
    return np.where(difference > 0, 1.0, np.where(difference < 0, 0.0, np.where(np.isnan(difference), np.nan, 0.5)))


def mean_and_se(values: Values) -> tuple[float, float]:
    """Mean and its standard error, ``s / sqrt(n)`` with s the standard deviation of a sample (ddof 1).

    A NaN among the values makes both NaN, and so does an empty list: a missing value is never left out silently. One
    value has a mean and no standard error (NaN).
    """
    array = np.asarray(values, dtype=np.float64).ravel()
    if array.size == 0:
        return NAN, NAN
    mean = float(array.mean())
    if array.size == 1 or math.isnan(mean):
        return mean, NAN
    return mean, float(array.std(ddof=1) / math.sqrt(array.size))


class Spread(NamedTuple):
    """How values lie: mean, standard deviation of a sample (ddof 1), lowest, highest, and how many there are."""

    mean: float
    deviation: float
    low: float
    high: float
    n: int


def spread(values: Values) -> Spread:
    """The spread of ``values``; a NaN among them, or none at all, makes all but ``n`` NaN.

    One value has a mean and no deviation (NaN).
    """
    array = np.asarray(values, dtype=np.float64).ravel()
    if array.size == 0 or bool(np.isnan(array).any()):
        return Spread(NAN, NAN, NAN, NAN, int(array.size))
    deviation = float(array.std(ddof=1)) if array.size > 1 else NAN
    return Spread(float(array.mean()), deviation, float(array.min()), float(array.max()), int(array.size))


def wilson_interval(successes: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share, as (low, high) between 0 and 1.

    Source: Wilson 1927; unlike mean +- 2 standard errors it holds near 0 and 1 and for few trials.

    Args:
        successes: how many of ``n`` trials; a tie may count one half.
        n: trials; 0 gives (NaN, NaN).
        confidence: between 0 and 1.

    Raises:
        ValueError: ``successes`` is not between 0 and ``n``, or ``confidence`` not between 0 and 1.
    """
    from scipy.special import ndtri

    _check_confidence(confidence)
    if n < 0 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} trials")
    if n == 0:
        return NAN, NAN
    z = float(ndtri((1 + confidence) / 2))
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At 0 and n of n the bound is exactly 0 or 1; rounding must not put it beyond.
    return (0.0 if successes == 0 else middle - half), (1.0 if successes == n else middle + half)


def bootstrap_interval(
    values: Values, confidence: float = 0.95, seed: int = 0, resamples: int = 2000
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean, as (low, high).

    Source: Efron 1979. The same values and seed give the same interval. Fewer than two values, or a NaN among them,
    give (NaN, NaN).

    Raises:
        ValueError: ``confidence`` is not between 0 and 1.
    """
    from scipy.stats import bootstrap  # slow to import, and rarely needed

    _check_confidence(confidence)
    array = np.asarray(values, dtype=np.float64).ravel()
    if array.size < 2 or bool(np.isnan(array).any()):
        return NAN, NAN
    found = bootstrap(
        (array,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, 1_000_000 // array.size),  # bounds the memory, whatever the number of values
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence of {confidence} is not between 0 and 1")
