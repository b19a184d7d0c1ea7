"""Sets of orders of a stream's tasks in which what stands where is everywhere the same, and what comes after what.

In a Latin square of N orders every task stands once at every position. In Williams' design (1949, "Experimental designs
balanced for the estimation of residual effects of treatments"), N orders of an even number N of tasks or 2 N of an odd
one, every task stands equally often at every position, and directly after every other one equally often. So what being
early or late does to a task, and what its neighbour does to it, falls on all tasks alike; in the square, which of an
odd number is the design's first half, the former alone.
"""

from __future__ import annotations

from collections.abc import Sequence


def balanced_orders(tasks: Sequence[str]) -> list[tuple[str, ...]]:
    """The orders of such a set, ``tasks`` as they are given first."""
    count = len(tasks)
    # 0, 1, N - 1, 2, N - 2, ...: neighbours differ by every amount once, so that shifting all gives every pair once.
    zigzag = [0, *((i + 1) // 2 if i % 2 else count - i // 2 for i in range(1, count))]
    named = dict(zip(zigzag, tasks, strict=True))
    square = [[(place + shift) % count for place in zigzag] for shift in range(count)]
    # Of an odd number the amounts are +1, -2, +3, ...; the same orders from behind have the others.
    rows = square + [row[::-1] for row in square] if count % 2 else square
    return list(dict.fromkeys(tuple(named[place] for place in row) for row in rows))


def latin_orders(tasks: Sequence[str]) -> list[tuple[str, ...]]:
    """As many orders as tasks, every task once at every position: the balanced set, or its first half."""
    return balanced_orders(tasks)[: len(tasks)]
