"""Pairs as token ids: the one place where text becomes tokens and where long pairs are shortened.

The completion's tokens are those of the templated dialogue with the response, after the longest prefix that they share
with the templated prompt; this is how TRL's DPOTrainer splits a conversation, so the same tokens are trained on. Where
a template's last prompt tokens depend on what an answer begins with, they belong to the completion for every pair.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from lifealign_bench.data.dialogue import shorten_prompt
from lifealign_bench.data.stats import TokenCounter
from lifealign_bench.errors import BenchError
from lifealign_bench.models.chattemplate import dialogue_ids, lost_roles, turns_of, unsettled
from lifealign_bench.models.wheel import EMBEDDED, embedded_wheel
from lifealign_bench.pairs import Message, Pair
from lifealign_bench.util.clock import Clock
from lifealign_bench.util.process import quieten_libraries


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """A pair's token ids: the prompt once, then the two completions with their end of turn."""

    pair: Pair
    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Tokens of the prompt and of both completions, the prompt counted once."""
        return len(self.prompt) + len(self.chosen) + len(self.rejected)

    @property
    def branches(self) -> tuple[tuple[int, ...], ...]:
        """What continues the prompt: chosen, rejected."""
        return (self.chosen, self.rejected)

    def demonstration(self) -> EncodedPair:
        """The prompt with its chosen response alone, as the supervised phase takes it."""
        return replace(self, rejected=())


@dataclass(frozen=True, slots=True)
class EncodedGroup:
    """A prompt's token ids and those of any number of responses to it, none of them empty."""

    pair: Pair
    prompt: tuple[int, ...]
    branches: tuple[tuple[int, ...], ...]

    @property
    def tokens(self) -> int:
        """Tokens of the prompt, counted once, and of all responses."""
        return len(self.prompt) + sum(map(len, self.branches))


# What a forward pass takes: a prompt and what continues it.
Encoded = EncodedPair | EncodedGroup


@dataclass(frozen=True)
class EncodingReport:
    """What the cut-off did to a split: pairs with a shortened prompt, with a cut response, and dropped ones.

    ``turns_lost`` counts pairs with a turn that the chat template leaves out, ``unsettled`` those whose last prompt
    tokens are others than in the rest by what their answers begin with.
    """

    kept: int = 0
    prompts_shortened: int = 0
    responses_cut: int = 0
    dropped: int = 0
    dropped_ids: list[str] = field(default_factory=list)
    turns_lost: int = 0
    unsettled: int = 0


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase, prompt: Sequence[Message], clock: Clock | None = None
) -> list[int]:
    """Token ids of a templated prompt that asks for a response.

    Args:
        clock: what a template takes for now; None: the present moment.

    Raises:
        TemplateRefusal: the chat template does not take the dialogue.
    """
    return dialogue_ids(tokenizer, turns_of(prompt), clock, ask=True)


@dataclass(frozen=True)
class _Encoder:
    """A tokenizer whose template has a clock, and the number of a prompt's last tokens that depend on answers."""

    tokenizer: PreTrainedTokenizerBase
    clock: Clock
    loose: int

    def prompt(self, turns: Sequence[Message]) -> list[int]:
        return encode_prompt(self.tokenizer, turns, self.clock)

    def pair(
        self, pair: Pair, turns: Sequence[Message]
    ) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], bool]:
        """The prompt, the two completions, and whether the prompt ends where those of other pairs do."""
        prompt = self.prompt(turns)
        full = [
            dialogue_ids(self.tokenizer, turns_of(turns, text), self.clock) for text in (pair.chosen, pair.rejected)
        ]
        settled = max(0, len(prompt) - self.loose)
        shared = min(settled, *(_common_prefix(prompt, ids) for ids in full))
        return tuple(prompt[:shared]), tuple(full[0][shared:]), tuple(full[1][shared:]), shared == settled


