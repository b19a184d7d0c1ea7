"""GEM: a step never goes against the gradient of any earlier task's memory.

Lopez-Paz & Ranzato 2017, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017 (arXiv 1706.08840). Some pairs
of each finished task stay in a memory. At every optimizer step the gradient of each earlier task's whole memory is
taken; where the step's gradient has a negative product with any of them, it is replaced by the nearest one that has
none (the paper's equations 8 to 11). The dual quadratic program with as many variables as earlier tasks,
``min 1/2 v'GG'v + g'G'v`` over ``v >= strength``, is a non-negative least-squares problem, and SciPy's solver (Lawson &
Hanson) solves it.

Faithful: one constraint a task, no constraint violated leaves the gradient as it is, all of a task's memory at every
step, ``strength`` 0.5. As in the authors' code and unlike a phrase of the paper, ``strength`` bounds the dual variables
from below and is not added to them afterwards.

Not faithful:
- The paper takes plain SGD steps and a single pass; here the optimizer is AdamW, which scales the projected gradient
  entry by entry, so that a product may turn negative again.
- The projected gradient is clipped afterwards; the authors do not clip. All gradients that are projected are as they
  come, so that a memory that is learned, whose gradient vanishes, turns a step by hardly more than its constraint asks.
- The size of the memory: 256 images a task in the paper, 16 pairs here, since every one is passed through the model,
  forwards and backwards, at every step.

The memory holds ids only. In the supervised phase all gradients are those of the supervised loss; a task is finished,
and sampled into the memory, after its last phase.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from peft import PeftModel
from pydantic import Field
from scipy.optimize import nnls

from lifealign_bench.errors import BenchError
from lifealign_bench.method import RATE, Method, MethodConfig, PlainValue, Stage, Tuned, register_method


def project(gradient: torch.Tensor, memories: torch.Tensor, strength: float = 0.0) -> torch.Tensor:
    """The vector nearest to ``gradient`` whose products with all ``memories`` are not negative.

    Args:
        gradient: g, (P,).
        memories: G, (T, P), a gradient a row; zero or dependent rows do no harm.
        strength: lower bound of the dual variables v of ``g + G'v``; above 0 the result leans towards the memories.

    Returns:
        (P,); ``gradient`` itself where no product is negative.
    """
    if not bool((memories @ gradient < 0).any()):
        return gradient
    # v = strength + w with w >= 0: the dual is the least-squares problem |G'w + target|, whatever lies outside the
    # span of the memories being constant. Rows of length 1 give the same point (w is divided by their lengths), and
    # the solver's tolerance does not drop a small one beside a large one.
    target = gradient + strength * memories.sum(dim=0)
    lengths = torch.linalg.vector_norm(memories, dim=1, keepdim=True)
    rows = memories / torch.where(lengths > 0, lengths, torch.ones_like(lengths))
    q, r = torch.linalg.qr(rows.T)
    w, _ = nnls(r.cpu().numpy(), -(q.T @ target).cpu().numpy(), maxiter=100 * len(rows))
    return target + torch.from_numpy(w).to(rows) @ rows


class GEMConfig(MethodConfig):
    """Settings of ``gem``."""

    memory_pairs: int = Field(16, ge=1, description="pairs that are kept of each finished task, all used at every step")
    strength: float = Field(0.5, ge=0, description="how far a projected step leans towards the memories (margin)")


@register_method("gem")
class GEM(Method):
    """DPO with gradient episodic memory; see the module's docstring."""

    Config = GEMConfig
    config: GEMConfig
    tunes: ClassVar[tuple[Tuned, ...]] = (RATE, Tuned("method.strength", factors=(0.25, 1, 4), within=256))

    def __init__(self, config: GEMConfig) -> None:
        super().__init__(config)
        self._memory: dict[str, list[str]] = {}
        self._stage: Stage | None = None

    def before_stage(self, stage: Stage, model: PeftModel) -> None:
        """Keep the stage, which can take the memories' gradients."""
        self._stage = stage

    def on_gradients(self, model: PeftModel) -> None:
        """Project the step's gradient.

        Raises:
            BenchError: a memory's gradient is not finite.
        """
        stage = self._stage
        if stage is None:
            return
        kept = {task: ids for task, ids in self._memory.items() if task not in stage.tasks}
        if not kept:
            return
        parameters = {name: p for name, p in model.named_parameters() if p.requires_grad and p.grad is not None}
        own = torch.cat([p.grad.flatten().double() for p in parameters.values() if p.grad is not None])
        if not bool(torch.isfinite(own).all()):
            return  # the harness stops the run before the step
        rows = []
        for task, ids in kept.items():
            found = stage.gradient(model, stage.find_pairs(ids))
            row = torch.cat([found[name].flatten().double() for name in parameters])
            if not bool(torch.isfinite(row).all()):
                raise BenchError(
                    f"The gradient of the memory of {task} is not finite in stage {stage.index}.",
                    "A lower learning_rate or float32 (--dtype) may help; that is another run: give it another --out.",
                )
            rows.append(row)
        projected = project(own, torch.stack(rows), self.config.strength)
        if projected is own:
            return  # the gradient stays as it is, to the bit
        parts = torch.split(projected, [p.numel() for p in parameters.values()])
        for parameter, part in zip(parameters.values(), parts, strict=True):
            if parameter.grad is not None:
                parameter.grad.copy_(part.view_as(parameter))

    def after_stage(self, stage: Stage, model: PeftModel) -> None:
        """Sample the finished tasks into the memory."""
        self._stage = None
        if not stage.final:
            return
        for task in stage.tasks:
            own = [pair.id for pair in stage.pairs if pair.task == task]
            order = torch.randperm(len(own), generator=stage.generator).tolist()
            self._memory[task] = [own[i] for i in order[: self.config.memory_pairs]]

    def state_dict(self) -> dict[str, torch.Tensor | PlainValue]:
        """``memory/<task>``: ids."""
        return {f"memory/{task}": list(kept) for task, kept in self._memory.items()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor | PlainValue]) -> None:
        """Take back the memory."""
        self._memory = {}
        for key, value in state.items():
            if key.startswith("memory/") and isinstance(value, list):
                self._memory[key.removeprefix("memory/")] = [str(i) for i in value]
