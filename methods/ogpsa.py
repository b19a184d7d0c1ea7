"""OGPSA: a step has no part in the directions that the earlier tasks' losses change in.

Sun et al. 2026, "Safety Alignment as Continual Learning: Mitigating the Alignment Tax via Orthogonal Gradient
Projection" (arXiv 2602.07892), as in its published code (SunGL001/OGPSA at 21093c2, the stage ``dpo_pg``); of the paper
the abstract was at hand. For every matrix that is trained, with g_1 .. g_k the gradients of what is to be kept and g
the step's::

    u_1 = g_1 / |g_1|,   u_j = the part of g_j that is orthogonal to u_1 .. u_(j-1), of length 1
    g  <-  g - sum_j (g . u_j) u_j

To first order nothing changes there, for the worse or for the better: where ``agem`` takes away what would do harm,
this takes away all. The g_j are taken before the first step and after every ``refresh`` steps, in between they stay.

Faithful: matrix by matrix, always, the plane of several gradients, which of nearly parallel ones (1e-6) has one; the
gradients are those of the phase's own loss; ``refresh`` and the number of pairs are those of the code's DPO example.

Not faithful:
- What is kept there is general ability, by one or two sets of instruction data. Here it is the finished tasks, each
  with a gradient of its own of ``memory_pairs`` pairs, so that k grows with them; in the first stage nothing is kept.
- The matrices are those of LoRA and not the model's own; the optimizer is AdamW as there, which scales the projected
  gradient entry by entry, so that the step itself is only nearly orthogonal.
- The code projects every backward pass's gradient, here the step's sum of them: the same, as a projection is linear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from peft import PeftModel
from pydantic import Field

from lifealign_bench.errors import BenchError
from lifealign_bench.method import RATE, Method, MethodConfig, PlainValue, Stage, Tuned, register_method

PARALLEL = 1e-6


def orthonormal(vectors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Orthonormal vectors that span ``vectors``, one after the other (Gram and Schmidt's).

    Args:
        vectors: each (P,).

    Returns:
        (k, P) float64; vectors of length 0, and those within :data:`PARALLEL` of what is there already, give none.
    """
    found = torch.zeros(0, len(vectors[0]), dtype=torch.float64, device=vectors[0].device)
    for vector in vectors:
        length = vector.double().norm()
        if not bool(length > 0):
            continue
        rest = vector.double() / length
        for _ in range(2):  # once more for what rounding leaves
            rest = rest - (found @ rest) @ found
        if bool(rest.norm() > PARALLEL):
            found = torch.cat([found, (rest / rest.norm())[None]])
    return found


class OGPSAConfig(MethodConfig):
    """Settings of ``ogpsa``."""

    memory_pairs: int = Field(200, ge=1, description="pairs kept of each finished task, all used for its gradient")
    refresh: int = Field(5, ge=1, description="steps after which the memories' gradients are taken anew")


@register_method("ogpsa")
class OGPSA(Method):
    """DPO orthogonal to the finished tasks' gradients; see the module's docstring."""

    Config = OGPSAConfig
    config: OGPSAConfig
    tunes: ClassVar[tuple[Tuned, ...]] = (RATE,)  # pairs and passes are budgets, and a projection has no strength

    def __init__(self, config: OGPSAConfig) -> None:
        super().__init__(config)
        self._memory: dict[str, list[str]] = {}
        # Within a phase: its steps so far, and for each matrix the directions that are kept, (k, P).
        self._steps = 0
        self._kept: dict[str, torch.Tensor] = {}
        self._stage: Stage | None = None

    def before_stage(self, stage: Stage, model: PeftModel) -> None:
        """Keep the stage, which can take the memories' gradients."""
        self._stage, self._steps, self._kept = stage, 0, {}

    def on_gradients(self, model: PeftModel) -> None:
        """Project the step's gradient, matrix by matrix.

        Raises:
            BenchError: a memory's gradient is not finite.
        """
        stage = self._stage
        if stage is None or not any(task not in stage.tasks for task in self._memory):
            return
        if self._steps % self.config.refresh == 0:
            self._kept = self._directions(stage, model)
        self._steps += 1
        for name, parameter in model.named_parameters():
            if name not in self._kept or parameter.grad is None:
                continue
            # State that was loaded lies on the CPU.
            kept = self._kept[name] = self._kept[name].to(parameter.device)
            gradient = parameter.grad.flatten().double()
            parameter.grad.copy_((gradient - (kept @ gradient) @ kept).view_as(parameter))

    def _directions(self, stage: Stage, model: PeftModel) -> dict[str, torch.Tensor]:
        gradients = []
        for task, ids in self._memory.items():
            if task in stage.tasks:
                continue
            gradients.append(stage.gradient(model, stage.find_pairs(ids)))
            if not all(bool(torch.isfinite(value).all()) for value in gradients[-1].values()):
                raise BenchError(
                    f"The gradient of the memory of {task} is not finite in stage {stage.index}.",
                    "A lower learning_rate or float32 (--dtype) may help; that is another run: give it another --out.",
                )
        return {name: orthonormal([one[name].flatten() for one in gradients]) for name in gradients[0]}

    def after_stage(self, stage: Stage, model: PeftModel) -> None:
        """Sample the finished tasks into the memory."""
        self._stage, self._steps, self._kept = None, 0, {}
        if not stage.final:
            return
        for task in stage.tasks:
            own = [pair.id for pair in stage.pairs if pair.task == task]
            order = torch.randperm(len(own), generator=stage.generator).tolist()
            self._memory[task] = [own[i] for i in order[: self.config.memory_pairs]]

    def state_dict(self) -> dict[str, torch.Tensor | PlainValue]:
        """``memory/<task>``: ids; inside a phase ``steps``, and ``kept/<matrix>`` (k, P)."""
        state: dict[str, torch.Tensor | PlainValue] = {f"memory/{t}": list(ids) for t, ids in self._memory.items()}
        if self._steps:
            state["steps"] = self._steps
        state.update({f"kept/{name}": directions for name, directions in self._kept.items()})
        return state

    def load_state_dict(self, state: Mapping[str, torch.Tensor | PlainValue]) -> None:
        """Take back what :meth:`state_dict` gave."""
        self._memory, self._steps, self._kept = {}, 0, {}
        for key, value in state.items():
            kind, _, name = key.partition("/")
            if kind == "memory" and isinstance(value, list):
                self._memory[name] = [str(i) for i in value]
            elif kind == "kept" and isinstance(value, torch.Tensor):
                self._kept[name] = value
            elif kind == "steps" and isinstance(value, int):
                self._steps = value
