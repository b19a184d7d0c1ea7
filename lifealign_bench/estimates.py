"""A metric of a method over its seeds, with its interval: the one way in which runs become a mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from lifealign_bench.metrics import METRICS, intransigence
from lifealign_bench.paired import RESAMPLES, Estimate, Metric, PairedRuns
from lifealign_bench.runview import RunView
from lifealign_bench.stats import mean_and_se

__all__ = ["estimate", "metric_function", "paired_runs"]


_LEVELS = ("average_performance", "last", "learning")


def metric_function(metric: str) -> Metric:
    """A metric as a function of the matrices of :func:`paired_runs`."""
    info = METRICS[metric]
    # S is one more row of the matrix: it is of the same test pairs, which are drawn together.
    return (lambda m: intransigence(m[..., :-1, :], m[..., -1, :])) if info.needs_single else info.function


def paired_runs(
    methods: Mapping[str, Sequence[RunView]], score: str, metric: str, resamples: int = RESAMPLES
) -> PairedRuns | None:
    """The per-pair scores of methods, for ``metric``.

    Returns:
        None where one of the runs has none, or where they are not of the same test pairs.
    """
    views = [view for own in methods.values() for view in own]
    if not views or any(score not in view.record.scores for view in views):
        return None
    alone = METRICS[metric].needs_single
    runs = {
        name: [view.pair_scores_with_single(score) if alone else view.pair_scores(score) for view in own]
        for name, own in methods.items()
    }
    if not all(run for own in runs.values() for run in own):
        return None
    if len({tuple((task, view.pair_ids(task)) for task in view.tasks) for view in views}) > 1:
        return None
    matrix = views[0].record.scores[score]
    # Runs of before there were clusters are of the same pairs as those that name them.
    clusters = next((view for view in views if view.clustered), views[0]).clusters
    seeds = {name: [view.seed for view in own] for name, own in methods.items()}
    return PairedRuns(
        runs,
        matrix.scale,
        partial=matrix.partial,
        resamples=resamples,
        clusters=clusters,
        bounded=matrix.percent,
        seeds=seeds if all(len(set(own)) == len(own) for own in seeds.values()) else None,
    )


def estimate(name: str, views: Sequence[RunView], score: str, metric: str, runs: PairedRuns | None) -> Estimate:
    """The mean of a metric over a method's runs.

    Args:
        name: the method in ``runs``.
        views: its complete runs, one for each seed.
        runs: see :func:`paired_runs`; without it the error is that over the seeds alone and there is no interval.
    """
    values = [view.metric(score, metric) for view in views]
    mean, error = mean_and_se(values)
    if runs is None or math.isnan(mean):
        return Estimate(mean, math.nan, math.nan, error, len(values))
    found = runs.estimate(name, metric_function(metric))
    if len(views) == 1 or not views[0].record.scores[score].percent:
        return found
    # Few seeds make a wide interval; beyond what a share can be it says nothing.
    lowest = 0.0 if metric in _LEVELS else -100.0
    return replace(found, low=max(found.low, lowest), high=min(found.high, 100.0))