def encode_pairs(
    tokenizer: PreTrainedTokenizerBase,
    pairs: Iterable[Pair],
    max_length: int,
    overlong: str,
    clock: Clock | None = None,
    reached: Callable[[int], None] = lambda count: None,
) -> tuple[list[EncodedPair], EncodingReport]:
    """Encode pairs within a cut-off of ``max_length`` tokens for the prompt and one response.

    Where a pair is too long, the prompt loses its oldest turns (``overlong="shorten"``); what still sticks out is cut
    off the end of the responses. A pair whose prompt alone fills the cut-off is dropped; so is, with
    ``overlong="drop"``, every pair whose full prompt does.

    Args:
        clock: what the chat template takes for now; None: the present moment.
        reached: told before every pair of how many are done.

    Raises:
        TemplateRefusal: the chat template does not take a dialogue.
    """
    clock = clock or Clock.now()
    encoder = _Encoder(tokenizer, clock, unsettled(tokenizer, clock))
    lost = lost_roles(tokenizer, clock)
    encoded: list[EncodedPair] = []
    shortened = cut = turns_lost = loose = 0
    dropped: list[str] = []
    for number, pair in enumerate(pairs):
        reached(number)
        prompt, chosen, rejected, settled = encoder.pair(pair, pair.prompt)
        if len(prompt) + max(len(chosen), len(rejected)) > max_length and overlong == "shorten":
            turns = _shorten(encoder, pair, max_length)
            if turns != pair.prompt:
                prompt, chosen, rejected, settled = encoder.pair(pair, turns)
                shortened += 1
        if len(prompt) >= max_length:
            dropped.append(pair.id)
            continue
        room = max_length - len(prompt)
        cut += max(len(chosen), len(rejected)) > room
        turns_lost += any(turn.role in lost for turn in pair.prompt[:-1])
        loose += not settled
        encoded.append(EncodedPair(pair, prompt, chosen[:room], rejected[:room]))
    return encoded, EncodingReport(len(encoded), shortened, cut, len(dropped), dropped[:5], turns_lost, loose)


def _common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    n = min(len(a), len(b))
    return next((i for i in range(n) if a[i] != b[i]), n)


def _shorten(encoder: _Encoder, pair: Pair, max_length: int) -> tuple[Message, ...]:
    """The prompt, which is too long, with as few of its oldest turns left out as let the pair fit; the last turn always
    stays."""

    def fits(turns: tuple[Message, ...]) -> bool:
        if turns is pair.prompt:
            return False
        prompt, chosen, rejected, _ = encoder.pair(pair, turns)
        return len(prompt) + max(len(chosen), len(rejected)) <= max_length

    def at_all(turns: tuple[Message, ...]) -> bool:
        return len(encoder.prompt(turns)) < max_length

    return shorten_prompt(pair.prompt, fits) or shorten_prompt(pair.prompt, at_all) or pair.prompt


def spoken_lengths(pairs: Sequence[EncodedPair], ends: Collection[int]) -> NDArray[np.float64]:
    """Tokens of the two responses that a model would have to say itself, (P, 2).

    What a template writes after the end of turn (a line feed, in ChatML) is trained and summed as in TRL, and never
    generated: the end of turn is the last token that counts. All of a response count where the cut-off took its end.

    Args:
        ends: the tokens that end a response.
    """

    def length(ids: Sequence[int]) -> int:
        return next((i for i in range(len(ids), 0, -1) if ids[i - 1] in ends), len(ids))

    return np.array([[length(p.chosen), length(p.rejected)] for p in pairs], dtype=float).reshape(-1, 2)


def digest_encoded(pairs: Iterable[EncodedPair]) -> str:
    """SHA-256 (hex) of the token ids of ``pairs`` in their order."""
    sha = hashlib.sha256()
    for pair in pairs:
        lengths = [len(pair.prompt), len(pair.chosen), len(pair.rejected)]
        sha.update(np.array([*lengths, *pair.prompt, *pair.chosen, *pair.rejected], dtype="<i8").tobytes())
    return sha.hexdigest()


NO_MODEL = "none"

_NO_LIMIT = 1 << 62


def token_counter(model: str | None, notice: Callable[[str], None]) -> tuple[str | None, TokenCounter | None]:
    """The model whose tokens are counted and the function that counts; both None where there are only characters.

    Args:
        model: its name; ``none``: count no tokens; None: the embedded model, or none with a notice where it is not
            here.
        notice: hears why no tokens are counted.

    Raises:
        BenchError: the tokenizer that was asked for cannot be loaded.
    """
    if model == NO_MODEL:
        return None, None
    from lifealign_bench.models.tokenizer import load_tokenizer

    if model is None and embedded_wheel() is None:
        notice(f"Tokens are not counted, only characters: {EMBEDDED} is not here; --model {EMBEDDED} fetches it.")
        return None, None
    quieten_libraries()
    try:
        tokenizer = load_tokenizer(model or EMBEDDED)
    except BenchError as error:
        if model is not None:
            raise
        notice(f"Tokens are not counted, only characters: {error}")
        return None, None

    def count(pairs: Sequence[Pair]) -> list[tuple[int, int, int]]:
        encoded, _ = encode_pairs(tokenizer, pairs, _NO_LIMIT, "drop")
        return [(len(pair.prompt), len(pair.chosen), len(pair.rejected)) for pair in encoded]

    return model or EMBEDDED, count
