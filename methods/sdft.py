"""SDFT: the model with a demonstration in its context teaches the model without, on what the latter says.

Shenfeld et al. 2026, "Self-Distillation Enables Continual Learning" (arXiv 2601.19897); published code
idanshen/Self-Distillation. For every prompt x of a step with its demonstration c (here the chosen response) the policy
gives a response y without having seen c, and what is minimised is, over the whole vocabulary::

    forward    1/|y| sum_t KL( pi_teacher(. | x, c, y_<t) || pi(. | x, y_<t) )
    reverse    1/|y| sum_t KL( pi(. | x, y_<t) || pi_teacher(. | x, c, y_<t) )

Mind the direction: equation 1 of the paper (first version) is the reverse one, while the default of the published code
is the forward one, and its author says that the paper's results were made with that. It is the default here.

Faithful: on-policy responses at every step, the exact divergence of every token, the mean over a response's tokens; the
teacher is the same model. Losses and gradients equal those of TRL's ``full_logits`` distillation with ``alpha`` 0
(forward) and 1 (reverse).

The teacher's weights are, under ``teacher: average``, the paper's moving average of the policy's: they begin at where
the phase begins, and after every optimizer step ``teacher = (1 - rate) * teacher + rate * theta``, over the trained
parameters (each of a LoRA layer's two matrices by itself). ``rate`` 0.05 is TRL's.

Not faithful:
- By default the teacher is where the phase began (``start``), which costs nothing to keep up and from which an average
  over the few steps of a short stage is not far. It may also be the policy itself (``live``) or the base model
  (``base``). A teacher of rate 1 is ``live``, of rate 0 ``start``.
- The words that show the teacher its demonstration are our own (``shown``).
- One response a prompt and one optimizer step a batch of responses, so that nothing has to be weighted by the ratio of
  the policies; no first tokens are left out of the loss.

No reward is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
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
from lifealign_bench.pairs import Message, Pair


class SDFTConfig(MethodConfig):
    """Settings of ``sdft``."""

    direction: Literal["forward", "reverse"] = Field(
        "forward", description="forward: KL(teacher || policy), as the published code; reverse: as equation 1"
    )
    teacher: Literal["start", "average", "live", "base"] = Field(
        "start",
        description="the teacher's weights: where the phase began, a moving average of the policy's, the policy's own, "
        "or the base model's",
    )
    rate: float = Field(0.05, ge=0, le=1, description="teacher=average: the newest weights' share after every step")
    temperature: float = Field(1.0, ge=0, description="temperature that the responses are sampled at")
    top_p: float = Field(1.0, gt=0, le=1, description="share of the likeliest tokens that is sampled from")
    shown: str = Field(
        "{prompt}\n\nThis is a good answer:\n{demonstration}\n\nNow give an answer of your own.",
        description="the teacher's last turn, of the {prompt}'s last turn and the {demonstration}",
    )


@register_method("sdft")
class SDFT(Method):
    """Self-distillation from a demonstration in context; see the module's docstring."""

    Config = SDFTConfig
    config: SDFTConfig
    tunes: ClassVar[tuple[Tuned, ...]] = (RATE,)  # the divergence is the whole loss

    def __init__(self, config: SDFTConfig) -> None:
        super().__init__(config)
        self._average: dict[str, torch.Tensor] = {}

    def check(self, config: RunConfig) -> None:
        """Refuse a teacher that sees no demonstration."""
        if "{demonstration}" not in self.config.shown or "{prompt}" not in self.config.shown:
            raise UsageError(
                "sdft's teacher has to see the prompt and its demonstration.",
                "Let the setting shown hold {prompt} and {demonstration}.",
            )

    def phases(self, chosen: tuple[Phase, ...]) -> tuple[Phase, ...]:
        """The on-policy phase in the place of the preference phase."""
        return tuple("on_policy" if phase == "preference" else phase for phase in chosen)

    def samples(self) -> int:
        """One."""
        return 1

    def asks(self, phase: Phase) -> tuple[Asked, ...]:
        """The divergence between policy and teacher."""
        if phase != "on_policy":
            return ()
        return (_DIVERGENCES[self.config.direction, self.config.teacher],)

    def rollouts(self, stage: Stage, model: PeftModel, pairs: Sequence[Pair]) -> Sequence[Group]:
        """One response to every prompt, and the dialogue that shows the teacher the chosen one."""
        if self.config.teacher == "average":
            self._follow(model)
        said = stage.sample(model, pairs, 1, self.config.temperature, self.config.top_p)
        return [Group(pair, responses, (1.0,), self._shown(pair)) for pair, responses in zip(pairs, said, strict=True)]

    def _follow(self, model: PeftModel) -> None:
        """Take the last step into the teacher; before the first there is none, and the teacher is the policy."""
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                now = parameter.detach()
                before = self._average.get(name, now).to(now.device)
                self._average[name] = torch.lerp(before, now, self.config.rate)

    def kept_policy(self) -> Mapping[str, torch.Tensor]:
        """The moving average."""
        return self._average

    def after_stage(self, stage: Stage, model: PeftModel) -> None:
        """The next phase has a teacher of its own."""
        self._average = {}

    def state_dict(self) -> dict[str, torch.Tensor | PlainValue]:
        """Within a phase the teacher: a tensor for each parameter."""
        return dict(self._average)

    def load_state_dict(self, state: Mapping[str, torch.Tensor | PlainValue]) -> None:
        """Take back the teacher."""
        self._average = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}

    def _shown(self, pair: Pair) -> tuple[Message, ...]:
        *before, last = pair.prompt
        # Not format(): the texts may hold braces of their own.
        parts = self.config.shown.split("{prompt}")
        text = last.content.join(part.replace("{demonstration}", pair.chosen) for part in parts)
        return (*before, replace(last, content=text))

    def group_loss(self, batch: GroupBatch) -> torch.Tensor:
        """The mean divergence of a response's tokens, (B,)."""
        divergence = batch.asked[_DIVERGENCES[self.config.direction, self.config.teacher]]
        return batch.means(divergence).sum(1)


_DIVERGENCES: dict[tuple[str, str], Asked] = {
    ("forward", "start"): "kl_from_start",
    ("forward", "average"): "kl_from_kept",
    ("forward", "live"): "kl_from_teacher",
    ("forward", "base"): "kl_from_reference",
    ("reverse", "start"): "kl_to_start",
    ("reverse", "average"): "kl_to_kept",
    ("reverse", "live"): "kl_to_teacher",
    ("reverse", "base"): "kl_to_reference",
}
