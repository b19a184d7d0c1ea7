"""DPO with experience replay: a share of each finished task's pairs is trained on again.

The buffer is that of LifeAlign (Li et al. 2026, arXiv 2509.17183): after a task, 20 % of its training pairs are kept,
at most 3000 in all, and mixed into the pairs of every later task. The loss is that of DPO (Rafailov et al. 2023, arXiv
2305.18290). Rehearsal of stored examples goes back to Robins 1995, "Catastrophic Forgetting, Rehearsal and
Pseudorehearsal".

Not faithful: the published code (real-ljs/LifeAlign at e7e5581) keeps the first pairs of each task's file, and when its
buffer is full, later tasks no longer enter it (``replay_rule: first``). Here a task's pairs are sampled, and every task
may keep the same number of them (one that has fewer keeps them all); the first sampled pairs of each task stay, which
is again a uniform sample. With tasks of 3000 pairs, as those of the paper, six of them hardly fill the buffer.

The buffer holds ids only; the pairs' text stays in the data. In the supervised phase the chosen responses of the
buffer's pairs are mixed in; a task enters the buffer after its last phase.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from peft import PeftModel
from pydantic import Field

from lifealign_bench.method import RATE, Method, MethodConfig, PlainValue, Stage, Tuned, register_method
from lifealign_bench.pairs import Pair


class ReplayConfig(MethodConfig):
    """Settings of ``replay``."""

    replay_fraction: float = Field(0.2, ge=0, le=1, description="share of a finished task's pairs that is kept")
    replay_capacity: int = Field(3000, ge=0, description="most pairs kept over all tasks")
    replay_rule: Literal["fair", "first"] = Field(
        "fair", description="fair: a sample, equal shares; first: as published, first pairs of the first tasks"
    )


@register_method("replay")
class Replay(Method):
    """DPO on the task's own pairs and the buffer's; see the module's docstring."""

    Config = ReplayConfig
    config: ReplayConfig
    tunes: ClassVar[tuple[Tuned, ...]] = (RATE,)  # what is kept in memory is a budget, not a strength

    def __init__(self, config: ReplayConfig) -> None:
        super().__init__(config)
        self._buffer: dict[str, list[str]] = {}

    def training_pairs(self, stage: Stage, pairs: Sequence[Pair]) -> Sequence[Pair]:
        """The stage's own pairs, then the buffer's of the other tasks."""
        ids = [i for task, kept in self._buffer.items() if task not in stage.tasks for i in kept]
        return [*pairs, *stage.find_pairs(ids)] if ids else pairs

    def after_stage(self, stage: Stage, model: PeftModel) -> None:
        """Sample the finished tasks into the buffer, then make all shares fit the capacity."""
        if not stage.final:
            return
        for task in stage.tasks:
            own = [pair.id for pair in stage.pairs if pair.task == task]
            if self.config.replay_rule == "first":
                room = self.config.replay_capacity - sum(len(kept) for kept in self._buffer.values())
                self._buffer[task] = own[: min(room, int(self.config.replay_fraction * len(own)))]
                continue
            order = torch.randperm(len(own), generator=stage.generator).tolist()
            self._buffer[task] = [own[i] for i in order[: round(self.config.replay_fraction * len(own))]]
        shares = fair_shares([len(kept) for kept in self._buffer.values()], self.config.replay_capacity)
        self._buffer = {task: kept[:n] for (task, kept), n in zip(self._buffer.items(), shares, strict=True)}

    def state_dict(self) -> dict[str, torch.Tensor | PlainValue]:
        """The buffer's ids by task."""
        return {f"replay/{task}": list(kept) for task, kept in self._buffer.items()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor | PlainValue]) -> None:
        """Take back the buffer."""
        self._buffer = {}
        for key, value in state.items():
            if key.startswith("replay/") and isinstance(value, list):
                self._buffer[key.removeprefix("replay/")] = [str(i) for i in value]


def fair_shares(sizes: Sequence[int], capacity: int) -> list[int]:
    """How many of its pairs each task keeps: equal shares, and what a small task leaves over goes to the others.

    Args:
        sizes: pairs each task has in the buffer, oldest task first.
        capacity: most pairs in all.

    Returns:
        As many numbers as ``sizes``, none above its size, with sum ``min(sum(sizes), capacity)``.
    """
    shares = [0] * len(sizes)
    left = capacity
    # Smallest task first: what it does not need is divided among the rest. Of equal tasks the later one gets the
    # pair that does not divide.
    for done, i in enumerate(sorted(range(len(sizes)), key=lambda i: sizes[i])):
        shares[i] = min(sizes[i], left // (len(sizes) - done))
        left -= shares[i]
    return shares
