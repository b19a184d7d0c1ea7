"""A method whose state changes inside a stage: the hardest case for an exact resume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from peft import PeftModel

from lifealign_bench.method import Method, PairBatch, PlainValue, Stage, register_method
from lifealign_bench.pairs import Pair


@register_method("stateful")
class Stateful(Method):
    """Weighs losses by a running mean of margins, and scales gradients by a counter."""

    mean = torch.zeros(1)
    steps = 0

    def before_stage(self, stage: Stage, model: PeftModel) -> None:
        """Draws from the stage's generator, to see that it is the same again."""
        self.draw = float(torch.rand(1, generator=stage.generator))

    def training_pairs(self, stage: Stage, pairs: Sequence[Pair]) -> Sequence[Pair]:
        """Another length than the stage's own."""
        return list(pairs) + list(pairs[: 1 + int(3 * self.draw)])

    def pair_loss(self, logits: torch.Tensor, batch: PairBatch) -> torch.Tensor:
        """DPO, weighted."""
        self.mean = 0.9 * self.mean + 0.1 * logits.detach().mean().cpu()
        return super().pair_loss(logits, batch) * (1 + self.draw + self.mean.tanh())

    def on_gradients(self, model: PeftModel) -> None:
        """Every third step counts half."""
        self.steps += 1
        for p in model.parameters():
            if p.grad is not None and self.steps % 3 == 0:
                p.grad *= 0.5

    def state_dict(self) -> dict[str, torch.Tensor | PlainValue]:
        """Mean and counter."""
        return {"mean": self.mean, "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, torch.Tensor | PlainValue]) -> None:
        """Take them back."""
        mean, steps = state["mean"], state["steps"]
        assert isinstance(mean, torch.Tensor) and isinstance(steps, int)
        self.mean, self.steps = mean, steps
