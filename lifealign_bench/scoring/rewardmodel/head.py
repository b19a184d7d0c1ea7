"""A linear reward over fixed features, fitted to pairs: the model of Bradley and Terry (1952) with a ridge.

No torch: features are given.
"""

from __future__ import annotations

import numpy as np

from lifealign_bench.errors import BenchError
from lifealign_bench.results.statistics import Array

# Of the ridge. Features have the size of unit vectors; five values from 0.3 to 0.02 were tried on four real tasks, and
# accuracies differed by less than their standard errors.
STRENGTH = 0.03

# Of the ridge with which a difference of lengths is told from features; five values from 1 to 0.03 and none were tried
# likewise. With this one, rewards correlate least with lengths, and accuracy is what it is without.
LENGTH_STRENGTH = 1.0

_STEPS = 50
_CLOSE = 1e-10


def features(prompts: Array, responses: Array) -> Array:
    """(P, 2 H) from unit vectors (P, H) of prompts and responses: the response, and its product with the prompt.

    The product, number by number, is scaled to about the size of a unit vector; it says how the response goes with the
    prompt, which the response alone cannot say.
    """
    return np.concatenate([responses, np.sqrt(prompts.shape[1]) * prompts * responses], axis=1)


def length_direction(differences: Array, lengths: Array) -> Array:
    """The (F,) unit vector along which features say most of the length; zeros where all lengths are alike.

    It is that of the weights that predict ``lengths`` linearly, with a ridge.

    Args:
        differences: (P, F) as in :func:`fit_head`.
        lengths: (P,) by how much the chosen response is the longer one: the logarithm of the ratio.
    """
    count, size = differences.shape
    found = np.linalg.solve(
        differences.T @ differences / count + LENGTH_STRENGTH * np.eye(size), differences.T @ lengths / count
    )
    norm = float(np.linalg.norm(found))
    return np.asarray(found / norm if norm > 0 else found)


def fit_blind_head(differences: Array, lengths: Array) -> Array:
    """:func:`fit_head` on features without :func:`length_direction`, which the weights are at right angles to.

    Pairs whose lengths are balanced teach no taste for length as such, but what they do teach (how a refusal is
    worded, say) may come with one.
    """
    direction = length_direction(differences, lengths)
    return fit_head(differences - np.outer(differences @ direction, direction))


def fit_head(differences: Array, strength: float = STRENGTH) -> Array:
    """The (F,) weights w that minimise ``mean(log(1 + exp(-d w))) + strength / 2 |w|^2`` over the rows d.

    There is no intercept: what all responses have in common is no difference. The minimum is the only one, and is found
    by Newton's method from 0 with halved steps.

    Args:
        differences: (P, F) features of the chosen less those of the rejected response.

    Raises:
        BenchError: a number is not finite.
    """
    if not np.isfinite(differences).all():
        raise BenchError(
            "A sentence encoder gives nan or infinity for a text.", "Use another one (--reward held-out:FOLDER)."
        )
    count, size = differences.shape
    weights, identity = np.zeros(size), np.eye(size)
    for _ in range(_STEPS):
        wrong = 1 / (1 + np.exp(np.clip(differences @ weights, -500, 500)))
        gradient = strength * weights - differences.T @ wrong / count
        if np.abs(gradient).max() < _CLOSE:
            break
        curvature = (differences.T * (wrong * (1 - wrong))) @ differences / count + strength * identity
        step, scale, before = np.linalg.solve(curvature, gradient), 1.0, _loss(differences, weights, strength)
        while scale > _CLOSE and _loss(differences, weights - scale * step, strength) > before:
            scale /= 2
        weights = weights - scale * step
    return weights


def _loss(differences: Array, weights: Array, strength: float) -> float:
    return float(np.logaddexp(0, -differences @ weights).mean() + strength / 2 * weights @ weights)
