"""Two runs of one configuration, number by number: how far they lie apart, and whether that is a reproduction."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lifealign_bench.reproduction.tolerance import ERRORS, cell_errors, least_share_error, share_error, tolerated
from lifealign_bench.results.checks import TOLERANCE
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.record import ScoreMatrix
from lifealign_bench.results.view import RunView

__all__ = ["Agreement", "Match", "Number", "Verdict", "match_runs"]

Verdict = Literal["to the bit", "within the stated tolerance", "not reproduced"]
SIDES = "preference_accuracy"


@dataclass(frozen=True)
class Number:
    """One number of both runs.

    Args:
        score: the score; of a test of general ability ``ability/<name>``.
        name: of a cell ``<stage> <task>``, of a metric its name.
        there, here: in the record and now; NaN where there is none.
        tolerance: how far they may lie apart; NaN where nothing says how far.
    """

    score: str
    name: str
    there: float
    here: float
    tolerance: float

    @property
    def difference(self) -> float:
        """Now minus then; 0 where neither has a value, NaN where one of them has."""
        if math.isnan(self.there) and math.isnan(self.here):
            return 0.0
        return self.here - self.there

    @property
    def same(self) -> bool:
        """Equal but for the rounding of the mean over equal pairs."""
        return abs(self.difference) <= TOLERANCE * max(1.0, abs(self.there)) or self.difference == 0

    @property
    def state(self) -> Literal["same", "within", "outside", "not judged"]:
        """What becomes of it."""
        if self.same:
            return "same"
        if math.isnan(self.difference):
            return "outside"  # one has a value and the other has none
        if math.isnan(self.tolerance):
            return "not judged"
        return "within" if abs(self.difference) <= self.tolerance else "outside"


@dataclass(frozen=True)
class Agreement:
    """Test pairs of a task that are on the same side (right, wrong, tied) in both runs after a stage."""

    stage: str
    task: str
    same: int
    pairs: int


@dataclass(frozen=True)
class Match:
    """What came out.

    Args:
        cells, metrics: all numbers that both runs should have.
        agreement: by stage and task, of preference accuracy.
        pairs_same: whether every per-pair score is the same to the bit; None where they are not at hand.
        errors: standard errors that a cell may lie apart.
        exact: nothing may differ at all.
        absent: scores of the record that were not computed, with the reason.
    """

    cells: tuple[Number, ...]
    metrics: tuple[Number, ...]
    agreement: tuple[Agreement, ...]
    pairs_same: bool | None
    errors: float
    exact: bool
    absent: Mapping[str, str]

    @property
    def outside(self) -> list[Number]:
        """The numbers that speak against a reproduction."""
        numbers = [*self.cells, *self.metrics]
        if self.exact:
            return [n for n in numbers if not n.same]
        return [n for n in numbers if n.state == "outside"]

    @property
    def verdict(self) -> Verdict:
        """In words."""
        numbers = [*self.cells, *self.metrics]
        # Without the pairs nothing but equal numbers shows equal bits.
        equal = all(n.difference == 0 for n in numbers) if self.pairs_same is None else self.pairs_same
        if numbers and equal and all(n.same for n in numbers):
            return "to the bit"
        if self.exact or self.outside or not any(n.state in ("same", "within") for n in numbers):
            return "not reproduced"
        return "within the stated tolerance"


def match_runs(there: RunView, now: RunView, *, exact: bool, left_out: Mapping[str, str]) -> Match:
    """Compare a record with the run that was done again.

    Args:
        exact: see :class:`Match`.
        left_out: what of its scores was not to be had, and why.
    """
    scores = [name for name in there.record.scores if name in now.record.scores]
    absent = {n: _why(n, left_out) for n in there.record.scores if n not in scores}
    names = [name for name in there.record.abilities if name in now.record.abilities]
    absent |= {f"ability/{n}": _why(n, left_out) for n in there.record.abilities if n not in names}
    count = sum(not math.isnan(v) for s in scores for v in there.record.scores[s].array().ravel())
    count += sum(stage.value is not None for n in names for stage in there.record.abilities[n].stages.values())
    errors = cell_errors(count)
    cells = [cell for score in scores for cell in _cells(score, there, now, errors)]
    cells += [cell for name in names for cell in _abilities(name, there, now, errors)]
    metrics = [number for score in scores if score in there.record.metrics for number in _metrics(score, there, now)]
    return Match(
        tuple(cells),
        tuple(metrics),
        tuple(_agreement(there, now)),
        _pairs_same(there, now, scores),
        errors,
        exact,
        absent,
    )


def _why(name: str, left_out: Mapping[str, str]) -> str:
    """``left_out`` is by scorer; a score mostly begins with its scorer's name."""
    known = {"model_reward": "reward_model"}
    judged = "win" if name.startswith("judged_") else known.get(name, name)
    hits = [reason for what, reason in left_out.items() if what == judged or what.startswith(f"{judged} ")]
    return hits[0] if hits else "this run does not have it"


