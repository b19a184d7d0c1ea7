"""Per-pair scores of a run as arrays: what every interval is computed from, read strictly.

A run leaves ``scores.parquet`` in each stage's folder, a published one has all stages in one file with the column
``stage``; both have ``task``, ``pair_id`` and one column of numbers a score, NaN where a pair has none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lifealign_bench.errors import BenchError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PairBlock", "read_frame", "read_pair_file", "unreadable"]

_KEYS = ("stage", "task", "pair_id")


@dataclass(frozen=True)
class PairBlock:
    """One task after one stage: the ids of its P test pairs, and score to its values, (P,)."""

    ids: NDArray[np.object_]
    values: Mapping[str, NDArray[np.float64]]

    def ordered(self, ids: NDArray[np.object_], score: str) -> NDArray[np.float64]:
        """The values of a score in the order of ``ids``; NaN for those that are not here."""
        own = self.values[score]
        if ids is self.ids or np.array_equal(ids, self.ids):
            return own
        place = {pair: i for i, pair in enumerate(self.ids)}
        return np.array([own[place[pair]] if pair in place else math.nan for pair in ids], dtype=np.float64)


def read_frame(path: Path) -> pd.DataFrame:
    """A stage's file of numbers as it was written, one row a pair or item: what is added to, copied or averaged.

    Raises:
        BenchError: it is not there or damaged.
    """
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> BenchError:
    """The error for scores of a run that cannot be read."""
    return BenchError(f"The scores {path} cannot be read: {error}.", "Run the same command again to rebuild them.")


def read_pair_file(path: Path, stage: int | None = None) -> dict[int, dict[str, PairBlock]]:
    """Stage to task to its block.

    Args:
        path: a parquet file.
        stage: the stage of a file without the column ``stage``.

    Raises:
        OSError, ValueError: no such file, no parquet, a column that is missing or of another type, a pair twice.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # A path alone would be taken for an address of any file system; these files are small.
        table = pq.ParquetFile(pa.BufferReader(path.read_bytes()), pre_buffer=False).read(use_threads=False)
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error
    columns = set(table.column_names)
    absent = [key for key in _KEYS if key not in columns and not (key == "stage" and stage is not None)]
    if absent:
        raise ValueError(f"it has no column {absent[0]}")
    count = table.num_rows
    stages = np.full(count, stage) if stage is not None else _numbers(table, "stage", pa.types.is_integer)
    named = [n for n in table.column_names if n not in _KEYS and not n.startswith("__index_level_")]
    scores = {n: _numbers(table, n, pa.types.is_floating) for n in named}
    names, codes = _words(table, "task")
    known, pairs = _words(table, "pair_id")
    ids = np.array(known, dtype=object)[pairs]
    return _blocks(stages, names, codes, ids, pairs, scores)


def _blocks(
    stages: NDArray[Any],
    names: list[str],
    codes: NDArray[Any],
    ids: NDArray[np.object_],
    pairs: NDArray[Any],
    scores: Mapping[str, NDArray[np.float64]],
) -> dict[int, dict[str, PairBlock]]:
    order = np.lexsort((codes, stages))  # stable: within a task the pairs keep their order
    if not np.array_equal(order, np.arange(len(order))):
        stages, codes, ids, pairs = stages[order], codes[order], ids[order], pairs[order]
        scores = {name: values[order] for name, values in scores.items()}
    edges = np.flatnonzero((np.diff(stages) != 0) | (np.diff(codes) != 0)) + 1
    bounds = [0, *edges.tolist(), len(order)] if len(order) else []
    found: dict[int, dict[str, PairBlock]] = {}
    same: dict[tuple[int, bytes], NDArray[np.object_]] = {}  # the pairs of a task are mostly the same in all stages
    for start, stop in pairwise(bounds):
        stage, task, own = int(stages[start]), int(codes[start]), pairs[start:stop]
        key = (task, own.tobytes())
        if key not in same:
            if len(set(own.tolist())) != stop - start:
                raise ValueError(f"it has a pair of {names[task]} twice in stage {stage}")
            same[key] = ids[start:stop]
        block = PairBlock(same[key], {name: values[start:stop] for name, values in scores.items()})
        found.setdefault(stage, {})[names[task]] = block
    return found


def _numbers(table: Any, name: str, fits: Any) -> NDArray[Any]:
    column = table[name]
    if not fits(column.type) or (name == "stage" and column.null_count):
        raise ValueError(f"its column {name} holds {column.type}")
    return _array(column.combine_chunks())


def _array(column: Any) -> NDArray[Any]:
    """The values of an arrow array of numbers, NaN where it has none. Arrow's own ``to_numpy`` would bring pandas
    along, which takes longer than to read hundreds of these files."""
    return np.array(column.to_pylist(), dtype=np.float64) if column.null_count else np.from_dlpack(column)


def _words(table: Any, name: str) -> tuple[list[str], NDArray[Any]]:
    """The different texts of a column, and which of them each row has."""
    import pyarrow as pa

    column = table[name].combine_chunks()
    kind = column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)) or column.null_count:
        raise ValueError(f"its column {name} holds {kind}")
    encoded = column.dictionary_encode()
    return encoded.dictionary.to_pylist(), _array(encoded.indices)
