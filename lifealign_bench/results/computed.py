"""Rows of a board that nobody trained: what length alone would score, and a model that stops learning after stage 1.

Both are computed from records that are there. They are yardsticks: what is not above them has learned nothing beyond
them, and they have no rank.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lifealign_bench.results.comparison import estimate_of
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.paired import Estimate, PairedRuns, TaskScores
from lifealign_bench.results.statistics import Array
from lifealign_bench.results.view import RunView

LENGTH, FROZEN = "length-only", "frozen"
# What a rule that prefers one of two responses can be held against; other scores look at what a model writes.
_OF_PAIRS = ("preference_accuracy", "preference_accuracy_per_token", "policy_accuracy")
_LONGER = "chosen_longer"
_TIE = 0.5
# 0 for these rows whatever the test items are: there is no error to state.
_NOTHING_CHANGES = ("backward_transfer", "forgetting")
_NOTHING_KNOWN = ("forward_transfer",)  # of a task that a rule knows nothing of


@dataclass(frozen=True)
class Computed:
    """A row of a board that was computed and not trained.

    Args:
        name: of the row.
        meaning: what it is, in one sentence.
        estimates: metric to its value with interval; empty where ``missing`` says why.
        missing: why there is no number.
    """

    name: str
    meaning: str
    estimates: dict[str, Estimate] = field(default_factory=dict)
    missing: str = ""


def computed_rows(
    methods: Mapping[str, Sequence[RunView]], score: str, baselines: Sequence[str], win_rate: str
) -> tuple[Computed, ...]:
    """The computed rows of a board.

    Args:
        methods: its methods, best first, each with its comparable runs.
        score: that the board shows.
        baselines: the first of them that is there and has stages is frozen after its first; else the best method is.
        win_rate: the score that stands beside it.
    """
    sequential = [name for name, own in methods.items() if own[0].sequential]
    if not sequential:
        return ()
    frozen = next((name for name in baselines if name in sequential), sequential[0])
    length = (_length_only(methods[frozen][0]),) if score in _OF_PAIRS else ()
    return (_frozen(frozen, methods[frozen], score, win_rate), *length)


def _length_only(view: RunView) -> Computed:
    """A rule that knows of every task that was trained whether the chosen response is mostly the longer one.

    What it knows it has from the task's training pairs, by the majority of them, and it forgets nothing; before a
    task's stage, and where training pairs are even, it is right by half. The runs of a board have the same pairs.
    """
    meaning = (
        "a rule that prefers the longer, or the shorter, of two responses by the majority of the task's training "
        "pairs, from the task's stage on: what length alone would score"
    )
    shares = [data.chosen_longer for data in view.record.data.values()]
    found = view.pair_scores(_LONGER) if _LONGER in view.record.scores else {}
    if not found or any(share is None for share in shares):
        return Computed(LENGTH, meaning, missing="the records do not say which response is longer")
    rows: TaskScores = {
        task: _from_stage(j + 1, _followed(share or 0.0, _scored(array)), len(array))
        for j, ((task, array), share) in enumerate(zip(found.items(), shares, strict=True))
    }
    runs = PairedRuns({LENGTH: [rows]}, 100.0, clusters=view.clusters, bounded=True)
    return Computed(LENGTH, meaning, _estimates(LENGTH, runs, (*_NOTHING_CHANGES, *_NOTHING_KNOWN)))


def _scored(array: Array) -> Array:
    """What is the same after every stage, (pairs,), from the first one after which it was written down."""
    return np.asarray(next((row for row in array if not np.isnan(row).any()), array[0]), dtype=np.float64)


def _followed(share: float, longer: Array) -> Array:
    """Who follows the majority of the training pairs is right by so much on each test pair."""
    if share == _TIE:
        return np.full_like(longer, _TIE)
    return longer if share > _TIE else 1.0 - longer


def _from_stage(stage: int, values: Array, rows: int) -> Array:
    before = np.full_like(values, _TIE)
    return np.stack([values if row >= stage else before for row in range(rows)])


def _frozen(method: str, views: Sequence[RunView], score: str, win_rate: str) -> Computed:
    """A method's model after its first stage, its scores taken for those after every later one."""
    meaning = f"the model of {method} after stage 1 for good: it learns one task and stops"
    runs = _stopped(views, score)
    if runs is None:
        return Computed(FROZEN, meaning, missing=f"{method} was not scored on all tasks after its first stage")
    found = _estimates(FROZEN, runs, _NOTHING_CHANGES)
    wins = _stopped(views, win_rate) if all(win_rate in view.record.scores for view in views) else None
    if wins is not None:
        found["win_rate"] = estimate_of(wins, FROZEN, "last")
    return Computed(FROZEN, meaning, found)


def _stopped(views: Sequence[RunView], score: str) -> PairedRuns | None:
    """None where a run was not scored on all tasks at stages 0 and 1."""
    stopped: list[TaskScores] = []
    for view in views:
        found = view.pair_scores(score)
        if not found or any(np.isnan(array[:2]).all(axis=1).any() for array in found.values()):
            return None
        stopped.append({task: array[np.minimum(np.arange(len(array)), 1)] for task, array in found.items()})
    matrix = views[0].record.scores[score]
    return PairedRuns(
        {FROZEN: stopped},
        matrix.scale,
        partial=matrix.partial,
        clusters=views[0].clusters,
        bounded=matrix.percent,
        seeds={FROZEN: [view.seed for view in views]},
    )


def _estimates(name: str, runs: PairedRuns, exact: Sequence[str]) -> dict[str, Estimate]:
    """Every metric that is defined and needs no run beside; those of ``exact`` are without an error."""
    found = {metric: estimate_of(runs, name, metric) for metric, info in METRICS.items() if not info.needs_single}
    for metric in exact:
        found[metric] = replace(found[metric], low=math.nan, high=math.nan, standard_error=math.nan)
    return {metric: estimate for metric, estimate in found.items() if not math.isnan(estimate.value)}
