"""Sequential DPO: train on one task after the other, with nothing against forgetting.

Rafailov et al. 2023, "Direct Preference Optimization: Your Language Model is Secretly a Reward Model"
(arXiv 2305.18290). By default every hook is that of ``Method``: the loss is equation 7 of the paper, one adapter is
trained on from task to task, and nothing is remembered. The strength beta is a training setting, not one of the method.

Under ``--sft`` each stage begins with the plain supervised phase.

This is the baseline that shows what forgetting costs when nobody prevents it.

``moving_reference`` makes the reference the policy that the phase starts from, whatever the run says: the variant
``dpo-moving-reference``, which is ``--set reference=previous`` as a method beside others on the same board. Each task
is then held to what the tasks before it left, and no longer to the base model, so that drift has no anchor.

``loss`` takes another one in DPO's place. With g = log pi - log pi_ref of a response (a sum over its tokens), c the
chosen and r the rejected one, d = beta (g_c - g_r), |y| a response's tokens and e the ``label_smoothing``::

    sigmoid       -log sig(d)
    sigmoid_norm  -log sig(beta (g_c/|c| - g_r/|r|))
    hinge         max(0, 1 - d)                                    Zhao et al. 2023, arXiv 2305.10425
    ipo           (g_c/|c| - g_r/|r| - 1/(2 beta))**2              Azar et al. 2023, arXiv 2310.12036
    robust        (-(1-e) log sig(d) + e log sig(-d)) / (1 - 2e)   Ray Chowdhury et al. 2024, arXiv 2403.00409
    exo_pair      KL of (sig(d), sig(-d)) from (1-e, e)            Ji et al. 2024, arXiv 2402.00856
    nca_pair      -log sig(beta g_c) - 1/2 log sig(-beta g_c)
                  - 1/2 log sig(-beta g_r)                         Chen et al. 2024, arXiv 2402.05369
    bco_pair      -log sig(beta g_c) - log sig(-beta g_r)          TRL's, of pairs
    sppo_hard     (g_c - 1/(2 beta))**2 + (g_r + 1/(2 beta))**2    Wu et al. 2024, arXiv 2405.00675
    apo_zero      1 - sig(beta g_c) + sig(beta g_r)                D'Oosterlinck et al. 2024, arXiv 2408.06266
    apo_down      sig(beta g_c) + 1 - sig(d)                       the same
    simpo         -log sig(beta (log pi(c)/|c| - log pi(r)/|r|)
                  - gamma)                                         Meng et al. 2024, arXiv 2405.14734
    orpo          -log pi(c)/|c|
                  - beta log sig(log odds(c) - log odds(r))        Hong et al. 2024, arXiv 2403.07691

where of orpo the odds are those of a token's geometric mean probability. ``sft_weight`` adds so much of
``-log pi(c)/|c|`` to any of them, as RPO does (Pang et al. 2024, arXiv 2404.19733, eq. 1).

Losses equal those of TRL 1.16 on the same pairs, one by one. Not as in TRL: its supervised term is a mean over all
tokens of a batch, here of each pair, which does not depend on what is in the batch; that of orpo is over the response
alone, in TRL over the prompt as well. Left out are the losses of TRL that sort a batch (``aot``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch.nn.functional import logsigmoid

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.method import Method, MethodConfig, PairBatch, PlainValue, Reference, register_method


class DPOConfig(MethodConfig):
    """Settings of ``dpo``."""

    loss: Literal[
        "sigmoid",
        "sigmoid_norm",
        "hinge",
        "ipo",
        "robust",
        "exo_pair",
        "nca_pair",
        "bco_pair",
        "sppo_hard",
        "apo_zero",
        "apo_down",
        "simpo",
        "orpo",
    ] = Field("sigmoid", description="what is minimised of each pair; sigmoid is DPO's")
    sft_weight: float = Field(
        0.0, ge=0, description="how much of the chosen response's mean negative log-likelihood is added"
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="share of pairs taken as mislabelled: robust, exo_pair"
    )
    gamma: float = Field(0.5, ge=0, description="margin that simpo asks for")
    moving_reference: bool = Field(
        False, description="the reference is the policy that the phase starts from, not the one that the run names"
    )


@register_method("dpo")
class DPO(Method):
    """Plain sequential preference training; see the module's docstring."""

    Config = DPOConfig
    config: DPOConfig
    variants: ClassVar[dict[str, dict[str, PlainValue]]] = {"moving-reference": {"moving_reference": True}}

    def check(self, config: RunConfig) -> None:
        """Refuse a smoothing that the loss does not know, and exo_pair without, which is infinite."""
        smoothed = self.config.loss in ("robust", "exo_pair")
        if self.config.label_smoothing and not smoothed:
            raise UsageError(
                f"The loss {self.config.loss} has no label_smoothing.", "Take --set loss=robust, or leave it out."
            )
        if self.config.loss == "exo_pair" and not self.config.label_smoothing:
            raise UsageError("The loss exo_pair needs label_smoothing.", "Set it above 0: --set label_smoothing=0.001.")

    def reference(self, chosen: Reference) -> Reference:
        """The run's, or where the phase starts."""
        return "previous" if self.config.moving_reference else chosen

    def pair_loss(self, logits: torch.Tensor, batch: PairBatch) -> torch.Tensor:
        """Per-pair losses (B,)."""
        losses = _LOSSES[self.config.loss](logits, batch, self.config)
        return losses - self.config.sft_weight * batch.means[:, 0] if self.config.sft_weight else losses


