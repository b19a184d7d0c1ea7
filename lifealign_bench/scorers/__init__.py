"""Scorers: (what the model said about a task) -> numbers per test pair. One file a scorer; none imports torch."""

from __future__ import annotations

from lifealign_bench.registry import Registry
from lifealign_bench.scorers.overlap import OverlapScorer
from lifealign_bench.scorers.preference import PreferenceScorer
from lifealign_bench.scorers.reward import RewardScorer
from lifealign_bench.scorers.scorer import ScoreInfo, Scorer, TaskView

__all__ = ["SCORERS", "ScoreInfo", "Scorer", "TaskView", "load_scorers", "score_infos"]

SCORERS: Registry[type[Scorer]] = Registry("scorer")
SCORERS.add("preference", PreferenceScorer)
SCORERS.add("reward", RewardScorer)
SCORERS.add("overlap", OverlapScorer)


def load_scorers(names: tuple[str, ...]) -> list[Scorer]:
    """The scorers called ``names``, in their order.

    Raises:
        UsageError: an unknown name.
    """
    return [SCORERS.get(name)() for name in names]


def score_infos(names: tuple[str, ...] | None = None) -> list[ScoreInfo]:
    """The scores that these scorers (default: all) give, in order."""
    chosen = names if names is not None else tuple(SCORERS.names())
    return [info for name in chosen for info in SCORERS.get(name).scores]
