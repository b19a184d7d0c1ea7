"""How far the policy has moved from the base model, where it speaks for itself."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from lifealign_bench.results.history import repetition
from lifealign_bench.results.scores import ScoreInfo
from lifealign_bench.scoring.scorer import Need, Scored, Scorer, TaskView


class DistanceScorer(Scorer):
    """No score of quality: a policy may be far away and good, or near and bad."""

    summary = "distance from the base model on the policy's own greedy responses, and the shape of these responses"
    needs: ClassVar[frozenset[Need]] = frozenset({"responses", "distance"})
    depends: ClassVar[tuple[str, ...]] = ("distance_stages",)
    scores: ClassVar[tuple[ScoreInfo, ...]] = (
        ScoreInfo(
            "kl_base",
            False,
            "mean over a greedy response's tokens of KL(policy || base model), summed over the whole vocabulary",
            unit="nats a token",
            quality=False,
        ),
        ScoreInfo("response_words", False, "mean number of words of the greedy response", unit="words", quality=False),
        ScoreInfo("response_empty", True, "share of greedy responses without a word", quality=False),
        ScoreInfo(
            "response_repeated",
            True,
            "mean share of a response's four-word runs that it has said before; 0 for fewer than five words",
            quality=False,
        ),
    )

    def score(self, view: TaskView) -> Scored:
        """See ``scores``; no divergence after a stage at which none is measured."""
        if view.responses is None:
            raise ValueError(f"{view.card.name} has no responses")
        distance = np.full(len(view.pairs), np.nan) if view.distance is None else view.distance
        words = np.array([len(text.split()) for text in view.responses], dtype=float)
        return Scored(
            {
                "kl_base": distance,
                "response_words": words,
                "response_empty": (words == 0).astype(float),
                "response_repeated": np.nan_to_num(np.array([repetition(text) for text in view.responses])),
            }
        )
