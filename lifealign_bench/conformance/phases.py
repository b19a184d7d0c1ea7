"""The method trains in both phases, and the model that comes out can be scored."""

from __future__ import annotations

import numpy as np

from lifealign_bench.conformance.bench import Bench
from lifealign_bench.conformance.checks import Check, Outcome, bad, good
from lifealign_bench.conformance.trial import Trial

__all__ = ["CHECKS"]


def _both(bench: Bench) -> Outcome:
    trial = bench.whole
    phases = " and ".join(trial.session.phases())
    return _scored(trial, range(trial.stages + 1)) or good(f"{trial.stages} stages, {phases} phase")


def _preference(bench: Bench) -> Outcome:
    trial = bench.long
    phases = " and ".join(trial.session.phases())
    return _scored(trial, [trial.stages]) or good(f"{trial.stages} stages, {phases} phase")


def _scored(trial: Trial, stages: range | list[int]) -> Outcome | None:
    for stage in stages:
        frame = trial.scores(stage)
        for name in next(iter(trial.session.scorers.values())).scores:
            values = frame[name.name].to_numpy(dtype=float)
            if not np.isfinite(values).all():
                return bad(
                    f"{name.name} after stage {stage} is not finite for {int((~np.isfinite(values)).sum())} pairs"
                )
    return None


CHECKS = (
    Check(
        "both phases",
        "with --sft the run over three tasks completes and every score is finite",
        "Run it yourself for the whole message: run --method FILE --model fake --stream fake --sft.",
        _both,
    ),
    Check(
        "preference alone",
        "without --sft the run over ten tasks completes and every score is finite",
        "Run it yourself for the whole message: run --method FILE --model fake --stream fake. A hook must not rely on "
        "a supervised phase having been there.",
        _preference,
    ),
)
