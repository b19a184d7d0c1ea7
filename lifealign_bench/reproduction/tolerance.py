"""How far the numbers of the same run, done again, may lie apart where the last bits are not the same. Pure functions.

Nobody can say beforehand what the last bits do to a training: each step amplifies them. So what is asked is not whether
two runs are draws of one distribution, but whether the second is within what the published numbers claim to know: two
standard errors of the published number over its test pairs. A reproduction within that changes no conclusion that was
justified by the record. (That error says how far another sample of test pairs would move the number; the two runs have
the same pairs, so runs that differ by chance alone mostly lie much closer.)
"""

from __future__ import annotations

import math
from statistics import NormalDist

__all__ = ["ERRORS", "STATEMENT", "cell_errors", "least_share_error", "share_error", "tolerated"]

ERRORS = 2.0  # standard errors that a single number may lie apart
_NORMAL = NormalDist()

STATEMENT = (
    "float32 on a CPU, with the same versions, commit, threads and kind of processor: every number must be the same to "
    "the bit. Else (bfloat16, other threads, another processor or version) the last bits differ and training amplifies "
    "them: each metric may then lie two of the published run's standard errors over test pairs apart, each cell of a "
    "score matrix as many as keep the risk over all K cells where two errors put it for one (Bonferroni)."
)


def cell_errors(cells: int) -> float:
    """Standard errors that each of so many cells may lie apart: for one :data:`ERRORS`, for more what Bonferroni's
    correction makes of the normal's tails, so that of hundreds of cells none is outside by being one of many."""
    if cells <= 1:
        return ERRORS
    tails = 2 * (1 - _NORMAL.cdf(ERRORS))
    return -_NORMAL.inv_cdf(tails / cells / 2)


def share_error(percent: float, pairs: int) -> float:
    """The standard error of a share of ``pairs``, in percent, after adding two pairs of each side (Agresti & Coull
    1998): where all pairs agree the plain one is 0, which would forbid a single pair to change."""
    share = (pairs * percent / 100 + 2) / (pairs + 4)
    return 100 * math.sqrt(share * (1 - share) / (pairs + 4))


def least_share_error(pairs: int) -> float:
    """The smallest :func:`share_error` of so many pairs: for metrics, which may be differences of shares."""
    return share_error(100.0, pairs)


def tolerated(error: float | None, errors: float, least: float = 0.0) -> float:
    """The largest difference that is tolerated; NaN where there is no standard error to measure it by.

    Args:
        error: of the published number.
        errors: how many of these.
        least: an error that it is not taken to be below.
    """
    if error is None or math.isnan(error):
        return errors * least if least else math.nan
    return errors * max(error, least)
