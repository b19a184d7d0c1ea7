"""What the order of the tasks does to a result, beside what the method does."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from benchmarks.orders import as_json, design, report
from lifealign_bench.data.cards import load_stream
from lifealign_bench.errors import UsageError
from lifealign_bench.experiments.balanced import balanced_orders, latin_orders
from lifealign_bench.experiments.sweep import expand_orders
from lifealign_bench.results.ordereffects import (
    UNTOLD,
    discordance,
    order_effect,
    order_tables,
    variance_components,
    variance_parts,
)
from lifealign_bench.results.view import RunView
from tests.reporting.test_tables import record_of


def view(method: str, order: str, last: float, seed: int = 0, learned: float = 90, **config: Any) -> RunView:
    """A run on two tasks, each named by a letter of ``order``, that ends with ``last`` percent on both."""
    rows = np.array([[50, 50], [learned, 50], [last, last]]) / 100
    values = {task: np.repeat(rows[:, [j]], 4, axis=1) for j, task in enumerate(order)}
    return RunView(record_of(values, method=method, seed=seed, stream=",".join(order), **config))


def test_components_by_hand() -> None:
    # Cells 11, 21, 31, 41: methods 20 apart (variance 200), orders 10 apart (50), no interaction, seeds 2 apart (2).
    found = variance_components(np.array([[[10, 12], [20, 22]], [[30, 32], [40, 42]]], dtype=float))
    assert found == pytest.approx([200, 50, 0, 2])
    # One seed: mean squares 36, 0 and 16, so (36 - 16) / 2, 0 for what is below it, and 16 for what is left.
    assert variance_components(np.array([[[0], [4]], [[10], [6]]], dtype=float)) == pytest.approx([10, 0, 16])
    parts = variance_parts(np.array([[[10, 12], [20, 22]], [[30, 32], [40, 42]]], dtype=float))
    assert [part.share for part in parts.values()] == pytest.approx([100 * v / 252 for v in (200, 50, 0, 2)])
    assert sum(part.share for part in parts.values()) == pytest.approx(100)


def test_components_that_are_known_are_found() -> None:
    generator = np.random.default_rng(0)
    effects = np.array([-6.0, -2.0, 2.0, 6.0])  # mean square 80 / 3
    tables = effects[:, None, None] + 3 * generator.standard_normal((400, 1, 8, 1))
    tables = tables + 2 * generator.standard_normal((400, 4, 8, 1)) + generator.standard_normal((400, 4, 8, 3))
    # Over many tables, since one with eight orders is far off; truncation is rare at these sizes.
    assert variance_components(tables).mean(axis=0) == pytest.approx([80 / 3, 9, 4, 1], rel=0.06)
    moved = variance_components(7 + 3 * tables[:5])
    assert moved == pytest.approx(9 * variance_components(tables[:5]))
    # Intervals of 95 % hold the true share about that often.
    truth = 100 * np.array([80 / 3, 9, 4, 1]) / (80 / 3 + 14)
    parts = [list(variance_parts(table).values()) for table in tables]
    held = [sum(own[k].low <= truth[k] <= own[k].high for own in parts) for k in range(4)]
    assert min(held) >= 0.91 * len(tables)


def test_where_nothing_varies_there_are_no_shares() -> None:
    parts = variance_parts(np.full((2, 3, 1), 7.0))
    assert set(parts) == {"method", "order", UNTOLD} and all(np.isnan(part.share) for part in parts.values())


def test_how_often_orders_disagree_by_hand() -> None:
    # The first method is better in two of three orders: of three pairs of orders two disagree.
    assert discordance(np.array([[2.0, 2, 0], [1, 1, 1]])) == pytest.approx(200 / 3)
    assert discordance(np.array([[2.0, 3], [1, 2]])) == 0
    assert discordance(np.array([[2.0, 1], [1, 1]])) == 50  # a tie


def test_a_table_of_runs_and_who_wins() -> None:
    ends = {("a", "xy"): 80, ("a", "yx"): 60, ("b", "xy"): 70, ("b", "yx"): 66}
    views = [view(m, o, v + s, s) for (m, o), v in ends.items() for s in (0, 1)]
    views += [view("a", "xy", 0, seed=7), view("a", "xy", 0, seed=1, status="failed"), view("c", "zw", 50)]
    (table,) = order_tables(views)
    assert table.methods == ("a", "b") and table.orders == (("x", "y"), ("y", "x"))
    assert table.values("preference_accuracy", "last") == pytest.approx(
        np.array([[[80, 81], [60, 61]], [[70, 71], [66, 67]]])
    )
    assert table.notes == ("1 runs of seeds that not every method has in every order are left out.",)
    effect = order_effect(table, "preference_accuracy", "last")
    assert effect is not None and effect.winners == ("a", "b") and effect.winner == "a"
    assert effect.others == 1 and effect.discordant == 100
    lost = order_effect(table, "preference_accuracy", "forgetting")
    assert lost is not None and lost.winners == ("a", "b")  # less is better
    assert order_effect(table, "preference_accuracy", "intransigence") is None
    lines = report(table, ("preference_accuracy",), ("last", "intransigence")).splitlines()
    assert lines[2] == "2 methods (a, b), 2 orders, 2 seeds. Orders: x, y; y, x."
    assert lines[6].startswith("| preference accuracy: last | 0.0 [") and lines[6].endswith("| 1 of 2 | 100.0 |")
    assert lines[7] == "| preference accuracy: intransigence | - | - | - | - | - | - | - |"
    (plain,) = as_json(table, ("preference_accuracy",), ("last", "intransigence"))["effects"]
    assert plain["winners"] == ["a", "b"] and plain["parts"]["seed"]["component"] == pytest.approx(0.5)


def test_tables_with_gaps_are_refused() -> None:
    whole = [view(m, o, 80) for m in "ab" for o in ("xy", "yx")]
    assert len(order_tables(whole)) == 1
    with pytest.raises(UsageError, match="gaps: b in y,x"):
        order_tables(whole[:3])
    with pytest.raises(UsageError, match="No seed is there of every method"):
        order_tables([*whole[:3], view("b", "yx", 80, seed=1)])
    with pytest.raises(UsageError, match="runs of b have several settings"):
        order_tables([*whole[:3], view("b", "yx", 80, train_limit=7)])
    assert order_tables(whole[:2]) == order_tables([]) == []  # one method


@pytest.mark.parametrize("count", range(1, 10))
def test_a_balanced_set_of_orders(count: int) -> None:
    tasks = tuple("abcdefghi"[:count])
    orders = balanced_orders(tasks)
    assert orders[0] == tasks and all(sorted(order) == list(tasks) for order in orders)
    assert len(set(orders)) == len(orders) == (count if count % 2 == 0 or count == 1 else 2 * count)
    positions = Counter((task, place) for order in orders for place, task in enumerate(order))
    behind = Counter(pair for order in orders for pair in pairwise(order))
    assert len(positions) == count**2 and len(set(positions.values())) == 1
    assert len(behind) == count * (count - 1) and len(set(behind.values())) <= 1
    square = latin_orders(tasks)
    assert square == orders[:count]
    assert {(task, place) for order in square for place, task in enumerate(order)} == set(positions)


def test_a_balanced_set_is_what_a_sweep_runs() -> None:
    forms = load_stream("forms-demo")
    streams, notices = expand_orders([forms], "balanced", seed=0)
    assert [stream.tasks for stream in streams] == balanced_orders(forms.tasks) and not notices
    assert streams[0].name == "forms-demo" and all(stream.defaults == forms.defaults for stream in streams)
    assert [stream.tasks for stream in expand_orders([forms], "latin", seed=0)[0]] == latin_orders(forms.tasks)
    lines = design(forms, "dpo,replay", "0,1,2").splitlines()
    assert lines[0] == f"# {len(streams)} orders of forms-demo, {6 * len(streams)} runs"
    assert lines[1] == f"#   {', '.join(task.name for task in forms.task_cards())}"
    assert lines[-1] == "lifealign-bench sweep --stream forms-demo --orders balanced --method dpo,replay --seed 0,1,2"
