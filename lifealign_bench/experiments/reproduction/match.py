"""Two runs of one configuration, number by number: how far they lie apart, and whether that is a reproduction."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

from lifealign_bench.config import RunConfig
from lifealign_bench.experiments.reproduction.seedspread import largest_gap
from lifealign_bench.results.checks import TOLERANCE
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.record import Record, ScoreMatrix
from lifealign_bench.results.sameness import unlike
from lifealign_bench.results.scores import said_of
from lifealign_bench.results.view import RunView

MatchVerdict = Literal["to the bit", "within the stated tolerance", "not reproduced"]

SIDES = "preference_accuracy"


@dataclass(frozen=True)
class MatchedNumber:
    """One number of both runs.

    Args:
        score: the score; of a test of general ability ``ability/<name>``.
        name: of a cell ``<stage> <task>``, of a metric its name.
        there, here: in the record and now; NaN where there is none.
        tolerance: how far they may lie apart; NaN where nothing says how far.
        between: the most that two published seeds of the method differ by in it; NaN where that is not known.
    """

    score: str
    name: str
    there: float
    here: float
    tolerance: float
    between: float = math.nan

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
        pairs_same: whether every per-pair score is the same to the bit; None where they are not available.
        errors: standard errors that a cell may lie apart.
        exact: nothing may differ at all.
        absent: scores of the record that were not computed, with the reason.
        seeds: how many published seeds ``between`` of its metrics is over.
    """

    cells: tuple[MatchedNumber, ...]
    metrics: tuple[MatchedNumber, ...]
    agreement: tuple[Agreement, ...]
    pairs_same: bool | None
    errors: float
    exact: bool
    absent: Mapping[str, str]
    seeds: int = 0

    @property
    def metrics_outside(self) -> list[MatchedNumber]:
        """The metrics among what speaks against a reproduction of which it is known what seeds do."""
        return [n for n in self.outside if n in self.metrics and not math.isnan(n.between)]

    @property
    def outside(self) -> list[MatchedNumber]:
        """The numbers that speak against a reproduction."""
        numbers = [*self.cells, *self.metrics]
        if self.exact:
            return [n for n in numbers if not n.same]
        return [n for n in numbers if n.state == "outside"]

    @property
    def verdict(self) -> MatchVerdict:
        """In words."""
        numbers = [*self.cells, *self.metrics]
        # Without the pairs nothing but equal numbers shows equal bits.
        equal = all(n.difference == 0 for n in numbers) if self.pairs_same is None else self.pairs_same
        if numbers and equal and all(n.same for n in numbers):
            return "to the bit"
        if self.exact or self.outside or not any(n.state in ("same", "within") for n in numbers):
            return "not reproduced"
        return "within the stated tolerance"


def match_runs(
    there: RunView, now: RunView, *, exact: bool, left_out: Mapping[str, str], seeds: Sequence[RunView] = ()
) -> Match:
    """Compare a record with the run that was done again.

    Args:
        seeds: the record and others that differ from it in the seed alone (``seedspread``).
        exact: see :class:`Match`.
        left_out: what of its scores was not to be had, and why.
    """
    scores = [name for name in there.record.scores if name in now.record.scores]
    absent = {n: _why(n, there, left_out) for n in there.record.scores if n not in scores}
    names = [name for name in there.record.abilities if name in now.record.abilities]
    absent |= {f"ability/{n}": _why(n, there, left_out) for n in there.record.abilities if n not in names}
    count = sum(not math.isnan(v) for s in scores for v in there.record.scores[s].array().ravel())
    count += sum(stage.value is not None for n in names for stage in there.record.abilities[n].stages.values())
    errors = cell_errors(count)
    cells = [cell for score in scores for cell in _cells(score, there, now, errors)]
    cells += [cell for name in names for cell in _abilities(name, there, now, errors)]
    metrics = [
        number for score in scores if score in there.record.metrics for number in _metrics(score, there, now, seeds)
    ]
    return Match(
        tuple(cells),
        tuple(metrics),
        tuple(_agreement(there, now)),
        _pairs_same(there, now, scores),
        errors,
        exact,
        absent,
        len(seeds),
    )


def _why(name: str, there: RunView, left_out: Mapping[str, str]) -> str:
    """``left_out`` is by scorer, and by what of a scorer is missing (``win against ...``), or by ability."""
    scorer = said_of(name, there.record.scores.get(name)).scorer
    hits = [reason for what, reason in left_out.items() if what in (name, scorer) or what.startswith(f"{scorer} ")]
    return hits[0] if hits else "this run does not have it"


