"""A-GEM: a step never goes against the mean gradient of the earlier tasks' memory.

Chaudhry et al. 2019, "Efficient Lifelong Learning with A-GEM", ICLR 2019 (arXiv 1812.00420). Some pairs of each
finished task stay in a memory. At every optimizer step the gradient of a batch drawn from the whole memory is taken;
where the step's gradient g has a negative product with it (m), g becomes ``g - (g.m / m.m) m`` (the paper's equation
11), the nearest gradient that does not raise the memory's mean loss to first order.

Faithful: the closed form, one batch drawn at random from all earlier tasks at each step, no margin.

Not faithful:
- The paper takes plain SGD steps and a single pass; here the optimizer is AdamW, which scales the projected gradient
  entry by entry, so that the product with m may turn negative again.
- The projected gradient is clipped afterwards.
- The sizes: the paper keeps thousands of images and draws as many as a batch has. Here 64 pairs a task and 16 a step.

The memory holds ids only. In the supervised phase both gradients are those of the supervised loss; a task is finished,
and sampled into the memory, after its last phase.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from peft import PeftModel
from pydantic import Field

from lifealign_bench.errors import BenchError
from lifealign_bench.method import RATE, Method, MethodConfig, PlainValue, Stage, Tuned, register_method


def project(gradient: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
    """The vector nearest to ``gradient`` whose product with ``memory`` is not negative.

    Args:
        gradient: (P,).
        memory: (P,), the gradient of the memory's loss.

    Returns:
        (P,); ``gradient`` itself where nothing is to be done.
    """
    product = gradient @ memory
    if not bool(product < 0):
        return gradient
    return gradient - product / (memory @ memory) * memory


class AGEMConfig(MethodConfig):
    """Settings of ``agem``."""

    memory_pairs: int = Field(64, ge=1, description="pairs that are kept of each finished task")
    batch_pairs: int = Field(16, ge=1, description="pairs drawn from the whole memory at each step")


@register_method("agem")
class AGEM(Method):
    """DPO with averaged gradient episodic memory; see the module's docstring."""

    Config = AGEMConfig
    config: AGEMConfig
    tunes: ClassVar[tuple[Tuned, ...]] = (RATE,)  # what is kept in memory is a budget, not a strength

    def __init__(self, config: AGEMConfig) -> None:
        super().__init__(config)
        self._memory: dict[str, list[str]] = {}
        self._stage: Stage | None = None
        self._draws: torch.Generator | None = None

    def before_stage(self, stage: Stage, model: PeftModel) -> None:
        """Begin the phase's draws from the memory."""
        self._stage = stage
        # A generator of its own, since its state is saved at checkpoints and the stage's is not.
        seed = int(torch.randint(2**31, (1,), generator=stage.generator))
        self._draws = torch.Generator().manual_seed(seed)

    def on_gradients(self, model: PeftModel) -> None:
        """Project the step's gradient.

        Raises:
            BenchError: the memory's gradient is not finite.
        """
        if self._stage is None or self._draws is None:
            return
        ids = [i for task, kept in self._memory.items() if task not in self._stage.tasks for i in kept]
        if not ids:
            return
        drawn = torch.randperm(len(ids), generator=self._draws)[: self.config.batch_pairs].tolist()
        found = self._stage.gradient(model, self._stage.find_pairs([ids[i] for i in drawn]))
        parameters = {name: p for name, p in model.named_parameters() if name in found and p.grad is not None}
        own = torch.cat([p.grad.flatten().double() for p in parameters.values() if p.grad is not None])
        memory = torch.cat([found[name].flatten().double() for name in parameters])
        if not bool(torch.isfinite(memory).all()):
            raise BenchError(
                f"The gradient of the memory is not finite in stage {self._stage.index}.",
                "A lower learning_rate or float32 (--dtype) may help; that is another run, so give it another --out.",
            )
        projected = project(own, memory)
        if projected is own:
            return  # the gradient stays as it is, to the bit
        parts = torch.split(projected, [p.numel() for p in parameters.values()])
        for parameter, part in zip(parameters.values(), parts, strict=True):
            if parameter.grad is not None:
                parameter.grad.copy_(part.view_as(parameter))

    def after_stage(self, stage: Stage, model: PeftModel) -> None:
        """Sample the finished tasks into the memory."""
        self._stage = self._draws = None
        if not stage.final:
            return
        for task in stage.tasks:
            own = [pair.id for pair in stage.pairs if pair.task == task]
            order = torch.randperm(len(own), generator=stage.generator).tolist()
            self._memory[task] = [own[i] for i in order[: self.config.memory_pairs]]

    def state_dict(self) -> dict[str, torch.Tensor | PlainValue]:
        """``memory/<task>``: ids; inside a phase ``draws``, the state of its generator."""
        state: dict[str, torch.Tensor | PlainValue] = {f"memory/{t}": list(kept) for t, kept in self._memory.items()}
        if self._draws is not None:
            state["draws"] = self._draws.get_state()
        return state

    def load_state_dict(self, state: Mapping[str, torch.Tensor | PlainValue]) -> None:
        """Take back what :meth:`state_dict` gave."""
        self._memory, self._draws = {}, None
        for key, value in state.items():
            if key.startswith("memory/") and isinstance(value, list):
                self._memory[key.removeprefix("memory/")] = [str(i) for i in value]
            elif key == "draws" and isinstance(value, torch.Tensor):
                self._draws = torch.Generator()
                self._draws.set_state(value.cpu())
