"""Whether a record is whole and its numbers are those of its per-pair scores: pure functions, no file is read."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lifealign_bench.results.clusters import Labels, labels_of
from lifealign_bench.results.metrics import METRICS, summarize
from lifealign_bench.results.pairtable import Blocks
from lifealign_bench.results.record import Record, ScoreMatrix
from lifealign_bench.results.recordfields import number_leaves
from lifealign_bench.results.scores import ScoreInfo, matrices_of, said_of
from lifealign_bench.results.view import RunView
from lifealign_bench.util.text import known

TOLERANCE = 1e-9  # relative above 1, absolute below
_MOST = 1e15
_SLACK = 1e-5  # of a share, for rounding
# Of a later metric older records say nothing; it is computed where it is asked for.
_IN_EVERY_RECORD = (
    "average_performance",
    "last",
    "backward_transfer",
    "forgetting",
    "forward_transfer",
    "learning",
    "gain",
)


def whole_problems(record: Record) -> list[str]:
    """What is missing or impossible in a record that says it is complete; empty where nothing is.

    Beside this, :func:`lifealign_bench.results.recordfields.field_problems` looks at what its fields say.
    """
    found = []
    if record.status != "complete":
        found.append(f"its status is {record.status}")
    if record.config.get("validation") is not None:
        found.append("it was scored on validation pairs, not on the test pairs")
    return found + form_problems(record)


def form_problems(record: Record) -> list[str]:
    """:func:`whole_problems` of a run's own record, which may be one of validation pairs."""
    # Every other number is checked by the schema.
    free = {"config": record.config, "stream": record.stream, "hardware": record.hardware}
    found = [f"{place} is {value}" for place, value in number_leaves(free) if not math.isfinite(value)]
    if config_hash(record.config) != record.config_hash:
        found.append(f"config_hash is {record.config_hash[:80]}, that of its config is {config_hash(record.config)}")
    tasks = list(record.data)
    if not tasks or record.stream.get("tasks") != tasks:
        found.append("its data are not those of its stream's tasks")
    found += _stage_problems(record, tasks)
    for name, matrix in record.scores.items():
        if any(_shape(part) != (len(tasks) + 1, len(tasks)) for part in _parts(matrix)):
            found.append(f"the score matrix {name} has not {len(tasks) + 1} rows of {len(tasks)} tasks")
    return found


def _stage_problems(record: Record, tasks: Sequence[str]) -> list[str]:
    indices = [stage.index for stage in record.stages]
    trained = [task for stage in record.stages for task in stage.tasks]
    if indices != list(range(len(indices))) or not indices:
        missing = next(index for index in range(len(indices) + 1) if index not in indices)
        return [f"stage {missing} is missing" if missing < max(indices, default=1) else "its stages are not in order"]
    if sorted(trained) != sorted(tasks) or record.stages[0].tasks:
        untrained = [task for task in tasks if task not in trained]
        return [f"no stage trained {untrained[0]}" if untrained else "its stages trained other tasks than the stream's"]
    return []


def number_problems(record: Record, blocks: Blocks) -> list[str]:
    """Where a record that is whole disagrees with its per-pair scores, or these are not whole themselves.

    Args:
        blocks: stage to task to its per-pair scores.
    """
    # A stage after which nothing was to be scored has no row among them.
    nothing: Blocks = {
        stage.index: {} for stage, tasks in zip(record.stages, _planned(record), strict=True) if not tasks
    }
    blocks = {**nothing, **blocks}
    found = _pair_problems(record, blocks)
    if found:
        return found
    tasks = list(record.data)
    rows = {row.row: {task: block.values for task, block in blocks[row.stage].items()} for row in RunView(record).rows}
    clusters = _row_clusters(record, blocks)
    for by in dict.fromkeys(matrix.errors_by for matrix in record.scores.values()):
        infos = [
            ScoreInfo(n, m.percent, "", m.unit or "", m.partial) for n, m in record.scores.items() if m.errors_by == by
        ]
        if by == "cluster" and clusters is None:
            found.append(f"the errors of {infos[0].name} go by cluster, and the per-pair scores name no clusters")
            continue
        found += _matrix_problems(record, matrices_of(tasks, rows, len(tasks), infos, clusters if by else None))
    return found + metric_problems(record)


