"""What a reward model is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from lifealign_bench.pairs import Message
from lifealign_bench.results.statistics import Array

# What --reward says for a model that is made of the stream's training pairs.
TRAINED = "trained"

# A prompt and the response to it.
Dialogue = tuple[tuple[Message, ...], str]


class RewardModel(Protocol):
    """Says what responses are worth."""

    @property
    def name(self) -> str:
        """As ``--reward`` names it."""
        ...

    def rewards(self, dialogues: Sequence[Dialogue]) -> Array:
        """(D,) the model's raw scores, in the order of the dialogues; the same text is computed once ever.

        Raises:
            BenchError: a score is not finite; the model cannot read a dialogue.
        """
        ...

    def cut(self, dialogues: Sequence[Dialogue]) -> int:
        """How many of the dialogues it cannot read whole, because they are beyond its cut-off."""
        ...

    def facts(self) -> dict[str, Any]:
        """For the record: model, fingerprint, settings, how it was trained. No text."""
        ...
