"""Whether the data at hand is that of a record: other pairs would be another experiment."""

from __future__ import annotations

from collections.abc import Mapping

from lifealign_bench.data.tasks import TaskData
from lifealign_bench.errors import BenchError
from lifealign_bench.results.record import Record

__all__ = ["require_same_data"]


def require_same_data(record: Record, data: Mapping[str, TaskData]) -> None:
    """Refuse other training or test pairs than the record's.

    Raises:
        BenchError: names the first task that has others, and what to do.
    """
    for name, said in record.data.items():
        task = data[name]
        hashes = task.hashes()
        for split, wanted in (("train", said.train_digest), ("test", said.test_digest)):
            if hashes["train" if split == "train" else "test"] == wanted:
                continue
            raise BenchError(
                f"The {split} pairs of {name} are not those of the record: their digest is "
                f"{hashes['train' if split == 'train' else 'test'][:12]}, the record's {wanted[:12]}. "
                "Nothing was trained.",
                _remedy(record, task, said.version),
            )


def _remedy(record: Record, task: TaskData, version: int) -> str:
    if task.card.version != version:
        commit = record.git.get("commit")
        at = f" (commit {commit} of this repository)" if commit else ""
        return f"The card at hand is version {task.card.version}, the record's was {version}: use that one{at}."
    if task.card.path is not None:
        return (
            "lifealign-bench data verify says whether the files are those of its card; --data-dir names another copy, "
            "--task-card another card."
        )
    return "Give the data that the run was made with: --data-dir, or --task-card for a task of your own."
