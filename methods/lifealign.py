"""LifeAlign: focal preference optimisation, short-to-long memory consolidation, replay.

Li et al. 2026, "LifeAlign: Lifelong Alignment for Large Language Models with Memory-Augmented Focalized Preference
Optimization", AAAI 2026 (arXiv 2509.17183); published code real-ljs/LifeAlign at e7e5581.

Faithful: the focal loss with the weight inside the gradient, the consolidation of each LoRA matrix by itself after each
phase (both checked against numbers that the published code gives), the size of the replay buffer.

Not faithful, on purpose:
- The basis of the earlier updates is rank-revealing. A plain QR makes up a direction where a history vector is zero or
  repeats another, and then damps what was never learned.
- The published code keeps the first pairs of each task's file for replay, and when the buffer is full, later tasks no
  longer enter it (``replay_rule: first``). Here a task's pairs are sampled, and every task may keep the same number of
  them (one that has fewer keeps them all); the first sampled pairs of each task stay, which is again a uniform sample.
- The published code saves a task's adapter, which is what it scores, before it consolidates it, and never consolidates
  the last task's (``scored: trained``). Here what is scored is consolidated, as the next task will find it.
- Consolidation is computed in float64.

Ablations are the variants ``lifealign-no-focal`` (``focal_gamma=0`` is the loss of DPO), ``lifealign-no-consolidation``
(``plasticity=1`` with ``energy=1`` leaves what was trained as it is) and ``lifealign-no-replay``
(``replay_fraction=0``).

In the supervised phase the loss is the plain one; consolidation follows each phase, the buffer's chosen responses are
mixed in like its pairs, and a task enters the buffer after its last phase.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from peft import PeftModel
from pydantic import Field
from torch.nn.functional import logsigmoid

from lifealign_bench.method import RATE, Method, MethodConfig, PairBatch, PlainValue, Stage, Tuned, register_method
from lifealign_bench.pairs import Pair


def focal_preference_loss(logits: torch.Tensor, gamma: float = 2.0) -> torch.Tensor:
    """``-(1 - sigmoid(logits))**gamma * logsigmoid(logits)``, the paper's focalized preference loss.

    A pair that the policy already orders well weighs little; the weight is part of the gradient (not detached).

    Args:
        logits: (B,), ``beta * [(log p(c) - log p_ref(c)) - (log p(r) - log p_ref(r))]``.
        gamma: focusing exponent; 0 gives DPO's loss.

    Returns:
        (B,), the loss of each pair.
    """
    # In log space: 1 - sigmoid(x) cancels to 0 in float32 from x = 17 on, and 0**gamma has no good gradient.
    weight = torch.exp(gamma * logsigmoid(-logits))
    return -weight * logsigmoid(logits)


def denoise(update: torch.Tensor, energy: float = 0.9) -> torch.Tensor:
    """``update`` (m, n) without its weak singular directions.

    Keeps the fewest leading singular values whose squares sum to at least ``energy`` (0 to 1) of the total; at 1 the
    update comes back unchanged.
    """
    if energy >= 1 or not bool(update.any()):
        return update
    u, s, vh = torch.linalg.svd(update.double(), full_matrices=False)
    reached = torch.cumsum(s**2, dim=0) / torch.sum(s**2)
    keep = min(int((reached < energy).sum()) + 1, len(s))
    kept: torch.Tensor = (u[:, :keep] * s[:keep]) @ vh[:keep]
    return kept.to(update.dtype)


def consolidate(
    update: torch.Tensor, history: Sequence[torch.Tensor], energy: float = 0.9, plasticity: float = 0.5
) -> torch.Tensor:
    """Denoise ``update`` and damp the part of it that lies where earlier tasks moved this matrix.

    Args:
        update: (m, n), trained minus the value at the start of the phase.
        history: earlier consolidated updates of the same matrix, each (m, n).
        energy: see :func:`denoise`.
        plasticity: factor of the part inside the span of the history; 1 keeps it, 0 removes it.

    Returns:
        (m, n), ``outside + plasticity * inside``.
    """
    kept = denoise(update, energy)
    basis = _basis(history)
    if basis is None or plasticity == 1:
        return kept
    flat = kept.double().flatten()
    inside = basis.T @ (basis @ flat)
    return (flat - (1 - plasticity) * inside).reshape(update.shape).to(update.dtype)


def _basis(history: Sequence[torch.Tensor]) -> torch.Tensor | None:
    """Orthonormal rows (k, m * n) that span the flattened history, k its numerical rank; None where that is 0."""
    rows = [h.double().flatten() for h in history if bool(h.any())]
    if not rows:
        return None
    # Each row counts as a direction: without the norms, a small update would be lost beside a large one.
    stacked = torch.stack([row / torch.linalg.vector_norm(row) for row in rows])
    _, s, vh = torch.linalg.svd(stacked, full_matrices=False)
    # History is stored rounded to its own precision; what is left of a repeated vector is that rounding.
    precision = torch.float64 if all(h.dtype == torch.float64 for h in history) else torch.float32
    basis: torch.Tensor = vh[s > s[0] * 32 * len(rows) * torch.finfo(precision).eps]
    return basis


class LifeAlignConfig(MethodConfig):
    """Settings of ``lifealign``, with the paper's values."""

    focal_gamma: float = Field(2.0, ge=0, description="focusing exponent of the loss; 0 is DPO's loss")
    energy: float = Field(0.9, gt=0, le=1, description="share of an update's squared singular values that is kept")
    plasticity: float = Field(0.5, ge=0, le=1, description="what is kept of an update where earlier tasks moved")
    replay_fraction: float = Field(0.2, ge=0, le=1, description="share of a finished task's pairs that is kept")
    replay_capacity: int = Field(3000, ge=0, description="most pairs kept over all tasks")
    replay_rule: Literal["fair", "first"] = Field(
        "fair", description="fair: a sample, equal shares; first: as published, first pairs of the first tasks"
    )
    scored: Literal["consolidated", "trained"] = Field(
        "consolidated", description="adapter that is scored after a stage; trained: as published, before consolidation"
    )


