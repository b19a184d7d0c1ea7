"""Whether responses are what a model says greedily, up to rounding: one pass over them instead of one a token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lifealign_bench.models.encode import EncodedGroup
from lifealign_bench.models.engines.engine import Prompting
from lifealign_bench.models.logprobs import lay_out, pack, predictions, token_values
from lifealign_bench.models.vocabulary import Head
from lifealign_bench.pairs import Message, Pair

# A token is a surprise where the model would rather say another by so many nats: where all is computed in float32, and
# where rounding to a shorter type may decide between tokens that are nearly as likely.
FLOAT32_GAP, ROUNDED_GAP = 0.05, 0.7
# The share of surprises that rounding is believed to make.
MOST_SURPRISES = 0.05

_BLOCK = 256  # tokens whose logits are there at a time

_NOBODY = Pair("", "", (Message("user", ""),), "", "")


@dataclass(frozen=True)
class Reading:
    """What a model thinks of an answer of T tokens.

    Args:
        log_probs: (T,) of each token, in nats; float32, on the CPU.
        gaps: (T,) by how many nats another token would have been likelier; 0 for what it says greedily. For a token
            that ends responses it is that of the likeliest of those that do.
    """

    log_probs: torch.Tensor
    gaps: torch.Tensor

    def surprises(self, gap: float) -> float:
        """The share of its tokens, 0 to 1, that are less likely than another by more than ``gap`` nats."""
        return float((self.gaps > gap).float().mean()) if len(self.gaps) else 0.0

    def is_greedy(self, gap: float) -> bool:
        """Whether the model says that, up to rounding."""
        return self.surprises(gap) <= MOST_SURPRISES


@torch.no_grad()
def read_answers(
    asking: Prompting, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
) -> list[Reading]:
    """What the model as it is thinks of answers to prompts; a token that ends an answer may stand at its end."""
    filled = [i for i, answer in enumerate(answers) if len(answer)]
    groups = [EncodedGroup(_NOBODY, tuple(prompts[i]), (tuple(answers[i]),)) for i in filled]
    found = [Reading(torch.empty(0), torch.empty(0))] * len(answers)
    stop = torch.tensor(sorted(asking.stop), dtype=torch.long, device=asking.device)
    for members in pack(groups, asking.token_budget, asking.layout):
        rows = lay_out([groups[i] for i in members], asking.pad_id, asking.layout).to(asking.device)
        hidden, head = predictions(asking.model, rows)
        values = token_values(hidden, head, rows.target, precise=True)
        best, own = _rivals(hidden, head, rows.target, stop)
        gaps = token_values(hidden, head, best, precise=True) - token_values(hidden, head, own, precise=True)
        gaps = gaps.clamp(min=0)  # between tokens as likely as each other, rounding has chosen
        for place, member in enumerate(members):
            mine = rows.owner == place * rows.width
            found[filled[member]] = Reading(values[mine].cpu(), gaps[mine].cpu())
    return found


def _rivals(
    hidden: torch.Tensor, head: Head | None, target: torch.Tensor, stop: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The likeliest tokens (N,), and the targets (N,) where those that end are the likeliest of their kind."""
    best, own = [], []
    for part, wanted in zip(torch.split(hidden, _BLOCK), torch.split(target, _BLOCK), strict=True):
        logits = part if head is None else head.logits(part)
        best.append(logits.argmax(1))
        ends = stop[logits[:, stop].argmax(1)] if len(stop) else wanted
        own.append(torch.where(torch.isin(wanted, stop), ends, wanted))
    return torch.cat(best), torch.cat(own)


def spread_over(count: int, most: int) -> list[int]:
    """``most`` places among ``count``, or all of them, evenly apart, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return sorted({round(step * (count - 1) / (most - 1)) for step in range(most)})
