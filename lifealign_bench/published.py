"""A finished run in results/: its record, and the scores of every test pair, which every interval is computed from.

``<method>/seed-<n>.json`` is the record as the run wrote it, ``seed-<n>.scores.parquet`` beside it holds the per-pair
scores of all stages with the column ``stage``. Neither holds text of a data set.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from lifealign_bench.errors import BenchError
from lifealign_bench.files import atomic_path
from lifealign_bench.record import read_record

__all__ = ["pair_scores_file", "publish_run", "read_pair_scores"]


def pair_scores_file(record: Path) -> Path:
    """Where the per-pair scores of a published record are."""
    return record.with_suffix(".scores.parquet")


def publish_run(run: Path, record: Path) -> None:
    """Copy the run in the folder ``run`` to ``record`` (a ``.json`` path) and its per-pair scores beside it.

    Raises:
        BenchError: the run is not complete.
    """
    content = read_record(run / "record.json")
    if content.status != "complete":
        raise BenchError(f"The run in {run} is {content.status}.", "Finish it first: run the same command again.")
    frames = []
    for stage in content.stages:
        frame = pd.read_parquet(run / f"stage-{stage.index}" / "scores.parquet")
        frame.insert(0, "stage", stage.index)
        frames.append(frame)
    with atomic_path(pair_scores_file(record)) as temporary:
        pd.concat(frames, ignore_index=True).to_parquet(temporary, index=False, compression="zstd")
    with atomic_path(record) as temporary:
        shutil.copyfile(run / "record.json", temporary)


def read_pair_scores(record: Path) -> dict[int, pd.DataFrame]:
    """Stage number to per-pair scores of a published record; empty where the file is not there or not readable."""
    try:
        whole = pd.read_parquet(pair_scores_file(record))
        return {int(str(stage)): frame.drop(columns="stage") for stage, frame in whole.groupby("stage")}
    except (OSError, ValueError, KeyError):
        return {}
