"""Orders of a stream: permutations of its tasks, and how much the order moves each metric of a method."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from lifealign_bench.data.cards import StreamCard, load_stream, stream_names
from lifealign_bench.errors import UsageError

__all__ = ["expand_orders", "permutations"]


REGISTERED = "registered"


def permutations(tasks: Sequence[str], count: int, seed: int) -> list[tuple[str, ...]]:
    """``count`` different orders of ``tasks``, the given one first; all there are where these are fewer.

    The same seed gives the same orders, and a larger count begins with those of a smaller one.
    """
    generator = random.Random(seed)
    found = {tuple(tasks): None}
    wanted = min(count, math.factorial(len(tasks)))
    while len(found) < wanted:
        order = list(tasks)
        generator.shuffle(order)
        found.setdefault(tuple(order))
    return list(found)


def expand_orders(
    streams: Sequence[StreamCard], orders: str | None, seed: int
) -> tuple[list[StreamCard], tuple[str, ...]]:
    """Each stream in several orders.

    Args:
        orders: None for the streams as they are; a number for that many random orders, the stream's own among them;
            ``registered`` for every registered stream of the same tasks.

    Returns:
        The streams, and what the user should know. A random order is a stream as if its tasks had been listed, with the
        settings of the stream it comes from.

    Raises:
        UsageError: ``orders`` is neither.
    """
    if orders is None:
        return list(streams), ()
    if orders != REGISTERED and not (orders.isdecimal() and int(orders) > 0):
        raise UsageError(f"--orders {orders!r} is not a number of orders.", f"Give a number from 1, or {REGISTERED}.")
    found: dict[str, StreamCard] = {}
    notices: list[str] = []
    for stream in streams:
        if orders == REGISTERED:
            found |= {other.name: other for other in [stream, *_registered(stream)]}
            continue
        shuffled = permutations(stream.tasks, int(orders), seed)
        if len(shuffled) < int(orders):
            notices.append(f"Stream {stream.name} has {len(stream.tasks)} tasks and so {len(shuffled)} orders.")
        found.setdefault(stream.name, stream)
        for tasks in shuffled[1:]:
            card = stream.model_copy(update={"tasks": tasks, "path": None})
            name = ",".join(task.name for task in card.task_cards())
            # Two streams of the same tasks may come to the same order; the first one's settings hold.
            found.setdefault(name, card.model_copy(update={"name": name, "title": f"{stream.name}, another order"}))
    return list(found.values()), tuple(notices)


def _registered(stream: StreamCard) -> list[StreamCard]:
    cards = [load_stream(name) for name in stream_names()]
    return [card for card in cards if set(card.tasks) == set(stream.tasks)]
