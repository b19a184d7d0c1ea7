"""What of a run is not part of this package: users' own files and what installed packages bring."""

from __future__ import annotations

from lifealign_bench.config import RunConfig
from lifealign_bench.data.cards import load_task
from lifealign_bench.data.rewards import reward_origin
from lifealign_bench.methods import method_origin
from lifealign_bench.scoring.judging import judge_origin
from lifealign_bench.scoring.scorers import SCORERS
from lifealign_bench.util.extensions import Origin, is_own_file, own_name


def extensions_of(config: RunConfig) -> dict[str, dict[str, dict[str, str]]]:
    """Kind to name to source and version of all that scores a run and is from outside, and of an installed method.

    Rewards are named by their task. A user's own method file is not here: every record has its method's source.

    Raises:
        BenchError: one of them is missing or broken.
    """
    cards = [load_task(str(config.task_cards.get(name, name))) for name in config.tasks]
    found: dict[str, dict[str, Origin | None]] = {
        "methods": {} if is_own_file(config.method) else {config.method: method_origin(config.method)},
        "scorers": {own_name(word): SCORERS.origin(word) for word in config.scorers},
        "judges": {own_name(config.judge): judge_origin(config.judge)} if config.judge is not None else {},
        "rewards": {card.name: reward_origin(card.reward, card.home) for card in cards if card.reward is not None},
    }
    outside = {
        kind: {name: origin.as_dict() for name, origin in origins.items() if origin is not None}
        for kind, origins in found.items()
    }
    return {kind: origins for kind, origins in outside.items() if origins}
