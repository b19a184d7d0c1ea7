"""The columns of a leaderboard: what is said of a method beside its ranks and its costs.

Every metric is one. A further one is its entry in :data:`COLUMNS` and the function that computes it, both here; tables,
CSV and JSON have what stands here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lifealign_bench.results.comparison import METRIC, estimate, paired_runs
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.paired import Estimate, PairedRuns
from lifealign_bench.results.statistics import mean_and_se
from lifealign_bench.results.view import SCORE, WIN_RATE, RunView

PER_TOKEN = "preference_accuracy_per_token"
_UNEQUAL = 2  # times as many test pairs in the largest task as in the smallest


@dataclass(frozen=True)
class BoardRuns:
    """What the columns of a board are computed from.

    Args:
        methods: name to its runs, which can be compared.
        score, metric: what is ranked by.
    """

    methods: Mapping[str, Sequence[RunView]]
    score: str
    metric: str

    @cached_property
    def ranked_by(self) -> PairedRuns | None:
        """The per-pair scores that are ranked by; None where they cannot be paired."""
        return paired_runs(self.methods, self.score, self.metric)

    @cached_property
    def plain(self) -> PairedRuns | None:
        """The same for metrics that need no other run."""
        return paired_runs(self.methods, self.score, METRIC) if METRICS[self.metric].needs_single else self.ranked_by

    def beside(self, score: str) -> PairedRuns | None:
        """Another score, of the methods of which all runs have it; None where it cannot be paired."""
        if score not in self._others:
            with_it = {n: own for n, own in self.methods.items() if all(score in view.record.scores for view in own)}
            self._others[score] = paired_runs(with_it, score, METRIC)
        return self._others[score]

    @cached_property
    def _others(self) -> dict[str, PairedRuns | None]:
        return {}


@dataclass(frozen=True)
class Column:
    """One column.

    Args:
        heading: above it.
        of: gives a method's mean over its seeds; NaN where it is not known.
        note: below the table where any method has a value; empty: none.
        shown: whether tables have it where it is not ranked by; CSV and JSON have all.
        score: of which it is the end, so that a board of that score need not show it twice; empty: of none.
    """

    heading: str
    of: Callable[[BoardRuns, str], Estimate]
    note: str = ""
    shown: bool = True
    score: str = ""

    def stands_on(self, score: str) -> bool:
        """Whether tables of a board of ``score`` have it."""
        return self.shown and self.score != score


def _metric(name: str) -> Callable[[BoardRuns, str], Estimate]:
    def of(runs: BoardRuns, method: str) -> Estimate:
        own, paired = runs.methods[method], runs.plain
        if METRICS[name].needs_single:
            known = not any(math.isnan(view.metric(runs.score, name)) for view in own)
            paired = paired_runs({method: own}, runs.score, name) if known else None
            if name == runs.metric and runs.ranked_by is not None:
                paired = runs.ranked_by
        return estimate(method, own, runs.score, name, paired)

    return of


def _at_the_end(heading: str, score: str, note: str, *, with_responses: bool = False) -> Column:
    """Another score's mean after the last stage; NaN where a run does not have it.

    Args:
        with_responses: it is for boards that are ranked by win rate alone.
    """

    def of(runs: BoardRuns, method: str) -> Estimate:
        own = runs.methods[method]
        if any(score not in view.record.scores for view in own) or (with_responses and runs.score != WIN_RATE):
            return _over_seeds([math.nan] * len(own))
        return estimate(method, own, score, METRIC, runs.beside(score))

    return Column(heading, of, f"{heading}: {note}", score=score)


def _by_pair(runs: BoardRuns, method: str) -> Estimate:
    """The mean score after the last stage over all test pairs, NaN where that is nearly the mean over the tasks."""
    own = runs.methods[method]
    sizes = [len(view.pair_ids(task)) for view in own[:1] for task in view.tasks]
    if runs.plain is None or max(sizes) < _UNEQUAL * min(sizes):
        return _over_seeds([math.nan] * len(own))
    shares = np.array(sizes) / sum(sizes)
    return runs.plain.estimate(method, lambda m: m[..., -1, :] @ shares)


def _ability(runs: BoardRuns, method: str) -> Estimate:
    """The mean change of general ability from the base model to the end, over tests, then seeds (error: over seeds)."""
    changes = []
    for view in runs.methods[method]:
        last = str(view.record.stages[-1].index)
        stages = [test.stages.get(last) for test in view.record.abilities.values()]
        found = [math.nan if stage is None or stage.change is None else stage.change for stage in stages]
        changes.append(sum(found) / len(found) if found else math.nan)
    return _over_seeds(changes)


def _over_seeds(values: Sequence[float]) -> Estimate:
    """The mean of one number a seed, which is not of test pairs and so has no interval over them."""
    mean, error = mean_and_se(values)
    return Estimate(mean, math.nan, math.nan, error, len(values))


# Name in CSV and JSON -> column; the order is that of tables.
COLUMNS: dict[str, Column] = {
    "last_by_pair": Column(
        "last by pair",
        _by_pair,
        "last by pair: every test pair counts alike, and not every task: these have unequal test sets.",
    ),
    "per_token": _at_the_end(
        "last by token",
        PER_TOKEN,
        "preference accuracy after the last stage by what each response gained a token.",
    ),
    "reward": _at_the_end(
        "reward", "reward", "of the responses after the last stage, percent, by the tasks' rules.", with_responses=True
    ),
    WIN_RATE: _at_the_end(
        "win rate",
        WIN_RATE,
        "responses against the base model's after the last stage, percent, by the tasks' rewards.",
    ),
    SCORE: _at_the_end(
        "accuracy",
        SCORE,
        "preference accuracy after the last stage, percent: which of two given answers is likelier.",
    ),
    "kl_base": _at_the_end(
        "KL",
        "kl_base",
        "from the base model after the last stage, on the model's own responses, nats a token.",
        with_responses=True,
    ),
    "ability": Column("ability change", _ability),
}


def columns() -> dict[str, Column]:
    """The metrics and what stands in :data:`COLUMNS`."""
    metrics = {name: Column(info.label, _metric(name), shown=name != "gain") for name, info in METRICS.items()}
    return {**metrics, **COLUMNS}
