"""DPO on own pairs again where replay has old ones: the control of replay's longer stages.

``replay`` mixes pairs of finished tasks into every later stage and so has more steps than plain training. Whether the
old pairs help or the further steps, only a method with the same steps and no old pair can tell: here each stage trains
on its own pairs and, drawn from these at random, on as many once more as ``replay`` with the same settings would have
in its buffer. Stage by stage both train on the same number of pairs in the same number of steps. Their tokens differ as
far as the tasks' pairs differ in length: own pairs are not chosen by their length, which would be another difference.
Where there are more old pairs than own ones, own pairs come several times, all as often as each other but for one.

The loss is that of DPO (Rafailov et al. 2023, arXiv 2305.18290); the buffer that is counted is that of LifeAlign (Li et
al. 2026, arXiv 2509.17183), see ``replay``. Under ``--budget`` both spend what plain training does, and there is
nothing left to control: run it without.

Nothing of a finished task is kept but how many pairs it would have left in the buffer. In the supervised phase it is
the chosen responses of the same number of own pairs that come again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from peft import PeftModel
from pydantic import Field

from lifealign_bench.method import RATE, Method, MethodConfig, PlainValue, Stage, Tuned, register_method
from lifealign_bench.pairs import Pair


class RepeatConfig(MethodConfig):
    """Settings of ``repeat``: those of ``replay``, which it counts after."""

    replay_fraction: float = Field(0.2, ge=0, le=1, description="share of a finished task's pairs that replay keeps")
    replay_capacity: int = Field(3000, ge=0, description="most pairs that replay keeps over all tasks")
    replay_rule: Literal["fair", "first"] = Field(
        "fair", description="fair: of all tasks equal shares; first: as published, of the first tasks"
    )


@register_method("repeat")
class Repeat(Method):
    """DPO on the task's own pairs, some of them again; see the module's docstring."""

    Config = RepeatConfig
    config: RepeatConfig
    tunes: ClassVar[tuple[Tuned, ...]] = (RATE,)  # what is repeated is a budget, not a strength

    def __init__(self, config: RepeatConfig) -> None:
        super().__init__(config)
        self._kept: dict[str, int] = {}

    def training_pairs(self, stage: Stage, pairs: Sequence[Pair]) -> Sequence[Pair]:
        """The stage's own pairs, then as many of them again as replay's buffer would hold of other tasks."""
        missing = sum(count for task, count in self._kept.items() if task not in stage.tasks)
        again: list[Pair] = []
        while len(again) < missing:
            order = torch.randperm(len(pairs), generator=stage.generator).tolist()
            again += [pairs[i] for i in order[: missing - len(again)]]
        return [*pairs, *again]

    def after_stage(self, stage: Stage, model: PeftModel) -> None:
        """Count what the finished tasks would leave in the buffer, and what of it fits the capacity."""
        if not stage.final:
            return
        for task in stage.tasks:
            share = self.config.replay_fraction * sum(pair.task == task for pair in stage.pairs)
            if self.config.replay_rule == "first":
                room = self.config.replay_capacity - sum(self._kept.values())
                self._kept[task] = min(room, int(share))
            else:
                self._kept[task] = round(share)
        shares = fair_shares(list(self._kept.values()), self.config.replay_capacity)
        self._kept = dict(zip(self._kept, shares, strict=True))

    def state_dict(self) -> dict[str, torch.Tensor | PlainValue]:
        """The counts by task."""
        return {f"kept/{task}": count for task, count in self._kept.items()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor | PlainValue]) -> None:
        """Take back the counts."""
        self._kept = {}
        for key, value in state.items():
            if key.startswith("kept/") and isinstance(value, int):
                self._kept[key.removeprefix("kept/")] = value


def fair_shares(sizes: Sequence[int], capacity: int) -> list[int]:
    """How many pairs of each task fit: equal shares, and what a small task leaves over goes to the others.

    Args:
        sizes: pairs each task has, oldest task first.
        capacity: most pairs in all.

    Returns:
        As many numbers as ``sizes``, none above its size, with sum ``min(sum(sizes), capacity)``.
    """
    shares = [0] * len(sizes)
    left = capacity
    # As in replay's file: smallest task first, of equal ones the earlier.
    for done, i in enumerate(sorted(range(len(sizes)), key=lambda i: sizes[i])):
        shares[i] = min(sizes[i], left // (len(sizes) - done))
        left -= shares[i]
    return shares
