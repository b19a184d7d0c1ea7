"""DARE: every task trains an adapter of its own from the fresh one; parts of each, drawn at random, are added up.

Yu et al. 2024, "Language Models are Super Mario: Absorbing Abilities from Homologous Models as a Free Lunch" (arXiv
2311.03099), equations 1 to 3 with task arithmetic, by PEFT's own function: each entry of a task vector
``tau_t = theta_t - theta_fresh`` is dropped with probability ``1 - density``, what stays is divided by ``density``, and
``theta = theta_fresh + scale * sum_t tau_t`` over the tasks so far. Each task is trained by DPO.

The factor is to be chosen on held-out data. Where nothing is, Yadav et al. 2023 (arXiv 2306.01708) take 0.4 for task
arithmetic, which is the default here.

Not faithful: a LoRA layer's two matrices are merged each by itself, not their products. What is dropped is drawn anew
at every stage, for all tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from peft import PeftModel
from peft.utils.merge_utils import dare_linear
from pydantic import Field

from lifealign_bench.method import RATE, Method, MethodConfig, PlainValue, Stage, Tuned, register_method


class DAREConfig(MethodConfig):
    """Settings of ``dare``."""

    density: float = Field(0.5, gt=0, lt=1, description="share of a task vector's entries that is kept (1 - p)")
    scale: float = Field(0.4, ge=0, description="factor of the task vectors' sum")


@register_method("dare")
class DARE(Method):
    """DPO on each task from the fresh adapter, and a thinned sum of all; see the module's docstring."""

    Config = DAREConfig
    config: DAREConfig
    tunes: ClassVar[tuple[Tuned, ...]] = (RATE, Tuned("method.scale", factors=(0.5, 1, 2)))

    def __init__(self, config: DAREConfig) -> None:
        super().__init__(config)
        self._kept: dict[str, torch.Tensor] = {}
        self._begun = False

    def before_stage(self, stage: Stage, model: PeftModel) -> None:
        """Put the fresh adapter back, before the stage's first phase."""
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and not self._begun:
                parameter.data.copy_(self._kept.setdefault(f"fresh/{name}", parameter.detach().cpu().clone()))
        self._begun = True

    def after_stage(self, stage: Stage, model: PeftModel) -> None:
        """Merge, after the stage's last phase."""
        if not stage.final:
            return
        weights = torch.full((stage.index,), self.config.scale)
        # PEFT draws from torch's own generator, which is left as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**62, (), generator=stage.generator)))
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    fresh = self._kept[f"fresh/{name}"]
                    earlier = self._kept.get(f"vectors/{name}", fresh.new_empty(0, *fresh.shape))
                    vectors = torch.cat([earlier, (parameter.detach().cpu() - fresh)[None]])
                    parameter.data.copy_(fresh + dare_linear(list(vectors), weights, self.config.density))
                    self._kept[f"vectors/{name}"] = vectors
        self._begun = False

    def state_dict(self) -> dict[str, torch.Tensor | PlainValue]:
        """``fresh/<parameter>``, ``vectors/<parameter>`` (k, ...), a task each, and whether a stage has ``begun``."""
        return {**self._kept, "begun": self._begun}

    def load_state_dict(self, state: Mapping[str, torch.Tensor | PlainValue]) -> None:
        """Take back what :meth:`state_dict` gave."""
        self._kept = {name: value.cpu() for name, value in state.items() if isinstance(value, torch.Tensor)}
        self._begun = bool(state.get("begun", False))
