"""The columns of a leaderboard: what is said of a method beside its ranks and its costs.

Every metric is one. A further one is its entry in :data:`COLUMNS` and the function that computes it, both here; tables,
CSV and JSON have what stands here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import variance

import numpy as np

from lifealign_bench.results.comparison import METRIC, estimate, estimate_of, paired_runs
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.paired import Estimate, PairedRuns
from lifealign_bench.results.scores import Change, alignment_tax, interval_of
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

    def with_score(self, method: str, score: str) -> Sequence[RunView]:
        """A method's runs that have another score: one that costs passes of its own may be that of some seeds."""
        return [view for view in self.methods[method] if score in view.record.scores]

    def beside(self, score: str) -> PairedRuns | None:
        """Another score, of the runs that have it; None where it cannot be paired."""
        if score not in self._others:
            found = {name: self.with_score(name, score) for name in self.methods}
            self._others[score] = paired_runs({name: own for name, own in found.items() if own}, score, METRIC)
        return self._others[score]

    def taxes(self, method: str) -> list[Change]:
        """The change of general ability in each of a method's runs that were asked."""
        asked = [view.record for view in self.methods[method] if view.record.abilities]
        return [alignment_tax(record.abilities, record.stages[-1].index) for record in asked]

    @cached_property
    def tax_variance(self) -> float:
        """Of these over seeds, within methods and pooled over all that have two or more; 0 where none has."""
        known = [[tax.value for tax in self.taxes(name)] for name in self.methods]
        several = [values for values in known if len(values) > 1 and not any(map(math.isnan, values))]
        degrees = sum(len(values) - 1 for values in several)
        return sum(variance(values) * (len(values) - 1) for values in several) / degrees if degrees else 0.0

    @cached_property
    def _others(self) -> dict[str, PairedRuns | None]:
        return {}


@dataclass(frozen=True)
class Column:
    """One column.

    Args:
        heading: above it.
        of: gives a method's mean over those of its seeds that have it; NaN where it is not known.
        note: below the table where any method has a value; empty: none.
        shown: whether tables have it where it is not ranked by; CSV and JSON have all.
        score: of which it is the end, so that a board of that score need not show it twice; empty: of none.
        digits: after the point in tables; None: as many as what is ranked by.
    """

    heading: str
    of: Callable[[BoardRuns, str], Estimate]
    note: str = ""
    shown: bool = True
    score: str = ""
    digits: int | None = None

    def stands_on(self, score: str) -> bool:
        """Whether tables of a board of ``score`` have it."""
        return self.shown and self.score != score

    def places(self, usual: int) -> int:
        """Digits after the point, where a board has ``usual`` ones."""
        return usual if self.digits is None else self.digits


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


def _at_the_end(
    heading: str, score: str, note: str, *, with_responses: bool = False, digits: int | None = None
) -> Column:
    """Another score's mean after the last stage, over the runs that have it; NaN where none has.

    Args:
        with_responses: it is for boards that are ranked by win rate alone.
    """

    def of(runs: BoardRuns, method: str) -> Estimate:
        own = runs.with_score(method, score)
        if not own or (with_responses and runs.score != WIN_RATE):
            return _unknown()
        paired = runs.beside(score)
        # Records have no metrics of what is no score of quality, like a divergence: the per-pair scores have its end.
        return estimate(method, own, score, METRIC, None) if paired is None else estimate_of(paired, method, METRIC)

    return Column(heading, of, f"{heading}: {note}", score=score, digits=digits)


def _by_pair(runs: BoardRuns, method: str) -> Estimate:
    """The mean score after the last stage over all test pairs, NaN where that is nearly the mean over the tasks."""
    own = runs.methods[method]
    sizes = [len(view.pair_ids(task)) for view in own[:1] for task in view.tasks]
    if runs.plain is None or max(sizes) < _UNEQUAL * min(sizes):
        return _unknown()
    shares = np.array(sizes) / sum(sizes)
    return runs.plain.estimate(method, lambda m: m[..., -1, :] @ shares)


def _ability(runs: BoardRuns, method: str) -> Estimate:
    """The mean over tests, then seeds, of the change of general ability from the base model to the end.

    Every seed is asked the same items: they are no sample anew, and their error is not made less by seeds. To it comes
    that of the seeds, which counts what a seed does to an item twice rather than not at all. Two or three seeds say
    little of their spread, one says nothing: it is that of all methods together, or the method's own where that is
    larger.
    """
    taxes = runs.taxes(method)
    if not taxes:
        return _unknown()
    mean, over_seeds = mean_and_se([tax.value for tax in taxes])
    own = 0.0 if len(taxes) < 2 else over_seeds**2
    over_items = sum(tax.standard_error**2 for tax in taxes) / len(taxes)
    found = interval_of(mean, math.sqrt(over_items + max(own, runs.tax_variance / len(taxes))))
    return Estimate(found.value, found.low, found.high, found.standard_error, len(taxes))


def _unknown() -> Estimate:
    return Estimate(math.nan, math.nan, math.nan, math.nan, 0)


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
        digits=2,
    ),
    "ability": Column(
        "ability change",
        _ability,
        "ability change: questions of general ability after the last stage against the base model, percentage points, "
        "mean over the tests.",
    ),
}


def columns() -> dict[str, Column]:
    """The metrics and what stands in :data:`COLUMNS`."""
    metrics = {name: Column(info.label, _metric(name), shown=name != "gain") for name, info in METRICS.items()}
    return {**metrics, **COLUMNS}
