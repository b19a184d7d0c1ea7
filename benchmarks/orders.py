"""What the order of the tasks does to a result, beside what the method does; and a balanced set of orders to find out.

    python benchmarks/orders.py runs --out FOLDER               orders.md and orders.json, from finished runs
    python benchmarks/orders.py results --score win_rate --by last
    python benchmarks/orders.py --design forms --method dpo,replay --seed 0,1,2

The first two read records of several methods in several orders of the same tasks and give, for the final mean, backward
transfer and forgetting of each score, which share of the variance is the method's, the order's, of both together and
the seed's (``results.ordereffects`` has the model), and how often another method wins in another order. The last prints
the orders of a balanced set and the command that runs them: every task stands equally often at every position, and
directly after every other one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lifealign_bench.data.cards import StreamCard, load_stream
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.experiments.balanced import balanced_orders
from lifealign_bench.results.finding import open_runs
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.ordereffects import OrderEffect, OrderTable, VariancePart, order_effect, order_tables
from lifealign_bench.results.view import SCORE, WIN_RATE, score_title
from lifealign_bench.util.files import write_json, write_text
from lifealign_bench.util.text import number, rounded

SCORES = (WIN_RATE, SCORE)
MEASURES = ("last", "backward_transfer", "forgetting")


def effects(
    table: OrderTable, scores: Sequence[str], metrics: Sequence[str]
) -> Iterator[tuple[str, str, OrderEffect | None]]:
    """Score, metric, and what its variance is made of."""
    for score in scores:
        for metric in metrics:
            yield score, metric, order_effect(table, score, metric)


def report(table: OrderTable, scores: Sequence[str], metrics: Sequence[str]) -> str:
    """A row a metric, as Markdown, and what was counted."""
    found = list(effects(table, scores, metrics))
    parts = next((list(effect.parts) for *_, effect in found if effect), [])
    heads = ("metric", *(f"{name}, %" for name in parts), "deviation", "another winner", "discordant, %")
    lines = [f"## {table.model}, {len(table.orders[0])} tasks", "", _counts(table), ""]
    lines += [f"| {' | '.join(heads)} |", "| --- |" + " ---: |" * (len(heads) - 1)]
    for score, metric, effect in found:
        name = f"{score_title(score)}: {METRICS[metric].label}"
        cells = ["-"] * (len(heads) - 1) if effect is None else _cells(effect)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        "Shares of the sum of the variance components of a two-way mixed model, methods fixed and orders random, with "
        "95 % intervals drawn from that model; deviation: the root of that sum, points. Another winner: orders in "
        "which a method other than the best by the mean over orders has the best mean over its seeds. Discordant: of "
        "every two methods in every two orders, how often the orders disagree on which is better.",
        *table.notes,
    ]
    return "\n".join(lines) + "\n"


def _counts(table: OrderTable) -> str:
    seeds = len(next(iter(table.runs.values())))
    orders = "; ".join(", ".join(order) for order in table.orders)
    return (
        f"{len(table.methods)} methods ({', '.join(table.methods)}), {len(table.orders)} orders, {seeds} "
        f"{'seed' if seeds == 1 else 'seeds'}. Orders: {orders}."
    )


def _cells(effect: OrderEffect) -> list[str]:
    shares = [said_share(part) for part in effect.parts.values()]
    wins = f"{effect.others} of {len(effect.winners)}"
    return [*shares, number(effect.deviation), wins, number(effect.discordant)]


def said_share(part: VariancePart) -> str:
    """Percent of the variance: ``61.2 [30.1, 80.0]``."""
    return f"{number(part.share)} [{number(part.low)}, {number(part.high)}]"


def as_json(table: OrderTable, scores: Sequence[str], metrics: Sequence[str]) -> dict[str, Any]:
    """The same as plain values."""
    found = [
        {
            "score": score,
            "metric": metric,
            "parts": {
                name: {key: rounded(value) for key, value in part._asdict().items()}
                for name, part in effect.parts.items()
            },
            "deviation": rounded(effect.deviation),
            "winner": effect.winner,
            "winners": list(effect.winners),
            "discordant_percent": rounded(effect.discordant),
        }
        for score, metric, effect in effects(table, scores, metrics)
        if effect is not None
    ]
    head = {"model": table.model, "methods": list(table.methods), "orders": [list(order) for order in table.orders]}
    return {**head, "seeds": len(next(iter(table.runs.values()))), "effects": found, "notes": list(table.notes)}


def design(stream: StreamCard, methods: str, seeds: str) -> str:
    """The orders of a balanced set, and the command that runs them."""
    orders = balanced_orders([task.name for task in stream.task_cards()])
    count = len(orders) * len(methods.split(",")) * len(seeds.split(","))
    lines = [f"# {len(orders)} orders of {stream.name}, {count} runs", *(f"#   {', '.join(order)}" for order in orders)]
    command = f"lifealign-bench sweep --stream {stream.name} --orders balanced --method {methods} --seed {seeds}"
    return "\n".join([*lines, command]) + "\n"


def main() -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, help="folders with runs or published records")
    parser.add_argument("--score", action="append", help=f"of which scores (default: {' and '.join(SCORES)})")
    parser.add_argument("--by", action="append", choices=list(METRICS), help=f"default: {', '.join(MEASURES)}")
    parser.add_argument("--out", type=Path, help="write orders.md and orders.json there")
    parser.add_argument("--design", metavar="STREAM", help="print a balanced set of orders of this stream instead")
    parser.add_argument("--method", default="dpo,replay", help="of the command (default: %(default)s)")
    parser.add_argument("--seed", default="0,1,2", help="of the command (default: %(default)s)")
    words = parser.parse_args()
    scores, metrics = tuple(words.score or SCORES), tuple(words.by or MEASURES)
    try:
        if words.design:
            print(design(load_stream(words.design), words.method, words.seed), end="")
            return 0
        tables = order_tables(open_runs(words.folders))
        if not tables:
            raise UsageError(
                "There are no finished runs of two methods in two orders of the same tasks.",
                "Make some: lifealign-bench sweep --orders balanced.",
            )
        text = "\n".join(report(table, scores, metrics) for table in tables)
        print(text, end="")
        if words.out is not None:
            write_text(words.out / "orders.md", text)
            write_json(words.out / "orders.json", [as_json(table, scores, metrics) for table in tables])
    except BenchError as error:
        print(f"{error.message}\n{error.remedy}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
