"""Which scores of a record can be had here: a record names judges, reward models and tests, and holds none of them."""

from __future__ import annotations

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import BenchError
from lifealign_bench.models.load import EMBEDDED, FAKE
from lifealign_bench.scoring.abilities.load import find_abilities
from lifealign_bench.scoring.abilities.names import is_file
from lifealign_bench.scoring.rewardmodel.model import TRAINED
from lifealign_bench.scoring.scorers import SCORERS

__all__ = ["scores_at_hand"]

_ASK = ("judge", "win")


def scores_at_hand(config: RunConfig, drop_win: bool = False) -> tuple[RunConfig, dict[str, str]]:
    """The run with those of its scorers and abilities that can be had, and the others with the reason.

    Args:
        drop_win: the scorer ``win`` has no opponent left.

    Raises:
        BenchError: no scorer is left.
    """
    left_out: dict[str, str] = {}
    for name in config.scorers:
        reason = "none of its opponents is at hand" if name == "win" and drop_win else _reason(name, config)
        if reason:
            left_out[name] = reason
    scorers = tuple(name for name in config.scorers if name not in left_out)
    if not scorers:
        raise BenchError(
            "None of the record's scores can be had here: "
            + "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
            + ".",
            "Nothing was trained.",
        )
    changes: dict[str, object] = {"scorers": scorers}
    if not set(_ASK) & set(scorers):
        changes |= {"judge": None, "judge_url": None}
    if "win" not in scorers:
        changes |= {"opponents": ("base",)}
    abilities, missing = _abilities(config)
    changes |= {"abilities": abilities}
    return config.model_copy(update=changes), {**left_out, **missing}


def _reason(name: str, config: RunConfig) -> str:
    """Why a scorer cannot score here; empty where it can, as far as can be told without loading anything."""
    if name not in SCORERS.names():
        return "this version has no such scorer"
    if name in _ASK and (config.judge or "").startswith("server:") and config.judge_url is None:
        return f"the judge {config.judge} is not at hand (--judge-url)"
    try:
        SCORERS.get(name).check(config)
    except BenchError as error:
        return error.message.rstrip(".")
    models = []
    if name in _ASK and (config.judge or "").startswith("local:"):
        models.append((config.judge or "").removeprefix("local:"))
    if name == "reward_model" or (name == "win" and config.judge == "reward"):
        models.append(config.reward_model or TRAINED)
    return next((reason for model in models if (reason := _model_reason(model, config))), "")


def _model_reason(name: str, config: RunConfig) -> str:
    """Why a judge's or reward model cannot be had; its configuration is looked for, not its weights."""
    if name in (TRAINED, EMBEDDED, FAKE):
        return ""
    from transformers import AutoConfig

    try:
        AutoConfig.from_pretrained(name, trust_remote_code=config.trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        first = (str(error).strip() or type(error).__name__).partition("\n")[0]
        return f"the model {name} is not at hand ({first.rstrip('.')})"
    return ""


def _abilities(config: RunConfig) -> tuple[tuple[str, ...], dict[str, str]]:
    """The tests of general ability to ask for. A single one that is missing is left out by the run itself."""
    left_out = {
        word: "its YAML file is named by the record and not at hand" for word in config.abilities if is_file(word)
    }
    words = tuple(word for word in config.abilities if word not in left_out)
    if not words:
        return (), left_out
    try:
        found = find_abilities(config.model_copy(update={"abilities": words}), None, lambda text: None)
    except BenchError as error:
        return (), {**left_out, **dict.fromkeys(words, error.message.rstrip("."))}
    return words, {**left_out, **found.left_out}
