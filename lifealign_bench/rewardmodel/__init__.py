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

__all__ = ["TRAINED", "Dialogue", "RewardModel", "make_reward_model", "require_reward_model"]

# What --reward says for a model that is made of the stream's training pairs.
TRAINED = "trained"

# A prompt and the response to it.
Dialogue = tuple[tuple[Message, ...], str]


class RewardModel(Protocol):
    """Says what responses are worth."""

    @property
    def name(self) -> str:
        """As ``--reward`` names it."""
        ...

    def rewards(self, dialogues: Sequence[Dialogue]) -> Array:
        """(D,) the model's raw scores, in the order of the dialogues; the same text is computed once ever.

        Raises:
            BenchError: a score is not finite; the model cannot read a dialogue.
        """
        ...

    def cut(self, dialogues: Sequence[Dialogue]) -> int:
        """How many of the dialogues it cannot read whole, because they are beyond its cut-off."""
        ...

    def facts(self) -> dict[str, Any]:
        """For the record: model, fingerprint, settings, how it was trained. No text."""
        ...


def require_reward_model(config: RunConfig, scorer: str) -> str:
    """The reward model's name.

    Raises:
        UsageError: the run has none.
    """
    if not config.reward_model:
        raise UsageError(
            f"The scorer {scorer} needs a reward model, and none is given.",
            f"Give --reward {TRAINED} (made of the stream's training pairs), or --reward with the folder or the name "
            "of a sequence classifier with one label; or leave the scorer out.",
        )
    return config.reward_model


def make_reward_model(config: RunConfig, data: Mapping[str, TaskData], progress: Progress) -> RewardModel:
    """The reward model of a run, loaded; ``trained`` is trained first, unless it is in the cache.

    Args:
        config: the run, with device and dtype resolved.
        data: of all tasks of the stream.
        progress: told what has to be assumed, and how training goes.

    Raises:
        BenchError: there is none, or it cannot be had.
    """
    name = require_reward_model(config, "reward_model")
    if name == TRAINED:
        from lifealign_bench.rewardmodel.trained import trained_reward_model

        return trained_reward_model(config, data, progress)
    from lifealign_bench.rewardmodel.given import given_reward_model

    return given_reward_model(config, progress)
