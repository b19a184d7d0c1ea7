"""What an engine is asked and says: greedy responses, as token ids, of a model as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from peft import PeftModel

from lifealign_bench.models.generate import StopTexts
from lifealign_bench.models.load import LoadedModel
from lifealign_bench.models.logprobs import Layout
from lifealign_bench.models.steps import Arrangement
from lifealign_bench.util.progress import Notice


@dataclass(frozen=True)
class Handover:
    """What an engine needs that generates in another process.

    Args:
        adapter: the folder of the adapter that is on, in PEFT's format; None: the base model is asked.
        weights: names the weights that are asked.
        kept: a file for finished responses, of which nobody else needs anything once they are all there.
        stopped: whether the user asked to stop.
    """

    adapter: Path | None
    weights: str
    kept: Path
    stopped: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class Prompting:
    """Prompts to be continued greedily, and all that decides how.

    Args:
        base: the base model as it was loaded.
        model: the base model with the adapter, on or off.
        prompts: token ids.
        stops: for each prompt the texts that end its response.
        most: tokens of a response at most.
        batch_size: prompts together.
        stop: the tokens that end a response, which does not hold them.
        layout, token_budget, device: of the model's passes.
        arrangement: how prompts stand in a batch; it may have to be tried first.
        asked: prompts of the run, for trials.
        advance: told how many more prompts are done.
        notice: told what the user should know.
        handover: for an engine outside this process; None: where there is none to be made.
    """

    base: LoadedModel
    model: PeftModel
    prompts: Sequence[Sequence[int]]
    stops: Sequence[tuple[str, ...]]
    most: int
    batch_size: int
    stop: frozenset[int]
    layout: Layout
    token_budget: int
    device: torch.device
    arrangement: Callable[[], Arrangement]
    asked: Sequence[tuple[int, ...]]
    advance: Callable[[int], None]
    notice: Notice
    handover: Handover | None = None

    @property
    def pad_id(self) -> int:
        """The padding token."""
        return int(self.base.tokenizer.pad_token_id)

    def stop_texts(self) -> StopTexts | None:
        """The stop texts of the prompts, where there are any."""
        return StopTexts(self.stops, self.base.tokenizer.decode) if any(self.stops) else None

    def trimmed(self, place: int, tokens: Sequence[int]) -> list[int]:
        """The response to the prompt at a place, of an engine that may have gone on after its end: up to the stop
        token, or with the token that brings the stop text."""
        kept: list[int] = []
        texts = self.stop_texts()
        for token in tokens[: self.most]:
            if token in self.stop:
                break
            kept.append(token)
            if texts is not None and texts.finished(place, kept):
                break
        return kept


class GenerationEngine(Protocol):
    """What generates responses."""

    @property
    def label(self) -> str:
        """The engine, and where it is not this package's its version, for records: two labels are two machines."""

    def make_ready(self, asking: Prompting) -> None:
        """Make sure that it can answer as the base model, before anything is trained.

        Args:
            asking: as the run will ask, with prompts of it.

        Raises:
            BenchError: it cannot, with the remedy.
        """

    def respond(self, asking: Prompting) -> list[list[int]]:
        """Greedy responses to the prompts, in their order, without the stop token; all processes call it.

        Raises:
            BenchError: there are none that can be believed.
        """
