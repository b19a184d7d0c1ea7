"""EMA: what is scored is an exponential moving average of the weights over all steps; training goes on without it.

Polyak & Juditsky 1992, "Acceleration of Stochastic Approximation by Averaging", in its exponential form:
``average = decay * average + (1 - decay) * theta`` after every optimizer step, over the trained parameters, from the
fresh adapter on and across stages, with ``decay = 0.5 ** (1 / half_life)``. Training is that of DPO; a half-life of 0
is ``dpo`` to the bit.

Not faithful: a step is taken in when the next one begins, the last of a stage when that ends, so that the weights with
which a stage begins count twice. The average is one of a LoRA layer's two matrices each, not of their products. With a
half-life of many stages the fresh adapter weighs in it for long: nothing corrects for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from peft import PeftModel
from pydantic import Field

from lifealign_bench.method import RATE, Method, MethodConfig, PlainValue, Stage, Tuned, register_method


class EMAConfig(MethodConfig):
    """Settings of ``ema``."""

    half_life: float = Field(10, ge=0, description="steps after which a step weighs half in the average; 0 is dpo")


@register_method("ema")
class EMA(Method):
    """DPO; a moving average of the weights is scored; see the module's docstring."""

    Config = EMAConfig
    config: EMAConfig
    tunes: ClassVar[tuple[Tuned, ...]] = (RATE, Tuned("method.half_life", factors=(0.3, 1, 3)))

    def __init__(self, config: EMAConfig) -> None:
        super().__init__(config)
        self._kept: dict[str, torch.Tensor] = {}

    def before_stage(self, stage: Stage, model: PeftModel) -> None:
        """Go on from what was trained; the average begins at the fresh adapter."""
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.data.copy_(self._kept.pop(f"trained/{name}", parameter.data))
                self._kept.setdefault(f"average/{name}", parameter.detach().clone())

    def on_gradients(self, model: PeftModel) -> None:
        """Take the weights before the step into the average."""
        decay = 0.5 ** (1 / self.config.half_life) if self.config.half_life else 0.0
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                average = self._kept[f"average/{name}"].to(parameter.device)
                self._kept[f"average/{name}"] = torch.lerp(parameter.detach(), average, decay)

    def after_stage(self, stage: Stage, model: PeftModel) -> None:
        """Take in the last step, and put the average in the place of what was trained; after the last phase."""
        if not stage.final:
            return
        self.on_gradients(model)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                self._kept[f"trained/{name}"] = parameter.detach().clone()
                parameter.data.copy_(self._kept[f"average/{name}"])

    def state_dict(self) -> dict[str, torch.Tensor | PlainValue]:
        """``average/<parameter>``, and between two stages ``trained/<parameter>``."""
        return dict(self._kept)

    def load_state_dict(self, state: Mapping[str, torch.Tensor | PlainValue]) -> None:
        """Take back what :meth:`state_dict` gave."""
        self._kept = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
