"""TIES: every task trains an adapter of its own from the fresh one; what is scored is their merge.

Yadav et al. 2023, "TIES-Merging: Resolving Interference When Merging Models" (arXiv 2306.01708), algorithm 1, by PEFT's
own function: of each task vector ``tau_t = theta_t - theta_fresh`` only the largest ``density`` of its entries by
magnitude are kept, each entry elects the sign of the larger total, and the mean is taken over the tasks that agree with
it: ``theta = theta_fresh + scale * tau``. Each task is trained by DPO.

Not faithful: entries are trimmed within each LoRA matrix, where the paper trims over the whole model, and a LoRA
layer's two matrices are merged each by itself, not their products. All tasks so far are merged after every stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from peft import PeftModel
from peft.utils.merge_utils import ties
from pydantic import Field

from lifealign_bench.method import RATE, Method, MethodConfig, PlainValue, Stage, Tuned, register_method


class TIESConfig(MethodConfig):
    """Settings of ``ties``."""

    density: float = Field(0.2, gt=0, lt=1, description="share of a task vector's entries that is kept (k)")
    scale: float = Field(1.0, ge=0, description="factor of the merged task vector (lambda)")


@register_method("ties")
class TIES(Method):
    """DPO on each task from the fresh adapter, and a merge of all; see the module's docstring."""

    Config = TIESConfig
    config: TIESConfig
    tunes: ClassVar[tuple[Tuned, ...]] = (RATE, Tuned("method.scale", factors=(0.5, 1, 2)))

    def __init__(self, config: TIESConfig) -> None:
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
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                fresh = self._kept[f"fresh/{name}"]
                earlier = self._kept.get(f"vectors/{name}", fresh.new_empty(0, *fresh.shape))
                vectors = torch.cat([earlier, (parameter.detach().cpu() - fresh)[None]])
                merged = ties(list(vectors), torch.full((len(vectors),), self.config.scale), self.config.density)
                parameter.data.copy_(fresh + merged)
                self._kept[f"vectors/{name}"] = vectors
        self._begun = False

    def state_dict(self) -> dict[str, torch.Tensor | PlainValue]:
        """``fresh/<parameter>``, ``vectors/<parameter>`` (k, ...), a task each, and whether a stage has ``begun``."""
        return {**self._kept, "begun": self._begun}

    def load_state_dict(self, state: Mapping[str, torch.Tensor | PlainValue]) -> None:
        """Take back what :meth:`state_dict` gave."""
        self._kept = {name: value.cpu() for name, value in state.items() if isinstance(value, torch.Tensor)}
        self._begun = bool(state.get("begun", False))
