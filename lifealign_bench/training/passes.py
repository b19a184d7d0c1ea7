"""The forward passes that a method's hooks may ask for in a phase, within the run's token budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from peft import PeftModel

from lifealign_bench.models.encode import EncodedPair
from lifealign_bench.models.logprobs import pack
from lifealign_bench.models.speaker import Speaker
from lifealign_bench.pairs import Pair
from lifealign_bench.training.phases import Learned, TrainedPhase
from lifealign_bench.util.distributed import share, total


@dataclass(frozen=True)
class Passes:
    """What ``Stage`` offers as functions; see there for what each gives.

    Args:
        phase: which loss is trained.
        encoded: training pairs by id.
        reference: pair id to reference log-probabilities (2,); empty in a phase that does not refer.
        beta: strength of DPO.
        speaker: how the model is asked.
        count: told of every pass that a hook asks for: its pairs, and whether gradients are taken of it.
    """

    phase: TrainedPhase
    encoded: Mapping[str, EncodedPair]
    reference: Mapping[str, torch.Tensor]
    beta: float
    speaker: Speaker
    count: Callable[[Sequence[EncodedPair], bool], None] = lambda pairs, gradients: None

    def find_pairs(self, ids: Sequence[str]) -> list[Pair]:
        """Training pairs by id."""
        return [self.encoded[i].pair for i in ids]

    def log_probs(self, model: PeftModel, pairs: Sequence[Pair]) -> torch.Tensor:
        """(B, 2): chosen, rejected, by the model as it is."""
        encoded = [self.encoded[p.id] for p in pairs]
        self.count(encoded, torch.is_grad_enabled())
        return self.speaker.log_probs(model, encoded)

    def response_log_probs(self, model: PeftModel, pairs: Sequence[Pair]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """For each pair the log-probabilities of the chosen response's tokens and of the rejected one's."""
        encoded = [self.encoded[p.id] for p in pairs]
        self.count(encoded, torch.is_grad_enabled())
        return self.speaker.response_log_probs(model, encoded)

    def references(self, pairs: Sequence[Pair]) -> torch.Tensor:
        """(B, 2): chosen, rejected, by the reference policy."""
        if not self.phase.refers:
            raise RuntimeError(f"the {self.phase.title} phase has no reference policy: ask for losses or log_probs")
        return torch.stack([self.reference[p.id] for p in pairs]).to(self.speaker.device)

    def margins(self, model: PeftModel, pairs: Sequence[Pair]) -> torch.Tensor:
        """(B,): DPO logits."""
        reference = self.references(pairs)
        return Learned((), self.log_probs(model, pairs), reference, self.beta).margins

    def losses(self, model: PeftModel, pairs: Sequence[Pair]) -> torch.Tensor:
        """(B,): plain losses of the phase."""
        self.count(self._formed(pairs), torch.is_grad_enabled())
        return self._losses(model, pairs)

    def _losses(self, model: PeftModel, pairs: Sequence[Pair]) -> torch.Tensor:
        encoded = self._formed(pairs)
        reference = self.references(pairs) if self.phase.refers else torch.empty(0)
        policy = self.speaker.log_probs(model, encoded)
        return self.phase.plain_losses(Learned(encoded, policy, reference, self.beta))

    def gradient(self, model: PeftModel, pairs: Sequence[Pair]) -> dict[str, torch.Tensor]:
        """Gradient of the mean of :meth:`losses`; one pass's graph is alive at once, and processes share the passes."""
        parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        sums = [torch.zeros_like(p, dtype=torch.promote_types(p.dtype, torch.float32)) for p in parameters.values()]
        self.count(self._formed(pairs), True)
        for group in share(pack(self._formed(pairs), self.speaker.token_budget, self.speaker.layout)):
            loss = self._losses(model, [pairs[i] for i in group]).sum() / len(pairs)
            found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, materialize_grads=True)
            for so_far, gradient in zip(sums, found, strict=True):
                so_far += gradient.to(so_far.dtype)
        return dict(zip(parameters, [total(s) for s in sums], strict=True))

    def _formed(self, pairs: Sequence[Pair]) -> list[EncodedPair]:
        return [self.phase.form(self.encoded[p.id]) for p in pairs]
