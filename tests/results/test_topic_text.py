"""Tasks that share topics: do the scores of their items go together?"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from statistics import fmean

import numpy as np
import pandas as pd
import pytest

from benchmarks.board_text import Boards
from benchmarks.topic_text import Topics
from lifealign_bench.errors import BenchError
from lifealign_bench.results.published import pair_scores_file, seal
from tests.published_records import TASKS, publish

METHODS = {"dpo": 0.6, "replay": 0.75, "x": 0.66}


def boards_with(results: Path, topics: dict[str, list[str]]) -> Boards:
    """Records of three methods whose pairs are about these topics, by task."""
    for method, level in METHODS.items():
        for seed in range(3):
            place = publish(results, method, seed, level=level)
            frame = pd.read_parquet(pair_scores_file(place))
            places = [
                (task, int(pair.rpartition("/")[2])) for task, pair in zip(frame.task, frame.pair_id, strict=True)
            ]
            frame["cluster"] = [topics[task][place % len(topics[task])] for task, place in places]
            frame.to_parquet(pair_scores_file(place), index=False)
            seal(place)
    return Boards(results)


def test_the_differences_of_two_tasks_on_a_topic_are_correlated(tmp_path: Path) -> None:
    one, two, three = TASKS
    shared = [f"topic {i}" for i in range(10)]
    boards = boards_with(tmp_path, {one: shared, two: [*shared[::-1], "alone"], three: ["other", "another"]})
    text = boards("some", "small")
    found = Topics(text, one, two)
    assert found.count() == 10
    # The same from the files: the mean over seeds and pairs of a topic after the last stage.
    means = {}
    for method in METHODS:
        frames = [pd.read_parquet(file) for file in sorted(tmp_path.glob(f"some/small/{method}/*.parquet"))]
        whole = pd.concat(frame[frame.stage == frame.stage.max()] for frame in frames)
        by = whole.groupby(["task", "cluster"]).preference_accuracy.mean()
        means[method] = [by[task].loc[shared].to_numpy() for task in (one, two)]
    gaps = [[a - b for a, b in zip(means[m], means[n], strict=True)] for m, n in combinations(means, 2)]
    wanted = fmean(np.corrcoef(*gap)[0, 1] for gap in gaps)
    assert found.correlation() == f"{wanted:.2f}" and found.differing() == len(gaps)
    with pytest.raises(BenchError, match=f"{one} and {three} share no topic"):
        Topics(text, one, three)
