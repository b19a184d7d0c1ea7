"""Same to the bit, or how far apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from safetensors.torch import save

from lifealign_bench.conformance.checks import Outcome, bad, good
from lifealign_bench.conformance.trial import Trial
from lifealign_bench.conformance.watch import State

__all__ = ["SCORE_TOLERANCE", "WEIGHT_TOLERANCE", "distance", "same_state", "same_training"]

# Rounding in float32 moves weights by some 1e-6 of what training moves them, and log-probabilities by some 1e-5.
WEIGHT_TOLERANCE = 1e-3
SCORE_TOLERANCE = 1e-3


def same_state(wanted: State, found: State) -> str | None:
    """What differs first between two states (or two adapters), in words; None where nothing does."""
    for name in (*wanted, *found):
        if name not in found:
            return f"{name!r} is missing"
        if name not in wanted:
            return f"{name!r} is there, which was not saved"
        a, b = wanted[name], found[name]
        if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
            if not _same(a, b):
                return f"{name!r} differs{_by(a, b)}"
        elif type(a) is not type(b):
            return f"{name!r} was of type {type(a).__name__} and is of type {type(b).__name__}"
        elif repr(a) != repr(b):  # not ==, so that NaN is itself and 1 is not 1.0
            return f"{name!r} differs"
    return None


def same_training(one: Trial, other: Trial, stages: Sequence[int]) -> Outcome:
    """Whether two trials came to the same adapters and scores after ``stages``, but for rounding."""
    furthest = 0.0
    start = one.weights(0)
    for stage in stages:
        furthest = distance(start, one.weights(stage), other.weights(stage))
        if not furthest <= WEIGHT_TOLERANCE:
            return bad(f"after stage {stage} the adapters are apart by {furthest:.2g} of the way they came")
    scores, others = (trial.scores(stages[-1]).set_index("pair_id") for trial in (one, other))
    apart = float((scores["preference_margin"] - others["preference_margin"]).abs().max())
    # A method may train weights of its own, which are no adapter's: they too are seen in the scores.
    if not apart <= SCORE_TOLERANCE:
        return bad(f"after stage {stages[-1]} preference margins differ by up to {apart:.2g} nats")
    return good(f"adapters apart by {furthest:.1g} of the way they came, margins by {apart:.1g} nats")


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Type, shape and bytes."""
    first, second = (save({"tensor": t.detach().cpu().contiguous().clone()}) for t in (a, b))
    return bool(first == second)


def _by(a: torch.Tensor, b: torch.Tensor) -> str:
    if a.shape != b.shape:
        return f": shape {tuple(a.shape)} and {tuple(b.shape)}"
    if a.dtype != b.dtype:
        return f": type {a.dtype} and {b.dtype}"
    return f" by up to {(a.detach().double() - b.detach().double()).abs().max().item():.2g}"


def distance(start: Mapping[str, torch.Tensor], a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> float:
    """How far two adapters that were trained from ``start`` are apart, as a share of how far they came (2-norms)."""
    apart = sum(float((a[k].double() - b[k].double()).square().sum()) for k in a)
    moved = sum(float((a[k].double() - start[k].double()).square().sum()) for k in a)
    return float((apart / moved) ** 0.5) if moved > 0 else float(apart > 0)
