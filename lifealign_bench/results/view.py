"""A record as tables need it: which row is which stage, names of tasks, and how sure each number is.

With the run's folder or the published per-pair scores the uncertainty of metrics comes from these; a record
alone has the standard errors of the cells only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lifealign_bench.errors import BenchError
from lifealign_bench.results.clusters import Clusters, independent, labels_of
from lifealign_bench.results.folder import RunFolder, record_file
from lifealign_bench.results.metrics import METRICS, intransigence, per_task
from lifealign_bench.results.pairtable import PairBlock, read_stages
from lifealign_bench.results.published import read_pair_scores
from lifealign_bench.results.record import (
    MODEL_REWARD,
    Record,
    ScoreMatrix,
    StageRecord,
    read_record,
    reward_model_of,
)
from lifealign_bench.results.scores import said_of
from lifealign_bench.results.single import Neighbours, Single, find_single
from lifealign_bench.results.statistics import (
    Interval,
    Matrix,
    cell_means,
    matrix_intervals,
    metric_intervals,
    wilson_interval,
)

SCORE, WIN_RATE = "preference_accuracy", "win_rate"
BOTH_PHASES, ONE_PHASE = "both phases", "no supervised phase"

_FEWEST_PAIRS = 2  # one pair says nothing about the spread


@dataclass(frozen=True)
class StageRow:
    """One row of every score matrix: ``row`` in it, the stage it belongs to, and the tasks trained in that stage."""

    row: int
    stage: int
    tasks: tuple[str, ...]

    @property
    def label(self) -> str:
        """``0 base``, ``1 mini-facts``, ``1 all 5 tasks``."""
        if self.stage == 0:
            return "0 base"
        return f"{self.stage} {self.tasks[0]}" if len(self.tasks) == 1 else f"{self.stage} all {len(self.tasks)} tasks"


class RunView:
    """One run, for tables.

    Args:
        record: its record.
        directory: its folder, if it is available.
        published: the record's file, if it is a published one (see ``published``).
        neighbours: shared by the runs that are read together.
    """

    def __init__(
        self,
        record: Record,
        directory: Path | None = None,
        published: Path | None = None,
        neighbours: Neighbours | None = None,
    ) -> None:
        self.record = record
        self.directory = directory
        self.published = published
        self._neighbours = neighbours
        self._found: dict[str, dict[str, Matrix]] = {}

    @classmethod
    def open(cls, path: Path, neighbours: Neighbours | None = None) -> RunView:
        """The run in a folder, or of a record's file.

        Raises:
            BenchError: there is no readable record.
        """
        directory = path if path.is_dir() else path.parent
        file = record_file(path)
        if not file.is_file():
            raise BenchError(
                f"There is no record {file}.", "Name the folder of a run (it holds record.json), or a record's file."
            )
        view = cls(read_record(file), directory, None if file == RunFolder(directory).record else file, neighbours)
        try:
            _ = view.group, view.seed, view.tasks
            view._refuse_other_shapes()
        except (KeyError, TypeError, ValueError) as error:
            raise BenchError(
                f"The record {file} is no run's: its configuration lacks the stream, model, tasks or seed, or its "
                "score matrices are not of its tasks and stages.",
                "Restore it as the run wrote it; lifealign-bench verify finds what was edited.",
            ) from error
        return view

    def _refuse_other_shapes(self) -> None:
        """Raises ValueError: the score matrices are not of the tasks, or stages trained more tasks than there are."""
        shape = (len(self.tasks) + 1, len(self.tasks))
        if any(matrix.array().shape != shape for matrix in self.record.scores.values()):
            raise ValueError("matrices")
        if self.rows[-1].row > len(self.tasks):
            raise ValueError("stages")

    @property
    def name(self) -> str:
        """The method's name."""
        return self.record.method.name

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.record.config["seed"])

    @property
    def group(self) -> tuple[str, str]:
        """(stream, model): runs are compared within these."""
        config = self.record.config
        return str(config["stream"]), str(config.get("model_label") or config["model"])

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """The stream's tasks by name; a user's own card stands in the configuration by its path."""
        return tuple(self.record.data) or tuple(Path(t).stem if t.endswith(".yaml") else t for t in self.record.tasks)

    @cached_property
    def sequential(self) -> bool:
        """Whether every stage trained one task, in the stream's order; only then is a task's own stage its row."""
        plan = [tuple(stage.tasks) for stage in self.trained]
        return plan == [(task,) for task in self.tasks][: len(plan)]

    @property
    def complete(self) -> bool:
        """Whether every stage was trained and scored."""
        return self.record.status == "complete"

    @property
    def trained(self) -> list[StageRecord]:
        """The stages that were trained, without stage 0."""
        return [stage for stage in self.record.stages if stage.index > 0]

    @cached_property
    def rows(self) -> tuple[StageRow, ...]:
        """The rows that belong to a stage: a stage's scores are in the row of the number of tasks seen by then."""
        rows = [StageRow(0, 0, ())]
        for stage in self.trained:
            rows.append(StageRow(rows[-1].row + len(stage.tasks), stage.index, tuple(stage.tasks)))
        return tuple(rows)

    def scores(self) -> list[str]:
        """Names of the scores that have any value, main ones first; where responses are ranked by, their win rate."""
        first = WIN_RATE if self.ranked_by == WIN_RATE else ""
        return sorted(self._by_place(), key=lambda name: name != first)

    def _by_place(self) -> list[str]:
        found = [name for name, matrix in self.record.scores.items() if not np.isnan(matrix.array()).all()]
        return sorted(found, key=lambda name: self._main(name) or math.inf)

    @property
    def ranked_by(self) -> str:
        """The score that a run is judged by first: how often its responses win, where it has the paper's two phases and
        a reward for every task; else the preference accuracy.

        A supervised phase is what moves responses; without one, or without rewards, preferences are what is measured.
        """
        rewards = self.record.scores.get("reward")
        every = rewards is not None and not np.isnan(rewards.array()).all(axis=0).any()
        if every and self.record.config.get("sft") and WIN_RATE in self.record.scores:
            return WIN_RATE
        return (
            SCORE
            if SCORE in self.record.scores
            else next((name for name in self._by_place() if self._main(name)), SCORE)
        )

    @property
    def protocol(self) -> str:
        """What a stage consists of: the paper's two phases, or one of them."""
        return BOTH_PHASES if self.record.config.get("sft") else ONE_PHASE

    def main_scores(self) -> list[str]:
        """Those that have any value and that their scorers call main ones, in their order."""
        return [name for name in self.scores() if self._main(name)]

    def _main(self, score: str) -> int:
        return said_of(score, self.record.scores.get(score)).main

    def metric(self, score: str, metric: str) -> float:
        """A metric's value; NaN where undefined, not there, or the run is not complete."""
        if self.complete and METRICS[metric].needs_single:
            return self._intransigence(score)
        found = self.record.metrics.get(score, {}) if self.complete else {}
        if found and metric not in found and score in self.record.scores:  # of before there was this metric
            return float(METRICS[metric].function(self.record.scores[score].array()))
        value = found.get(metric)
        return math.nan if value is None else float(value)

    @cached_property
    def single(self) -> Single:
        """The run of ``single`` that intransigence is against, or why there is none."""
        if self.directory is None:
            return Single()
        return find_single(self.record, self.published or RunFolder(self.directory).record, self._neighbours)

    def _intransigence(self, score: str) -> float:
        matrix = self.record.scores[score].array() if score in self.record.scores else None
        if self.single.record is None or matrix is None or not self.sequential:
            return math.nan
        if score == MODEL_REWARD and reward_model_of(self.single.record) != reward_model_of(self.record):
            return math.nan  # points of two reward models have nothing in common
        return float(intransigence(matrix, self.single.scores(score, self.tasks)))

    def interval(self, score: str, metric: str) -> Interval | None:
        """The 95 % interval of :meth:`metric`; None without per-pair scores."""
        return self._intervals.get(score, {}).get(metric)

    def cell_intervals(self, score: str) -> dict[tuple[int, str], tuple[float, float]]:
        """(row, task) to the 95 % interval of that cell over its test pairs; empty without per-pair scores.

        Where all pairs of a share agree, draws of them say nothing: there it is Wilson's.
        """
        values, matrix = self._pairs.get(score, {}), self.record.scores[score]
        if not values:
            return {}
        rows = [row.row for row in self.rows]
        found = matrix_intervals(
            values,
            matrix.scale,
            lambda m: {str(row): m[..., row, :] for row in rows},
            partial=matrix.partial,
            clusters=self.clusters,
        )
        cells = {}
        for row in rows:
            for j, task in enumerate(self.tasks):
                value, n = matrix.value[row][j], matrix.n[row][j]
                interval = found[str(row)][j]
                cells[row, task] = (interval.low, interval.high)
                if matrix.percent and n and value in (0.0, 100.0):
                    items = min(n, independent({task: self.clusters[task]}))
                    low, high = wilson_interval(items * value / 100, items)
                    cells[row, task] = (100 * low, 100 * high)
        return cells

    def per_task(self, score: str) -> dict[str, Matrix]:
        """``metrics.per_task``; what a joint run has no stage for is NaN."""
        return self._per_task(self.record.scores[score].array())

    def per_task_errors(self, score: str) -> dict[str, list[float]]:
        """Standard errors of :meth:`per_task`: of cells from the record, of differences from the per-pair scores."""
        errors = self.record.scores[score].errors()
        last = self.rows[-1].row
        own = {task: row.row for row in self.rows for task in row.tasks}
        cells = {
            "base": errors[0].tolist(),
            "learned": [errors[own[task], j] if task in own else math.nan for j, task in enumerate(self.tasks)],
            "final": errors[last].tolist(),
        }
        return self._task_errors.get(score, {}) | cells

    def _per_task(self, matrix: Matrix) -> dict[str, Matrix]:
        # ``matrix`` may be a stack of drawn ones.
        unknown = np.full((*matrix.shape[:-2], matrix.shape[-1]), math.nan)
        if matrix.shape[-2] == matrix.shape[-1] + 1:
            found = per_task(matrix)
        else:
            names = ("base", "learned", "final", "forgetting", "change")
            found = {n: unknown.copy() for n in names} | {"base": matrix[..., 0, :], "final": matrix[..., -1, :]}
        if not self.sequential:
            for name in ("learned", "forgetting", "change"):
                found[name] = unknown.copy()
        return found

    @cached_property
    def blocks(self) -> dict[int, dict[str, PairBlock]]:
        """Row of the matrices to task to per-pair scores, of the stages whose file is there and readable."""
        if self.directory is None:
            return {}
        if self.published is not None:
            stages = read_pair_scores(self.published)
        else:
            # A record without its stages' files is a whole record; it has fewer error bars.
            stages, _ = read_stages(self.directory, [row.stage for row in self.rows])
        return {row.row: stages[row.stage] for row in self.rows if row.stage in stages}

    def pair_ids(self, task: str) -> tuple[str, ...]:
        """The test pairs of a task, in the order of :meth:`pair_scores`; empty without per-pair scores."""
        return next((tuple(b[task].ids) for b in self.blocks.values() if task in b), ())

    @cached_property
    def clusters(self) -> Clusters:
        """The clusters of every task's pairs, in the order of :meth:`pair_ids`. Where the scores' file names none, each
        pair is taken for one.

        Raises:
            BenchError: all pairs of a task are of one cluster.
        """
        found = {}
        for task in self.tasks:
            block = next((b[task] for b in self.blocks.values() if task in b), None)
            names = () if block is None else (block.ids if block.clusters is None else block.clusters)
            found[task] = labels_of(list(names))
            if len(found[task]) > 1 and independent({task: found[task]}) == 1:
                raise BenchError(
                    f"All {len(found[task])} test pairs of {task} are of one cluster: they say nothing of how sure a "
                    "score is.",
                    "Give the task's card a cluster column that tells independent pairs apart, and score the run "
                    "again.",
                )
        return found

    @cached_property
    def clustered(self) -> bool:
        """Whether the scores' file says which pairs belong together."""
        return any(block.clusters is not None for blocks in self.blocks.values() for block in blocks.values())

    def pair_scores(self, score: str) -> dict[str, Matrix]:
        """Task to (rows, pairs); empty where the folder does not hold what the record says."""
        if score not in self._found:
            self._found[score] = self._pair_scores(score)
        return self._found[score]

    def _pair_scores(self, score: str) -> dict[str, Matrix]:
        matrix = self.record.scores[score]
        if not self.blocks or any(score not in block.values for b in self.blocks.values() for block in b.values()):
            return {}
        values: dict[str, Matrix] = {}
        for column, task in enumerate(self.tasks):
            table = {row: blocks[task] for row, blocks in self.blocks.items() if task in blocks}
            ids = next(iter(table.values())).ids if table else np.array([], dtype=object)
            array = np.full((len(matrix.value), len(ids)), math.nan)
            for row, block in table.items():
                array[row] = block.ordered(ids, score)
            values[task] = array
            if not _agrees(matrix, column, array):
                return {}
        return values

    def stage_scores(self, row: int, task: str, score: str) -> dict[str, float]:
        """Pair id to a score in one row of the matrix; empty where there is none."""
        block = self.blocks.get(row, {}).get(task)
        if block is None or score not in block.values:
            return {}
        pairs = zip(block.ids.tolist(), block.values[score].tolist(), strict=True)
        return {str(i): v for i, v in pairs if not math.isnan(v)}

    @cached_property
    def _pairs(self) -> dict[str, dict[str, Matrix]]:
        return {score: values for score in self.scores() if (values := self.pair_scores(score))}

    @cached_property
    def _intervals(self) -> dict[str, dict[str, Interval]]:
        found = {}
        for score, values in self._pairs.items():
            wanted = {
                name: info.function
                for name, info in METRICS.items()
                if not info.needs_single and not math.isnan(self.metric(score, name))
            }
            matrix = self.record.scores[score]
            more: dict[str, Any] = {
                "partial": matrix.partial,
                "clusters": self.clusters,
                "bounded": matrix.percent,
            }
            found[score] = metric_intervals(values, matrix.scale, wanted, **more)
            added = self.pair_scores_with_single(score)
            if added:
                function = {"intransigence": lambda m: intransigence(m[..., :-1, :], m[..., -1, :])}
                found[score] |= metric_intervals(added, matrix.scale, function, **more)
        return found

    def pair_scores_with_single(self, score: str) -> dict[str, Matrix]:
        """:meth:`pair_scores` with S, the scores of ``single``, as one more row: it is of the same test pairs, which
        are drawn together. Empty where these are not available."""
        values = self._pairs.get(score, {})
        alone = self._alone(score, values)
        return {task: np.vstack([rows, alone[task]]) for task, rows in values.items()} if alone else {}

    def _alone(self, score: str, values: dict[str, Matrix]) -> dict[str, Matrix]:
        """Task to the per-pair scores behind S, (pairs,); empty where they are not all available."""
        if math.isnan(self.metric(score, "intransigence")) or self.single.path is None:
            return {}
        view = RunView.open(self.single.path)
        found = view.pair_scores(score)
        own = {task: row.row for row in view.rows for task in row.tasks}
        alone = {task: found[task][own[task]] for task in values if task in found}
        fits = all(task in alone and alone[task].shape == rows.shape[1:] for task, rows in values.items())
        return alone if fits else {}

    @cached_property
    def _task_errors(self) -> dict[str, dict[str, list[float]]]:
        return {
            score: {
                name: [interval.standard_error for interval in intervals]
                for name, intervals in matrix_intervals(
                    values,
                    matrix.scale,
                    self._per_task,
                    partial=matrix.partial,
                    clusters=self.clusters,
                    bounded=matrix.percent,
                ).items()
            }
            for score, values in self._pairs.items()
            for matrix in [self.record.scores[score]]
            if self._main(score)
        }


def score_title(name: str) -> str:
    """A score's name for people."""
    return name.replace("_", " ")


def _agrees(matrix: ScoreMatrix, column: int, values: Matrix) -> bool:
    """Whether the per-pair scores have the record's means: error bars of other numbers would be wrong."""
    if values.shape[1] < _FEWEST_PAIRS:
        return False
    means = cell_means(values, matrix.partial) * matrix.scale
    said = np.array([math.nan if row[column] is None else row[column] for row in matrix.value], dtype=float)
    close = np.abs(means - said) <= 1e-6 * (1 + np.abs(said))
    return bool((close | (np.isnan(means) & np.isnan(said))).all())
