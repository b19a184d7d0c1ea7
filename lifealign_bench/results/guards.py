"""What keeps a setting from being chosen although it scores well: its responses are broken.

Preference accuracy looks at log-probabilities. A model that is pushed hard can order every pair rightly and answer with
the same sentence until it is stopped. So a setting of the grid has to pass three guards, on its own greedy responses to
the validation prompts, mean over tasks and seeds:

- ``worse``: the responses lose against the base model's: the win rate's whole 95 % interval, over seeds and pairs, lies
  below 50 percent. It speaks of the tasks that have a checking function.
- ``loops``: the share of responses that loop is more than 10 points above the base model's. A response loops when at
  least half of its runs of four words (as spaces part them) are runs that it has said before.
- ``drift``: KL(policy || base) is above 1 nat a token. (On the stream mini the embedded model is some 0.2 away after
  DPO at the stream's rate, and 0.5 at twice that rate with an adapter a task, when three of four words repeat.) After a
  supervised phase the bound is 10: there a model is far away by design, on the stream forms 2 to 7 nats.

A guard without numbers (no checking function, no responses) says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from lifealign_bench.results.contributions import Array
from lifealign_bench.results.paired import Estimate, PairedRuns
from lifealign_bench.results.record import Record
from lifealign_bench.results.view import SCORE, RunView
from lifealign_bench.util.text import known

Guard = Literal["worse", "loops", "drift"]

# Percent; points above the base model; nats a token.
BOUNDS: dict[Guard, float] = {"worse": 50.0, "loops": 10.0, "drift": 1.0}
_DRIFT_AFTER_SUPERVISION = 10.0
LOOPING = 0.5  # share of a response's four-word runs that it has said before


class GuardReading(BaseModel):
    """What one guard saw of a setting.

    Args:
        value: see the module; None where it has nothing to look at.
        low, high: its 95 % interval over seeds and pairs; None where there is none.
        bound: what it is held against.
        spoke: whether the setting is refused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    guard: Guard
    value: float | None = None
    low: float | None = None
    high: float | None = None
    bound: float
    spoke: bool = False


def bounds_of(supervised: bool) -> dict[Guard, float]:
    """What the guards hold runs against, with a supervised phase or without."""
    return {**BOUNDS, "drift": _DRIFT_AFTER_SUPERVISION} if supervised else dict(BOUNDS)


def readings(views: Sequence[RunView]) -> tuple[GuardReading, ...]:
    """What the guards say of the runs of one setting, one for each seed."""
    bounds = bounds_of(bool(views[0].record.config.get("sft")))
    worse = estimate_at_end(views, "win_rate")
    loops = estimate_at_end(views, "response_repeated", against_base=True, of=_looping, scale=100.0)
    drift = estimate_at_end(views, "kl_base")
    return (
        _reading("worse", worse, bounds["worse"], worse.high < bounds["worse"]),
        _reading("loops", loops, bounds["loops"], loops.value > bounds["loops"]),
        _reading("drift", drift, bounds["drift"], drift.value > bounds["drift"]),
    )


def _looping(repeated: Array) -> Array:
    return np.where(np.isnan(repeated), np.nan, (repeated >= LOOPING).astype(np.float64))


def _reading(guard: Guard, found: Estimate, bound: float, spoke: bool) -> GuardReading:
    value, low, high = known(found.value), known(found.low), known(found.high)
    return GuardReading(guard=guard, value=value, low=low, high=high, bound=bound, spoke=bool(spoke))


def estimate_at_end(
    views: Sequence[RunView],
    score: str,
    *,
    against_base: bool = False,
    of: Callable[[Array], Array] = lambda values: values,
    scale: float | None = None,
) -> Estimate:
    """The mean of a score at the end of the runs, over those tasks that have it, with an interval over seeds and pairs.

    The end is the last stage; for a method that starts anew every stage, each task's own.

    Args:
        views: complete runs of one method and setting, one for each seed, on the same pairs.
        against_base: less what the base model has.
        of: changes the scores of pairs, (rows, pairs).
        scale: factor from their mean to the result; None: the score's.
    """
    first = views[0]
    matrix = first.record.scores.get(score)
    if matrix is None:
        return Estimate(math.nan, math.nan, math.nan, math.nan, len(views))
    rows = end_rows(first)
    runs = [{task: of(values) for task, values in view.pair_scores(score).items()} for view in views]
    tasks = [
        task
        for task in first.tasks
        if all(task in run and not np.isnan(run[task][_needed(rows[task], against_base)]).any() for run in runs)
    ]
    if not tasks:
        return Estimate(math.nan, math.nan, math.nan, math.nan, len(views))
    ends = [rows[task] for task in tasks]
    columns = list(range(len(tasks)))

    def at_end(matrices: Array) -> Array:
        found = matrices[..., ends, columns]
        return np.asarray((found - matrices[..., 0, :] if against_base else found).mean(axis=-1))

    own = [{task: run[task] for task in tasks} for run in runs]
    clusters = {task: first.clusters[task] for task in tasks}
    paired = PairedRuns(
        {"these": own},
        matrix.scale if scale is None else scale,
        clusters=clusters,
        bounded=matrix.percent,
        seeds={"these": [view.seed for view in views]},
    )
    found = paired.estimate("these", at_end)
    if not matrix.percent:
        return found
    # Few seeds make a wide interval; beyond what a share can be it says nothing.
    return replace(found, low=max(found.low, -100.0 if against_base else 0.0), high=min(found.high, 100.0))


def _needed(row: int, against_base: bool) -> list[int]:
    return [0, row] if against_base else [row]


def end_rows(view: RunView) -> dict[str, int]:
    """Task to the row of the matrices in which it stands at the end."""
    last = view.rows[-1].row
    if not starts_anew(view.record):
        return dict.fromkeys(view.tasks, last)
    own = {task: row.row for row in view.rows for task in row.tasks}
    return {task: own[task] for task in view.tasks}


def starts_anew(record: Record) -> bool:
    """Whether a run's method starts anew every stage, so that its last model stands for its last task alone."""
    return record.metrics[SCORE].get("last") is None