def _cells(score: str, there: RunView, now: RunView, errors: float) -> Iterator[Number]:
    said, found = there.record.scores[score], now.record.scores[score]
    old, new = said.array(), found.array()
    for row, stage in enumerate(_row_labels(there, len(said.value))):
        for j, task in enumerate(there.tasks):
            other = new[row, j] if new.shape == old.shape else math.nan
            if math.isnan(old[row, j]) and math.isnan(other):
                continue
            yield Number(score, f"{stage}: {task}", float(old[row, j]), float(other), _cell(said, row, j, errors))


def _cell(matrix: ScoreMatrix, row: int, column: int, errors: float) -> float:
    value, pairs = matrix.value[row][column], matrix.n[row][column]
    least = share_error(value, pairs) if matrix.percent and value is not None and 0 <= value <= 100 and pairs else 0.0
    return tolerated(matrix.standard_error[row][column], errors, least)


def _row_labels(view: RunView, rows: int) -> list[str]:
    labels = {row.row: row.label for row in view.rows}
    return [labels.get(row, str(row)) for row in range(rows)]


def _abilities(name: str, there: RunView, now: RunView, errors: float) -> Iterator[Number]:
    said, found = there.record.abilities[name], now.record.abilities[name]
    for stage, old in said.stages.items():
        new = found.stages.get(stage)
        if old.value is None:
            continue
        value = math.nan if new is None or new.value is None else new.value
        tolerance = tolerated(old.standard_error, errors, share_error(old.value, said.items))
        yield Number(f"ability/{name}", f"stage {stage}", old.value, value, tolerance)


def _metrics(score: str, there: RunView, now: RunView) -> Iterator[Number]:
    matrix = there.record.scores[score]
    pairs = sum(max(column) for column in zip(*matrix.n, strict=True))  # test pairs in all tasks
    for name in METRICS:
        if METRICS[name].needs_single:
            continue  # it is about another run as well
        old, new = there.metric(score, name), now.metric(score, name)
        if math.isnan(old) and math.isnan(new):
            continue
        interval = there.interval(score, name)
        least = least_share_error(pairs) if matrix.percent and pairs and interval is not None else 0.0
        error = None if interval is None else interval.standard_error
        yield Number(score, name, old, new, tolerated(error, ERRORS, least))


def _pairs_same(there: RunView, now: RunView, scores: list[str]) -> bool | None:
    if not there.blocks or not now.blocks:
        return None
    for row, tasks in there.blocks.items():
        for task, block in tasks.items():
            other = now.blocks.get(row, {}).get(task)
            if other is None or len(other.ids) != len(block.ids):
                return False
            for score in scores:
                if score not in block.values or score not in other.values:
                    return False
                if not np.array_equal(block.values[score], other.ordered(block.ids, score), equal_nan=True):
                    return False
    return True


def _agreement(there: RunView, now: RunView) -> Iterator[Agreement]:
    for row in there.rows[1:]:
        for task in there.tasks:
            old, new = (view.stage_scores(row.row, task, SIDES) for view in (there, now))
            common = old.keys() & new.keys()
            if common:
                yield Agreement(row.label, task, sum(old[pair] == new[pair] for pair in common), len(common))
