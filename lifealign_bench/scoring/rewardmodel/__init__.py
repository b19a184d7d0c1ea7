"""Reward models: sequence classifiers that say what a response is worth, given or trained for a stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.scoring.rewardmodel.model import HELD_OUT, TRAINED, Dialogue, RewardModel, encoder_of
from lifealign_bench.util.progress import Progress

if TYPE_CHECKING:
    from lifealign_bench.data.tasks import TaskData

__all__ = ["HELD_OUT", "TRAINED", "Dialogue", "RewardModel", "make_reward_model", "require_reward_model"]


def require_reward_model(config: RunConfig, scorer: str) -> str:
    """The reward model's name.

    Raises:
        UsageError: the run has none.
    """
    if not config.reward_model:
        raise UsageError(
            f"The scorer {scorer} needs a reward model, and none is given.",
            f"Give --reward {TRAINED} (made of the stream's training pairs), {HELD_OUT} (of pairs that the run leaves "
            "unused), or the folder or the name of a sequence classifier with one label; or leave the scorer out.",
        )
    return config.reward_model


def make_reward_model(config: RunConfig, data: Mapping[str, TaskData], progress: Progress) -> RewardModel:
    """The reward model of a run, loaded; one that is made here is made first, unless it is in the cache.

    Args:
        config: the run, with device and dtype resolved.
        data: of all tasks of the stream.
        progress: told what has to be assumed, and how training goes.

    Raises:
        BenchError: there is none, or it cannot be had.
    """
    name = require_reward_model(config, "reward_model")
    if name == TRAINED:
        from lifealign_bench.scoring.rewardmodel.trained import trained_reward_model

        return trained_reward_model(config, data, progress)
    if encoder_of(name) is not None:
        from lifealign_bench.scoring.rewardmodel.heldout import held_out_reward_model

        return held_out_reward_model(config, data, progress)
    from lifealign_bench.scoring.rewardmodel.given import given_reward_model

    return given_reward_model(config, progress)
