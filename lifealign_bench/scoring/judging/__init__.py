"""Judges that answer in words: an OpenAI-compatible server or a local chat model, asked with patience and once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from lifealign_bench.config import RunConfig
from lifealign_bench.data.cards import load_task
from lifealign_bench.errors import UsageError
from lifealign_bench.scoring.judging.budget import Budget, read_prices
from lifealign_bench.scoring.judging.judge import Judge, Referee
from lifealign_bench.scoring.judging.rules import CheckReferee, RewardReferee
from lifealign_bench.scoring.judging.store import AnswerStore
from lifealign_bench.scoring.judging.worded import WordsReferee

if TYPE_CHECKING:
    from lifealign_bench.scoring.rewardmodel.model import RewardModel

__all__ = ["JudgeName", "check_judge", "check_referee", "judge_name", "make_judge", "make_referee"]


def check_judge(config: RunConfig) -> None:
    """Refuse a judge in words that cannot work, without reaching it.

    Raises:
        UsageError: there is none, it is of a kind that only compares, its address or its key is missing or wrong, or it
            cannot do what its settings ask for.
    """
    from lifealign_bench.scoring.judging.openai import find_endpoint

    name = judge_name(config.judge)
    if not name.in_words:
        raise UsageError(
            f"The judge {config.judge!r} compares two responses and answers no question.",
            "Give --judge server:MODEL or local:MODEL, or leave out the scorers that ask (--scorer judge).",
        )
    if name.kind == "server":
        find_endpoint(config)
        read_prices()
    elif config.judging.judge_temperature > 0:
        raise UsageError("A local judge answers greedily.", "Leave judge_temperature at 0.")


def make_judge(config: RunConfig) -> Judge:
    """The judge of a run, reached once.

    Raises:
        BenchError: there is none, or it cannot be had; says why.
    """
    check_judge(config)
    name, store, budget = judge_name(config.judge), AnswerStore(), Budget(config.judge_budget)
    if name.kind == "local":
        from lifealign_bench.scoring.judging.local import LocalJudge

        return LocalJudge(name.model, config, store, budget)
    from lifealign_bench.scoring.judging.openai import find_endpoint
    from lifealign_bench.scoring.judging.server import ServerJudge

    judge = ServerJudge(name.model, find_endpoint(config), config.judging, store, budget, read_prices())
    judge.reach()
    return judge


JudgeKind = Literal["server", "local", "reward", "check"]

_FORMS = "Give --judge server:MODEL (an OpenAI-compatible server) or local:MODEL (a model's name or folder)."


@dataclass(frozen=True)
class JudgeName:
    """A judge. ``server`` and ``local`` answer in words and have a model; ``reward`` and ``check`` only compare."""

    kind: JudgeKind
    model: str = ""

    @property
    def in_words(self) -> bool:
        """Whether it answers questions."""
        return self.kind in ("server", "local")


def judge_name(text: str | None) -> JudgeName:
    """The judge that ``--judge`` names.

    Raises:
        UsageError: it names none.
    """
    if text is None:
        raise UsageError("There is no judge.", _FORMS)
    kind, colon, model = text.partition(":")
    if (kind in ("server", "local") and model.strip()) or (kind in ("reward", "check") and not colon):
        return JudgeName(cast(JudgeKind, kind), model.strip())
    raise UsageError(f"{text!r} is not a judge.", f"{_FORMS} Pairs are also compared by --judge reward or check.")


def check_referee(config: RunConfig) -> None:
    """Refuse a judge that cannot be, before anything is loaded.

    Raises:
        UsageError: none is named, or an unknown one; it lacks a reward model; no task has a checking function; a judge
            in words cannot work.
    """
    if config.judge is None:
        raise UsageError(
            "The scorer 'win' needs a judge.",
            "Name one: --judge check (the tasks' own functions), reward (with --reward), server:MODEL or local:MODEL.",
        )
    name = judge_name(config.judge)
    if name.in_words:
        check_judge(config)
    elif name.kind == "reward" and config.reward_model is None:
        raise UsageError("--judge reward needs a reward model.", "Name one with --reward, e.g. --reward trained.")
    elif name.kind == "check" and not any(load_task(str(config.task_cards.get(n, n))).reward for n in config.tasks):
        raise UsageError(
            f"--judge check: no task of the stream {config.stream!r} has a checking function.",
            "Use another judge: reward (with --reward), server:MODEL or local:MODEL.",
        )


def make_referee(config: RunConfig, judge: Callable[[], Judge], reward_model: Callable[[], RewardModel]) -> Referee:
    """The referee of a run.

    Args:
        judge, reward_model: give those that the run's scorers share; the one that is needed is asked for.

    Raises:
        BenchError: it cannot be had.
    """
    check_referee(config)
    kind = judge_name(config.judge).kind
    if kind == "check":
        return CheckReferee()
    if kind == "reward":
        return RewardReferee(reward_model())
    return WordsReferee(judge())
