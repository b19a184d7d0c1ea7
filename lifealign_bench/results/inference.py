"""One p-value and one interval that hold both sources of error, the seeds and the test items.

The ratio of a difference to its standard error is not normal, since the spread over three or five seeds is hardly
known, and it is not Student's with so few degrees of freedom either, since the spread over a hundred test items is
known well. Which of the two it is nearer to depends on the seeds' share of the variance. Given that share the ratio's
distribution is known: a normal variable over the root of ``share * chi2(S - 1) / (S - 1) + (1 - share)``.

The share has to be estimated, and here the danger lies. Seeds that agree by chance make the error small and, if the
share is taken from the same three numbers, the distribution narrow at once: with three seeds and 45 comparisons such a
test errs on one board in five. So the share is taken from all comparisons of a table together where that is more than a
comparison's own, a little enlarged for being estimated itself. The error stays each comparison's own: a method whose
seeds lie far apart widens its own comparisons and no others. Where methods have different seeds, the comparisons that
share the same ones are a table. ``benchmarks/simulate_boards.py`` has the evidence, with
the alternatives that were not chosen.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from lifealign_bench.results.spread import Parts
from lifealign_bench.results.statistics import Array

# With fewer, nothing is said of methods: two values have a spread that is known to a factor of 30.
ENOUGH_SEEDS = 3
_NODES = 32
_MOST_STEPS, _CLOSE = 30, 1e-10  # of the search for a ratio; about six are taken
_CROWDED = 6  # the nodes crowd where the spread over seeds was small by chance: that is where tails come from


def seeds_share(parts: Parts, methods: int) -> Array:
    """The seeds' share of the variance of each estimate that stands in one table, careful: the shape of the parts.

    Args:
        parts: of all that is compared.
        methods: that are compared with each other: the spread of the table's mean is known the better the more there
            are. 1: an estimate by itself.
    """
    own = np.asarray(parts.own, dtype=np.float64)
    if parts.seed_degrees < 1:
        return np.zeros_like(own)
    enlarged = share_enlarged(parts.seed_degrees, methods)
    if methods > 1:
        # Enlarged before what is not the seeds' own goes off: seeds that agree by chance must not make it nothing.
        common = float(np.mean(parts.seeds)) * enlarged - float(np.mean(parts.rest)) if own.size else 0.0
        careful = np.maximum(own, common)
    else:
        careful = own * enlarged
    whole = careful + np.maximum(parts.shared, parts.floor)
    return np.asarray(np.divide(careful, whole, out=np.zeros_like(whole), where=whole > 0))


def share_enlarged(seed_degrees: int, methods: int) -> float:
    """By how much the seeds' part of a table of so many methods is enlarged, for being estimated itself."""
    return 1 + 4 / (seed_degrees * max(1, methods - 1))


def p_value(ratio: Array, share: Array, seed_degrees: int, item_degrees: int) -> Array:
    """Two-sided p-value of ratios of an estimate to its standard error; NaN stays NaN.

    Args:
        ratio: any shape.
        share: of the seeds in the variance, the same shape.
        seed_degrees: S - 1; 0 where there is one seed, and then the share must be 0.
        item_degrees: of freedom of the spread over items.
    """
    from scipy.special import stdtr

    scale, weights, degrees = _mixture(np.asarray(share, dtype=np.float64), seed_degrees, item_degrees)
    size = np.abs(np.asarray(ratio, dtype=np.float64))[..., None]
    found = np.asarray((2 * stdtr(degrees, -size * scale) * weights).sum(axis=-1))
    return np.asarray(np.minimum(1.0, found))


def critical_ratio(share: Array, seed_degrees: int, item_degrees: int, level: float = 0.05) -> Array:
    """The ratio whose :func:`p_value` is ``level``: half the width of an interval in standard errors.

    Newton's method on the logarithm of the p-value, which is nearly straight, from the normal distribution's ratio,
    below which none lies.
    """
    from scipy.special import gammaln, ndtri, stdtr

    part = np.asarray(share, dtype=np.float64)
    scale, weights, degrees = _mixture(part, seed_degrees, item_degrees)
    height = 2 * np.exp(gammaln((degrees + 1) / 2) - gammaln(degrees / 2)) / np.sqrt(degrees * np.pi)
    ratio = np.full_like(part, -float(ndtri(level / 2)))
    for _ in range(_MOST_STEPS):
        size = ratio[..., None] * scale
        found = (2 * stdtr(degrees, -size) * weights).sum(axis=-1)
        slope = (height * (1 + size**2 / degrees) ** (-(degrees + 1) / 2) * scale * weights).sum(axis=-1)
        step = np.asarray(np.log(found / level) * found / slope)
        ratio = ratio + step
        if not (np.abs(step) > _CLOSE * ratio).any():
            break
    return np.asarray(ratio)


def _mixture(part: Array, seed_degrees: int, item_degrees: int) -> tuple[Array, Array, Array]:
    """Of every node what a ratio is multiplied by, its weight, and the degrees of freedom of Student's distribution.

    The latter stand for the items' spread, which is estimated as well; the smaller its part, the less that matters.
    """
    share = part[..., None]
    nodes, weights = spread_nodes(seed_degrees)
    degrees = max(1, item_degrees) / np.maximum(1e-6, (1 - share) ** 2)
    return np.sqrt(share * nodes + (1 - share)), weights, degrees


@lru_cache(maxsize=64)
def spread_nodes(degrees: int) -> tuple[Array, Array]:
    """Values of ``chi2(degrees) / degrees`` and their weights, for means over its distribution."""
    if degrees < 1:
        return np.ones(1), np.ones(1)
    from scipy.special import chdtri

    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    place = (nodes + 1) / 2
    values = chdtri(degrees, 1 - place**_CROWDED) / degrees
    return values, weights / 2 * _CROWDED * place ** (_CROWDED - 1)
