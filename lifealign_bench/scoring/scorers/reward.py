"""What the model's responses are worth by the task's own checking function, and how often they win by it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from lifealign_bench.data.cards import TaskCard
from lifealign_bench.data.rewards import load_reward
from lifealign_bench.results.scores import ScoreInfo
from lifealign_bench.results.statistics import Array, half_at_zero
from lifealign_bench.scoring.scorer import Need, Scored, Scorer, TaskView


class RewardScorer(Scorer):
    """For tasks whose card names a reward function; others are left out (NaN)."""

    summary = "reward of greedy responses by the task's checking function, and win-rates by that reward"
    needs: ClassVar[frozenset[Need]] = frozenset({"responses"})
    scores: ClassVar[tuple[ScoreInfo, ...]] = (
        ScoreInfo(
            "reward",
            True,
            "mean reward (0 to 100) of the greedy response by the task's checking function",
            checked=True,
            main=20,
        ),
        ScoreInfo(
            "win_rate",
            True,
            "share of test prompts whose response has a higher reward than the base model's; ties half",
            checked=True,
            main=50,
        ),
        ScoreInfo(
            "win_rate_chosen",
            True,
            "share of test prompts whose response has a higher reward than the chosen response; ties half",
            checked=True,
        ),
    )

    def applies(self, card: TaskCard) -> bool:
        """Whether the card names a reward function."""
        return card.reward is not None

    def score(self, view: TaskView) -> Scored:
        """See ``scores``."""
        if view.card.reward is None or view.responses is None or view.base_responses is None:
            raise ValueError(f"{view.card.name} has no reward function or no responses")
        function = load_reward(view.card.reward, view.card.home)

        def rewards(texts: tuple[str, ...]) -> Array:
            return np.array([function(text, dict(p.check)) for text, p in zip(texts, view.pairs, strict=True)])

        own = rewards(view.responses)
        return Scored(
            {
                "reward": own,
                "win_rate": half_at_zero(own - rewards(view.base_responses)),
                "win_rate_chosen": half_at_zero(own - rewards(tuple(p.chosen for p in view.pairs))),
            }
        )
