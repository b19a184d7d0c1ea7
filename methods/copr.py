"""COPR: each task is fitted near a reference, and pairs of finished tasks are held there by a Lagrange multiplier.

Zhang et al. 2024, "COPR: Continual Human Preference Learning via Optimal Policy Regularization" (arXiv 2402.14228), as
it is in the code of AIF-Gen (amgadelgamal/AIF-Gen, benchmarks/copr). Of the paper only the abstract was at hand: all
numbers here are held to that code, which is not its authors'. With c and r the summed log-probabilities of chosen and
rejected response, and the distance d of a pair from the reference::

    d      = (c - c_ref)**2 + (r - r_ref)**2
    prefer = mean over all pairs of     -log sigmoid(c - r)
    near   = mean over own pairs of     d
    held   = mean over memory pairs of  d

    loss        = (prefer + pull * near + lambda / (1 + lambda) * held) / (1 + lambda)
    log lambda += multiplier_rate * lambda * (held - threshold),  once a step

``prefer`` is DPO's term without reference and beta. lambda begins every stage at ``multiplier``: in the code every
task has a new trainer. After a task ``memory`` of its pairs, sampled, join the memory, of which then ``memory`` are
sampled to stay. The reference is the run's: by default the base model as in the code, which (without PEFT) keeps one
for all tasks.

Not as in the code:
- It takes the first half of every batch for new and the second for memory, although both are mixed before they are
  shuffled: there each mean is over either kind, in the first task too. Here a pair is what it is. A mean over a kind is
  one over the phase, not the step: with n pairs in the phase and k of the kind, each counts n / k times. With as many
  memory pairs as own ones in every step, and ordered as it believes them to be, both losses are the same number.
- It moves lambda before it weighs the step's loss with it, here after: what a step is cut into must not matter.
- A step without a memory pair leaves lambda alone; there is nothing to constrain. The code puts 1e-9 in its place.
- The supervised phase has the memory's chosen responses beside its own, and none of the terms.
- ``multiplier_rate`` is 1e-4 there. After a supervised phase memory pairs are hundreds of squared nats away, and at
  that rate lambda passes all bounds in the fourth stage of ``forms``; the default here is 1e-6, which keeps it finite.

Where the code itself is doubtful, and followed:
- The weight of ``held`` is divided by 1 + lambda twice. Beside ``prefer``, ``held`` weighs lambda / (1 + lambda), never
  more than 1, and the factor that is common to all is one that AdamW takes out again: with lambda above 1 a broken
  constraint is hardly enforced any harder.
- Distances are of sums of log-probabilities, and grow with the square of a response's length: ``pull`` 0.8 holds new
  pairs within a nat of the reference, and a ``threshold`` of 0.1 is passed at once. As lambda then grows by its own
  square it has no bound; where it is no number any more, the run ends with a message, the code with weights that are
  none either.
- Memory pairs are held to the reference, by default one that has learned no task, and not to what was optimal for
  theirs, which is what the abstract makes constraints of. Of its moderate reward, from which a sampling distribution is
  made that the policy is fitted to, nothing is in the code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, TypeVar

import torch
from peft import PeftModel
from pydantic import Field
from torch.nn.functional import logsigmoid

from lifealign_bench.errors import BenchError
from lifealign_bench.method import RATE, Method, MethodConfig, PairBatch, PlainValue, Stage, Tuned, register_method
from lifealign_bench.pairs import Pair

_Item = TypeVar("_Item")


class COPRConfig(MethodConfig):
    """Settings of ``copr``."""

    pull: float = Field(0.8, ge=0, description="weight of the own pairs' squared distance from the reference")
    multiplier: float = Field(1.0001, gt=0, description="the Lagrange multiplier that every stage begins with")
    multiplier_rate: float = Field(1e-6, ge=0, description="how fast the multiplier follows the memory's distance")
    threshold: float = Field(0.1, ge=0, description="squared distance, in nats, that memory pairs may have")
    memory: int = Field(100, ge=0, description="most pairs kept over all tasks")


@register_method("copr")
class COPR(Method):
    """Preference near a reference, under a constraint on old pairs; see the module's docstring."""

    Config = COPRConfig
    config: COPRConfig
    tunes: ClassVar[tuple[Tuned, ...]] = (RATE, Tuned("method.pull", factors=(0.01, 0.1, 1), within=1e4))

    def __init__(self, config: COPRConfig) -> None:
        super().__init__(config)
        self._memory: dict[str, list[str]] = {}
        self._log_multiplier = math.log(config.multiplier)
        # Within a phase: its memory pairs, and how often a pair of either kind counts.
        self._held: frozenset[str] = frozenset()
        self._counts = (1.0, 1.0)
        # Within a step: its memory pairs' distances.
        self._distances: dict[str, torch.Tensor] = {}

    def before_stage(self, stage: Stage, model: PeftModel) -> None:
        """A multiplier as at first."""
        self._log_multiplier = math.log(self.config.multiplier)
        self._distances = {}

    def training_pairs(self, stage: Stage, pairs: Sequence[Pair]) -> Sequence[Pair]:
        """The stage's own pairs, then the memory's of the other tasks."""
        held = [i for task, ids in self._memory.items() if task not in stage.tasks for i in ids]
        self._held = frozenset(held)
        everything = len(pairs) + len(held)
        self._counts = everything / len(pairs), everything / max(1, len(held))
        return [*pairs, *stage.find_pairs(held)] if held else pairs

    def pair_loss(self, logits: torch.Tensor, batch: PairBatch) -> torch.Tensor:
        """(B,): each pair's part of the loss above."""
        distance = (batch.chosen - batch.ref_chosen) ** 2 + (batch.rejected - batch.ref_rejected) ** 2
        held = [pair.id in self._held for pair in batch.pairs]
        for pair, value, is_held in zip(batch.pairs, distance.detach(), held, strict=True):
            if is_held:
                # By its name: a pass may be taken again.
                self._distances[pair.id] = value
        own, memory = self._counts
        # lambda / (1 + lambda) and 1 / (1 + lambda), of any lambda.
        share, rest = _sigmoid(self._log_multiplier), _sigmoid(-self._log_multiplier)
        weights = distance.new_tensor([share * memory if is_held else self.config.pull * own for is_held in held])
        return rest * (weights * distance - logsigmoid(batch.chosen - batch.rejected))

    def on_gradients(self, model: PeftModel) -> None:
        """Move the multiplier by the step's memory pairs."""
        found = _of_all_processes({i: float(value) for i, value in self._distances.items()})
        self._distances = {}
        if not found:
            return
        # Exactly rounded, so that the order does not matter.
        excess = math.fsum(found.values()) / len(found) - self.config.threshold
        try:
            self._log_multiplier += self.config.multiplier_rate * math.exp(self._log_multiplier) * excess
        except OverflowError:
            self._log_multiplier = math.inf
        if not math.isfinite(self._log_multiplier):
            raise BenchError(
                f"The multiplier of copr has grown beyond all numbers: memory pairs are {excess:.3g} squared nats too "
                "far from the reference.",
                "A smaller multiplier_rate (--set multiplier_rate=1e-7), a larger threshold or a lower learning rate "
                "keeps it within bounds.",
            )

    def after_stage(self, stage: Stage, model: PeftModel) -> None:
        """Sample the finished tasks' pairs into the memory, and of the memory what fits."""
        self._distances = {}
        if not stage.final:
            return
        for task in stage.tasks:
            own = [pair.id for pair in stage.pairs if pair.task == task]
            self._memory[task] = _sample(own, self.config.memory, stage.generator)
            everything = [(name, i) for name, ids in self._memory.items() for i in ids]
            if len(everything) > self.config.memory:
                kept = _sample(everything, self.config.memory, stage.generator)
                self._memory = {name: [i for owner, i in kept if owner == name] for name in self._memory}

    def state_dict(self) -> dict[str, torch.Tensor | PlainValue]:
        """``log_multiplier`` and the memory's ids by task."""
        memory: dict[str, torch.Tensor | PlainValue] = {f"memory/{task}": list(i) for task, i in self._memory.items()}
        return {**memory, "log_multiplier": self._log_multiplier}

    def load_state_dict(self, state: Mapping[str, torch.Tensor | PlainValue]) -> None:
        """Take them back."""
        self._memory = {}
        for key, value in state.items():
            if key == "log_multiplier" and isinstance(value, float):
                self._log_multiplier = value
            elif key.startswith("memory/") and isinstance(value, list):
                self._memory[key.removeprefix("memory/")] = [str(i) for i in value]


def _sample(items: Sequence[_Item], count: int, generator: torch.Generator) -> list[_Item]:
    """So many of the items, or all, in their order."""
    taken = torch.randperm(len(items), generator=generator)[:count].sort().values.tolist()
    return [items[i] for i in taken]


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def _of_all_processes(found: dict[str, float]) -> dict[str, float]:
    """What each process of the run found, on all of them: a process sees its share of a step."""
    if not torch.distributed.is_initialized():
        return found
    parts: list[dict[str, float]] = [{} for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(parts, found)
    return {i: value for part in parts for i, value in part.items()}
