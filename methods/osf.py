"""OSF: each task's LoRA slice keeps off the leading singular directions of the weights.

Nayak et al. 2025, "Sculpting Subspaces: Constrained Full Fine-Tuning in LLMs for Continual Learning" (arXiv
2504.07097), as PEFT has it (``peft.tuners.osf``). Before task t every adapted weight is taken apart as the tasks so far
have left it, ``W_(t-1) = U S V`` with falling singular values. Its first k directions are what the model knows, U_high
(out, k) and V_high (k, in), with k the share ``preserved`` of the smaller side. What the task changes is to be
orthogonal to them on both sides, ``U_high.T dW = 0`` and ``dW V_high.T = 0``, so that the gradients of the factors of
dW lose their part in them::

    g_B  <-  g_B - U_high (U_high.T g_B)
    g_A  <-  g_A - (g_A V_high.T) V_high

How it is done: one PEFT adapter whose rank is the run's rank times the number of stages, with alpha scaled alike, as in
``olora``. A task has its own rows of A and columns of B, ``dW = alpha / r * B A``; the slices of earlier tasks are
frozen and part of W_(t-1), those of later ones are frozen and 0. Gradients outside the task's slice are 0, which AdamW
leaves where it is unless it decays weights. B begins at 0; A is projected before the first step. With both phases a
stage trains one slice, against the directions with which it began.

Faithful: decomposition and projections are PEFT's to 1e-5; ``preserved`` is its default, half of the smaller side. As
there (and in the paper's code) gradients are projected and not the steps that AdamW makes of them: it divides entry by
entry, which leads out of the subspace. Of a stage's change on smollm2-135m 50 % (q_proj) and 38 % (v_proj) of the
length lie in what is protected, of a random one it would be 87 and 76 %. ``exact`` takes that away from the slice after
every phase, so that the change is what the paper says of it; neither code does so. The authors' equation for a whole
gradient, ``g - U_high U_high.T g V_high.T V_high``, takes away less, what lies in both; their code does as here.

Not faithful:
- The paper trains all that is not protected, ``min(out, in) - k`` directions with their singular values; here a task
  trains the run's rank of them, and has nothing in the place of the singular values. Only the adapted projections
  change. A new slice begins at random and not at the small singular vectors of W, which stay as they are below it.
- The authors set each layer's share by how little it changes its input (0.1 + I (0.8 - 0.1), where I is the cosine
  similarity of a layer's input and output); PEFT's default is one share for all, as here. PEFT's guide advises a share
  that grows with the tasks, and has several rules for it; here it stays.
- A projected A is shorter than a fresh one: of a square weight by the square root of what is left, 0.7 by default.

Cost: a singular value decomposition of every adapted weight before each phase (1.4 s for the 60 of smollm2-135m on one
thread), and within a phase k (out + in) float32 numbers a weight (49 MB there).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from pydantic import Field

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import BenchError
from lifealign_bench.method import RATE, Method, MethodConfig, Stage, Tuned, register_method

READABLE = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class Protected:
    """Directions that a weight (out, in) keeps.

    Args:
        high_u: (out, k) with orthonormal columns.
        high_v: (k, in) with orthonormal rows.
    """

    high_u: torch.Tensor
    high_v: torch.Tensor

    def without_outputs(self, columns: torch.Tensor) -> torch.Tensor:
        """The part of (out, n) that is orthogonal to ``high_u``."""
        return columns - self.high_u @ (self.high_u.T @ columns)

    def without_inputs(self, rows: torch.Tensor) -> torch.Tensor:
        """The part of (n, in) that is orthogonal to ``high_v``."""
        return rows - (rows @ self.high_v.T) @ self.high_v


def decompose(weight: torch.Tensor, preserved: float) -> Protected:
    """The leading singular directions of ``weight`` (out, in), in float32.

    Args:
        preserved: share of the smaller side; what it gives is rounded down.
    """
    kept = int(preserved * min(weight.shape))
    u, _, v = torch.linalg.svd(weight.float(), full_matrices=False)
    return Protected(u[:, :kept].clone(), v[:kept].clone())  # a view would keep all of them


class OSFConfig(MethodConfig):
    """Settings of ``osf``."""

    preserved: float = Field(
        0.5, ge=0, lt=1, description="share of a weight's singular directions, the largest first, that is protected"
    )
    exact: bool = Field(
        False, description="project the slice itself after every phase: AdamW's part in what is protected is lost"
    )


@register_method("osf")
class OSF(Method):
    """DPO in the complement of what the weights hold; see the module's docstring."""

    Config = OSFConfig
    config: OSFConfig
    tunes: ClassVar[tuple[Tuned, ...]] = (RATE, Tuned("method.preserved", factors=(0.5, 1, 1.5), within=8))

    def __init__(self, config: OSFConfig) -> None:
        super().__init__(config)
        # Within a phase: the stage's slice of the rank, and by the projection's name what is protected.
        self._own = slice(0, 0)
        self._protected: dict[str, Protected] = {}

    def check(self, config: RunConfig) -> None:
        """Refuse weight decay, which would move the frozen slices, and weights that cannot be read.

        Raises:
            BenchError: ``weight_decay`` is not 0, or the base model is in four bits or in pieces.
        """
        if config.training.weight_decay > 0:
            raise BenchError(
                f"The method osf cannot run with weight_decay {config.training.weight_decay}: "
                "it would shrink the frozen slices of earlier tasks.",
                "Leave weight_decay at 0 (--set weight_decay=0).",
            )
        for flag, said in (("--quantization", config.quantization is not None), ("--shard", config.shard)):
            if said:
                raise BenchError(
                    f"The method osf cannot run with {flag}: it takes the base model's weights apart, and they have "
                    "to be whole and in their own type.",
                    f"Leave out {flag} (--activation-checkpointing needs less memory too), or take another method.",
                )

    def prepare(self, model: PeftModel, stages: int) -> PeftModel:
        """Replace the adapter "default" by a fresh one that has room for every stage.

        Draws the new A from torch's global generator, which the harness seeds before.

        Raises:
            BenchError: a weight cannot be read.
        """
        config = copy.deepcopy(model.peft_config["default"])
        config.r *= stages
        config.lora_alpha *= stages
        model.delete_adapter("default")
        model.add_adapter("default", config)
        model.set_adapter("default")
        for name, layer in _layers(model).items():
            _base_weight(name, layer)
        return model

    @torch.no_grad()
    def before_stage(self, stage: Stage, model: PeftModel) -> None:
        """Take the weights apart as the stages before left them, and project a slice of A that is still fresh.

        Raises:
            BenchError: the adapter's rank cannot be divided among the stages.
        """
        self._protected = {}
        for name, layer in _layers(model).items():
            a, b = _factors(layer)
            if len(a) % stage.count:
                raise BenchError(
                    f"The adapter's rank {len(a)} at {name} cannot be divided among {stage.count} stages.",
                    "The adapter belongs to a run of another length; start in a new run directory.",
                )
            size = len(a) // stage.count
            self._own = slice((stage.index - 1) * size, stage.index * size)
            earlier = b[:, : self._own.start].float() @ a[: self._own.start].float()
            weight = _base_weight(name, layer).float() + layer.scaling["default"] * earlier
            protected = self._protected[name] = decompose(weight, self.config.preserved)
            # Nothing has been trained while B is 0, so that a stage's first phase projects and a later one does not.
            if not bool(b[:, self._own].any()):
                a[self._own] = protected.without_inputs(a[self._own].float()).to(a.dtype)

    def on_gradients(self, model: PeftModel) -> None:
        """Leave of the gradient what lies in the stage's slice and is orthogonal to what is protected."""
        for name, layer in _layers(model).items():
            protected = self._protected[name]
            a, b = (factor.grad for factor in _factors(layer))
            if a is not None:
                own = protected.without_inputs(a[self._own].float())
                a.zero_()[self._own] = own.to(a.dtype)
            if b is not None:
                own = protected.without_outputs(b[:, self._own].float())
                b.zero_()[:, self._own] = own.to(b.dtype)

    @torch.no_grad()
    def after_stage(self, stage: Stage, model: PeftModel) -> None:
        """Project the slice, if it is to be exact, and forget what was protected."""
        if self.config.exact:
            for name, layer in _layers(model).items():
                protected = self._protected[name]
                a, b = _factors(layer)
                a[self._own] = protected.without_inputs(a[self._own].float()).to(a.dtype)
                b[:, self._own] = protected.without_outputs(b[:, self._own].float()).to(b.dtype)
        self._protected = {}


def _layers(model: PeftModel) -> dict[str, LoraLayer]:
    """The adapted projections by name."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, LoraLayer)}


def _factors(layer: LoraLayer) -> tuple[torch.nn.Parameter, torch.nn.Parameter]:
    """A (r, in) and B (out, r) of an adapted projection."""
    return layer.lora_A["default"].weight, layer.lora_B["default"].weight


def _base_weight(name: str, layer: LoraLayer) -> torch.Tensor:
    """The frozen weight (out, in) of an adapted projection.

    Raises:
        BenchError: it is packed, or in a type without which its scale says nothing.
    """
    weight = getattr(layer.get_base_layer(), "weight", None)
    if not isinstance(weight, torch.Tensor) or weight.ndim != 2 or weight.dtype not in READABLE:
        raise BenchError(
            f"The method osf cannot take the weight of {name} apart: it is kept in a packed or quantized form.",
            "Take a copy of the model whose weights are in float32, bfloat16 or float16, or another method.",
        )
    return weight.T if layer.fan_in_fan_out else weight
