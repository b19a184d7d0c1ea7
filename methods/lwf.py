"""LwF: what the model said of the new task's inputs before it learned the task is distilled into it as it learns.

Li & Hoiem 2016, "Learning without Forgetting" (arXiv 1606.09282), section 3: the distillation loss with its tempered
probabilities, and the objective of figure 3. To the loss of the new task comes ``strength`` (the paper's lambda_o, 1)
times a cross-entropy between what the old and the new model predict for the *new* task's inputs, both at temperature T
(2): no example of an old task is kept. A cross-entropy from a fixed distribution is a KL divergence plus a constant, so
that what is minimised of a pair whose responses have N tokens is, over the whole vocabulary::

    -log sigmoid(margin) + strength / N * sum_t KL( softmax(z_start,t / T) || softmax(z_t / T) )

Faithful: new inputs only; the distributions at T, without the factor T**2 that Hinton et al. 2015 (arXiv 1503.02531)
put before it; held from the first stage on, as there the pretrained network is the old model.

Not faithful:
- The new task's loss is DPO's and no classifier's, and the distillation is a mean over the tokens of both responses,
  where the paper sums over its old tasks. The network of the paper has a head for each task, and only old heads are
  distilled: a language model has one, so that the new answers themselves are held back.
- No warm-up of a new head, as there is none.
- The old model is that of the phase's start: under ``--sft`` the preference phase's teacher has had the stage's own
  supervised phase, which itself is plain.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field

from lifealign_bench.method import RATE, Asked, Method, MethodConfig, PairBatch, Phase, Tuned, register_method


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

    def temperature(self) -> float:
        """The settings'."""
        return self.config.temperature

    def asks(self, phase: Phase) -> tuple[Asked, ...]:
        """The divergence from the phase's start, if it weighs anything."""
        return ("kl_from_start",) if phase == "preference" and self.config.strength else ()

    def pair_loss(self, logits: torch.Tensor, batch: PairBatch) -> torch.Tensor:
        """DPO's loss (B,), and ``strength`` times the mean divergence over the tokens of both responses."""
        loss = super().pair_loss(logits, batch)
        if not self.config.strength:
            return loss
        return loss + self.config.strength * batch.sums(batch.asked["kl_from_start"]).sum(1) / batch.lengths.sum(1)
