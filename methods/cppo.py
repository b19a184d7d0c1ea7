"""CPPO as DPO: each pair has a weight for learning and one for keeping the old policy.

Zhang et al. 2024, "CPPO: Continual Learning for Reinforcement Learning with Human Feedback", ICLR 2024
(openreview.net/forum?id=86zAUE80pP). CPPO sorts the samples of a rollout into five cases by their
generation probability P and reward R, each high or low when it is ``threshold`` standard deviations from the rollout's
mean, and multiplies PPO's loss by a learning weight and a penalty on leaving the old policy,
``(log P_new - log P_old)**2``, by a retention weight::

    case                P     R     learning  retention
    high performance    high  high  high      high
    overfitting         high  low   high      low
    high variance       low   high  high      low
    noisy               low   low   low       low
    normal              the rest    1         1

Faithful: the five cases and which weight is high or low in each, the squared difference of summed log-probabilities as
the penalty.

Adapted, since there is neither a rollout nor a reward model here (as in the baseline of the LifeAlign paper's code):
- PPO's loss is that of DPO; R is the implicit reward margin of the pair, P the probability of its chosen response.
- The rollout is the stage's training pairs, sorted once, by the policy that the preference phase starts from: a pair's
  weights depend on no batch, packing or number of processes. The penalty holds both responses to that same policy.
- The weights are the bounds themselves (0.5 and 2, threshold 1, retention 0.1, as in that code). The paper's heuristic
  and learned weights lie between the bounds.
- Stage 1 is plain DPO: there is no earlier policy to keep.

The penalty is of sums over tokens, so that it is stricter on long responses. With ``reference: previous`` all margins
begin at zero and every pair is normal. The supervised phase is plain. Nothing is kept from stage to stage; within a
preference phase it is four numbers a pair.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from peft import PeftModel
from pydantic import Field

from lifealign_bench.method import Method, MethodConfig, PairBatch, PlainValue, Stage, register_method


def pair_weights(
    rewards: torch.Tensor,
    log_probs: torch.Tensor,
    threshold: float = 1.0,
    low: float = 0.5,
    high: float = 2.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Learning and retention weights by the five cases of the module's docstring.

    Args:
        rewards: (B,), a reward of each pair, in any unit.
        log_probs: (B,), log-probability of each pair's response.
        threshold: how many (population) standard deviations from the mean count as high or low.
        low, high: the two weights; a normal pair's is 1.

    Returns:
        Two tensors (B,). Where all rewards or all probabilities are the same, all pairs are normal.
    """
    p, r = _levels(log_probs, threshold), _levels(rewards, threshold)
    learning, retention = torch.ones_like(rewards), torch.ones_like(rewards)
    sorted_out = (p != 0) & (r != 0)
    learning[sorted_out] = high
    retention[sorted_out] = low
    learning[(p < 0) & (r < 0)] = low
    retention[(p > 0) & (r > 0)] = high
    return learning, retention


def _levels(values: torch.Tensor, threshold: float) -> torch.Tensor:
    """1 for high, -1 for low, 0 in between; 0 where the spread is rounding."""
    wide = values.double()
    distance, spread = wide - wide.mean(), float(wide.std(unbiased=False))
    if spread <= 1e-5 * max(1.0, float(wide.abs().max())):
        return torch.zeros_like(values)
    return distance.sign() * (distance.abs() >= threshold * spread)


class CPPOConfig(MethodConfig):
    """Settings of ``cppo``."""

    threshold: float = Field(1.0, ge=0, description="standard deviations from the mean that count as high or low")
    low: float = Field(0.5, ge=0, description="weight of what is to be slowed down")
    high: float = Field(2.0, ge=0, description="weight of what is to be enforced")
    retention: float = Field(0.1, ge=0, description="weight of the penalty on leaving the old policy")


@register_method("cppo")
class CPPO(Method):
    """DPO with learning and retention weights for each pair; see the module's docstring."""

    Config = CPPOConfig
    config: CPPOConfig

    def __init__(self, config: CPPOConfig) -> None:
        super().__init__(config)
        self._place: dict[str, int] = {}
        self._start = torch.zeros(0, 2)  # log-probabilities by the policy that the phase starts from
        self._weights = torch.zeros(0, 2)  # learning, retention

    def before_stage(self, stage: Stage, model: PeftModel) -> None:
        """Ask the policy as it is about the stage's pairs, and sort them."""
        self._forget()
        if stage.phase != "preference" or stage.index == 1:
            return
        was_training = model.training
        model.eval()
        with torch.no_grad():
            start = stage.log_probs(model, stage.pairs)
        model.train(was_training)
        gained = start - stage.references(stage.pairs)
        weights = pair_weights(
            gained[:, 0] - gained[:, 1], start[:, 0], self.config.threshold, self.config.low, self.config.high
        )
        self._place = {pair.id: i for i, pair in enumerate(stage.pairs)}
        self._start, self._weights = start, torch.stack(weights, dim=1)

    def pair_loss(self, logits: torch.Tensor, batch: PairBatch) -> torch.Tensor:
        """``learning * DPO + retention * weight * sum (log p - log p_start)**2`` over both responses, (B,)."""
        plain = super().pair_loss(logits, batch)
        if not self._place:
            return plain
        # State that was loaded lies on the CPU; it is moved once.
        self._start, self._weights = self._start.to(logits.device), self._weights.to(logits.device)
        rows = [self._place[pair.id] for pair in batch.pairs]
        weights, left = self._weights[rows], torch.stack((batch.chosen, batch.rejected), dim=1) - self._start[rows]
        return weights[:, 0] * plain + self.config.retention * weights[:, 1] * (left**2).sum(dim=1)

    def after_stage(self, stage: Stage, model: PeftModel) -> None:
        """Forget the policy that the phase started from."""
        self._forget()

    def _forget(self) -> None:
        self._place = {}
        self._start = self._weights = torch.zeros(0, 2)

    def state_dict(self) -> dict[str, torch.Tensor | PlainValue]:
        """Inside a preference phase: ``pairs`` (ids), ``start`` and ``weights``, both (pairs, 2)."""
        if not self._place:
            return {}
        return {"pairs": list(self._place), "start": self._start, "weights": self._weights}

    def load_state_dict(self, state: Mapping[str, torch.Tensor | PlainValue]) -> None:
        """Take back what :meth:`state_dict` gave."""
        self._forget()
        pairs, start, weights = state.get("pairs"), state.get("start"), state.get("weights")
        if isinstance(pairs, list) and isinstance(start, torch.Tensor) and isinstance(weights, torch.Tensor):
            self._place = {str(pair): i for i, pair in enumerate(pairs)}
            self._start, self._weights = start, weights
