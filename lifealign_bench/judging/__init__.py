"""Judges that answer in words: an OpenAI-compatible server or a local chat model, asked with patience and once."""

from __future__ import annotations

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.judging.judge import Judge, Question, Reply

__all__ = ["Judge", "Question", "Reply", "make_judge"]


def make_judge(config: RunConfig) -> Judge:
    """The judge of a run.

    Raises:
        BenchError: there is none, or it cannot be had.
    """
    raise UsageError(f"There is no judge {config.judge!r} yet.")
