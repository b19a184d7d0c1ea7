"""How much the model prefers the chosen response, from log-probabilities alone."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from lifealign_bench.results.scores import ScoreInfo
from lifealign_bench.results.statistics import Array, half_at_zero
from lifealign_bench.scoring.scorer import Need, Scored, Scorer, TaskView

_WITHIN = 2.0  # standard deviations of the rounding: 95 of 100 errors are smaller


class PreferenceScorer(Scorer):
    """Implicit rewards against the base model (Rafailov et al. 2023, section 5), and the policy by itself.

    What is divided by tokens is divided by those of each response up to its end of turn: what a template writes after
    that is in the sums, as in training, and is never generated.
    """

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
            "preference_accuracy_per_token",
            True,
            "the same share by what each response gained a token: a drift of all tokens alike prefers no length",
        ),
        ScoreInfo(
            "preference_margin_per_token",
            False,
            "mean difference of what a token gained over the base model, chosen minus rejected",
            unit="nats a token",
        ),
        ScoreInfo(
            "policy_accuracy",
            True,
            "share of test pairs whose chosen response has the higher log-probability a token (no reference)",
        ),
        ScoreInfo(
            "policy_margin", False, "mean difference of log-probability a token, chosen minus rejected (no reference)"
        ),
        ScoreInfo(
            "chosen_longer",
            True,
            "share of test pairs whose chosen response has more tokens than the rejected one, a tie counts half: a "
            "fact of the data, whatever the model does",
            quality=False,
        ),
    )

    def score(self, view: TaskView) -> Scored:
        """See ``scores``; facts: how many pairs' margins lie within what rounding may do, after a training stage."""
        gained = view.policy - view.base
        margin = gained[:, 0] - gained[:, 1]
        each = gained / view.lengths
        by_token = each[:, 0] - each[:, 1]
        per_token = view.policy / view.lengths
        policy_margin = per_token[:, 0] - per_token[:, 1]
        return Scored(
            {
                "preference_accuracy": half_at_zero(margin),
                "preference_margin": margin,
                "preference_accuracy_per_token": half_at_zero(by_token),
                "preference_margin_per_token": by_token,
                "policy_accuracy": half_at_zero(policy_margin),
                "policy_margin": policy_margin,
                "chosen_longer": half_at_zero(view.lengths[:, 0] - view.lengths[:, 1]),
            },
            _noise(view, margin),
        )


def _noise(view: TaskView, margin: Array) -> dict[str, Any]:
    """Nothing of the base model, whose margins against itself are 0."""
    if view.noise is None or view.stage == 0:
        return {}
    return {
        "pairs": len(margin),
        "noise_nats": float(view.noise.mean()),
        "within_noise": int((np.abs(margin) < _WITHIN * view.noise).sum()),
    }
