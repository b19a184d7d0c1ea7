"""Scorers: (what the model said about a task) -> numbers per test pair. One file a scorer; none imports torch."""

from __future__ import annotations

import contextlib

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.results.scores import ScoreInfo
from lifealign_bench.scoring.scorer import Need, Scored, Scorer, ScorerContext, TaskView
from lifealign_bench.scoring.scorers.distance import DistanceScorer
from lifealign_bench.scoring.scorers.judge import JudgeScorer
from lifealign_bench.scoring.scorers.overlap import OverlapScorer
from lifealign_bench.scoring.scorers.preference import PreferenceScorer
from lifealign_bench.scoring.scorers.reward import RewardScorer
from lifealign_bench.scoring.scorers.reward_model import RewardModelScorer
from lifealign_bench.scoring.scorers.win import WinScorer
from lifealign_bench.util.registry import Registry

__all__ = [
    "SCORERS",
    "Need",
    "Scored",
    "Scorer",
    "ScorerContext",
    "TaskView",
    "load_scorers",
    "possible_scorers",
    "score_infos",
]

SCORERS: Registry[type[Scorer]] = Registry("scorer")
SCORERS.add("preference", PreferenceScorer)
SCORERS.add("reward", RewardScorer)
SCORERS.add("overlap", OverlapScorer)
SCORERS.add("judge", JudgeScorer)
SCORERS.add("distance", DistanceScorer)
SCORERS.add("reward_model", RewardModelScorer)
SCORERS.add("win", WinScorer)


def load_scorers(names: tuple[str, ...]) -> dict[str, Scorer]:
    """The scorers called ``names``, by name and in their order; not yet prepared.

    Raises:
        UsageError: an unknown name.
    """
    return {name: SCORERS.get(name)() for name in names}


def possible_scorers(config: RunConfig) -> tuple[str, ...]:
    """All scorers that have what they need: some need a judge or a model that the user names."""
    found = []
    for name in SCORERS.names():
        with contextlib.suppress(UsageError):
            SCORERS.get(name).check(config)
            found.append(name)
    return tuple(found)


def score_infos(config: RunConfig) -> list[ScoreInfo]:
    """The scores of a run, in order."""
    return [info for name in config.scorers for info in SCORERS.get(name).infos(config)]
