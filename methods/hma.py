"""HMA: after every stage each third of the layers is put between the stage's start and its end in a ratio of its own.

Lin et al. 2024, "Mitigating the Alignment Tax of RLHF" (arXiv 2309.06256), section 5; published code
avalonstrel/Mitigating-the-Alignment-Tax-of-RLHF. The layers are cut into K parts by depth. Part k becomes
``theta_k = alpha_k * end_k + (1 - alpha_k) * start_k`` where the ratios have the mean ``alpha``, which is ``wise``'s::

    alpha_k = alpha * sigmoid(a_k) / mean_j sigmoid(a_j)

and the a_k, which begin at logit(alpha), are learned so that the averaged model is as well aligned as it can be: here
by ``steps`` steps of Adam on the plain loss of ``pairs`` of the stage's own pairs, drawn anew. With 0 steps it is
``wise`` to the bit. Training is that of DPO.

Faithful: the parts, the ratios and how the code keeps their mean.

Not faithful:
- The paper's objective is the likelihood of responses of the aligned model; here it is the loss that was trained.
- The next stage starts from the result; the paper averages once. What is averaged is a LoRA layer's two matrices each.
- The gradient is taken of the parts' weights by ``Stage.gradient``, so that no averaged model is kept beside the model;
  the code's further penalties on the ratios (0 by default) are left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from peft import PeftModel
from pydantic import Field

from lifealign_bench.method import RATE, Method, MethodConfig, PlainValue, Stage, Tuned, register_method

_LAYER = re.compile(r"\.(\d+)\.")


class HMAConfig(MethodConfig):
    """Settings of ``hma``."""

    alpha: float = Field(0.5, gt=0, lt=1, description="share of a stage's change that is kept, the parts' mean")
    parts: int = Field(3, ge=1, description="parts that the layers are cut into (K); 1 is wise")
    steps: int = Field(4, ge=0, description="steps in which the ratios are learned; 0 is wise")
    rate: float = Field(0.3, gt=0, description="learning rate of the ratios' logits")
    pairs: int = Field(8, ge=1, description="pairs of the stage that each of these steps sees")


@register_method("hma")
class HMA(Method):
    """DPO with the parts of every stage's end interpolated with its start; see the module's docstring."""

    Config = HMAConfig
    config: HMAConfig
    tunes: ClassVar[tuple[Tuned, ...]] = (RATE, Tuned("method.alpha", factors=(0.5, 1, 1.6), within=2))

    def __init__(self, config: HMAConfig) -> None:
        super().__init__(config)
        self._start: dict[str, torch.Tensor] = {}

    def before_stage(self, stage: Stage, model: PeftModel) -> None:
        """Remember where the stage begins, before its first phase."""
        if not self._start:
            self._start = {n: p.detach().cpu().clone() for n, p in model.named_parameters() if p.requires_grad}

    def after_stage(self, stage: Stage, model: PeftModel) -> None:
        """Learn the ratios and average, after the stage's last phase."""
        if not stage.final:
            return
        ends = {name: model.get_parameter(name).detach().clone() for name in self._start}
        part = parts_of(list(ends), self.config.parts)
        free = torch.full((self.config.parts,), math.log(self.config.alpha / (1 - self.config.alpha)))
        free.requires_grad_(True)
        optimizer = torch.optim.Adam([free], lr=self.config.rate)
        self._average(model, ends, part, [self.config.alpha] * self.config.parts)
        for _ in range(self.config.steps):
            drawn = torch.randperm(len(stage.pairs), generator=stage.generator)[: self.config.pairs]
            slopes = stage.gradient(model, [stage.pairs[i] for i in drawn.tolist()])
            # By the ratios, since theta = start + ratio * (end - start).
            by_ratio = torch.zeros(self.config.parts, dtype=torch.float64)
            for name, start in self._start.items():
                change = ends[name].cpu().double() - start.double()
                by_ratio[part[name]] += (slopes[name].cpu().double() * change).sum()
            (free.grad,) = torch.autograd.grad(ratios(free, self.config.alpha), free, by_ratio.float())
            optimizer.step()
            self._average(model, ends, part, ratios(free, self.config.alpha).tolist())
        self._start = {}

    def _average(
        self, model: PeftModel, ends: Mapping[str, torch.Tensor], part: Mapping[str, int], shares: Sequence[float]
    ) -> None:
        for name, start in self._start.items():
            end = ends[name]
            model.get_parameter(name).data.copy_(torch.lerp(start.to(end.device), end, shares[part[name]]))

    def state_dict(self) -> dict[str, torch.Tensor | PlainValue]:
        """Inside a stage, where it began: a tensor for each parameter."""
        return dict(self._start)

    def load_state_dict(self, state: Mapping[str, torch.Tensor | PlainValue]) -> None:
        """Take back the stage's start."""
        self._start = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}


def ratios(free: torch.Tensor, alpha: float) -> torch.Tensor:
    """(K,) of mean ``alpha``, from logits (K,); differentiable."""
    values = torch.sigmoid(free)
    return alpha * (values / values.mean())


def parts_of(names: list[str], count: int) -> dict[str, int]:
    """Parameter to the part that its layer is in; one of no layer is in the first."""
    layer = {name: int(found[1]) if (found := _LAYER.search(name)) else 0 for name in names}
    layers = max(layer.values(), default=0) + 1
    return {name: min(number * count // layers, count - 1) for name, number in layer.items()}
