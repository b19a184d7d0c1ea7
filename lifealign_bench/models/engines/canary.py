"""Whether a server answers with an adapter: proved on a few prompts, before a stage's responses are believed.

Servers are known to take an adapter and answer as the base model all the same: where names of layers do not match, say.
So for prompts whose log-probabilities the adapter is known to change, those of the server are laid beside the base
model's and the adapted model's, both computed here. Of the way from the first to the second, the server has to have
gone most (its part is a projection, in which what rounding does to single tokens cancels), and it has to have arrived.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from lifealign_bench.models.engines.engine import Prompting
from lifealign_bench.models.engines.greedy import FLOAT32_GAP, ROUNDED_GAP, Reading, read_answers
from lifealign_bench.models.generate import generate

CANARIES = 4  # prompts
LENGTH = 16  # tokens of an answer
_SEARCHED = 32  # prompts among which those are looked for that the adapter changes most
# Nats of a token, root mean square, that rounding alone is believed to move a server that is another program.
_LEAST_NOISE, _MOST_NOISE = 1e-3, 0.3
_TOLD = 3.0  # times the noise is told apart from it
_WAY = (0.5, 1.5)
# How near the log-probabilities have to be: so many times the noise, or this share of the way.
_NEAR_NOISE, _NEAR = 5.0, 0.3

Proof = Literal["applied", "ignored", "another"]


@dataclass(frozen=True)
class Answered:
    """What a server said to a prompt: token ids with the one that ended it, and their log-probabilities in nats."""

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    log_probs: tuple[float, ...]


def plain_prompts(asking: Prompting, most: int) -> list[tuple[int, ...]]:
    """Different prompts of the run, the shortest first."""
    return sorted(dict.fromkeys(asking.asked), key=lambda prompt: (len(prompt), prompt))[:most]


def base_noise(answers: Sequence[Answered], readings: Sequence[Reading]) -> float | None:
    """Root mean square in nats of what lies between a server's log-probabilities of its base model's answers and ours.

    Args:
        readings: of the answers, by the base model here.

    Returns:
        None where it has another base model: its answers are not greedy here, or further off than rounding goes.
    """
    off = torch.cat([_of(answer) - reading.log_probs for answer, reading in zip(answers, readings, strict=True)])
    gaps = torch.cat([reading.gaps for reading in readings])
    noise = float(off.square().mean().sqrt()) if len(off) else 0.0
    if noise > _MOST_NOISE or not Reading(off, gaps).is_greedy(gap_of(noise)):
        return None
    return max(noise, _LEAST_NOISE)


def gap_of(noise: float) -> float:
    """How much likelier another token may be than what a server of such noise says, in nats."""
    return FLOAT32_GAP if noise <= _LEAST_NOISE else ROUNDED_GAP


@torch.no_grad()
def changed_prompts(asking: Prompting, noise: float) -> list[tuple[int, ...]]:
    """The prompts whose answers the adapter changes most; empty where it changes none more than rounding does.

    Args:
        asking: with the adapter on.
        noise: see :func:`base_noise`.
    """
    prompts = plain_prompts(asking, _SEARCHED)
    answers = generate(
        asking.model,
        prompts,
        max_new_tokens=min(LENGTH, asking.most),
        batch_size=asking.batch_size,
        stop=frozenset(),
        pad_id=asking.pad_id,
        device=asking.device,
        arrangement=asking.arrangement(),
    )
    adapted = read_answers(asking, prompts, answers)
    with asking.model.disable_adapter():
        base = read_answers(asking, prompts, answers)
    moved = [_rms(a.log_probs - b.log_probs) for a, b in zip(adapted, base, strict=True)]
    order = sorted(range(len(prompts)), key=lambda i: -moved[i])[:CANARIES]
    return [prompts[i] for i in order if moved[i] > _TOLD * noise]


def prove(answers: Sequence[Answered], adapted: Sequence[Reading], base: Sequence[Reading], noise: float) -> Proof:
    """What a server's answers with the adapter show: that it is applied, ignored, or that something else is.

    Args:
        adapted, base: what the adapted and the base model think of the answers.
        noise: see :func:`base_noise`.
    """
    said = torch.cat([_of(answer) for answer in answers])
    there = torch.cat([reading.log_probs for reading in base])
    goal = torch.cat([reading.log_probs for reading in adapted])
    way = goal - there
    length = float(way.square().sum())
    part = float(((said - there) * way).sum()) / length if length else 0.0
    near = max(_NEAR_NOISE * noise, _NEAR * _rms(way))
    if part < _WAY[0]:
        return "ignored" if _rms(said - there) <= near else "another"
    greedy = Reading(said, torch.cat([reading.gaps for reading in adapted])).is_greedy(gap_of(noise))
    return "applied" if part <= _WAY[1] and _rms(said - goal) <= near and greedy else "another"


def _of(answer: Answered) -> torch.Tensor:
    return torch.tensor(answer.log_probs, dtype=torch.float32)


def _rms(values: torch.Tensor) -> float:
    return float(values.square().mean().sqrt()) if len(values) else 0.0
