"""The words TASK and STREAM of a command line as task cards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lifealign_bench.data.cards import TaskCard, load_stream, load_task, stream_names, task_names
from lifealign_bench.errors import UsageError
from lifealign_bench.gitsource import GitSource
from lifealign_bench.util.registry import unknown_name

__all__ = ["git_tasks", "registered_tasks", "select_tasks"]


def registered_tasks() -> list[TaskCard]:
    """All registered tasks."""
    return [load_task(name) for name in task_names()]


def git_tasks() -> list[TaskCard]:
    """The registered tasks whose files come from a git repository: those of the paper."""
    return [card for card in registered_tasks() if isinstance(card.source, GitSource)]


def select_tasks(words: Sequence[str]) -> list[TaskCard]:
    """The tasks that are named, each once, in the order of their first naming.

    Args:
        words: tasks, streams, paths of cards, lists of tasks with commas, or ``all``.

    Raises:
        UsageError: no such task or stream; two cards of one name.
        BenchError: a card is broken.
    """
    found: dict[str, TaskCard] = {}
    for word in words:
        for card in registered_tasks() if word == "all" else _tasks_of(word):
            if found.setdefault(card.name, card).path != card.path:
                raise UsageError(
                    f"Two task cards are called {card.name!r}: {found[card.name].path} and {card.path}.",
                    "Rename one of them.",
                )
    return list(found.values())


def _tasks_of(word: str) -> tuple[TaskCard, ...]:
    known = {*stream_names(), *task_names()}
    if "," not in word and not word.endswith((".yaml", ".yml")) and word not in known:
        raise unknown_name("task or stream", word, known)
    if word.endswith((".yaml", ".yml")):
        word = str(Path(word).expanduser())
    return load_stream(word).task_cards()
