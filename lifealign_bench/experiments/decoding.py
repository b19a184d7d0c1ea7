"""Seconds of generation on a GPU, by what generates; estimated, and at most: no response ends early.

Every step of a batch reads all weights and what is remembered of its sequences, so the more sequences go on side by
side, the fewer times the weights are read. ``batches`` has as many as ``generation_batch_size`` says and waits for the
longest; continuous batching and servers take the next prompt when a response ends, and as many side by side as there
is memory for.
"""

from __future__ import annotations

import math

from lifealign_bench.config import RunConfig
from lifealign_bench.experiments.memory import LIBRARIES, Sizes
from lifealign_bench.training.workload import Workload

# Sequences side by side at most, as servers have it where nobody says otherwise.
MOST_SLOTS = 256
_USED = 0.9  # of a GPU's memory


def engine_of(config: RunConfig) -> str:
    """What generates a run's responses."""
    return str(getattr(config, "generation_engine", "batches"))


def decoding_seconds(
    config: RunConfig, sizes: Sizes, counts: list[int], prompt: int, memory: float, bandwidth: float
) -> float:
    """Of groups of so many prompts each, one group after the other.

    Args:
        prompt: tokens of a prompt, for what is remembered of it.
        memory: bytes of the GPU.
        bandwidth: bytes a second that are reached.
    """
    longest = config.generation.max_new_tokens
    remembered = 2 * sizes.layers * sizes.kv_width * sizes.value_bytes
    if engine_of(config) == "batches":
        steps = sum(math.ceil(count / config.generation.generation_batch_size) for count in counts) * longest
        return steps * sizes.weights / bandwidth
    free = _USED * memory - LIBRARIES["cuda"] - sizes.weights
    fitting = int(free // max(1, remembered * (prompt + longest)))
    seconds = 0.0
    for count in filter(None, counts):
        slots = max(1, min(MOST_SLOTS, fitting, count))
        a_step = sizes.weights + slots * remembered * (prompt + longest / 2)
        seconds += math.ceil(count / slots) * longest * a_step / bandwidth
    return seconds


def sampled_groups(config: RunConfig, work: Workload) -> list[int]:
    """Responses of every optimizer step of phases that sample."""
    longest = config.generation.max_new_tokens
    groups: list[int] = []
    for stage in work.stages:
        for phase in stage.phases:
            if phase.sampled and phase.steps:
                groups += [math.ceil(phase.sampled / longest / phase.steps)] * phase.steps
    return groups
