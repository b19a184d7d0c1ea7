"""KL: DPO with the divergence from the policy that the phase began with, over the whole vocabulary, as a penalty.

What is minimised of a pair whose responses have N tokens is, with pi_0 the policy of the phase's start::

    -log sigmoid(margin) + strength / N * sum_t D_t,

    forward    D_t = KL( pi_0(. | x, y_<t) || pi(. | x, y_<t) )
    reverse    D_t = KL( pi(. | x, y_<t) || pi_0(. | x, y_<t) )

Forward keeps the policy from giving up what it said; reverse keeps it from saying what it did not.

``on`` says where. ``own``: on the task's own pairs, beside their loss; no example of an old task is kept.
``replayed``: on pairs of finished tasks, mixed in as by ``replay``, which have the divergence for their whole loss and
are not learned again: what they were preferred for is not asked, only that the model says what it said.

Shenfeld et al. 2025, "RL's Razor: Why Online Reinforcement Learning Forgets Less" (arXiv 2509.04259) find that what is
forgotten follows the divergence between the fine-tuned policy and the base policy on the *new* task's inputs, the
forward one, KL(base || fine-tuned), whichever method trained it. They measure it and train no method with it; this one
puts it into the loss (``on: own``, ``direction: forward``, the defaults), so that the claim can be tried from the other
side: if the divergence is the cause, holding it down must keep what RL keeps.

Not theirs:
- The divergence is taken along the data's responses, not the policy's own: it is exact at every token, but on texts
  that neither of the two may ever say. It is one from the phase's start, in the first stage the base model.
- ``lwf`` at temperature 1 is ``on: own``, ``direction: forward``.

Both directions cost a forward pass more a pair, of ``on: replayed`` for own pairs as well. The supervised phase of a
stage (``--sft``) is plain, and has no replayed pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from peft import PeftModel
from pydantic import Field

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.method import (
    RATE,
    Asked,
    Method,
    MethodConfig,
    PairBatch,
    Phase,
    PlainValue,
    Stage,
    Tuned,
    register_method,
)
from lifealign_bench.pairs import Pair


class KLConfig(MethodConfig):
    """Settings of ``kl``."""

    strength: float = Field(1.0, ge=0, description="weight of the divergence beside the task's loss")
    direction: Literal["forward", "reverse"] = Field(
        "forward", description="forward: KL(start || policy); reverse: KL(policy || start)"
    )
    on: Literal["own", "replayed"] = Field(
        "own", description="own: on the task's own pairs; replayed: on pairs of finished tasks, which have nothing else"
    )
    replay_fraction: float = Field(0.2, ge=0, le=1, description="share of a finished task's pairs kept: on replayed")
    replay_capacity: int = Field(3000, ge=0, description="most pairs kept over all tasks, each an equal part")


@register_method("kl")
class KL(Method):
    """DPO that is held to what it said; see the module's docstring."""

    Config = KLConfig
    config: KLConfig
    tunes: ClassVar[tuple[Tuned, ...]] = (RATE, Tuned("method.strength", factors=(0.1, 1, 10), within=1e3))

    def __init__(self, config: KLConfig) -> None:
        super().__init__(config)
        self._kept: dict[str, list[str]] = {}
        self._replayed: frozenset[str] = frozenset()  # within a phase

    def check(self, config: RunConfig) -> None:
        """Refuse to hold replayed pairs where none is kept."""
        if self.config.on == "replayed" and not (self.config.replay_fraction and self.config.replay_capacity):
            raise UsageError(
                "kl is to hold replayed pairs, and keeps none.",
                "Set replay_fraction and replay_capacity above 0, or on=own.",
            )

    def asks(self, phase: Phase) -> tuple[Asked, ...]:
        """The divergence, if it weighs anything."""
        return (_DIVERGENCES[self.config.direction],) if phase == "preference" and self.config.strength else ()

    def training_pairs(self, stage: Stage, pairs: Sequence[Pair]) -> Sequence[Pair]:
        """The stage's own pairs, and in the preference phase those that are held."""
        other = [i for task, ids in self._kept.items() if task not in stage.tasks for i in ids]
        self._replayed = frozenset(other if stage.phase == "preference" else ())
        return [*pairs, *stage.find_pairs(other)] if self._replayed else pairs

    def pair_loss(self, logits: torch.Tensor, batch: PairBatch) -> torch.Tensor:
        """(B,): own pairs DPO's loss; those that are held ``strength`` times the mean divergence of their tokens."""
        learned = super().pair_loss(logits, batch)
        replayed = torch.tensor([pair.id in self._replayed for pair in batch.pairs], device=logits.device)
        learned = torch.where(replayed, torch.zeros_like(learned), learned)
        if not self.config.strength:
            return learned
        divergence = batch.sums(batch.asked[_DIVERGENCES[self.config.direction]]).sum(1) / batch.lengths.sum(1)
        held = torch.ones_like(replayed) if self.config.on == "own" else replayed
        return learned + self.config.strength * torch.where(held, divergence, torch.zeros_like(divergence))

    def after_stage(self, stage: Stage, model: PeftModel) -> None:
        """Keep a sample of the finished tasks' pairs, of equal size for all tasks."""
        self._replayed = frozenset()
        if self.config.on == "own" or not stage.final:
            return
        for task in stage.tasks:
            own = [pair.id for pair in stage.pairs if pair.task == task]
            most = min(round(self.config.replay_fraction * len(own)), self.config.replay_capacity // stage.count)
            order = torch.randperm(len(own), generator=stage.generator).tolist()
            self._kept[task] = [own[i] for i in order[:most]]

    def state_dict(self) -> dict[str, torch.Tensor | PlainValue]:
        """The kept ids by task."""
        return {f"kept/{task}": list(ids) for task, ids in self._kept.items()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor | PlainValue]) -> None:
        """Take them back."""
        self._kept = {}
        for key, value in state.items():
            if key.startswith("kept/") and isinstance(value, list):
                self._kept[key.removeprefix("kept/")] = [str(i) for i in value]


_DIVERGENCES: dict[str, Asked] = {"forward": "kl_from_start", "reverse": "kl_to_start"}
