"""Which test pairs belong together: those of one cluster (one prompt, one topic) are no independent answers."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

# Of one task: the cluster of every pair, (pairs,), counted from 0 without a gap.
Labels = NDArray[np.intp]
# Task to its labels.
Clusters = Mapping[str, Labels]


def labels_of(names: Sequence[Hashable]) -> Labels:
    """The clusters of pairs by the names of these, in the order in which they first come."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.intp)


def alone(sizes: Mapping[str, int]) -> dict[str, Labels]:
    """Every pair a cluster of its own.

    Args:
        sizes: task to its number of pairs.
    """
    return {task: np.arange(size, dtype=np.intp) for task, size in sizes.items()}


def count_of(labels: Labels) -> int:
    """How many clusters a task has."""
    return int(labels.max()) + 1 if len(labels) else 0


def independent(clusters: Clusters) -> int:
    """How many independent items the tasks have together: the effective n of whatever is computed over them."""
    return sum(count_of(labels) for labels in clusters.values())


def cluster_sums(values: NDArray[np.float64], labels: Labels) -> NDArray[np.float64]:
    """The sums (..., clusters) of values (..., pairs), in time linear in the pairs."""
    if not len(labels):
        return np.zeros((*values.shape[:-1], 0))
    if len(labels) == count_of(labels):
        return values[..., np.argsort(labels)]  # every pair alone
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    return np.add.reduceat(values[..., order], starts, axis=-1)


def cluster_error(values: NDArray[np.float64], labels: Labels) -> float:
    """Standard error of the mean of values (pairs,) that are independent between clusters and not within them.

    With u_c the sum over a cluster's pairs of value - mean, n pairs and G clusters, it is
    ``sqrt(G / (G - 1) * sum of u_c^2) / n`` (Miller 2024, arXiv 2411.00640, with the correction for few clusters).
    Where every pair is a cluster of its own that is ``s / sqrt(n)``. NaN with fewer than two clusters.
    """
    count = count_of(labels)
    if count < 2:
        return float("nan")
    sums = cluster_sums(values - values.mean(), labels)
    return float(np.sqrt(count / (count - 1) * (sums**2).sum()) / len(values))
