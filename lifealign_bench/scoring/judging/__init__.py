"""Judges that answer in words: an OpenAI-compatible server or a local chat model, asked with patience and once."""

from __future__ import annotations

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.judging.names import JudgeName, judge_name
from lifealign_bench.scoring.judging.budget import Budget, read_prices
from lifealign_bench.scoring.judging.judge import Judge, Question, Reply
from lifealign_bench.scoring.judging.store import AnswerStore

__all__ = ["Judge", "JudgeName", "Question", "Reply", "check_judge", "judge_name", "make_judge"]


def check_judge(config: RunConfig) -> None:
    """Refuse a judge in words that cannot work, without reaching it.

    Raises:
        UsageError: there is none, it is of a kind that only compares, its address or its key is missing or wrong, or it
            cannot do what its settings ask for.
    """
    from lifealign_bench.judging.endpoint import find_endpoint

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
    from lifealign_bench.judging.endpoint import find_endpoint
    from lifealign_bench.scoring.judging.server import ServerJudge

    judge = ServerJudge(name.model, find_endpoint(config), config.judging, store, budget, read_prices())
    judge.reach()
    return judge