Loss = Callable[[torch.Tensor, PairBatch, DPOConfig], torch.Tensor]


def _gains(batch: PairBatch) -> torch.Tensor:
    """(B, 2): log pi - log pi_ref of chosen and rejected."""
    return torch.stack([batch.chosen - batch.ref_chosen, batch.rejected - batch.ref_rejected], dim=1)


def _normed(batch: PairBatch) -> torch.Tensor:
    """(B,): the difference of the gains of a token."""
    gains = _gains(batch) / batch.lengths
    return gains[:, 0] - gains[:, 1]


def _robust(logits: torch.Tensor, batch: PairBatch, config: DPOConfig) -> torch.Tensor:
    smoothing = config.label_smoothing
    return (-(1 - smoothing) * logsigmoid(logits) + smoothing * logsigmoid(-logits)) / (1 - 2 * smoothing)


def _exo_pair(logits: torch.Tensor, batch: PairBatch, config: DPOConfig) -> torch.Tensor:
    kept, smoothing = math.log1p(-config.label_smoothing), math.log(config.label_smoothing)
    chosen = torch.sigmoid(logits) * (logsigmoid(logits) - kept)
    return chosen + torch.sigmoid(-logits) * (logsigmoid(-logits) - smoothing)


def _nca_pair(logits: torch.Tensor, batch: PairBatch, config: DPOConfig) -> torch.Tensor:
    chosen, rejected = (batch.beta * _gains(batch)).unbind(1)
    return -logsigmoid(chosen) - 0.5 * logsigmoid(-chosen) - 0.5 * logsigmoid(-rejected)


def _bco_pair(logits: torch.Tensor, batch: PairBatch, config: DPOConfig) -> torch.Tensor:
    chosen, rejected = (batch.beta * _gains(batch)).unbind(1)
    return -logsigmoid(chosen) - logsigmoid(-rejected)


def _sppo_hard(logits: torch.Tensor, batch: PairBatch, config: DPOConfig) -> torch.Tensor:
    chosen, rejected = _gains(batch).unbind(1)
    return (chosen - 0.5 / batch.beta) ** 2 + (rejected + 0.5 / batch.beta) ** 2


def _apo_zero(logits: torch.Tensor, batch: PairBatch, config: DPOConfig) -> torch.Tensor:
    chosen, rejected = (batch.beta * _gains(batch)).unbind(1)
    return 1 - torch.sigmoid(chosen) + torch.sigmoid(rejected)


def _apo_down(logits: torch.Tensor, batch: PairBatch, config: DPOConfig) -> torch.Tensor:
    return torch.sigmoid(batch.beta * (batch.chosen - batch.ref_chosen)) + 1 - torch.sigmoid(logits)


def _simpo(logits: torch.Tensor, batch: PairBatch, config: DPOConfig) -> torch.Tensor:
    chosen, rejected = batch.means.unbind(1)
    return -logsigmoid(batch.beta * (chosen - rejected) - config.gamma)


def _orpo(logits: torch.Tensor, batch: PairBatch, config: DPOConfig) -> torch.Tensor:
    chosen, rejected = batch.means.unbind(1)
    odds = (chosen - _log_of_rest(chosen)) - (rejected - _log_of_rest(rejected))
    return -chosen - batch.beta * logsigmoid(odds)


def _log_of_rest(log_p: torch.Tensor) -> torch.Tensor:
    """log(1 - exp(log_p)) of negative values, exact near both ends."""
    near_one = log_p > -math.log(2)
    # The side that is not taken must be finite all the same, or its gradient would not be 0.
    small = torch.where(near_one, torch.full_like(log_p, -1.0), log_p)
    large = torch.where(near_one, log_p, torch.full_like(log_p, -0.1))
    return torch.where(near_one, torch.log(-torch.expm1(large)), torch.log1p(-torch.exp(small)))


_LOSSES: dict[str, Loss] = {
    "sigmoid": lambda logits, batch, config: -logsigmoid(logits),
    "sigmoid_norm": lambda logits, batch, config: -logsigmoid(batch.beta * _normed(batch)),
    "hinge": lambda logits, batch, config: torch.relu(1 - logits),
    "ipo": lambda logits, batch, config: (_normed(batch) - 1 / (2 * batch.beta)) ** 2,
    "robust": _robust,
    "exo_pair": _exo_pair,
    "nca_pair": _nca_pair,
    "bco_pair": _bco_pair,
    "sppo_hard": _sppo_hard,
    "apo_zero": _apo_zero,
    "apo_down": _apo_down,
    "simpo": _simpo,
    "orpo": _orpo,
}
