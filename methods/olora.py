"""O-LoRA: a LoRA adapter for each task, orthogonal to the frozen ones before it.

Wang et al. 2023, "Orthogonal Subspace Learning for Language Model Continual Learning" (arXiv 2310.14152); published
code cmnfriend/O-LoRA. Task k gets a fresh adapter; those of the tasks before stay active in the forward pass and
frozen. To the loss (here: DPO's) comes ``lambda1 * sum |A_old @ A_new.T| + lambda2 * sum (||A_new||_2 + ||B_new||_2)``
over the adapted projections. As in the published code, and unlike equation 7 of the paper, the entries' absolute values
are summed and not their squares, and the norms are not squared: the penalty is the code's and not the paper's. Its
lambda1 0.5 and lambda2 0 are the defaults; its LLaMA script has learning rates of its own, 1e-3 for the first task and
1e-4 after it, where here the run's rate holds for all.

How it is done: one PEFT adapter whose rank is the run's rank times the number of stages, with alpha scaled alike, so
that alpha / r and with it every task's adapter is what it would be alone. Rows of A and columns of B belong to tasks in
order: the slices of earlier tasks are frozen, those of later tasks too (their B is zero, so they have no effect).
Slices are frozen by setting their gradients to zero before they are accumulated or clipped. AdamW leaves an entry whose
gradient has always been zero as it is, unless it decays weights; hence no weight decay, and a new optimizer each stage.
Under ``--sft`` both phases of a stage train its one slice, with the same penalty.

Not faithful: with gradient accumulation the published code adds the penalty once for every micro-batch, here it counts
once an optimizer step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import ClassVar

import torch
from peft import PeftModel
from pydantic import Field
from torch.utils.hooks import RemovableHandle

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import BenchError
from lifealign_bench.method import RATE, Method, MethodConfig, Stage, Tuned, register_method


class OLoRAConfig(MethodConfig):
    """Settings of ``olora``, with the published code's values."""

    lambda1: float = Field(0.5, ge=0, description="weight of the overlap between the new A and the earlier ones")
    lambda2: float = Field(0.0, ge=0, description="weight of the L2 norms of the new A and B")


@register_method("olora")
class OLoRA(Method):
    """DPO with one orthogonal LoRA slice a task; see the module's docstring."""

    Config = OLoRAConfig
    config: OLoRAConfig
    tunes: ClassVar[tuple[Tuned, ...]] = (RATE, Tuned("method.lambda1", factors=(0.1, 1, 10), within=1e4))

    def __init__(self, config: OLoRAConfig) -> None:
        super().__init__(config)
        self._own = slice(0, 0)
        self._hooks: list[RemovableHandle] = []

    def check(self, config: RunConfig) -> None:
        """Refuse weight decay: it would move the frozen slices.

        Raises:
            BenchError: ``weight_decay`` is not 0.
        """
        if config.training.weight_decay > 0:
            raise BenchError(
                f"The method olora cannot run with weight_decay {config.training.weight_decay}: "
                "it would shrink the frozen adapters of earlier tasks.",
                "Leave weight_decay at 0 (--set weight_decay=0).",
            )

    def prepare(self, model: PeftModel, stages: int) -> PeftModel:
        """Replace the adapter "default" by a fresh one that has room for every stage.

        Draws the new A from torch's global generator, which the harness seeds before.
        """
        config = copy.deepcopy(model.peft_config["default"])
        config.r *= stages
        config.lora_alpha *= stages
        model.delete_adapter("default")
        model.add_adapter("default", config)
        model.set_adapter("default")
        return model

    def before_stage(self, stage: Stage, model: PeftModel) -> None:
        """Freeze all slices but this stage's.

        Raises:
            BenchError: the adapter's rank cannot be divided among the stages.
        """
        self._release()
        for name, parameter in _lora_parameters(model).items():
            dim = _rank_dim(name)
            rank = parameter.shape[dim]
            if rank % stage.count:
                raise BenchError(
                    f"The adapter's rank {rank} at {name} cannot be divided among {stage.count} stages.",
                    "The adapter belongs to a run of another length; start in a new run directory.",
                )
            size = rank // stage.count
            self._own = slice((stage.index - 1) * size, stage.index * size)
            # A hook on the tensor runs before the gradient is accumulated, reduced over processes or clipped.
            handle: RemovableHandle = parameter.register_hook(_only(self._own, dim))  # type: ignore[no-untyped-call]
            self._hooks.append(handle)

    def penalty(self, model: PeftModel) -> torch.Tensor | None:
        """``lambda1 * sum |A_old @ A_new.T| + lambda2 * sum (||A_new||_2 + ||B_new||_2)``; None without terms."""
        terms: list[torch.Tensor] = []
        for name, parameter in _lora_parameters(model).items():
            new = parameter[self._own] if _rank_dim(name) == 0 else parameter[:, self._own]
            if _rank_dim(name) == 0 and self._own.start > 0 and self.config.lambda1 > 0:
                old = parameter.detach()[: self._own.start]
                terms.append(self.config.lambda1 * (old @ new.T).abs().sum())
            if self.config.lambda2 > 0:
                terms.append(self.config.lambda2 * torch.linalg.vector_norm(new))
        return torch.stack(terms).sum() if terms else None

    def after_stage(self, stage: Stage, model: PeftModel) -> None:
        """Take the gradient hooks off again."""
        self._release()

    def _release(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []


def _lora_parameters(model: PeftModel) -> dict[str, torch.nn.Parameter]:
    """A (r, in) and B (out, r) of every adapted projection by name."""
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and ("lora_A" in name or "lora_B" in name)
    }


def _rank_dim(name: str) -> int:
    """Which dimension of the LoRA matrix ``name`` is the rank."""
    return 0 if "lora_A" in name else 1


def _only(own: slice, dim: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """A gradient hook that lets through the entries ``own`` along ``dim`` and makes the others zero."""

    def mask(gradient: torch.Tensor) -> torch.Tensor:
        masked = torch.zeros_like(gradient)
        if dim == 0:
            masked[own] = gradient[own]
        else:
            masked[:, own] = gradient[:, own]
        return masked

    return mask
