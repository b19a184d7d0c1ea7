"""WiSE: after every stage the adapter is put between where the stage began and where it ended.

Wortsman et al. 2022, "Robust fine-tuning of zero-shot models" (arXiv 2109.01903), equation 1, for a stream:
``theta = (1 - alpha) * theta_start + alpha * theta_end``, after each stage, over the trained parameters; training is
that of DPO. ``alpha`` 1 is ``dpo`` to the bit, ``alpha`` 0 never leaves the fresh adapter.

Not faithful: the paper interpolates once, between a pretrained model and the same model fine-tuned; here the next stage
starts from the result. A LoRA layer's change is the product of its two matrices, which is not linear in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from peft import PeftModel
from pydantic import Field

from lifealign_bench.method import RATE, Method, MethodConfig, PlainValue, Stage, Tuned, register_method


class WiSEConfig(MethodConfig):
    """Settings of ``wise``."""

    alpha: float = Field(0.5, ge=0, le=1, description="share of a stage's change that is kept; 1 is dpo")


@register_method("wise")
class WiSE(Method):
    """DPO with every stage's end interpolated with its start; see the module's docstring."""

    Config = WiSEConfig
    config: WiSEConfig
    tunes: ClassVar[tuple[Tuned, ...]] = (RATE, Tuned("method.alpha", factors=(0.5, 1, 1.6), within=2))

    def __init__(self, config: WiSEConfig) -> None:
        super().__init__(config)
        self._start: dict[str, torch.Tensor] = {}

    def before_stage(self, stage: Stage, model: PeftModel) -> None:
        """Remember where the stage begins, before its first phase."""
        if not self._start:
            self._start = {n: p.detach().cpu().clone() for n, p in model.named_parameters() if p.requires_grad}

    def after_stage(self, stage: Stage, model: PeftModel) -> None:
        """Interpolate, after the stage's last phase."""
        if not stage.final:
            return
        for name, start in self._start.items():
            end = model.get_parameter(name)
            end.data.copy_(torch.lerp(start.to(end.device), end.detach(), self.config.alpha))
        self._start = {}

    def state_dict(self) -> dict[str, torch.Tensor | PlainValue]:
        """Inside a stage, where it began: a tensor for each parameter."""
        return dict(self._start)

    def load_state_dict(self, state: Mapping[str, torch.Tensor | PlainValue]) -> None:
        """Take back the stage's start."""
        self._start = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
