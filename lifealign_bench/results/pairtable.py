"""Per-pair scores of a run as arrays: what every interval is computed from, read strictly.

A run leaves ``scores.parquet`` in each stage's folder, a published one has all stages in one file with the column
``stage``; both have ``task``, ``pair_id`` and one column of numbers a score, NaN where a pair has none. They may have a
column ``cluster``, a text that pairs of one prompt or topic share.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lifealign_bench.errors import BenchError
from lifealign_bench.results.folder import RunFolder
from lifealign_bench.util.files import read_regular

if TYPE_CHECKING:
    import pandas as pd

_KEYS = ("stage", "task", "pair_id")
_WORDS = ("task", "pair_id")
# Far more than any run has: a hundred stages of a hundred tasks with 400 test pairs are four million rows.
MOST_BYTES = 256 << 20
_MOST_ROWS = 4_000_000
_MOST_COLUMNS = 1000
_MOST_VALUES = 32_000_000
_MOST_DECODED = 512 << 20
_LONGEST = 1000  # characters of a task's or pair's name
# The groups of pairs that are not independent; runs of before they were written have none.
CLUSTER = "cluster"


@dataclass(frozen=True)
class PairBlock:
    """One task after one stage: the ids of its P test pairs, and score to its values, (P,).

    Args:
        clusters: the name of each pair's cluster, (P,); None where the file says nothing of clusters.
    """

    ids: NDArray[np.object_]
    values: Mapping[str, NDArray[np.float64]]
    clusters: NDArray[np.object_] | None = None

    def ordered(self, ids: NDArray[np.object_], score: str) -> NDArray[np.float64]:
        """The values of a score in the order of ``ids``; NaN for those that are not here."""
        own = self.values[score]
        if ids is self.ids or np.array_equal(ids, self.ids):
            return own
        place = {pair: i for i, pair in enumerate(self.ids)}
        return np.array([own[place[pair]] if pair in place else math.nan for pair in ids], dtype=np.float64)


Blocks = Mapping[int, Mapping[str, PairBlock]]  # stage to task to what there is


def read_frame(path: Path) -> pd.DataFrame:
    """A stage's file of numbers as it was written, one row a pair or item: what is added to, copied or averaged.

    Raises:
        BenchError: it is not there or damaged.
    """
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> BenchError:
    return BenchError(f"The scores {path} cannot be read: {error}.", "Run the same command again to rebuild them.")


def read_stages(run: Path, stages: Iterable[int]) -> tuple[dict[int, dict[str, PairBlock]], dict[Path, Exception]]:
    """The per-pair scores in a run's folder.

    Returns:
        Stage to task to its block, of the stages whose file can be read; and the other files, with what is wrong.
    """
    found: dict[int, dict[str, PairBlock]] = {}
    failed: dict[Path, Exception] = {}
    for stage in stages:
        file = RunFolder(run).stage(stage).scores
        try:
            found[stage] = read_pair_file(file, stage).get(stage, {})
        except (OSError, ValueError) as error:
            failed[file] = error
    return found, failed


def read_whole(run: Path, stages: Iterable[int]) -> dict[int, dict[str, PairBlock]]:
    """The same where every stage has to be there.

    Raises:
        BenchError: a file is not there or damaged.
    """
    found, failed = read_stages(run, stages)
    for file, error in failed.items():
        raise _unreadable(file, error) from error
    return found


def read_pair_file(path: Path, stage: int | None = None) -> dict[int, dict[str, PairBlock]]:
    """Stage to task to its block.

    What the file says of its size is looked at before anything is decoded: a few bytes can stand for millions of rows.

    Args:
        path: a parquet file.
        stage: the stage of a file without the column ``stage``.

    Raises:
        OSError, ValueError: no such file, no regular one, no parquet, a column that is missing or of another type, a
            pair twice, more than the most that is read.
    """
    return read_pair_bytes(read_regular(path, MOST_BYTES), stage)


def read_pair_bytes(content: bytes, stage: int | None = None) -> dict[int, dict[str, PairBlock]]:
    """:func:`read_pair_file` of a file's bytes.

    Raises:
        ValueError: as there.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # A path alone would be taken for an address of any file system; these files are small. Text stays a
        # dictionary: a long text in a million rows is one text.
        texts = [*_WORDS, *({CLUSTER} & {*pq.read_schema(pa.BufferReader(content)).names})]
        file = pq.ParquetFile(pa.BufferReader(content), read_dictionary=texts, pre_buffer=False)
        if file.metadata.num_rows == 0:
            return {}  # a stage after which nothing was scored; its columns have no types
        names = _columns(file, stage is None)
        table = file.read(columns=names, use_threads=False)
    except KeyError as error:
        raise ValueError(f"it has no column {error.args[0].decode()} of text") from error
    except (pa.ArrowException, MemoryError, OSError) as error:
        raise ValueError(str(error) or type(error).__name__) from error
    if stage is None and table["stage"].null_count:
        raise ValueError("its column stage holds nulls")
    count = table.num_rows
    stages = np.full(count, stage) if stage is not None else _array(table["stage"].combine_chunks())
    scores = {n: _array(table[n].combine_chunks()) for n in names if n not in (*_KEYS, CLUSTER)}
    words, codes = _words(table, "task")
    known, pairs = _words(table, "pair_id")
    ids = np.array(known, dtype=object)[pairs]
    clusters = None
    if CLUSTER in names:
        groups, group_of = _words(table, CLUSTER)
        clusters = np.array(groups, dtype=object)[group_of]
    return _blocks(stages, words, codes, ids, pairs, scores, clusters)


