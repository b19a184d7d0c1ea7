"""Orders of a stream: permutations of its tasks, and how much the order moves each metric of a method."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lifealign_bench.data.cards import StreamCard, load_stream, stream_names
from lifealign_bench.errors import UsageError
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.statistics import Spread, mean_and_se, spread
from lifealign_bench.results.view import RunView

__all__ = ["OrderRow", "expand_orders", "open_runs", "order_rows", "order_summary", "permutations"]


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


def open_runs(paths: Sequence[Path]) -> list[RunView]:
    """The runs in folders, however deep, or of records' files; each once.

    Raises:
        BenchError: no readable record there.
    """
    files: dict[Path, None] = {}
    for path in paths:
        inside = sorted(path.rglob("record.json")) if path.is_dir() else []
        files |= dict.fromkeys(inside or [path])
    return [RunView.open(file.parent if file.name == "record.json" else file) for file in files]


@dataclass(frozen=True)
class OrderRow:
    """One method over the orders of one set of tasks.

    Args:
        orders: the streams that it stands for.
        seeds: how many seeds each order has; these were averaged first.
        spreads: score and metric to the spread over the orders; NaN where a value is missing or undefined.
        incomplete: how many runs were left out, because they are not complete.
    """

    method: str
    model: str
    tasks: tuple[str, ...]
    orders: tuple[str, ...]
    seeds: tuple[int, ...]
    spreads: dict[tuple[str, str], Spread]
    incomplete: int


def order_rows(views: Sequence[RunView]) -> list[OrderRow]:
    """One row for each method with its settings, model and set of tasks, where there are complete runs of two orders.

    Orders are streams with the same tasks. Only complete runs count.
    """
    groups: dict[tuple[str, tuple[str, ...], str, str], list[RunView]] = {}
    for view in views:
        key = (view.group[1], tuple(sorted(view.tasks)), view.name, _settings(view))
        groups.setdefault(key, []).append(view)
    rows = []
    for (model, tasks, method, _), all_runs in groups.items():
        # One order may have two names, and so a run may be there twice.
        runs = list({(view.tasks, view.seed): view for view in reversed(all_runs) if view.complete}.values())[::-1]
        orders = {order: [v for v in runs if v.tasks == order] for order in dict.fromkeys(v.tasks for v in runs)}
        if len(orders) < 2:
            continue
        scores = list(dict.fromkeys(score for view in runs for score in view.scores()))
        spreads = {}
        for score in scores:
            for name, info in METRICS.items():
                means = [mean_and_se([v.metric(score, name) for v in own])[0] for own in orders.values()]
                if not (info.needs_single and all(map(math.isnan, means))):
                    spreads[score, name] = spread(means)
        names = tuple(own[0].group[0] for own in orders.values())
        seeds = tuple(len(own) for own in orders.values())
        incomplete = sum(not view.complete for view in all_runs)
        rows.append(OrderRow(method, model, tasks, names, seeds, spreads, incomplete))
    return rows


def _settings(view: RunView) -> str:
    """All that must be the same in runs of which one is to stand for another order or seed of the other."""
    own = {k: v for k, v in view.record.config.items() if k not in ("stream", "tasks", "seed")}
    return json.dumps(own, sort_keys=True)


def order_summary(rows: Sequence[OrderRow]) -> list[dict[str, Any]]:
    """The rows as plain JSON values."""
    return [
        {
            "method": row.method,
            "model": row.model,
            "tasks": list(row.tasks),
            "orders": list(row.orders),
            "seeds": list(row.seeds),
            "incomplete_runs": row.incomplete,
            "metrics": [
                {
                    "score": score,
                    "metric": metric,
                    "orders": value.n,
                    **{
                        name: None if math.isnan(got) else float(f"{got:.12g}")
                        for name, got in (
                            ("mean", value.mean),
                            ("standard_deviation", value.deviation),
                            ("min", value.low),
                            ("max", value.high),
                        )
                    },
                }
                for (score, metric), value in row.spreads.items()
            ],
        }
        for row in rows
    ]
