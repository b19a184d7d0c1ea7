"""One stream in several orders: what the order does to each metric."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.statistics import Spread, mean_and_se, spread
from lifealign_bench.results.view import RunView
from lifealign_bench.util.text import rounded


@dataclass(frozen=True)
class OrderRow:
    """One method over the orders of one set of tasks.

    Args:
        orders: the streams that it stands for.
        seeds: how many seeds each order has; these were averaged first.
        spreads: score and metric to the spread over the orders; NaN where a value is missing or undefined.
        incomplete: how many runs were left out, because they are not complete.
        main: the scores that reports show, in their order.
    """

    method: str
    model: str
    tasks: tuple[str, ...]
    orders: tuple[str, ...]
    seeds: tuple[int, ...]
    spreads: dict[tuple[str, str], Spread]
    incomplete: int
    main: tuple[str, ...] = ()


def order_rows(views: Sequence[RunView]) -> list[OrderRow]:
    """One row for each method with its settings, model and set of tasks, where there are complete runs of two orders.

    Orders are streams with the same tasks. Only complete runs count.
    """
    groups: dict[tuple[str, tuple[str, ...], str, str], list[RunView]] = {}
    for view in views:
        key = (view.group[1], tuple(sorted(view.tasks)), view.name, settings_but_order(view))
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
        main = tuple(dict.fromkeys(score for view in runs for score in view.main_scores()))
        names = tuple(own[0].group[0] for own in orders.values())
        seeds = tuple(len(own) for own in orders.values())
        incomplete = sum(not view.complete for view in all_runs)
        rows.append(OrderRow(method, model, tasks, names, seeds, spreads, incomplete, main))
    return rows


def settings_but_order(view: RunView) -> str:
    """All that must be the same in runs of which one is to stand for another order or seed of the other."""
    own = {k: v for k, v in view.record.config.items() if k not in ("stream", "tasks", "seed")}
    return json.dumps([own, view.record.extensions], sort_keys=True)


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
                        name: rounded(got)
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
