"""L2: a quadratic penalty holds all trained parameters near the place where the stage began.

``strength / 2 * sum_i (theta_i - theta_start,i)**2``, added to the loss of DPO from the second stage on: EWC without
its Fisher information, the baseline of Kirkpatrick et al. 2017 (arXiv 1612.00796, figure 2), and the pull towards the
start of Li et al. 2018, "Explicit Inductive Bias for Transfer Learning" (arXiv 1802.01483, equation 5, without its
second part). ``strength`` 0 is ``dpo``.

Not faithful: nothing is held in the first stage, where nothing can be forgotten. The anchor is the newest stage's start
alone. In both phases of a stage the anchor is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from peft import PeftModel
from pydantic import Field

from lifealign_bench.method import RATE, Method, MethodConfig, PlainValue, Stage, Tuned, register_method


class L2Config(MethodConfig):
    """Settings of ``l2``."""

    strength: float = Field(1.0, ge=0, description="weight of the penalty; depends on model and data")


@register_method("l2")
class L2(Method):
    """DPO with a pull towards the stage's start; see the module's docstring."""

    Config = L2Config
    config: L2Config
    tunes: ClassVar[tuple[Tuned, ...]] = (RATE, Tuned("method.strength", factors=(0.1, 1, 10), within=1e5))

    def __init__(self, config: L2Config) -> None:
        super().__init__(config)
        self._start: dict[str, torch.Tensor] = {}

    def before_stage(self, stage: Stage, model: PeftModel) -> None:
        """Remember where the stage begins, before its first phase; not in the first stage."""
        if stage.index > 1 and not self._start:
            self._start = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}

    def penalty(self, model: PeftModel) -> torch.Tensor | None:
        """``strength / 2 * |theta - start|**2``; None in the first stage."""
        total: torch.Tensor | None = None
        for name, start in self._start.items():
            parameter = model.get_parameter(name)
            # State that was loaded lies on the CPU; it is moved once.
            self._start[name] = start.to(parameter.device)
            term = ((parameter - self._start[name]) ** 2).sum()
            total = term if total is None else total + term
        return None if total is None else self.config.strength / 2 * total

    def after_stage(self, stage: Stage, model: PeftModel) -> None:
        """Let go of the start, after the stage's last phase."""
        if stage.final:
            self._start = {}

    def state_dict(self) -> dict[str, torch.Tensor | PlainValue]:
        """Inside a stage, where it began: a tensor for each parameter."""
        return dict(self._start)

    def load_state_dict(self, state: Mapping[str, torch.Tensor | PlainValue]) -> None:
        """Take back the stage's start."""
        self._start = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
