"""Who judges: finding the judge of ``--judge`` among the kinds of this folder, installed packages and users' files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.scoring.judging.judge import Judge, JudgeContext
from lifealign_bench.scoring.judging.worded import WordedJudge
from lifealign_bench.util.extensions import ClassFinder, Origin, is_own_file, own_code

if TYPE_CHECKING:
    from lifealign_bench.scoring.rewardmodel.model import RewardModel

JUDGES: ClassFinder[Judge] = ClassFinder("judge", Path(__file__).parent / "kinds", f"{__name__}.kinds", Judge)

_FORMS = "Give --judge server:MODEL (an OpenAI-compatible server) or local:MODEL (a model's name or folder)."


def judge_kind(text: str | None) -> tuple[type[Judge], str]:
    """The kind of the judge that ``--judge`` names, and its model, empty where it has none.

    Raises:
        UsageError: it names none.
        BenchError: a user's file or an installed package cannot be used.
    """
    if text is None:
        raise UsageError("There is no judge.", _FORMS)
    if is_own_file(text):
        return JUDGES.load(text), ""
    kind, colon, model = text.partition(":")
    if kind in JUDGES.names():
        found = JUDGES.load(kind)
        if bool(model.strip()) == bool(found.takes) and bool(colon) == bool(found.takes):
            return found, model.strip()
    raise UsageError(
        f"{text!r} is not a judge.",
        f"{_FORMS} Pairs are also compared by --judge reward or check. Known kinds: {', '.join(JUDGES.names())}; a "
        "file of your own: --judge mine.py.",
    )


def check_judge(config: RunConfig, *, in_words: bool = False) -> None:
    """Refuse a judge that cannot work, without loading or reaching it.

    Args:
        in_words: whether it has to answer questions.

    Raises:
        BenchError: there is none, or what it needs is missing or wrong; it only compares, and is to answer.
    """
    kind, model = judge_kind(config.judge)
    if in_words and not issubclass(kind, WordedJudge):
        raise UsageError(
            f"The judge {config.judge!r} compares two responses and answers no question.",
            "Give --judge server:MODEL or local:MODEL, or leave out the scorers that ask (--scorer judge).",
        )
    with own_code(f"judge {config.judge}", kind):
        kind.check(config, model)


def make_judge(config: RunConfig, reward_model: Callable[[], RewardModel]) -> Judge:
    """The judge of a run, loaded or reached.

    Args:
        reward_model: gives that which the run's scorers share.

    Raises:
        BenchError: there is none, or it cannot be had; says why.
    """
    check_judge(config)
    kind, model = judge_kind(config.judge)
    with own_code(f"judge {config.judge}", kind):
        judge = kind.make(model, JudgeContext(config, reward_model))
    judge.name = judge.name or str(config.judge)
    return judge


def judge_models(config: RunConfig) -> tuple[str, ...]:
    """The models that the run's judge loads, by name or folder."""
    kind, model = judge_kind(config.judge)
    return kind.models(config, model)


def judge_absent(config: RunConfig) -> str:
    """Why the run's judge is not available for who repeats the run from its record; empty where it may be."""
    kind, model = judge_kind(config.judge)
    return kind.absent(config, model)


def judge_origin(text: str) -> Origin | None:
    """Where a judge comes from that is not part of this package."""
    return JUDGES.origin(text if is_own_file(text) else text.partition(":")[0])