def _columns(file: Any, staged: bool) -> list[str]:
    """The columns to read, if they are what they should be and not too much.

    Args:
        file: a ``pyarrow.parquet.ParquetFile``.
        staged: whether it needs the column ``stage``.

    Raises:
        ValueError: they are not.
    """
    import pyarrow as pa

    schema, facts = file.schema_arrow, file.metadata
    if len(schema.names) > _MOST_COLUMNS or len(set(schema.names)) != len(schema.names):
        raise ValueError(f"it has {len(schema.names)} columns, or one of them twice")
    if facts.num_rows > _MOST_ROWS or facts.num_rows * len(schema.names) > _MOST_VALUES:
        raise ValueError(f"it has {facts.num_rows:,} rows of {len(schema.names)} columns: more than any run has")
    decoded = sum(facts.row_group(i).total_byte_size for i in range(facts.num_row_groups))
    if decoded > _MOST_DECODED:
        raise ValueError(f"it has {decoded:,} bytes when it is decoded; {_MOST_DECODED:,} are the most")
    absent = [key for key in _KEYS if key not in schema.names and not (key == "stage" and not staged)]
    if absent:
        raise ValueError(f"it has no column {absent[0]}")
    names = [n for n in schema.names if (n in _KEYS or not n.startswith("__index_level_")) and (n != "stage" or staged)]
    for name in names:
        kind = schema.field(name).type
        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        fits = pa.types.is_floating(kind)
        if name in (*_WORDS, CLUSTER):
            fits = pa.types.is_string(plain) or pa.types.is_large_string(plain)
        elif name == "stage":
            fits = pa.types.is_integer(kind)
        if not fits:
            raise ValueError(f"its column {name} holds {kind}")
    return names


def _blocks(
    stages: NDArray[Any],
    names: list[str],
    codes: NDArray[Any],
    ids: NDArray[np.object_],
    pairs: NDArray[Any],
    scores: Mapping[str, NDArray[np.float64]],
    clusters: NDArray[np.object_] | None,
) -> dict[int, dict[str, PairBlock]]:
    order = np.lexsort((codes, stages))  # stable: within a task the pairs keep their order
    if not np.array_equal(order, np.arange(len(order))):
        stages, codes, ids, pairs = stages[order], codes[order], ids[order], pairs[order]
        scores = {name: values[order] for name, values in scores.items()}
        clusters = None if clusters is None else clusters[order]
    edges = np.flatnonzero((np.diff(stages) != 0) | (np.diff(codes) != 0)) + 1
    bounds = [0, *edges.tolist(), len(order)] if len(order) else []
    found: dict[int, dict[str, PairBlock]] = {}
    same: dict[tuple[int, bytes], NDArray[np.object_]] = {}  # the pairs of a task are mostly the same in all stages
    for start, stop in pairwise(bounds):
        stage, task, own = int(stages[start]), int(codes[start]), pairs[start:stop]
        key = (task, own.tobytes())
        if key not in same:
            if len(np.unique(own)) != stop - start:
                raise ValueError(f"it has a pair of {names[task]} twice in stage {stage}")
            same[key] = ids[start:stop]
        groups = None if clusters is None else clusters[start:stop]
        block = PairBlock(same[key], {name: values[start:stop] for name, values in scores.items()}, groups)
        found.setdefault(stage, {})[names[task]] = block
    return found


def _array(column: Any) -> NDArray[Any]:
    """The values of an arrow array of numbers, NaN where it has none. Arrow's own ``to_numpy`` would bring pandas
    along, which takes longer than to read hundreds of these files."""
    return np.array(column.to_pylist(), dtype=np.float64) if column.null_count else np.from_dlpack(column)


def _words(table: Any, name: str) -> tuple[list[str], NDArray[Any]]:
    """The different texts of a column, and which of them each row has."""
    import pyarrow as pa

    column = table[name]
    if column.null_count:
        raise ValueError(f"its column {name} holds nulls")
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    encoded = column.unify_dictionaries().combine_chunks()
    words = encoded.dictionary.to_pylist()
    if any(word is None or len(word) > _LONGEST for word in words):
        raise ValueError(f"its column {name} holds a text of more than {_LONGEST} characters, or a null")
    codes = _array(encoded.indices)
    if len(codes) and not 0 <= codes.min() <= codes.max() < len(words):
        raise ValueError(f"its column {name} is damaged")
    if len(set(words)) == len(words):
        return words, codes
    # The same text twice in the file's own dictionary: two rows that have it have the same.
    first = {word: number for number, word in reversed([*enumerate(words)])}
    return words, np.array([first[word] for word in words])[codes]