def _cells(score: str, there: RunView, now: RunView, errors: float) -> Iterator[MatchedNumber]:
    said, found = there.record.scores[score], now.record.scores[score]
    old, new = said.array(), found.array()
    for row, stage in enumerate(_row_labels(there, len(said.value))):
        for j, task in enumerate(there.tasks):
            other = new[row, j] if new.shape == old.shape else math.nan
            if math.isnan(old[row, j]) and math.isnan(other):
                continue
            yield MatchedNumber(
                score, f"{stage}: {task}", float(old[row, j]), float(other), _cell(said, row, j, errors)
            )


def _cell(matrix: ScoreMatrix, row: int, column: int, errors: float) -> float:
    value, pairs = matrix.value[row][column], matrix.n[row][column]
    least = share_error(value, pairs) if matrix.percent and value is not None and 0 <= value <= 100 and pairs else 0.0
    return tolerated(matrix.standard_error[row][column], errors, least)


def _row_labels(view: RunView, rows: int) -> list[str]:
    labels = {row.row: row.label for row in view.rows}
    return [labels.get(row, str(row)) for row in range(rows)]


def _abilities(name: str, there: RunView, now: RunView, errors: float) -> Iterator[MatchedNumber]:
    said, found = there.record.abilities[name], now.record.abilities[name]
    for stage, old in said.stages.items():
        new = found.stages.get(stage)
        if old.value is None:
            continue
        value = math.nan if new is None or new.value is None else new.value
        tolerance = tolerated(old.standard_error, errors, share_error(old.value, said.items))
        yield MatchedNumber(f"ability/{name}", f"stage {stage}", old.value, value, tolerance)


def _metrics(score: str, there: RunView, now: RunView, seeds: Sequence[RunView]) -> Iterator[MatchedNumber]:
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
        between = largest_gap(seeds, score, name)
        yield MatchedNumber(score, name, old, new, tolerated(error, ERRORS, least), between)


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


ERRORS = 2.0  # standard errors that a single number may lie apart

_NORMAL = NormalDist()

STATEMENT = (
    "float32 on a CPU, with the same versions, commit, threads and kind of processor: every number must be the same to "
    "the bit. Else (bfloat16, other threads, another processor or version) the last bits differ and training amplifies "
    "them: each metric may then lie two of the published run's standard errors over test pairs apart, each cell of a "
    "score matrix as many as keep the risk over all K cells where two errors put it for one (Bonferroni)."
)


def cell_errors(cells: int) -> float:
    """Standard errors that each of so many cells may lie apart: for one :data:`ERRORS`, for more what Bonferroni's
    correction makes of the normal's tails, so that of hundreds of cells none is outside by being one of many."""
    if cells <= 1:
        return ERRORS
    tails = 2 * (1 - _NORMAL.cdf(ERRORS))
    return -_NORMAL.inv_cdf(tails / cells / 2)


def share_error(percent: float, pairs: int) -> float:
    """The standard error of a share of ``pairs``, in percent, after adding two pairs of each side (Agresti & Coull
    1998): where all pairs agree the plain one is 0, which would forbid a single pair to change."""
    share = (pairs * percent / 100 + 2) / (pairs + 4)
    return 100 * math.sqrt(share * (1 - share) / (pairs + 4))


def least_share_error(pairs: int) -> float:
    """The smallest :func:`share_error` of so many pairs: for metrics, which may be differences of shares."""
    return share_error(100.0, pairs)


def tolerated(error: float | None, errors: float, least: float = 0.0) -> float:
    """The largest difference that is tolerated; NaN where there is no standard error to measure it by.

    Args:
        error: of the published number.
        errors: how many of these.
        least: an error that it is not taken to be below.
    """
    if error is None or math.isnan(error):
        return errors * least if least else math.nan
    return errors * max(error, least)


_UNKNOWN = "not recorded"

_WEIGHTS, _LAYOUT, _TOKENS = "model's weights", "layout of a pass", "tokens of the pairs"

_CLOCK = "date and time in the chat template"

_BATCHES = "batches"

# In the order in which they are shown; what each is called for people.
_MACHINE = {
    "system": "system",
    "machine": "architecture",
    "processor": "processor",
    "instructions": "instructions",
    "device": "device",
    "gpu": "GPU",
    "cuda": "CUDA",
    "dtype": "dtype",
    "threads": "threads",
    "processes": "processes",
    "generation": "generation engine",
}