def _row_clusters(record: Record, blocks: Blocks) -> dict[int, dict[str, Labels]] | None:
    """Row of the matrices to task to the clusters of its pairs; None where they are not all named."""
    found: dict[int, dict[str, Labels]] = {}
    for row in RunView(record).rows:
        for task, block in blocks[row.stage].items():
            if block.clusters is None:
                return None
            found.setdefault(row.row, {})[task] = labels_of(block.clusters.tolist())
    return found


def _matrix_problems(record: Record, matrices: Mapping[str, ScoreMatrix]) -> list[str]:
    """Where the record's matrices are not these, which its pairs give."""
    found = []
    tasks = list(record.data)
    for name, matrix in matrices.items():
        said = record.scores[name]
        for what in ("value", "standard_error", "n"):
            place = _first_difference(getattr(said, what), getattr(matrix, what))
            if place is not None:
                row, column = place
                found.append(
                    f"{name} ({what}) of {tasks[column]} in row {row} is {getattr(said, what)[row][column]}; its pairs "
                    f"give {getattr(matrix, what)[row][column]}"
                )
    return found


def metric_problems(record: Record) -> list[str]:
    """Metrics that are not those of the score matrices."""
    found = []
    scores = [score for score in record.metrics if score in record.scores]
    # Where more is better there are metrics, in every record.
    better = [name for name, matrix in record.scores.items() if said_of(name, matrix).quality]
    found += [f"the metrics of {name} are missing" for name in better if name not in scores]
    found += [f"it has metrics of a score {name} and no such score" for name in record.metrics if name not in scores]
    wanted = summarize(np.stack([record.scores[score].array() for score in scores])) if scores else {}
    for number, score in enumerate(scores):
        absent = [metric for metric in _IN_EVERY_RECORD if metric not in record.metrics[score]]
        found += [f"{absent[0]} of {score} is missing"] if absent else []
        for metric, value in record.metrics[score].items():
            if metric not in wanted:
                found.append(f"it has an unknown metric {metric}" + (" of single" if metric in METRICS else ""))
            elif not same_number(value, wanted[metric][number]):
                found.append(f"{metric} of {score} is {value}; its score matrix gives {known(wanted[metric][number])}")
    return found


def _pair_problems(record: Record, blocks: Blocks) -> list[str]:
    """Stages, tasks, scores and pairs that are missing among the per-pair scores, or that nobody knows of."""
    stages = [stage.index for stage in record.stages]
    if sorted(blocks) != stages:
        missing = sorted(set(stages) - set(blocks))
        return [
            f"the per-pair scores lack stage {missing[0]}" if missing else "they have stages that the record has not"
        ]
    found = _coverage_problems(record, blocks)
    ids: dict[str, set[object]] = {}
    for stage, tasks in blocks.items():
        for task, block in tasks.items():
            if task not in record.data:
                found.append(f"the per-pair scores have a task {task}, which the stream has not")
                continue
            if set(block.values) != set(record.scores):
                found.append(f"the per-pair scores of {task} after stage {stage} are not those of the record")
            if ids.setdefault(task, set(block.ids)) != set(block.ids):
                found.append(f"{task} has other test pairs after stage {stage} than before")
            if len(block.ids) != record.data[task].test_pairs:
                found.append(
                    f"{task} has {len(block.ids)} test pairs after stage {stage} instead of "
                    f"{record.data[task].test_pairs}"
                )
            # Validation pairs are held out of the training file, and are called as they stand there.
            stem = f"{task}/{'test' if record.config.get('validation') is None else 'train'}/"
            odd_id = next((i for i in block.ids if not _is_id_of(str(i), stem)), None)
            if odd_id is not None:
                found.append(f"{str(odd_id)[:80]!r} is no test pair of {task} (they are called {stem}ROW)")
            for score, values in block.values.items():
                said = record.scores.get(score)
                odd = _odd(values, said)
                if odd:
                    found.append(f"{score} of {task} after stage {stage} {odd}")
    return found + _cluster_problems(blocks)


