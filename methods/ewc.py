"""EWC: a quadratic penalty holds the parameters that mattered for earlier tasks.

Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks" (arXiv 1612.00796), equation 3, for
several tasks: ``strength / 2 * sum_k sum_i F_k,i (theta_i - theta*_k,i)**2`` over the trained (LoRA) parameters, added
to the loss of DPO.

Faithful: one anchor per task, Fisher information from the gradients of single examples, so that it does not depend on a
batch size.

With a ``decay`` below 1 it is online EWC (Schwarz et al. 2018, "Progress & Compress", arXiv 1805.06370, equation 9):
``strength / 2 * sum_i F_i (theta_i - theta*_i)**2`` with the newest task's parameters ``theta*`` as the only anchor and
``F = decay * F + F_new``. That the penalty belongs at the newest parameters, which were trained under the penalties
before, is Huszar's criticism of the sum (arXiv 1712.03847); ``decay`` 1 is that sum, and not the limit of the others.

Not faithful:
- The Fisher information is the empirical one: squared gradients of the preference loss with the data's own label of
  each pair, not a label drawn from the model. It shrinks with ``sigmoid(-margin)**2`` where a task is well learned.
- The sum over tasks is kept as one quadratic: a sum of weighted squares is the total weight times the squared distance
  to the weighted mean of the anchors, plus a constant. That is exact, with memory that does not grow with the tasks.
- The penalty holds in both phases. After a supervised phase nothing is anchored: the task is finished only after its
  preference phase, and the Fisher information is that of the preference loss.

The paper tunes ``strength`` for each experiment (its Atari agent uses 400), and so does ``lifealign-bench tune``. The
default is a place to start from: the mean Fisher information of a LoRA parameter was about 1e-5 after a task
(SmolLM2-135M, sums over tokens), which makes the mean curvature of the penalty about 1. It depends on model and data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

import torch
from peft import PeftModel
from pydantic import Field

from lifealign_bench.method import RATE, Method, MethodConfig, PlainValue, Stage, Tuned, register_method


def fisher_diagonal(
    losses: Iterable[torch.Tensor], parameters: Mapping[str, torch.nn.Parameter]
) -> dict[str, torch.Tensor]:
    """The mean over examples of the squared gradient of each example's loss.

    Args:
        losses: a scalar for each example, best made one at a time, so that one graph is alive at once.
        parameters: what to differentiate by; their ``.grad`` is left alone.

    Returns:
        For each parameter a tensor of its shape, float32 or wider; zeros when there is no example.
    """
    total = {
        name: torch.zeros_like(p, dtype=torch.promote_types(p.dtype, torch.float32), requires_grad=False)
        for name, p in parameters.items()
    }
    count = 0
    for loss in losses:
        gradients = torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True, allow_unused=True)
        for square, gradient in zip(total.values(), gradients, strict=True):
            square += gradient.detach().to(square.dtype) ** 2
        count += 1
    return {name: square / max(count, 1) for name, square in total.items()}


class EWCConfig(MethodConfig):
    """Settings of ``ewc``."""

    strength: float = Field(1e5, ge=0, description="weight of the penalty (lambda); depends on model and data")
    decay: float = Field(
        1.0, ge=0, le=1, description="1: EWC's sum; below, online EWC: factor of the earlier tasks' Fisher at a new one"
    )
    fisher_pairs: int | None = Field(None, ge=1, description="pairs the Fisher is estimated from; none: all of a task")


@register_method("ewc")
class EWC(Method):
    """DPO with elastic weight consolidation; see the module's docstring."""

    Config = EWCConfig
    config: EWCConfig
    tunes: ClassVar[tuple[Tuned, ...]] = (RATE, Tuned("method.strength", factors=(0.1, 1, 10), within=1e5))

    def __init__(self, config: EWCConfig) -> None:
        super().__init__(config)
        self._fisher: dict[str, torch.Tensor] = {}
        self._anchor: dict[str, torch.Tensor] = {}
        self._constant = 0.0

    def penalty(self, model: PeftModel) -> torch.Tensor | None:
        """``strength / 2 * sum F (theta - theta*)**2`` of all finished tasks; None before the first is finished."""
        if not self._fisher:
            return None
        total: torch.Tensor | None = None
        for name, parameter in _trained(model).items():
            # State that was loaded lies on the CPU; it is moved once.
            fisher = self._fisher[name] = self._fisher[name].to(parameter.device)
            anchor = self._anchor[name] = self._anchor[name].to(parameter.device)
            term = (fisher * (parameter.to(fisher.dtype) - anchor) ** 2).sum()
            total = term if total is None else total + term
        return None if total is None else self.config.strength / 2 * (total + self._constant)

    def after_stage(self, stage: Stage, model: PeftModel) -> None:
        """Estimate the finished task's Fisher information and merge it and its anchor into the quadratic."""
        # Nothing comes after the last stage, so nothing has to be held.
        if not stage.final or stage.index == stage.count:
            return
        pairs = list(stage.pairs)
        if self.config.fisher_pairs is not None:
            order = torch.randperm(len(pairs), generator=stage.generator).tolist()
            pairs = [pairs[i] for i in order[: self.config.fisher_pairs]]
        parameters = _trained(model)
        was_training = model.training
        model.eval()
        try:
            # One pair at a time: the square of a batch's gradient is not the sum of its pairs' squares.
            new = fisher_diagonal((stage.losses(model, [pair]).sum() for pair in pairs), parameters)
        finally:
            model.train(was_training)
        for name, parameter in parameters.items():
            self._merge(name, new[name], parameter.detach().to(new[name].dtype, copy=True))

    def _merge(self, name: str, fisher: torch.Tensor, anchor: torch.Tensor) -> None:
        """Add ``fisher * (theta - anchor)**2`` to the quadratic of one parameter; online, move it there."""
        if name not in self._fisher:
            self._fisher[name], self._anchor[name] = fisher, anchor
            return
        old = self._fisher[name].to(fisher.device)
        if self.config.decay < 1:
            self._fisher[name], self._anchor[name] = self.config.decay * old + fisher, anchor
            return
        old_anchor = self._anchor[name].to(anchor.device)
        total = old + fisher
        # Where neither task cares the share is 0 / 0; the anchor's place is then of no consequence.
        share = torch.where(total > 0, fisher / total, torch.ones_like(total))
        self._constant += float((old * share * (anchor - old_anchor) ** 2).sum())
        self._fisher[name] = total
        self._anchor[name] = old_anchor + share * (anchor - old_anchor)

    def state_dict(self) -> dict[str, torch.Tensor | PlainValue]:
        """``fisher/<parameter>``, ``anchor/<parameter>`` and the quadratic's ``constant``."""
        state: dict[str, torch.Tensor | PlainValue] = {"constant": self._constant}
        state.update({f"fisher/{name}": value for name, value in self._fisher.items()})
        state.update({f"anchor/{name}": value for name, value in self._anchor.items()})
        return state

    def load_state_dict(self, state: Mapping[str, torch.Tensor | PlainValue]) -> None:
        """Take back what :meth:`state_dict` gave."""
        self._fisher, self._anchor, self._constant = {}, {}, 0.0
        for key, value in state.items():
            kind, _, name = key.partition("/")
            if kind == "fisher" and isinstance(value, torch.Tensor):
                self._fisher[name] = value
            elif kind == "anchor" and isinstance(value, torch.Tensor):
                self._anchor[name] = value
            elif kind == "constant" and isinstance(value, float):
                self._constant = value


def _trained(model: PeftModel) -> dict[str, torch.nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
