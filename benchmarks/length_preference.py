"""How often a trained policy prefers the shorter response, beside how often that is right.

    python benchmarks/length_preference.py results/paper-small/smollm2-135m --data-dir data

Reads published records' per-pair scores (a pair counts as "shorter preferred" where the shorter response is the chosen
one and the pair is right, or the longer one is and the pair is wrong; ties are left out) and the tasks' data, for the
lengths in characters. After the task's own stage for every method, and after the last stage.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console

from lifealign_bench.data.cards import load_task
from lifealign_bench.data.tasks import load_split
from lifealign_bench.reporting.tables.grid import Grid, show_grid
from lifealign_bench.results.published import pair_scores_file, published_records
from lifealign_bench.results.record import read_record
from lifealign_bench.util.text import DASH, number

SCORE = "preference_accuracy"


def signs(task: str, data_dir: Path | None) -> pd.Series:
    """Pair id to 1 where the chosen response is the shorter one, -1 where the longer one is; ties left out."""
    pairs, _, _ = load_split(load_task(task), "test", data_dir=data_dir)
    found = {pair.id: np.sign(len(pair.rejected) - len(pair.chosen)) for pair in pairs}
    return pd.Series({name: sign for name, sign in found.items() if sign})


def shares(scores: pd.DataFrame, stage: int, task: str, sign: pd.Series) -> tuple[float, float, float]:
    """Percent of a task's pairs after a stage: right, shorter preferred, and shorter is right."""
    own = scores[(scores["stage"] == stage) & (scores["task"] == task)].set_index("pair_id")[SCORE].dropna()
    own = own[own.index.isin(sign.index) & (own != 0.5)]
    if own.empty:
        return (np.nan,) * 3
    shorter = sign.loc[own.index] > 0
    return 100 * own.mean(), 100 * (shorter == (own > 0.5)).mean(), 100 * shorter.mean()


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="published records of one stream and model")
    parser.add_argument("--data-dir", type=Path, help="a copy of the paper's data")
    words = parser.parse_args()
    files = published_records(words.folder)
    records = {file: read_record(file) for file in files}
    tasks = list(dict.fromkeys(task for record in records.values() for task in record.data))
    sign = {task: signs(task, words.data_dir) for task in tasks}
    found: dict[tuple[str, str], dict[str, list[tuple[float, float, float]]]] = {}
    for file, record in records.items():
        scores = pd.read_parquet(pair_scores_file(file))
        last = max(stage.index for stage in record.stages)
        own = {task: stage.index for stage in record.stages for task in stage.tasks}
        for when, stages in (("learned", own), ("end", dict.fromkeys(own, last))):
            row = found.setdefault((record.method.name, when), {})
            for task, stage in stages.items():
                row.setdefault(task, []).append(shares(scores, stage, task, sign[task]))
    rows = []
    for (method, when), row in found.items():
        for task in tasks:
            right, shorter, rule = np.mean(np.array(row[task]), axis=0) if task in row else (np.nan,) * 3
            texts = [number(value, 1) if np.isfinite(value) else DASH for value in (right, shorter, rule)]
            rows.append((method, when, task, *texts))
    notes = ("Percent of the test pairs whose responses differ in length, mean over seeds.",)
    heads = ("method", "when", "task", "right", "shorter preferred", "shorter is right")
    show_grid(Console(), Grid("Preference for the shorter response", heads, tuple(rows), notes, labels=3))


if __name__ == "__main__":
    main()
