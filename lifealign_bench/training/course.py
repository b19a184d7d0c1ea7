"""The course of a phase: which pairs each optimizer step takes.

A phase goes through its pairs in passes. Every pass has an order of its own, drawn from the phase's seed and the
number of the pass, and is cut into steps; no step has pairs of two passes. Without a budget there are as many passes as
epochs. With one, there are as many as it takes, and the last ends where the budget is spent: a method that mixes pairs
in gets through less of its mix, in which, by the random order, its own pairs and the others keep their shares.

- ``steps``: the last step is the last one of the budget.
- ``pairs``: the last step has as many pairs as are left.
- ``tokens``: the last step takes its pairs as long as they fit; then one is added, left out or exchanged so that the
  tokens come as near to the budget as one pair can bring them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice

import torch

from lifealign_bench.training.budget import PhaseBudget


@dataclass(frozen=True)
class Course:
    """The steps of a phase; ``batches`` has for each the places of its pairs in the phase's list."""

    batches: tuple[tuple[int, ...], ...]

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return len(self.batches)

    @property
    def places(self) -> Iterator[int]:
        """The pairs in the order of training, each as often as it is trained on."""
        return chain.from_iterable(self.batches)

    @property
    def seen(self) -> int:
        """Pairs, each as often as it is trained on."""
        return sum(map(len, self.batches))


def make_course(
    tokens: Sequence[int], batch_size: int, seed: int, epochs: int, budget: PhaseBudget | None = None
) -> Course:
    """The course of a phase, a pure function of its arguments.

    Args:
        tokens: of each of the phase's pairs, at least one.
        batch_size: pairs a step.
        seed: of the passes' orders.
        epochs: passes without a budget.
    """
    passes = (_order(len(tokens), seed + number) for number in count())
    if budget is None:
        return Course(tuple(step for order in islice(passes, epochs) for step in _cut(order, batch_size)))
    batches: list[tuple[int, ...]] = []
    left = budget.amount
    for order in passes:
        for step in _cut(order, batch_size):
            cost = _cost(step, tokens, budget.unit)
            if cost > left:
                batches.append(step[:left] if budget.unit == "pairs" else _fitting(step, order, tokens, left))
                left = 0
            else:
                batches.append(step)
                left -= cost
            if left == 0:
                # Of a few tokens, none may fit.
                return Course(tuple(filter(None, batches)) or (order[:1],))
    raise AssertionError("there is always another pass")


def _order(size: int, seed: int) -> tuple[int, ...]:
    """As accelerate's ``SeedableRandomSampler`` has it, whose orders runs of before there were courses had."""
    return tuple(torch.randperm(size, generator=torch.Generator().manual_seed(seed)).tolist())


def _cut(order: Sequence[int], size: int) -> Iterator[tuple[int, ...]]:
    return (tuple(order[start : start + size]) for start in range(0, len(order), size))


def _cost(step: Sequence[int], tokens: Sequence[int], unit: str) -> int:
    if unit == "tokens":
        return sum(tokens[i] for i in step)
    return 1 if unit == "steps" else len(step)


def _fitting(step: Sequence[int], order: Sequence[int], tokens: Sequence[int], budget: int) -> tuple[int, ...]:
    """A last step of about ``budget`` tokens, which ``step`` exceeds.

    Args:
        order: of the pass, all of whose other pairs may come in.
    """
    kept: list[int] = []
    left = budget
    for i in step:
        if tokens[i] > left:
            break
        kept.append(i)
        left -= tokens[i]
    # Those that the pass has not had come first: of equals the first is taken, and rather none than any.
    place = order.index(step[len(kept)])
    coming = [None, *order[place:], *(i for i in order[:place] if i not in kept)]
    going = [None, *kept]
    changes = ((abs(left + _tokens(out, tokens) - _tokens(new, tokens)), new, out) for out in going for new in coming)
    _, new, out = min(changes, key=lambda change: change[0])
    return tuple(i for i in (*kept, new) if i is not None and i != out)


def _tokens(place: int | None, tokens: Sequence[int]) -> int:
    return 0 if place is None else tokens[place]
