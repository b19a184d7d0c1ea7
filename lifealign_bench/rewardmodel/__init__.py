"""Reward models: sequence classifiers that say what a response is worth, given or trained for a stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.pairs import Message
from lifealign_bench.progress import Progress
from lifealign_bench.scorers.array import Array

if TYPE_CHECKING:
    from lifealign_bench.data import TaskData

__all__ = ["Dialogue", "RewardModel", "make_reward_model"]

# A prompt and the response to it.
Dialogue = tuple[tuple[Message, ...], str]


class RewardModel(Protocol):
    """Says what responses are worth."""

    @property
    def name(self) -> str:
        """As ``--reward`` names it."""
        ...

    def rewards(self, dialogues: Sequence[Dialogue]) -> Array:
        """(D,) the model's raw scores, in the order of the dialogues; the same text is computed once ever."""
        ...

    def facts(self) -> dict[str, Any]:
        """For the record: model, fingerprint, settings, how it was trained. No text."""
        ...


def make_reward_model(config: RunConfig, data: Mapping[str, TaskData], progress: Progress) -> RewardModel:
    """The reward model of a run.

    Raises:
        BenchError: there is none, or it cannot be had.
    """
    raise UsageError(f"There is no reward model {config.reward_model!r} yet.")
