"""What a score matrix says: learning, forgetting and transfer, as pure functions.

The score matrix R has shape (N + 1, N): ``R[k, j]`` is the score (percent) after stage k on task j, stage 0 being the
untouched base model. In formulas stages and tasks count from 1, so task j is column ``j - 1`` of the array. NaN means
not evaluated, and a NaN in any entry that a metric needs makes that metric NaN: there is no mean over a part. The value
for the first k tasks is the same function of ``R[:k + 1, :k]``.

Every metric also takes a stack of matrices, shape (..., N + 1, N), and gives an array of shape (...): that is how a
bootstrap computes it for thousands of draws with the same code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lifealign_bench.results.statistics import Matrix

MetricValue = Any  # a float of one matrix, an array of shape (...) of a stack


def average_performance(scores: ArrayLike) -> MetricValue:
    """Mean over stages k = 1..N of mean_{j<=k} R[k, j]: the mean score on the tasks seen so far, at every stage.

    Denominators: k for stage k, then N. Source: AP of Li et al. 2026 (LifeAlign); the average incremental accuracy of
    Rebuffi et al. 2017 (iCaRL) where tasks have the same number of test examples.
    """
    r, n = _check(scores)
    return _value(np.mean([r[..., k, :k].mean(axis=-1) for k in range(1, n + 1)], axis=0))


def last(scores: ArrayLike) -> MetricValue:
    """mean_j R[N, j]: the mean score on all tasks after the last stage.

    Denominator: N. Source: Li et al. 2026 (Last); ACC of Lopez-Paz & Ranzato 2017 (GEM).
    """
    r, n = _check(scores)
    return _value(r[..., n, :].mean(axis=-1))


def backward_transfer(scores: ArrayLike) -> MetricValue:
    """mean_{j<N} (R[N, j] - R[j, j]): what later stages did to earlier tasks; negative is forgetting.

    Denominator: N - 1 (the last task has no later stage); NaN for N = 1. Source: Lopez-Paz & Ranzato 2017 (GEM), BWT;
    Li et al. 2026.
    """
    r, n = _check(scores)
    return _mean((r[..., n, :] - _learned(r))[..., :-1])


def forgetting(scores: ArrayLike) -> MetricValue:
    """mean_{j<N} (max_{j<=k<N} R[k, j] - R[N, j]): what was lost from each earlier task's best.

    Denominator: N - 1; NaN for N = 1. Source: Chaudhry et al. 2018 (Riemannian Walk), F, whose maximum starts at stage
    1: here it starts at the task's own, so that a score from before the task was trained does not count as forgotten.
    """
    r, _ = _check(scores)
    return _mean(_forgetting(r)[..., :-1])


def forward_transfer(scores: ArrayLike) -> MetricValue:
    """mean_{j>1} (R[j-1, j] - R[0, j]): what the stages before a task did to it, against the base model.

    Denominator: N - 1; NaN for N = 1. Source: Lopez-Paz & Ranzato 2017 (GEM), FWT, with the base model in the place of
    a random initialisation.
    """
    r, n = _check(scores)
    before = np.arange(1, n)
    return _mean(r[..., before, before] - r[..., 0, 1:])


def learning(scores: ArrayLike) -> MetricValue:
    """mean_j R[j, j]: the mean score on each task right after its own stage.

    Denominator: N. Source: learning accuracy of Riemer et al. 2019 (MER).
    """
    r, _ = _check(scores)
    return _value(_learned(r).mean(axis=-1))


def gain(scores: ArrayLike) -> MetricValue:
    """last - mean_j R[0, j]: what the whole stream brought over the base model.

    Denominator: N.
    """
    r, n = _check(scores)
    return _value((r[..., n, :] - r[..., 0, :]).mean(axis=-1))


def intransigence(scores: ArrayLike, single: ArrayLike) -> MetricValue:
    """mean_j (S[j] - R[j, j]): what a task lost by coming late rather than being trained alone.

    Args:
        scores: R, (N + 1, N).
        single: S, (N,), or (..., N) for a stack: the score on each task of a model that was trained on it alone, from
            the base model.

    Denominator: N. Source: Chaudhry et al. 2018 (Riemannian Walk), I, averaged over the tasks and with a model trained
    on the one task as the reference, where theirs was trained on all tasks so far together.

    Raises:
        ValueError: shapes that do not fit.
    """
    r, n = _check(scores)
    s = np.asarray(single, dtype=np.float64)
    if s.shape != (*r.shape[:-2], n):
        raise ValueError(f"the single-task scores have shape {s.shape}, expected {(*r.shape[:-2], n)}")
    return _value((s - _learned(r)).mean(axis=-1))


@dataclass(frozen=True)
class MetricInfo:
    """One metric, as tables and ``list metrics`` show it.

    Args:
        name: key in :data:`METRICS` and in records.
        function: of R alone; with ``needs_single`` of R and S.
        label: column heading.
        meaning: one sentence.
        higher_is_better: which way is good.
        needs_single: whether the run of the method ``single`` is needed as well.
    """

    name: str
    function: Callable[..., float]
    label: str
    meaning: str
    higher_is_better: bool = True
    needs_single: bool = False


METRICS: dict[str, MetricInfo] = {
    info.name: info
    for info in (
        MetricInfo(
            "average_performance", average_performance, "AP", "Mean score on the tasks seen so far, over all stages."
        ),
        MetricInfo("last", last, "last", "Mean score on all tasks after the last stage."),
        MetricInfo(
            "backward_transfer",
            backward_transfer,
            "BWT",
            "Mean change of the earlier tasks from right after their own stage to the end; negative is forgetting.",
        ),
        MetricInfo(
            "forgetting",
            forgetting,
            "forgetting",
            "Mean loss of the earlier tasks at the end against the best they had since their own stage.",
            higher_is_better=False,
        ),
        MetricInfo(
            "forward_transfer",
            forward_transfer,
            "FWT",
            "Mean change of a task over the stages before its own, against the base model.",
        ),
        MetricInfo("learning", learning, "learning", "Mean score on each task right after its own stage."),
        MetricInfo("gain", gain, "gain", "Mean score after the last stage minus that of the base model."),
        MetricInfo(
            "intransigence",
            intransigence,
            "intransigence",
            "Mean score that a task lost by coming late in a stream, against training on it alone.",
            higher_is_better=False,
            needs_single=True,
        ),
    )
}


def summarize(scores: ArrayLike, single: ArrayLike | None = None) -> dict[str, MetricValue]:
    """Every metric of R by name, in the order of :data:`METRICS`; ``intransigence`` only when S is given."""
    values: dict[str, MetricValue] = {}
    for info in METRICS.values():
        if not info.needs_single:
            values[info.name] = info.function(scores)
        elif single is not None:
            values[info.name] = info.function(scores, single)
    return values


def per_task(scores: ArrayLike) -> dict[str, Matrix]:
    """What became of each task: arrays of shape (N,), or (..., N) of a stack, NaN where undefined or not evaluated.

    - ``base``: R[0, j]
    - ``learned``: R[j, j], right after its own stage
    - ``final``: R[N, j]
    - ``forgetting``: max_{j<=k<N} R[k, j] - R[N, j]; undefined for the last task
    - ``change``: R[N, j] - R[j, j]; 0 for the last task, by definition
    """
    r, n = _check(scores)
    learned = _learned(r)
    return {
        "base": r[..., 0, :].copy(),
        "learned": learned,
        "final": r[..., n, :].copy(),
        "forgetting": _forgetting(r),
        "change": r[..., n, :] - learned,
    }


def _check(scores: ArrayLike) -> tuple[Matrix, int]:
    """The matrix or stack of matrices as float64, and N.

    Raises:
        ValueError: the shape is not (..., N + 1, N) with N >= 1.
    """
    r = np.asarray(scores, dtype=np.float64)
    if r.ndim < 2 or r.shape[-1] < 1 or r.shape[-2] != r.shape[-1] + 1:
        raise ValueError(f"a score matrix has shape (N + 1, N) with the base model in row 0, not {r.shape}")
    return r, r.shape[-1]


def _learned(r: Matrix) -> Matrix:
    """R[j, j] for every task."""
    return np.diagonal(r, offset=-1, axis1=-2, axis2=-1).copy()


def _forgetting(r: Matrix) -> Matrix:
    """max_{j<=k<N} R[k, j] - R[N, j] for every task; NaN for the last, which has no such k."""
    n = r.shape[-1]
    lost = [r[..., j + 1 : n, j].max(axis=-1) - r[..., n, j] for j in range(n - 1)]
    return np.stack([*lost, np.full(r.shape[:-2], np.nan)], axis=-1)


def _mean(values: Matrix) -> MetricValue:
    """The mean over tasks, NaN of nothing."""
    return _value(values.mean(axis=-1) if values.shape[-1] else np.full(values.shape[:-1], np.nan))


def _value(values: Any) -> MetricValue:
    """A float of one matrix, an array of a stack."""
    return float(values) if np.ndim(values) == 0 else np.asarray(values)
