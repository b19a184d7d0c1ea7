"""What a phase spends: pairs seen, and floating-point operations by part, the same where it was stopped and went on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lifealign_bench.models.encode import Encoded, EncodedPair
from lifealign_bench.models.passcost import PassCost, Size, size_of_pair

HOOKS, REFERENCE, ROLLOUT = "hooks", "reference", "rollout"


class Spending:
    """Counts what one attempt at a phase does.

    The hooks before its first step run in every attempt and are counted in the last one alone; what the steps did up to
    a checkpoint is in the checkpoint.

    Args:
        cost: of a pass.
        part: what the phase's training is called.
        before: what the stage's phases before it left (:meth:`total`); None where it is not known.
        others: policies that are asked beside the trained one in every step.
    """

    def __init__(self, cost: PassCost, part: str, before: Mapping[str, Any], others: int = 0) -> None:
        self._others = others
        self._cost = cost
        self._part = part
        self._before = before
        self._known = before["seen"] is not None
        self._seen = 0
        self._flops: Counter[str] = Counter()
        self._start: Counter[str] = Counter()
        self._rollouts = 0

    def refer(self, pairs: Sequence[EncodedPair]) -> None:
        """Count reference log-probabilities, also where they are read from the cache."""
        self._flops[REFERENCE] += sum(self._cost.forward(size_of_pair(p)) for p in pairs)

    def hook(self, pairs: Sequence[EncodedPair], gradients: bool) -> None:
        """Count a pass that a hook asks for."""
        a_pair = self._cost.training if gradients else self._cost.forward
        self._flops[HOOKS] += sum(a_pair(size_of_pair(p)) for p in pairs)

    def step(self, drawn: int, pairs: Sequence[Encoded]) -> None:
        """Count an optimizer step: how many pairs it has, and what is trained on."""
        self._seen += drawn
        sizes = [size_of_pair(p) for p in pairs]
        self._flops[self._part] += sum(self._cost.training(s) + self._others * self._cost.forward(s) for s in sizes)

    def sampled(self, sizes: Iterable[Size]) -> None:
        """Count what was sampled in the stage, all phases and attempts, the prompt of a group once."""
        self._rollouts = sum(self._cost.forward(size) for size in sizes)

    def begin(self, checkpoint: Mapping[str, Any] | None) -> None:
        """The first step follows; ``checkpoint`` is what :meth:`so_far` was at the one to go on from, or None."""
        self._start = Counter(self._flops)
        if checkpoint is None:
            return
        # A checkpoint of before this was counted says nothing of it.
        self._known = self._known and "seen" in checkpoint
        self._seen = int(checkpoint.get("seen", 0))
        self._flops.update(checkpoint.get("flops", {}))

    def so_far(self) -> dict[str, Any]:
        """What the steps did, for a checkpoint."""
        return {"seen": self._seen, "flops": dict(self._flops - self._start)}

    def total(self) -> dict[str, Any]:
        """``seen`` and ``flops`` of the stage up to here; None where an older version began it."""
        if not self._known:
            return {"seen": None, "flops": None}
        return {
            "seen": self._before["seen"] + self._seen,
            "flops": {
                **dict(Counter(self._before["flops"]) + self._flops),
                **({ROLLOUT: self._rollouts} if self._rollouts else {}),
            },
        }
