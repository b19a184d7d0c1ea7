"""A run that is stopped in the middle of a phase ends as one that is not."""

from __future__ import annotations

import pandas as pd

from lifealign_bench.conformance.bench import Bench
from lifealign_bench.conformance.checks import Check, Outcome, bad, good, skipped
from lifealign_bench.conformance.compare import same_state
from lifealign_bench.method import Phase

__all__ = ["CHECKS"]


def _in_sft(bench: Bench) -> Outcome:
    return _resumes(bench, "sft")


def _in_preference(bench: Bench) -> Outcome:
    return _resumes(bench, "preference")


def _resumes(bench: Bench, phase: Phase) -> Outcome:
    whole = bench.whole
    if phase not in whole.session.phases():
        return skipped(f"the method has no {phase} phase")
    first = min(2, whole.stages)
    resumed = bench.resumed(first, phase)
    for stage in range(first, (first if phase == "sft" else whole.stages) + 1):
        for what, a, b in (
            ("the adapter", whole.weights(stage), resumed.weights(stage)),
            ("the method's state", whole.state(stage), resumed.state(stage)),
        ):
            difference = same_state(a, b)
            if difference:
                return bad(f"after stage {stage}, {what}: {difference}")
        if not whole.scores(stage).equals(resumed.scores(stage)):
            return bad(f"after stage {stage}: scores differ in {_columns(whole.scores(stage), resumed.scores(stage))}")
    return good(f"stopped in stage {first}: the same weights, state and scores, to the bit")


def _columns(a: pd.DataFrame, b: pd.DataFrame) -> str:
    return ", ".join(column for column in a.columns if not a[column].equals(b[column]))


_REMEDY = (
    "Hooks may depend on their arguments, the settings and the state alone. After a stop, a new instance gets "
    "load_state_dict (of the phase before), before_stage, load_state_dict (of the checkpoint): put into state_dict "
    "what pair_loss, penalty and on_gradients change, and draw random numbers from stage.generator."
)

CHECKS = (
    Check(
        "resumes in sft",
        "stopped after a step of a supervised phase and continued, the run ends as one that was not stopped",
        _REMEDY,
        _in_sft,
    ),
    Check(
        "resumes in preference",
        "stopped after a step of a preference phase and continued, the run ends as one that was not stopped",
        _REMEDY,
        _in_preference,
    ),
)
