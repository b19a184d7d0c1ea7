"""LwF: what the model said of the new task's inputs before it learned the task is distilled into it as it learns.

Li & Hoiem 2016, "Learning without Forgetting" (arXiv 1606.09282), section 3: the distillation loss with its tempered
probabilities, and the objective of figure 3. To the loss of the new task comes ``strength`` (the paper's lambda_o, 1)
times a cross-entropy between what the old and the new model predict for the *new* task's inputs, both at temperature T
(2): no example of an old task is kept. A cross-entropy from a fixed distribution is a KL divergence plus a constant, so
that what is minimised of a pair whose responses have N tokens is, over the whole vocabulary::

    -log sigmoid(margin) + strength / N * sum_t KL( softmax(z_start,t / T) || softmax(z_t / T) )

Faithful: new inputs only; the distributions at T, without the factor T**2 that Hinton et al. 2015 (arXiv 1503.02531)
put before it; held from the first stage on, as there the pretrained network is the old model. The old model is that of
the stage's start, in both of its phases. In the supervised one, which learns from the chosen response alone, what is
minimised is the mean over the step's tokens of ``-log pi(y_t) + strength * KL_t``.

Not faithful:
- The new task's loss is DPO's and no classifier's, and the distillation is a mean over the tokens of both responses,
  where the paper sums over its old tasks. The network of the paper has a head for each task, and only old heads are
  distilled: a language model has one, so that the new answers themselves are held back.
- No warm-up of a new head, as there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from peft import PeftModel
from pydantic import Field

from lifealign_bench.method import (
    RATE,
    Asked,
    DemonstrationBatch,
    Method,
    MethodConfig,
    PairBatch,
    Phase,
    PlainValue,
    Stage,
    Tuned,
    register_method,
)


class LwFConfig(MethodConfig):
    """Settings of ``lwf``."""

    strength: float = Field(1.0, ge=0, description="weight of the distillation beside the new task's loss")
    temperature: float = Field(2.0, gt=0, description="what the logits of both models are divided by")


@register_method("lwf")
class LwF(Method):
    """DPO with distillation on the new task's pairs; see the module's docstring."""

    Config = LwFConfig
    config: LwFConfig
    tunes: ClassVar[tuple[Tuned, ...]] = (RATE, Tuned("method.strength", factors=(0.1, 1, 10), within=1e3))

    def __init__(self, config: LwFConfig) -> None:
        super().__init__(config)
        self._old: dict[str, torch.Tensor] = {}  # within a stage, from its first phase on

    def temperature(self) -> float:
        """The settings'."""
        return self.config.temperature

    def asks(self, phase: Phase) -> tuple[Asked, ...]:
        """The divergence from the old model, if it weighs anything."""
        return ("kl_from_kept",) if self.config.strength else ()

    def before_stage(self, stage: Stage, model: PeftModel) -> None:
        """Keep the model as it was before the stage."""
        if self._old or not self.config.strength:
            return
        self._old = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}

    def kept_policy(self) -> Mapping[str, torch.Tensor]:
        """The old model."""
        return self._old

    def demonstration_loss(self, losses: torch.Tensor, batch: DemonstrationBatch) -> torch.Tensor:
        """The response's loss (B,), and ``strength`` times the divergence at each of its tokens."""
        if not self.config.strength:
            return losses
        return losses + self.config.strength * batch.sums(batch.asked["kl_from_kept"])

    def pair_loss(self, logits: torch.Tensor, batch: PairBatch) -> torch.Tensor:
        """DPO's loss (B,), and ``strength`` times the mean divergence over the tokens of both responses."""
        loss = super().pair_loss(logits, batch)
        if not self.config.strength:
            return loss
        return loss + self.config.strength * batch.sums(batch.asked["kl_from_kept"]).sum(1) / batch.lengths.sum(1)

    def after_stage(self, stage: Stage, model: PeftModel) -> None:
        """The next stage has an old model of its own."""
        if stage.final:
            self._old = {}

    def state_dict(self) -> dict[str, torch.Tensor | PlainValue]:
        """Within a stage the old model: a tensor for each parameter."""
        return dict(self._old)

    def load_state_dict(self, state: Mapping[str, torch.Tensor | PlainValue]) -> None:
        """Take it back."""
        self._old = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
