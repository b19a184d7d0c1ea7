"""What a reward model is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from lifealign_bench.pairs import Message
from lifealign_bench.results.statistics import Array

# What --reward says for a model that is made here: of the stream's training pairs, or of those that the run leaves
# unused. The latter may name its encoder's folder: held-out:FOLDER.
TRAINED = "trained"
HELD_OUT = "held-out"


def encoder_of(name: str | None) -> str | None:
    """The folder of the encoder that a held-out reward model names, empty for the usual one; None for another model."""
    kind, _, folder = (name or "").partition(":")
    return folder if kind == HELD_OUT else None


def is_made_here(name: str) -> bool:
    """Whether it is no model of somebody's."""
    return name == TRAINED or encoder_of(name) is not None


# A prompt and the response to it.
Dialogue = tuple[tuple[Message, ...], str]


class RewardModel(Protocol):
    """Says what responses are worth."""

    @property
    def name(self) -> str:
        """As ``--reward`` names it."""
        ...

    def rewards(self, dialogues: Sequence[Dialogue], tasks: Sequence[str]) -> Array:
        """(D,) the model's raw scores, in the order of the dialogues; the same text is computed once ever.

        Args:
            tasks: the task of each, for a model that is another one for each task.

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
