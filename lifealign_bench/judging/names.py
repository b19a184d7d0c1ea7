"""What ``--judge`` says: the kind of judge, and its model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from lifealign_bench.errors import UsageError

__all__ = ["JudgeName", "judge_name"]

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
