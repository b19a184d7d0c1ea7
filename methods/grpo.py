"""GRPO: several responses to a prompt, each learned from by how much better it is than the others.

Shao et al. 2024, "DeepSeekMath" (arXiv 2402.03300), equations 3 and 4. For every prompt of a step the policy gives n
responses y_i with rewards r_i; the advantage of all tokens of y_i is ``A_i = (r_i - mean(r)) / (std(r) + 1e-4)``, and
what is minimised is, with ``rho_it = pi(y_it) / pi_old(y_it)``::

    1/n sum_i 1/|y_i| sum_t [ -rho_it A_i + beta k_it ],   k_it = pi_ref/pi - log(pi_ref/pi) - 1

``length`` and ``scale`` are the two corrections of Liu et al. 2025, "Understanding R1-Zero-Like Training" (arXiv
2503.20783): ``length: constant`` divides by the longest response that there may be in the place of |y_i| (which favours
long bad and short good responses), ``scale: none`` leaves the division by the standard deviation out (which favours
prompts that are nearly solved or nearly hopeless). Both together are Dr. GRPO, the variant ``grpo-unbiased``.

``unbiased_kl`` multiplies k by rho, which is 1 and changes the gradient alone: that of k by itself is not the gradient
of the divergence (DeepSeek-V3.2, arXiv 2512.02556; TRL's default, not the paper's).

Faithful: advantages, loss and the estimator k of the KL divergence; losses and gradients equal those of TRL's
GRPOTrainer on the same responses.

Not faithful:
- One optimizer step a batch of responses: the policy that answered is the one that is trained, rho is 1 and its
  gradient that of log pi, and there is nothing to clip.
- ``beta`` is 0 by default, as in TRL and in most later work; the paper has 0.04. The reference is the base model (or,
  under ``--set reference=previous``, where the phase began) and is not moved within a phase.
- The reward is the task's checking function or a reward model, of the whole response; there is no process reward.

Prompts to which all responses are worth the same have advantages of 0 and teach nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from peft import PeftModel
from pydantic import Field

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
    PlainValue,
    Stage,
    Tuned,
    register_method,
)
from lifealign_bench.pairs import Pair


def advantages(rewards: Sequence[float], scale: str = "group") -> tuple[float, ...]:
    """How much better each of a group's responses is than their mean, (n,).

    Args:
        rewards: of the responses, two at least.
        scale: ``group``: in standard deviations (of a sample) plus 1e-4; ``none``: as it is.
    """
    values = torch.tensor(rewards, dtype=torch.float64)
    found = values - values.mean()
    # All the same but for rounding, which a division by nearly 0 would blow up.
    if not bool((values != values[0]).any()):
        found = torch.zeros_like(values)
    if scale == "group":
        found = found / (values.std() + 1e-4)
    return tuple(found.tolist())


class GRPOConfig(MethodConfig):
    """Settings of ``grpo``."""

    n: int = Field(8, ge=1, description="responses sampled to every prompt of a step: the group")
    temperature: float = Field(1.0, ge=0, description="temperature that they are sampled at")
    top_p: float = Field(1.0, gt=0, le=1, description="share of the likeliest tokens that is sampled from")
    beta: float = Field(0.0, ge=0, description="weight of the KL divergence from the reference; the paper has 0.04")
    length: Literal["response", "constant"] = Field(
        "response", description="a response's tokens are summed and divided by its length, or by the longest there is"
    )
    unbiased_kl: bool = Field(
        False, description="the divergence counts times the ratio of the policies, which makes its gradient unbiased"
    )
    scale: Literal["group", "none"] = Field(
        "group", description="advantages are divided by the standard deviation of the group's rewards, or not"
    )


@register_method("grpo")
class GRPO(Method):
    """Group-relative policy optimisation; see the module's docstring."""

    Config = GRPOConfig
    config: GRPOConfig
    tunes: ClassVar[tuple[Tuned, ...]] = (RATE,)  # beta is 0 by default, and so are its multiples
    rewarded: ClassVar[bool] = True
    variants: ClassVar[dict[str, dict[str, PlainValue]]] = {"unbiased": {"length": "constant", "scale": "none"}}

    def __init__(self, config: GRPOConfig) -> None:
        super().__init__(config)
        self._longest = 1

    def check(self, config: RunConfig) -> None:
        """Refuse groups in which nothing can be compared."""
        if self.config.n < 2:
            raise UsageError("grpo compares the n responses to a prompt, and n is 1.", "Set n to 2 at least.")
        if self.config.temperature == 0:
            raise UsageError(
                "grpo needs responses that differ, and at temperature 0 all are the same.",
                "Set a temperature above 0 (--set temperature=1).",
            )

    def phases(self, chosen: tuple[Phase, ...]) -> tuple[Phase, ...]:
        """The on-policy phase in the place of the preference phase."""
        return tuple("on_policy" if phase == "preference" else phase for phase in chosen)

    def samples(self) -> int:
        """n."""
        return self.config.n

    def asks(self, phase: Phase) -> tuple[Asked, ...]:
        """What the reference says, where there is a divergence from it to keep small."""
        return ("reference_log_probs",) if phase == "on_policy" and self.config.beta else ()

    def before_stage(self, stage: Stage, model: PeftModel) -> None:
        """Remember how long a response can be."""
        self._longest = stage.longest

    def rollouts(self, stage: Stage, model: PeftModel, pairs: Sequence[Pair]) -> Sequence[Group]:
        """For every prompt n responses; their weights are the advantages."""
        said = stage.sample(model, pairs, self.config.n, self.config.temperature, self.config.top_p)
        rewards = stage.reward(pairs, said)
        return [
            Group(pair, responses, advantages(worth, self.config.scale))
            for pair, responses, worth in zip(pairs, said, rewards, strict=True)
        ]

    def group_loss(self, batch: GroupBatch) -> torch.Tensor:
        """The equation above, (B,)."""
        ratio = torch.exp(batch.tokens - batch.tokens.detach())
        values = -ratio * batch.weights.flatten()[batch.owner]
        if self.config.beta:
            behind = batch.asked["reference_log_probs"] - batch.tokens
            divergence = torch.exp(behind) - behind - 1
            values = values + self.config.beta * (ratio * divergence if self.config.unbiased_kl else divergence)
        responses = batch.means(values) if self.config.length == "response" else batch.sums(values) / self._longest
        return responses.sum(1) / responses.new_tensor([len(group.responses) for group in batch.groups])
