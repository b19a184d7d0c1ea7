"""How much the model prefers the chosen response, from log-probabilities alone."""

from __future__ import annotations

from typing import ClassVar

from lifealign_bench.results.scores import ScoreInfo
from lifealign_bench.results.statistics import half_at_zero
from lifealign_bench.scoring.scorer import Need, Scored, Scorer, TaskView


class PreferenceScorer(Scorer):
    """Implicit rewards against the base model (Rafailov et al. 2023, section 5), and the policy by itself."""

    summary = "preference by log-probabilities: implicit reward against the base model, and without a reference"
    needs: ClassVar[frozenset[Need]] = frozenset({"log_probs"})
    scores: ClassVar[tuple[ScoreInfo, ...]] = (
        ScoreInfo(
            "preference_accuracy",
            True,
            "share of test pairs whose chosen response gained more log-probability over the base model than the "
            "rejected one; a tie counts half, so the base model is at 50",
            main=10,
        ),
        ScoreInfo(
            "preference_margin",
            False,
            "mean of that difference in nats (sums over tokens, base model as reference, not multiplied by beta)",
        ),
        ScoreInfo(
            "policy_accuracy",
            True,
            "share of test pairs whose chosen response has the higher log-probability a token (no reference)",
        ),
        ScoreInfo(
            "policy_margin", False, "mean difference of log-probability a token, chosen minus rejected (no reference)"
        ),
    )

    def score(self, view: TaskView) -> Scored:
        """See ``scores``."""
        gained = view.policy - view.base
        margin = gained[:, 0] - gained[:, 1]
        per_token = view.policy / view.lengths
        policy_margin = per_token[:, 0] - per_token[:, 1]
        return Scored(
            {
                "preference_accuracy": half_at_zero(margin),
                "preference_margin": margin,
                "policy_accuracy": half_at_zero(policy_margin),
                "policy_margin": policy_margin,
            }
        )
