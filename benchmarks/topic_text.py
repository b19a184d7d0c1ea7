"""Tasks that are about the same topics, as a text speaks of them: do their scores show it?

Intervals take the items of different tasks as independent. If a topic that is hard in one task is hard in another as
well, they are not: then the differences of two methods on it go together.
"""

from __future__ import annotations

from functools import cached_property
from itertools import combinations
from statistics import fmean

import numpy as np

from benchmarks.board_text import MEND, BoardText
from lifealign_bench.errors import BenchError
from lifealign_bench.results.view import RunView
from lifealign_bench.util.text import number


class Topics:
    """Two tasks of a board by the topics that they share.

    Args:
        text: the board.
        first, second: the tasks.

    Raises:
        BenchError: they share none.
    """

    def __init__(self, text: BoardText, first: str, second: str) -> None:
        methods = {
            name: [_by_topic(text.board.score, v, (first, second)) for v in own] for name, own in text.entered().items()
        }
        a, b = next(iter(methods.values()))[0]
        self._topics = [topic for topic in a if topic in b]
        if not self._topics:
            raise BenchError(f"{first} and {second} share no topic.", MEND)
        # Method to (2, topics): its mean over the seeds at the end.
        self._means = {
            name: np.mean([[[side[t] for t in self._topics] for side in run] for run in runs], axis=0)
            for name, runs in methods.items()
        }

    def count(self) -> int:
        """How many topics they share."""
        return len(self._topics)

    def correlation(self) -> str:
        """Of the differences of two methods on a topic in the one task and in the other, on the mean over all pairs of
        methods that differ in both: ``0.03``."""
        return number(fmean(self._correlations), 2)

    def differing(self) -> int:
        """Over how many pairs of methods that is."""
        return len(self._correlations)

    @cached_property
    def _correlations(self) -> list[float]:
        gaps = (one - other for one, other in combinations(self._means.values(), 2))
        return [float(np.corrcoef(a, b)[0, 1]) for a, b in gaps if a.std() > 0 and b.std() > 0]


def _by_topic(score: str, view: RunView, tasks: tuple[str, str]) -> tuple[dict[str, float], ...]:
    """Of each task: topic to the mean score of its pairs after the last stage."""
    found = []
    for task in tasks:
        block = next(blocks[task] for blocks in view.blocks.values() if task in blocks)
        names = block.ids if block.clusters is None else block.clusters
        values: dict[str, list[float]] = {}
        for name, value in zip(names, view.pair_scores(score)[task][view.rows[-1].row], strict=True):
            values.setdefault(str(name), []).append(float(value))
        found.append({name: fmean(own) for name, own in values.items()})
    return tuple(found)
