"""The length-controlled win-rate: what a judge would say if both responses were equally long.

A regression in the manner of Dubois et al. 2024 (Length-Controlled AlpacaEval), but simpler: without the term of
the instruction's difficulty, which needs a table of alpaca-eval's own prompts, and with a fixed penalty, where
alpaca-eval chooses an L1 penalty by cross-validation, applies it to the intercept too, and holds the fit to baselines
that were gamed by length. The two give different numbers:

    logit P(ours wins pair i) = theta + phi * tanh(d_i / sd(d)),    d_i = len(ours_i) - len(theirs_i) in characters,

fitted to the pairs' values in [0, 1] by logistic loss with the penalty phi^2 / (2 C), C = 1, as scikit-learn's
LogisticRegression does with its defaults (theta is not penalised). The win-rate is that at d = 0: 1 / (1 + e^-theta).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from lifealign_bench.results.statistics import Array, metric_intervals

FEWEST = 5  # pairs; with fewer the regression says nothing

_PENALTY = 1.0  # 1 / C

_STEPS = 100

_EXACT = 1e-10

# Bounds the memory of a set of fits, whatever the number of pairs.
_CHUNK = 1_000_000


class LengthControlled(NamedTuple):
    """A win-rate between 0 and 1 with its 95 % interval over the pairs, by the bootstrap that metrics have too.

    ``note`` says in a few words why there is no value (NaN).
    """

    value: float
    low: float
    high: float
    note: str = ""


def plain_rate(values: Array) -> LengthControlled:
    """The mean of (P,) values of which none is NaN."""
    if not len(values):
        return LengthControlled(math.nan, math.nan, math.nan, "no pairs")
    interval = metric_intervals({"": values[None, :]}, 1.0, {"mean": lambda m: m[..., 0, 0]})["mean"]
    # Of contributions to a win-rate, single ones lie beyond what a win-rate can be.
    return LengthControlled(float(values.mean()), max(0.0, interval.low), min(1.0, interval.high))


def length_controlled(values: Array, differences: Array) -> LengthControlled:
    """The length-controlled win-rate.

    Args:
        values: (P,) between 0 and 1, none NaN.
        differences: (P,) characters that ours is longer.
    """
    note = _undefined(values, differences)
    if note:
        return LengthControlled(math.nan, math.nan, math.nan, note)
    return plain_rate(pseudo_values(values, differences))


def pseudo_values(values: Array, differences: Array) -> Array:
    """(P,) one number a pair whose mean is the length-controlled win-rate and whose spread is right for it.

    These are the jackknife's pseudo-values (Tukey 1958) with their mean moved onto the estimate: estimate + (P - 1) *
    (mean of the estimates that leave one pair out - the one that leaves out this pair). Their sample standard deviation
    over sqrt(P) is the jackknife's standard error, so that whatever takes means over pairs may take these. A single
    number may lie outside [0, 1]. NaN where :func:`length_controlled` has no value.
    """
    if _undefined(values, differences):
        return np.full(len(values), math.nan)
    count = len(values)
    estimate = at_equal_length(values, differences, np.ones((1, count)))[0]
    without = at_equal_length(values, differences, 1.0 - np.eye(count))
    moved = (count - 1) * (without.mean() - without)
    # Their mean is zero but for rounding, which (P - 1) makes larger.
    return np.asarray(estimate + moved - moved.mean(), dtype=float)


def at_equal_length(values: Array, differences: Array, weights: Array) -> Array:
    """(S,) the fitted win-rate at no difference in length, for S weightings of the pairs.

    Args:
        values: (P,) between 0 and 1.
        differences: (P,).
        weights: (S, P) how often each pair counts. Where the weighted differences are all the same, there is no length
            to control for and the mean remains; where all values are 1 (or 0), so is the win-rate.
    """
    step = max(1, _CHUNK // max(1, len(values)))
    parts = [_fit(values, differences, weights[start : start + step]) for start in range(0, len(weights), step)]
    return np.concatenate(parts) if parts else np.zeros(0)


def _undefined(values: Array, differences: Array) -> str:
    if len(values) < FEWEST:
        return f"fewer than {FEWEST} pairs"
    if differences[0] != 0 and (differences == differences[0]).all():
        return "all pairs differ by the same length"
    return ""


def _fit(values: Array, differences: Array, weights: Array) -> Array:
    total = weights.sum(axis=1)
    mean = weights @ values / total
    features = _features(differences, weights, total)
    # Beyond any finite intercept where every value is 0 or every one is 1; there only a placeholder is fitted.
    decided = (weights @ np.abs(values - 1) == 0) | (weights @ values == 0)
    start = np.where(decided, 0.5, mean)
    theta, phi = np.log(start / (1 - start)), np.zeros(len(weights))
    loss = _loss(theta, phi, features, values, weights)
    for _ in range(_STEPS):
        chance = _logistic(theta[:, None] + phi[:, None] * features)
        error, curve = weights * (chance - values), weights * chance * (1 - chance)
        slope = np.stack([error.sum(axis=1), (error * features).sum(axis=1) + _PENALTY * phi])
        if (np.abs(slope[:, ~decided]) < _EXACT * len(values)).all():
            break
        a, b = curve.sum(axis=1), (curve * features).sum(axis=1)
        c = (curve * features**2).sum(axis=1) + _PENALTY
        area = np.where(decided, 1.0, a * c - b * b)
        step = np.stack([c * slope[0] - b * slope[1], a * slope[1] - b * slope[0]]) / area
        # Newton's step, halved where it would go too far; the loss is convex.
        size = np.where(decided, 0.0, 1.0)
        for _ in range(30):
            following = _loss(theta - size * step[0], phi - size * step[1], features, values, weights)
            worse = following > loss + 1e-12 * (1 + np.abs(loss))
            if not (worse & ~decided).any():
                break
            size = np.where(worse, size / 2, size)
        theta, phi, loss = theta - size * step[0], phi - size * step[1], following
    return np.where(decided, mean, _logistic(theta))


def _features(differences: Array, weights: Array, total: Array) -> Array:
    """(S, P) tanh of the differences in units of their weighted standard deviation (of a sample, not centred)."""
    centre = weights @ differences / total
    spread = (weights * (differences - centre[:, None]) ** 2).sum(axis=1)
    deviation = np.sqrt(spread / np.maximum(total - 1, 1))
    varied = deviation > 1e-9 * (1 + np.abs(centre))
    return np.where(varied[:, None], np.tanh(differences / np.where(varied, deviation, 1.0)[:, None]), 0.0)


def _loss(theta: Array, phi: Array, features: Array, values: Array, weights: Array) -> Array:
    logits = theta[:, None] + phi[:, None] * features
    return np.asarray((weights * (np.logaddexp(0, logits) - values * logits)).sum(axis=1) + _PENALTY * phi**2 / 2)


def _logistic(logits: Array) -> Array:
    return np.asarray(np.exp(-np.logaddexp(0, -logits)))