@register_method("lifealign")
class LifeAlign(Method):
    """Focal loss, consolidation after every phase, replay; see the module's docstring."""

    Config = LifeAlignConfig
    config: LifeAlignConfig
    tunes: ClassVar[tuple[Tuned, ...]] = (RATE, Tuned("method.plasticity", factors=(0.5, 1, 2)))
    variants: ClassVar[dict[str, dict[str, PlainValue]]] = {
        "no-focal": {"focal_gamma": 0.0},
        "no-consolidation": {"energy": 1.0, "plasticity": 1.0},
        "no-replay": {"replay_fraction": 0.0},
    }

    def __init__(self, config: LifeAlignConfig) -> None:
        super().__init__(config)
        self._start: dict[str, torch.Tensor] = {}
        self._history: dict[str, list[torch.Tensor]] = {}
        self._buffer: dict[str, list[str]] = {}
        self._put_off = False  # the stage before is scored, and not yet consolidated

    def before_stage(self, stage: Stage, model: PeftModel) -> None:
        """Consolidate what was put off, and remember the adapter's matrices as the phase finds them."""
        if self._put_off:
            self._consolidate(model)
        self._start = {name: matrix.detach().cpu().clone() for name, matrix in _lora_matrices(model).items()}

    def training_pairs(self, stage: Stage, pairs: Sequence[Pair]) -> Sequence[Pair]:
        """The stage's own pairs, then the buffer's of the other tasks."""
        ids = [i for task, kept in self._buffer.items() if task not in stage.tasks for i in kept]
        return [*pairs, *stage.find_pairs(ids)] if ids else pairs

    def pair_loss(self, logits: torch.Tensor, batch: PairBatch) -> torch.Tensor:
        """:func:`focal_preference_loss`, (B,) to (B,)."""
        return focal_preference_loss(logits, self.config.focal_gamma)

    def after_stage(self, stage: Stage, model: PeftModel) -> None:
        """Consolidate, at once or when the next stage begins, then sample the finished tasks into the buffer."""
        if stage.final and self.config.scored == "trained":
            self._put_off = True
        else:
            self._consolidate(model)
        if stage.final:
            self._remember(stage)

    def _consolidate(self, model: PeftModel) -> None:
        """Consolidate every LoRA matrix by itself and in place."""
        for name, matrix in _lora_matrices(model).items():
            # On the CPU, so that a run does not depend on the device's linear algebra.
            trained = matrix.detach().cpu()
            wide = torch.promote_types(trained.dtype, torch.float32)
            update = trained.to(wide) - self._start[name].to(wide)
            history = self._history.setdefault(name, [])
            kept = consolidate(update, history, self.config.energy, self.config.plasticity)
            # Not start + kept: so what consolidation leaves alone stays equal to the bit.
            matrix.data.copy_((trained.to(wide) + (kept - update)).to(trained.dtype))
            history.append(kept)
        self._start, self._put_off = {}, False

    def _remember(self, stage: Stage) -> None:
        """Put a part of the stage's own pairs into the buffer, so that all of it fits the capacity."""
        for task in stage.tasks:
            own = [pair.id for pair in stage.pairs if pair.task == task]
            if self.config.replay_rule == "first":
                room = self.config.replay_capacity - sum(len(kept) for kept in self._buffer.values())
                self._buffer[task] = own[: min(room, int(self.config.replay_fraction * len(own)))]
                continue
            order = torch.randperm(len(own), generator=stage.generator).tolist()
            self._buffer[task] = [own[i] for i in order[: round(self.config.replay_fraction * len(own))]]
        shares = fair_shares([len(kept) for kept in self._buffer.values()], self.config.replay_capacity)
        self._buffer = {task: kept[:n] for (task, kept), n in zip(self._buffer.items(), shares, strict=True)}

    def state_dict(self) -> dict[str, torch.Tensor | PlainValue]:
        """``history/<number>/<matrix>`` and ``replay/<task>``; inside a stage ``start/<matrix>``.

        After a stage that is not yet consolidated there are ``start/<matrix>`` too, and ``put_off``.
        """
        state: dict[str, torch.Tensor | PlainValue] = {f"start/{name}": start for name, start in self._start.items()}
        for name, updates in self._history.items():
            state.update({f"history/{number}/{name}": update for number, update in enumerate(updates)})
        state.update({f"replay/{task}": list(kept) for task, kept in self._buffer.items()})
        if self._put_off:
            state["put_off"] = True
        return state

    def load_state_dict(self, state: Mapping[str, torch.Tensor | PlainValue]) -> None:
        """Take back what :meth:`state_dict` gave."""
        self._start, self._history, self._buffer = {}, {}, {}
        self._put_off = bool(state.get("put_off", False))
        numbered: dict[str, dict[int, torch.Tensor]] = {}
        for key, value in state.items():
            kind, _, name = key.partition("/")
            if isinstance(value, torch.Tensor):
                if kind == "start":
                    self._start[name] = value.cpu()
                elif kind == "history":
                    number, _, name = name.partition("/")
                    numbered.setdefault(name, {})[int(number)] = value.cpu()
            elif kind == "replay" and isinstance(value, list):
                self._buffer[name] = [str(i) for i in value]
        self._history = {name: [updates[i] for i in sorted(updates)] for name, updates in numbered.items()}


def _lora_matrices(model: PeftModel) -> dict[str, torch.nn.Parameter]:
    """The trained LoRA matrices A and B by name."""
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and ("lora_A" in name or "lora_B" in name)
    }


def fair_shares(sizes: Sequence[int], capacity: int) -> list[int]:
    """How many of its pairs each task keeps: equal shares, and what a small task leaves over goes to the others.

    Args:
        sizes: pairs each task has in the buffer, oldest task first.
        capacity: most pairs in all.

    Returns:
        As many numbers as ``sizes``, none above its size, with sum ``min(sum(sizes), capacity)``.
    """
    shares = [0] * len(sizes)
    left = capacity
    # Smallest task first: what it does not need is divided among the rest. Of equal tasks the later one gets the
    # pair that does not divide.
    for done, i in enumerate(sorted(range(len(sizes)), key=lambda i: sizes[i])):
        shares[i] = min(sizes[i], left // (len(sizes) - done))
        left -= shares[i]
    return shares
