"""The training pairs that a run leaves unused, of which others may learn what its tasks want."""

from __future__ import annotations

from collections.abc import Mapping

from lifealign_bench.config import RunConfig
from lifealign_bench.data.tasks import TaskData, load_split
from lifealign_bench.pairs import Pair


def unused_pairs(config: RunConfig, data: Mapping[str, TaskData]) -> dict[str, tuple[Pair, ...]]:
    """Task to the pairs of its training file that the run neither trains on nor scores, in the order of its training.

    None of them shares its cluster with a pair of the task that is used, or its prompt with one of any task.

    Args:
        config: says where the data lie.
        data: of all tasks of the stream, as the run has them.

    Raises:
        BenchError: the data cannot be read.
    """
    prompts = {pair.prompt for task in data.values() for pair in (*task.train, *task.test)}
    found: dict[str, tuple[Pair, ...]] = {}
    for name, task in data.items():
        clusters = {pair.cluster for pair in (*task.train, *task.test)}
        pairs, _, _ = load_split(task.card, "train", data_dir=config.data_dir)
        found[name] = tuple(pair for pair in pairs if pair.cluster not in clusters and pair.prompt not in prompts)
    return found