def _cluster_problems(blocks: Blocks) -> list[str]:
    """Pairs belong together by what they ask, whatever was trained; one cluster alone gives no error."""
    found: dict[str, str] = {}
    first: dict[str, dict[object, object]] = {}
    for stage, tasks in blocks.items():
        for task, block in tasks.items():
            if block.clusters is None:
                continue  # a run that was begun before they were written down
            own = dict(zip(block.ids, block.clusters, strict=True))
            if first.setdefault(task, own) != own:
                found.setdefault(task, f"{task} has other clusters after stage {stage} than before")
            if len(own) > 1 and len(set(own.values())) == 1:
                found.setdefault(task, f"all test pairs of {task} are of one cluster")
    return list(found.values())


def _coverage_problems(record: Record, blocks: Blocks) -> list[str]:
    """All tasks are scored after every stage, or those seen by then, or (from a method that restarts) its own."""
    own = [set(stage.tasks) if stage.index else set(blocks[0]) for stage in record.stages]
    allowed = [_planned(record), own]
    have = [set(blocks[stage.index]) for stage in record.stages]
    if have in allowed:
        return []
    for stage, there, wanted in zip(record.stages, have, allowed[0], strict=True):
        if wanted - there:
            return [f"the per-pair scores lack {min(wanted - there)} after stage {stage.index}"]
    return ["the per-pair scores have tasks that were not to be scored"]


def _planned(record: Record) -> list[set[str]]:
    """The tasks that are to be scored after every stage, by what the run says of it."""
    tasks = set(record.data)
    seen: set[str] = set()
    plans: dict[str, list[set[str]]] = {"all": [], "seen": [], "ends": [], "last": []}
    for stage in record.stages:
        seen = seen | set(stage.tasks)
        plans["all"].append(tasks)
        plans["seen"].append(seen)
        plans["last"].append(tasks if stage is record.stages[-1] else set())
        plans["ends"].append(tasks if stage in (record.stages[0], record.stages[-1]) else set())
    return plans.get(str(record.config.get("evaluate")), plans["all"])


def _is_id_of(pair: str, stem: str) -> bool:
    """Whether this is the name of a pair of a task and split, as :class:`lifealign_bench.pairs.Pair` has it."""
    row = pair.removeprefix(stem)
    return row != pair and row.isascii() and row.isdigit() and (row == "0" or row[0] != "0") and len(row) < 12


def _odd(values: np.ndarray[Any, np.dtype[np.float64]], said: ScoreMatrix | None) -> str:
    if np.isinf(values).any() or (np.abs(values) > _MOST).any():
        return f"holds infinity, or more than {_MOST:g}"
    if said is not None and said.percent and ((values < -_SLACK) | (values > 1 + _SLACK)).any():
        return "holds something that is no share between 0 and 1"
    missing = int(np.isnan(values).sum())
    if missing in (0, len(values)) or (said is not None and said.partial):
        return ""
    return f"is NaN for {missing} of {len(values)} test pairs"


def _parts(matrix: ScoreMatrix) -> tuple[Sequence[Sequence[Any]], ...]:
    return matrix.value, matrix.standard_error, matrix.n


def _shape(rows: Sequence[Sequence[Any]]) -> tuple[int, int]:
    lengths = {len(row) for row in rows}
    return len(rows), lengths.pop() if len(lengths) == 1 else -1


def _first_difference(said: Sequence[Sequence[Any]], found: Sequence[Sequence[Any]]) -> tuple[int, int] | None:
    for row, (ours, theirs) in enumerate(zip(said, found, strict=True)):
        for column, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            if not same_number(a, b):
                return row, column
    return None


def same_number(a: Any, b: Any) -> bool:
    """Whether two numbers are the same but for rounding; None and NaN are no number, and the same."""
    if any(isinstance(value, bool) or not isinstance(value, int | float | None) for value in (a, b)):
        return False
    a, b = known(a), known(b)
    if a is None or b is None:
        return a is b
    return bool(abs(a - b) <= TOLERANCE * max(1.0, abs(b)))


def config_hash(config: Mapping[str, Any]) -> str:
    """As ``RunConfig.hash``, of a configuration that may have been written before a setting existed."""
    text = json.dumps(config, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
