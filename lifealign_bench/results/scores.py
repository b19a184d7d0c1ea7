"""What a score is, and from scores per test pair to score matrices; nothing here needs torch, so that records can be
checked without it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lifealign_bench.results.clusters import Labels, cluster_error, labels_of
from lifealign_bench.results.pairtable import CLUSTER
from lifealign_bench.results.record import AbilityRecord, JudgedBy, Record, ScoreMatrix
from lifealign_bench.results.statistics import mean_and_se

if TYPE_CHECKING:
    import pandas as pd

# Task to score to the values of its pairs, (P,): what there is after one stage.
TaskValues = Mapping[str, Mapping[str, NDArray[np.float64]]]
# Row of a matrix to task to the clusters of its pairs, in the order of the values.
RowClusters = Mapping[int, Mapping[str, Labels]]


MOST_MISSING = 0.1  # share of a partial score's pairs that may be without a value


@dataclass(frozen=True)
class ScoreInfo:
    """What one score is.

    Args:
        name: its column in ``scores.parquet``.
        percent: a share: its mean is shown times 100.
        summary: what it measures, in one sentence.
        unit: of the values as shown, where they are no shares: ``nats``, ``points``, ``words``; empty for none.
        partial: whether a pair may be without a value (a judge gave no usable answer). Its cell is then the mean over
            the others, with their number, as long as no more than a tenth is missing.
        quality: whether more is better, so that metrics of learning and forgetting mean something.
        judged_by: the setting of the run that names who judges the responses; empty where nobody does. Runs are
            compared in a judged score only where their judges and reward models are the same.
        checked: whether the tasks' own reward functions have a say in it, so that they have to be the same, too.
        main: its place among the scores that reports show first; 0: it is none of them.
        scorer: what its scorer is called; set by who asks for the scores of a run.
    """

    name: str
    percent: bool
    summary: str
    unit: str = "nats"
    partial: bool = False
    quality: bool = True
    judged_by: JudgedBy = ""
    checked: bool = False
    main: int = 0
    scorer: str = ""

    def of(self, scorer: str) -> ScoreInfo:
        """The same, of a scorer that is called so."""
        return replace(self, scorer=scorer)

    @property
    def scale(self) -> float:
        """Factor from a mean over pairs to the value in a score matrix."""
        return 100.0 if self.percent else 1.0


class Said(NamedTuple):
    """What a record says of one of its scores; see :class:`ScoreInfo`."""

    scorer: str
    judged_by: JudgedBy = ""
    checked: bool = False
    main: int = 0
    quality: bool = True


# What records that do not say it mean by a name. The scorers of this package say the same of themselves.
_UNSAID: dict[str, Said] = {
    "preference_accuracy": Said("preference", main=10),
    **dict.fromkeys(("preference_margin", "policy_accuracy", "policy_margin"), Said("preference")),
    **dict.fromkeys(("preference_accuracy_per_token", "preference_margin_per_token"), Said("preference")),
    "chosen_longer": Said("preference", quality=False),
    "reward": Said("reward", checked=True, main=20),
    "win_rate": Said("reward", checked=True, main=50),
    "win_rate_chosen": Said("reward", checked=True),
    **dict.fromkeys(("bleu4", "rouge_l"), Said("overlap")),
    "bleu4_char": Said("bleu_char"),
    **dict.fromkeys(("rouge_1_jieba", "rouge_2_jieba", "rouge_l_jieba"), Said("rouge_jieba")),
    **dict.fromkeys(
        ("kl_base", "response_words", "response_empty", "response_repeated"), Said("distance", quality=False)
    ),
    "model_reward": Said("reward_model", "reward_model", main=30),
    "model_win_rate": Said("reward_model", "reward_model", main=55),
    "judge": Said("judge", "judge", main=40),
    "judged_win_rate_base": Said("win", "judge", checked=True, main=60),
}


def said_of(name: str, matrix: ScoreMatrix | None) -> Said:
    """What a record says of its score called ``name``; of an old record, which says nothing, the name decides.

    A name that nobody knows is taken for a judged score: it is compared too seldom rather than wrongly. Whether more of
    a known score is better is nothing that a record can change.
    """
    unsaid = _UNSAID.get(name, Said("win" if name.startswith("judged_") else name, "judge", checked=True))
    if matrix is None or matrix.judged_by is None:
        return unsaid
    if matrix.scorer is None:
        return unsaid._replace(judged_by=matrix.judged_by)
    quality = unsaid.quality if name in _UNSAID else matrix.quality is not False
    return Said(matrix.scorer, matrix.judged_by, bool(matrix.checked), matrix.main or 0, quality)


def misnamed_fact(name: str, matrix: ScoreMatrix) -> str | None:
    """What a record says of a score of this package and is not so: the field of the matrix; None where nothing is."""
    known = _UNSAID.get(name)
    said = {} if known is None or matrix.scorer is None else known._asdict()
    return next((field for field, value in said.items() if getattr(matrix, field) not in (None, value)), None)


def by_reward_model(record: Record, score: str) -> bool:
    """Whether a score is what the reward model says: its rewards, and what it judges."""
    by = said_of(score, record.scores.get(score)).judged_by
    return by == "reward_model" or (by == "judge" and record.config.get("judge") == "reward")


def score_matrices(
    tasks: Sequence[str], rows: Mapping[int, pd.DataFrame], stages: int, infos: Sequence[ScoreInfo]
) -> dict[str, ScoreMatrix]:
    """:func:`matrices_of` per-pair scores as a table: the column ``task``, one column a score, and ``cluster``.

    Args:
        rows: row number of the matrix (0..N) to the scores after that stage. Where one of them names no clusters (the
            run was begun before they were written down), errors go by pair.
    """
    values = {row: _by_task(frame, tasks, infos) for row, frame in rows.items()}
    clustered = bool(rows) and all(CLUSTER in frame or frame.empty for frame in rows.values())
    clusters = {row: _clusters(frame, tasks) for row, frame in rows.items()} if clustered else None
    return matrices_of(tasks, values, stages, infos, clusters)


def matrices_of(
    tasks: Sequence[str],
    rows: Mapping[int, TaskValues],
    stages: int,
    infos: Sequence[ScoreInfo],
    clusters: RowClusters | None = None,
) -> dict[str, ScoreMatrix]:
    """Score matrices from the per-pair scores.

    Args:
        tasks: the stream's N tasks.
        rows: row number of the matrix (0..N) to the values of every task's pairs after that stage.
        stages: N; rows without scores stay empty.
        clusters: which pairs are no independent answers; None: standard errors go by pair.
    """
    matrices = {}
    for info in infos:
        value: list[list[float | None]] = []
        error: list[list[float | None]] = []
        count: list[list[int]] = []
        for row in range(stages + 1):
            there = rows.get(row, {})
            labels = {} if clusters is None else clusters.get(row, {})
            cells = [_cell(there.get(task, {}).get(info.name), info, labels.get(task)) for task in tasks]
            value.append([c[0] for c in cells])
            error.append([c[1] for c in cells])
            count.append([c[2] for c in cells])
        matrices[info.name] = ScoreMatrix(
            percent=info.percent,
            unit="percent" if info.percent else info.unit,
            partial=info.partial,
            judged_by=info.judged_by,
            checked=info.checked,
            main=info.main,
            quality=info.quality,
            scorer=info.scorer,
            errors_by=None if clusters is None else "cluster",
            value=value,
            standard_error=error,
            n=count,
        )
    return matrices


def _by_task(frame: pd.DataFrame, tasks: Sequence[str], infos: Sequence[ScoreInfo]) -> TaskValues:
    own = frame["task"].to_numpy()
    columns = {info.name: frame[info.name].to_numpy(dtype=float) for info in infos if info.name in frame}
    return {task: {name: values[own == task] for name, values in columns.items()} for task in tasks}


def _clusters(frame: pd.DataFrame, tasks: Sequence[str]) -> dict[str, Labels]:
    if frame.empty:
        return {}
    own, names = frame["task"].to_numpy(), frame[CLUSTER].to_numpy()
    return {task: labels_of(names[own == task].tolist()) for task in tasks}


def _cell(
    values: NDArray[np.float64] | None, info: ScoreInfo, labels: Labels | None
) -> tuple[float | None, float | None, int]:
    """Mean, standard error and number of one cell; a mean over some of the pairs is no value of the cell, but for
    partial scores with little missing."""
    if values is None or len(values) == 0:
        return None, None, 0
    missing = np.isnan(values)
    if missing.any():
        values = values[~missing]
        if not info.partial or missing.mean() > MOST_MISSING:
            return None, None, 0
        labels = None if labels is None else labels_of(labels[~missing].tolist())
    mean, error = mean_and_se(values)
    if labels is not None:
        error = cluster_error(values, labels)
    return mean * info.scale, None if math.isnan(error) else error * info.scale, len(values)


_Z = 1.959963984540054  # of a two-sided 95 % interval

PERCENT = 100.0


class Change(NamedTuple):
    """A change in percentage points with its standard error and 95 % interval; NaN where unknown."""

    value: float
    standard_error: float
    low: float
    high: float


def alignment_tax(records: Mapping[str, AbilityRecord], stage: int) -> Change:
    """The mean over the abilities of their changes from stage 0 to ``stage``, in percentage points.

    Negative: ability was lost. Its error takes the abilities as fixed and as independent of each other:
    ``sqrt(sum of squared errors) / number``. NaN where an ability has no change.
    """
    found = [record.stages.get(str(stage)) for record in records.values()]
    if not found or any(f is None or f.change is None for f in found):
        return Change(*(math.nan,) * 4)
    changes = [f.change for f in found if f is not None and f.change is not None]
    errors = [math.nan if f is None or f.change_error is None else f.change_error for f in found]
    return interval_of(sum(changes) / len(changes), math.sqrt(sum(e * e for e in errors)) / len(errors))


def interval_of(value: float | None, error: float | None) -> Change:
    """With the normal 95 % interval."""
    mean = math.nan if value is None else value
    spread = math.nan if error is None else error
    return Change(mean, spread, mean - _Z * spread, mean + _Z * spread)
