"""Average: what is scored after a stage is the mean of all stages' ends; training goes on from the last one.

The mean of weights along one path of training (Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and
Better Generalization", arXiv 1803.05407, equation in section 3.2), with the ends of stages as its points:
``theta_mean = (theta_1 + ... + theta_k) / k`` over the trained parameters. Training is that of DPO. That averaging has
the best front of alignment and forgetting among many remedies is found by Lin et al. 2023 (arXiv 2309.06256).

Not faithful: the points lie on different tasks, one after the other, and there is no cyclic learning rate. The mean is
one of a LoRA layer's two matrices each, not of their products.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from peft import PeftModel

from lifealign_bench.method import Method, MethodConfig, PlainValue, Stage, register_method


@register_method("average")
class Average(Method):
    """DPO; the mean of the stages' ends is scored; see the module's docstring."""

    def __init__(self, config: MethodConfig) -> None:
        super().__init__(config)
        self._kept: dict[str, torch.Tensor] = {}

    def before_stage(self, stage: Stage, model: PeftModel) -> None:
        """Go on from where the stage before ended."""
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.data.copy_(self._kept.pop(f"end/{name}", parameter.data))

    def after_stage(self, stage: Stage, model: PeftModel) -> None:
        """Put the mean in the place of what was trained, after the stage's last phase."""
        if not stage.final:
            return
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                end = self._kept[f"end/{name}"] = parameter.detach().cpu().clone()
                total = self._kept.get(f"sum/{name}", torch.zeros((), dtype=torch.float64)) + end
                self._kept[f"sum/{name}"] = total
                parameter.data.copy_(total / stage.index)

    def state_dict(self) -> dict[str, torch.Tensor | PlainValue]:
        """``sum/<parameter>`` of all finished stages' ends, float64, and between two stages ``end/<parameter>``."""
        return dict(self._kept)

    def load_state_dict(self, state: Mapping[str, torch.Tensor | PlainValue]) -> None:
        """Take back what :meth:`state_dict` gave."""
        self._kept = {name: value.cpu() for name, value in state.items() if isinstance(value, torch.Tensor)}
