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

Faithful: the five cases and which weight is high or low in each (a trlx fork with the authors' code keeps pairs of high
variance at retention 1, and an inverted condition in it leaves all retention weights at 1); as in that code, the
penalty is a mean over a response's tokens of squared differences of their log-probabilities, and P the mean
log-probability of a token. (Of sums over T tokens, a drift that they share costs T**2 times as much: the policy would
stay where it was. And a high P would mean a short response.)

Adapted, since there is neither a rollout nor a reward model here (as in the baseline of the LifeAlign paper's code):
- PPO's loss is that of DPO; R is the implicit reward margin of the pair, P that of its chosen response.
- The rollout is the stage's training pairs, sorted once, by the policy that the preference phase starts from: a pair's
  weights depend on no batch, packing or number of processes. The penalty holds both responses to that same policy: it
  is the sum of theirs.
- The weights are the bounds themselves (0.5 and 2, threshold 1, retention 0.1, as in the LifeAlign paper's code, whose
  penalty is of sums and whose old policy is the one before the first task). The paper's heuristic and learned weights
  lie between the bounds. The retention is what ``lifealign-bench tune`` varies beside the rate.
- DPO's loss is of sums over tokens and the penalty of means: the longer the responses, the further a pair's margin may
  go before the penalty stops it (at most 16, 26 and 37 nats for a normal pair of 10, 20 and 40 tokens a response).
- Stage 1 is plain DPO: there is no earlier policy to keep.

With ``reference: previous`` all margins
begin at zero and every pair is normal. The supervised phase is plain. Nothing is kept from stage to stage; within a
preference phase it is a number for each token of the responses and two a pair.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from peft import PeftModel
from pydantic import Field

from lifealign_bench.method import RATE, Method, MethodConfig, PairBatch, PlainValue, Stage, Tuned, register_method


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
        log_probs: (B,), mean log-probability of a token of each pair's response.
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
    tunes: ClassVar[tuple[Tuned, ...]] = (RATE, Tuned("method.retention", factors=(0.1, 1, 10), within=1e4))

    def __init__(self, config: CPPOConfig) -> None:
        super().__init__(config)
        self._place: dict[str, int] = {}
        self._lengths: list[int] = []  # tokens of each pair, both responses together
        self._start = torch.zeros(0)  # the pairs' tokens' log-probabilities by the policy that the phase starts from
        self._weights = torch.zeros(0, 2)  # learning, retention

    def before_stage(self, stage: Stage, model: PeftModel) -> None:
        """Ask the policy as it is about the stage's pairs, and sort them."""
        self._forget()
        if stage.phase != "preference" or stage.index == 1:
            return
        was_training = model.training
        model.eval()
        with torch.no_grad():
            start = stage.response_log_probs(model, stage.pairs)
        model.train(was_training)
        sums = torch.stack([response.sum() for both in start for response in both]).view(-1, 2)
        gained = sums - stage.references(stage.pairs)
        probable = torch.stack([chosen.mean() for chosen, _ in start])
        weights = pair_weights(
            gained[:, 0] - gained[:, 1], probable, self.config.threshold, self.config.low, self.config.high
        )
        self._place = {pair.id: i for i, pair in enumerate(stage.pairs)}
        self._lengths = [len(chosen) + len(rejected) for chosen, rejected in start]
        self._start = torch.cat([response for both in start for response in both])
        self._weights = torch.stack(weights, dim=1)

    def pair_loss(self, logits: torch.Tensor, batch: PairBatch) -> torch.Tensor:
        """``learning * DPO + retention * weight * penalty``, (B,).

        The penalty is the sum over both responses of the mean over a response's tokens of ``(log p - log p_start)**2``.
        """
        plain = super().pair_loss(logits, batch)
        if not self._place:
            return plain
        # State that was loaded lies on the CPU; it is moved once.
        self._start, self._weights = self._start.to(logits.device), self._weights.to(logits.device)
        rows = [self._place[pair.id] for pair in batch.pairs]
        weights, known = self._weights[rows], torch.split(self._start, self._lengths)
        # The start knows a pair's tokens in their order, the chosen response's first; those of a pass may be mixed.
        order = torch.argsort(batch.owner, stable=True)
        left = (batch.tokens[order] - torch.cat([known[row] for row in rows])) ** 2
        owner, nothing = batch.owner[order], torch.zeros(2 * len(rows), device=left.device, dtype=left.dtype)
        means = nothing.index_add(0, owner, left) / nothing.index_add(0, owner, torch.ones_like(left))
        return weights[:, 0] * plain + self.config.retention * weights[:, 1] * means.view(-1, 2).sum(dim=1)

    def after_stage(self, stage: Stage, model: PeftModel) -> None:
        """Forget the policy that the phase started from."""
        self._forget()

    def _forget(self) -> None:
        self._place, self._lengths = {}, []
        self._start, self._weights = torch.zeros(0), torch.zeros(0, 2)

    def state_dict(self) -> dict[str, torch.Tensor | PlainValue]:
        """Inside a preference phase: ``pairs`` (ids), their ``lengths``, ``start`` (tokens), ``weights`` (pairs, 2)."""
        if not self._place:
            return {}
        return {
            "pairs": list(self._place),
            "lengths": list(self._lengths),
            "start": self._start,
            "weights": self._weights,
        }

    def load_state_dict(self, state: Mapping[str, torch.Tensor | PlainValue]) -> None:
        """Take back what :meth:`state_dict` gave."""
        self._forget()
        pairs, lengths = state.get("pairs"), state.get("lengths")
        start, weights = state.get("start"), state.get("weights")
        if not (isinstance(start, torch.Tensor) and isinstance(weights, torch.Tensor)):
            return
        if isinstance(pairs, list) and isinstance(lengths, list):
            self._place = {str(pair): i for i, pair in enumerate(pairs)}
            self._lengths = [int(length) for length in lengths]
            self._start, self._weights = start, weights
