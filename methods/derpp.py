"""DER++: replayed pairs are trained on again, and held to the log-probabilities their tokens had when they were kept.

Buzzega et al. 2020, "Dark Experience for General Continual Learning: a Strong, Simple Baseline" (arXiv 2004.07211),
equation 6: to the loss of the task's own pairs come ``beta`` times the loss of the buffer's, here that of DPO with
``beta`` 1 (they are mixed in, as in ``replay``), and ``alpha`` times the squared distance from what the model said
then. ``alpha`` 0 is DPO with replay.

Not faithful:
- What is kept are the log-probabilities of the responses' own tokens, not the logits of a whole vocabulary at each of
  them: the distance is their mean square over the tokens of both responses.
- Both terms look at the same replayed pairs, where the paper draws twice.
- A task enters the buffer when it is finished, as a sample of equal size for all tasks, not by reservoir sampling.
- The supervised phase sees the chosen responses alone: there the distance is that of their tokens, a mean over the
  step's tokens as its loss is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from peft import PeftModel
from pydantic import Field

from lifealign_bench.method import (
    RATE,
    DemonstrationBatch,
    Method,
    MethodConfig,
    PairBatch,
    PlainValue,
    Stage,
    Tuned,
    register_method,
)
from lifealign_bench.pairs import Pair


class DERppConfig(MethodConfig):
    """Settings of ``derpp``."""

    alpha: float = Field(0.1, ge=0, description="weight of the squared distance from the log-probabilities kept")
    replay_fraction: float = Field(0.2, ge=0, le=1, description="share of a finished task's pairs that is kept")
    replay_capacity: int = Field(3000, ge=0, description="most pairs kept over all tasks, each an equal part")


@register_method("derpp")
class DERpp(Method):
    """DPO with replay and a pull towards what was said then; see the module's docstring."""

    Config = DERppConfig
    config: DERppConfig
    tunes: ClassVar[tuple[Tuned, ...]] = (RATE, Tuned("method.alpha", factors=(0.1, 1, 10), within=1e3))

    def __init__(self, config: DERppConfig) -> None:
        super().__init__(config)
        self._ids: dict[str, list[str]] = {}  # kept pairs by task
        self._lengths: dict[str, list[int]] = {}  # tokens of both responses of each
        self._said: dict[str, torch.Tensor] = {}  # their log-probabilities, one after the other
        self._held: dict[str, torch.Tensor] = {}  # within a phase: the same by pair

    def before_stage(self, stage: Stage, model: PeftModel) -> None:
        """Lay out what was kept, pair by pair."""
        self._held = {}
        for task, ids in self._ids.items():
            self._held.update(zip(ids, torch.split(self._said[task], self._lengths[task]), strict=True))

    def training_pairs(self, stage: Stage, pairs: Sequence[Pair]) -> Sequence[Pair]:
        """The stage's own pairs, then the buffer's of the other tasks."""
        ids = [i for task, kept in self._ids.items() if task not in stage.tasks for i in kept]
        return [*pairs, *stage.find_pairs(ids)] if ids else pairs

    def demonstration_loss(self, losses: torch.Tensor, batch: DemonstrationBatch) -> torch.Tensor:
        """The response's loss (B,), and of a replayed one ``alpha`` times the squared distance of each token."""
        distances = []
        for place, pair in enumerate(batch.pairs):
            now = batch.tokens[batch.owner == place]
            # The chosen response's tokens come first.
            then = self._held.get(pair.id, now.detach())[: len(now)].to(now)
            distances.append(((now - then) ** 2).sum())
        return losses + self.config.alpha * torch.stack(distances).to(losses)

    def pair_loss(self, logits: torch.Tensor, batch: PairBatch) -> torch.Tensor:
        """DPO's loss (B,), and of a replayed pair ``alpha`` times the distance."""
        loss = super().pair_loss(logits, batch)
        distances = []
        for place, pair in enumerate(batch.pairs):
            now = torch.cat([batch.tokens[batch.owner == 2 * place + response] for response in (0, 1)])
            then = self._held.get(pair.id, now.detach()).to(now)
            distances.append(((now - then) ** 2).mean())
        return loss + self.config.alpha * torch.stack(distances).to(loss)

    def after_stage(self, stage: Stage, model: PeftModel) -> None:
        """Keep a part of the finished tasks' pairs, and what the model says of them."""
        self._held = {}
        # Nothing comes after the last stage.
        if not stage.final or stage.index == stage.count:
            return
        for task in stage.tasks:
            own = [pair for pair in stage.pairs if pair.task == task]
            most = min(round(self.config.replay_fraction * len(own)), self.config.replay_capacity // stage.count)
            order = torch.randperm(len(own), generator=stage.generator).tolist()
            kept = [own[i] for i in order[:most]]
            if not kept:
                continue
            was_training = model.training
            model.eval()
            with torch.no_grad():
                said = [torch.cat(both).cpu() for both in stage.response_log_probs(model, kept)]
            model.train(was_training)
            self._ids[task] = [pair.id for pair in kept]
            self._lengths[task] = [len(values) for values in said]
            self._said[task] = torch.cat(said)

    def state_dict(self) -> dict[str, torch.Tensor | PlainValue]:
        """``ids/<task>``, ``lengths/<task>`` and ``said/<task>`` (tokens,)."""
        state: dict[str, torch.Tensor | PlainValue] = {f"ids/{task}": list(ids) for task, ids in self._ids.items()}
        state.update({f"lengths/{task}": list(lengths) for task, lengths in self._lengths.items()})
        state.update({f"said/{task}": values for task, values in self._said.items()})
        return state

    def load_state_dict(self, state: Mapping[str, torch.Tensor | PlainValue]) -> None:
        """Take back the buffer; :meth:`before_stage` lays it out."""
        self._ids, self._lengths, self._said = {}, {}, {}
        for key, value in state.items():
            kind, _, task = key.partition("/")
            if kind == "said" and isinstance(value, torch.Tensor):
                self._said[task] = value.cpu()
            elif kind == "ids" and isinstance(value, list):
                self._ids[task] = [str(i) for i in value]
            elif kind == "lengths" and isinstance(value, list):
                self._lengths[task] = [int(n) for n in value]