@dataclass(frozen=True)
class Circumstances:
    """Name to value, of everything that can move a number beside the configuration and the data."""

    values: Mapping[str, str]

    def get(self, name: str) -> str:
        """The value; ``not recorded`` where there is none."""
        return self.values.get(name, _UNKNOWN)


def of_record(record: Record) -> Circumstances:
    """Those that a record tells."""
    values = _common(record.versions, record.git, record.hardware)
    values |= {"method's file": record.method.source_sha256[:12], _WEIGHTS: record.model.fingerprint}
    values |= {_LAYOUT: record.model.layout}
    if record.model.clock is not None:
        values[_CLOCK] = record.model.clock
    if tokens := {name: task.encoded for name, task in sorted(record.data.items()) if task.encoded is not None}:
        values[_TOKENS] = hashlib.sha256(json.dumps(tokens, sort_keys=True).encode()).hexdigest()[:12]
    for added in record.additions:
        other = added.versions != record.versions or added.git.get("commit") != record.git.get("commit")
        if other:
            values["scores added later"] = f"{', '.join([*added.scorers, *added.abilities])} with other versions"
    return Circumstances(values)


def here(config: RunConfig, method_sha256: str) -> Circumstances:
    """Those of a run that would be done now; which weights the model has is not known before it is loaded.

    Args:
        config: with the device and type that ``auto`` means here.
        method_sha256: of the method's file.

    Raises:
        BenchError: the server that is to generate cannot be asked which it is.
    """
    # Imported here: tables show what was compared without torch.
    from lifealign_bench.models.device import threads_to_use
    from lifealign_bench.models.engines import make_generation_engine
    from lifealign_bench.runs.recording import git_state, hardware, versions

    machine = hardware(config.device, config.dtype, "")
    machine["threads"] = threads_to_use(config.threads) if config.device == "cpu" else machine["threads"]
    machine["generation"] = make_generation_engine(config).label
    values = _common(versions(config.quantization is not None), git_state(), machine) | {
        "method's file": method_sha256[:12]
    }
    return Circumstances(values if config.clock is None else {**values, _CLOCK: config.clock})


def _common(package: Mapping[str, str], git: Mapping[str, Any], machine: Mapping[str, Any]) -> dict[str, str]:
    commit = git.get("commit")
    values = {"commit": f"{commit}{' with changes' if git.get('dirty') else ''}" if commit else "no git checkout"}
    values |= {f"version of {name}": version for name, version in package.items()}
    # One process, and one engine, were all there was before there was more to record.
    known = {"processes": 1, "generation": _BATCHES} | {
        key: machine[key] for key in _MACHINE if machine.get(key) is not None
    }
    values |= {label: str(known[key]) for key, label in _MACHINE.items() if key in known}
    return values | {f"variable {name}": str(value) for name, value in machine.get("environment", {}).items()}


def circumstance_differences(there: Circumstances, now: Circumstances) -> dict[str, tuple[str, str]]:
    """Name to (there, now) of all that is not the same; the weights, the layout and the tokens, which nobody knows
    before the model is loaded, only where both are known, the weights also of one type, which is part of what names
    them."""
    other = unlike((now.values, there.values), _UNKNOWN)
    found = {name: (old, new) for name, (new, old) in other.items()}
    for name in (_WEIGHTS, _LAYOUT, _TOKENS):
        if _UNKNOWN in found.get(name, ()) or (name == _WEIGHTS and "dtype" in found):
            found.pop(name, None)
    return found


def why_not_to_the_bit(there: Circumstances, now: Circumstances, left_out: Mapping[str, str]) -> list[str]:
    """Why another run with the same configuration may differ in the last bits; empty: it must not differ at all."""
    reasons = []
    if now.get("device") != "cpu" or now.get("dtype") != "float32":
        reasons.append(f"it is {now.get('dtype')} on {now.get('device')}, not float32 on a CPU")
    if now.get(_MACHINE["generation"]) != _BATCHES:
        reasons.append("what generates the responses rounds by what it generates at the same time")
    other = [name for name in circumstance_differences(there, now) if name != "dtype"]
    reasons += [f"not the same: {', '.join(other)}"] if other else []
    if "with changes" in now.get("commit"):
        reasons.append("this repository has changes that are not committed")
    if left_out:
        reasons.append("scores are left out, and what is generated together with what moves the last bits")
    return reasons
