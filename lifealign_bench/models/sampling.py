"""Sampled responses: each has a generator of its own, so that no other response has a say in it.

A token is drawn by an exponential race, ``argmax p / -log(u)`` with one uniform number a token of the vocabulary: the
winner is distributed as ``p``, and rounding changes it only where two tokens run neck and neck. (The inverse of the
cumulated distribution would be moved by the rounding of every token before.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from lifealign_bench.models.steps import Steps

# Values of the vocabulary that are drawn from at a time on a CPU: 1 MiB in float32.
_ROW_VALUES = 2**18


@dataclass(frozen=True)
class Ask:
    """One response that is asked for.

    Args:
        prompt: token ids.
        seed: decides all that is drawn for it.
        stops: texts that end it.
    """

    prompt: tuple[int, ...]
    seed: int
    stops: tuple[str, ...] = ()


@dataclass(frozen=True)
class Drawn:
    """A sampled response.

    Args:
        tokens: with the stop token, if it ended with one.
        log_probs: of each token over the whole vocabulary at temperature 1, in nats.
        ended: False where it was cut at the longest.
    """

    tokens: tuple[int, ...]
    log_probs: tuple[float, ...]
    ended: bool


def response_seed(seed: int, name: str, number: int) -> int:
    """The seed of the ``number``-th response to what is called ``name``."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}/{number}".encode()).digest()[:8], "big") >> 1


def pick(logits: torch.Tensor, uniform: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    """A token for each row, (B,).

    Args:
        logits: (B, V), float32.
        uniform: (B, V), from 0 to 1; not looked at where the temperature is 0, which takes the greatest.
        temperature: the logits are divided by it.
        top_p: only the fewest likeliest tokens that reach this share together are drawn from (Holtzman et al. 2020).
    """
    if temperature == 0:
        return logits.argmax(-1)
    p = torch.softmax(logits if temperature == 1 else logits / temperature, dim=-1)
    if top_p < 1:
        ranked, place = p.sort(dim=-1, descending=True, stable=True)
        ranked[ranked.cumsum(-1) - ranked >= top_p] = 0.0
        p = torch.zeros_like(p).scatter(-1, place, ranked)
    return p.div_(uniform.log().neg_()).argmax(-1)


@torch.no_grad()
def draw_responses(
    steps: Steps,
    places: Sequence[int],
    seeds: Sequence[int],
    *,
    most: int,
    stop: frozenset[int],
    finished: Callable[[int, list[int]], bool],
    temperature: float,
    top_p: float,
) -> list[Drawn]:
    """The responses of one batch, whose prompts go through the model once however many responses each gets.

    Args:
        steps: of the batch's different prompts.
        places: for each row the place of its prompt among these.
        seeds: of each row.
        most: tokens of a response at most.
        stop: tokens that end one; they stay in it.
        finished: whether a row's response has come to an end with its last token otherwise.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    tokens: list[list[int]] = [[] for _ in places]
    log_probs: list[list[float]] = [[] for _ in places]
    ended = [False] * len(places)
    alive = list(range(len(places)))
    logits = steps.logits().float()
    spread = torch.tensor(places, device=logits.device)
    logits = logits[spread]
    steps.spread(spread)
    for step in range(most):
        following, known = _following(logits, [generators[row] for row in alive], temperature, top_p)
        keep: list[int] = []
        for place, (token, value) in enumerate(zip(following.tolist(), known.tolist(), strict=True)):
            row = alive[place]
            tokens[row].append(token)
            log_probs[row].append(value)
            ended[row] = token in stop or finished(row, tokens[row])
            if not ended[row]:
                keep.append(place)
        if not keep or step == most - 1:
            break
        steps.go_on(following, keep)
        alive = [alive[place] for place in keep]
        logits = steps.logits().float()
    return [Drawn(tuple(t), tuple(v), e) for t, v, e in zip(tokens, log_probs, ended, strict=True)]


def _following(
    logits: torch.Tensor, generators: Sequence[torch.Generator], temperature: float, top_p: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """A token for each row, and its log-probability, (B,) both.

    A few rows at a time on a CPU: what is made of them stays in its cache, which saves a fifth of the time.
    """
    size = max(1, _ROW_VALUES // logits.shape[1]) if logits.device.type == "cpu" else len(logits)
    tokens, known = [], []
    for start in range(0, len(logits), size):
        few = logits[start : start + size]
        noise = _noise(few, generators[start : start + size], temperature)
        tokens.append(pick(few, noise, temperature, top_p))
        known.append(few.log_softmax(-1).gather(1, tokens[-1][:, None])[:, 0])
    return torch.cat(tokens), torch.cat(known)


def _noise(logits: torch.Tensor, generators: Sequence[torch.Generator], temperature: float) -> torch.Tensor:
    """(B, V) uniform numbers, on a CPU first: the same on every device."""
    if temperature == 0:
        return logits
    drawn = torch.empty(logits.shape, dtype=torch.float32)
    for row, generator in zip(drawn, generators, strict=True):
        torch.rand(len(row), generator=generator, out=row)
    return drawn.to(logits.device)
