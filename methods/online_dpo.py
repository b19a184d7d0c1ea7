"""Online DPO: of two responses that the model itself gives, the better is preferred to the other.

Guo et al. 2024, "Direct Language Model Alignment from Online AI Feedback" (arXiv 2402.04792). For every prompt x of a
step the policy gives two responses, the reward says which is the better (y+) and which the worse (y-), and DPO's loss
(Rafailov et al. 2023, arXiv 2305.18290, eq. 7) is taken on them::

    -log sigmoid(beta [(log pi(y+|x) - log pi_ref(y+|x)) - (log pi(y-|x) - log pi_ref(y-|x))])

Faithful: two responses, sampled at temperature 0.9 by the policy as it is, at every step; the gradient does not go
through the sampling; the reference is fixed (``--set reference``: the base model, or where each phase began).

Not faithful:
- The feedback is the task's checking function or a reward model (``--reward``), not another language model's choice.
- Where both responses are worth the same, the pair teaches nothing and its loss is 0. TRL's trainer takes the first for
  the better; an annotator has to choose one.
- One optimizer step a batch of responses.

Losses and gradients equal those of TRL's OnlineDPOTrainer on the same responses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from peft import PeftModel
from pydantic import Field
from torch.nn.functional import logsigmoid

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.method import (
    RATE,
    Asked,
    Group,
    GroupBatch,
    Method,
    MethodConfig,
    Phase,
    Stage,
    Tuned,
    register_method,
)
from lifealign_bench.pairs import Pair


class OnlineDPOConfig(MethodConfig):
    """Settings of ``online_dpo``."""

    beta: float = Field(0.1, gt=0, description="strength of the implicit KL penalty")
    temperature: float = Field(0.9, ge=0, description="temperature that the two responses are sampled at")
    top_p: float = Field(1.0, gt=0, le=1, description="share of the likeliest tokens that is sampled from")


@register_method("online_dpo")
class OnlineDPO(Method):
    """DPO on two of the model's own responses; see the module's docstring."""

    Config = OnlineDPOConfig
    config: OnlineDPOConfig
    tunes: ClassVar[tuple[Tuned, ...]] = (RATE, Tuned("method.beta", factors=(0.3, 1, 3), within=100))
    rewarded: ClassVar[bool] = True

    def check(self, config: RunConfig) -> None:
        """Refuse two equal responses."""
        if self.config.temperature == 0:
            raise UsageError(
                "online_dpo needs two responses that differ, and at temperature 0 they are the same.",
                "Set a temperature above 0 (--set temperature=0.9).",
            )

    def phases(self, chosen: tuple[Phase, ...]) -> tuple[Phase, ...]:
        """The on-policy phase in the place of the preference phase."""
        return tuple("on_policy" if phase == "preference" else phase for phase in chosen)

    def samples(self) -> int:
        """Two."""
        return 2

    def asks(self, phase: Phase) -> tuple[Asked, ...]:
        """What the reference policy says of the responses."""
        return ("reference_log_probs",) if phase == "on_policy" else ()

    def rollouts(self, stage: Stage, model: PeftModel, pairs: Sequence[Pair]) -> Sequence[Group]:
        """For every prompt the better response, then the worse; weights of 0 where they are worth the same."""
        said = stage.sample(model, pairs, 2, self.config.temperature, self.config.top_p)
        groups = []
        for pair, (one, other), (worth, others) in zip(pairs, said, stage.reward(pairs, said), strict=True):
            ordered = (one, other) if worth >= others else (other, one)
            told = float(worth != others)
            groups.append(Group(pair, ordered, (told, told)))
        return groups

    def group_loss(self, batch: GroupBatch) -> torch.Tensor:
        """DPO's loss of each group (B,)."""
        gained = batch.sums(batch.tokens - batch.asked["reference_log_probs"])
        losses = -logsigmoid(self.config.beta * (gained[:, 0] - gained[:, 1]))
        return losses * batch.weights[:, 0]
