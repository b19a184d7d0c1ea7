"""Methods in several orders of a board's tasks, as a text speaks of them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pytest
from scipy.stats import f, t

from benchmarks.board_text import Boards, UnsupportedClaimError
from benchmarks.findings import Sources, page_of
from benchmarks.order_text import OrderText, differing
from benchmarks.orders import said_share
from lifealign_bench.errors import BenchError
from lifealign_bench.experiments.balanced import latin_orders
from lifealign_bench.results.ordereffects import order_effect, order_tables
from lifealign_bench.results.view import RunView
from lifealign_bench.util.text import p_text
from tests.published_records import TASKS, publish, rewrite

ORDERS = latin_orders(TASKS)
# Method to the share of right answers in each order.
LEVELS = {"dpo": (0.5, 0.6, 0.55), "replay": (0.9, 0.8, 0.7), "other": (0.7, 0.95, 0.75)}


def publish_orders(results: Path, orders: Sequence[Sequence[str]] = ORDERS, seed: int = 0) -> None:
    for method, levels in LEVELS.items():
        for order, level in zip(orders, levels, strict=True):
            name = "some" if tuple(order) == TASKS else ",".join(order)
            publish(results, method, seed, level=level, stream=name, tasks=list(order))


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Boards:
    results = tmp_path_factory.mktemp("board")
    for method, levels in LEVELS.items():
        for seed in range(3):
            publish(results, method, seed, level=levels[0])
    return Boards(results)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Boards:
    results = tmp_path_factory.mktemp("orders")
    publish_orders(results)
    return Boards(results)


@pytest.fixture
def text(boards: Boards, study: Boards) -> OrderText:
    return OrderText(study.views, boards("some", "small"))


def ends(study: Boards, method: str) -> list[float]:
    """Its final means, in the order of the orders."""
    own = {view.tasks: view.metric("preference_accuracy", "last") for view in study.views if view.name == method}
    return [own[order] for order in ORDERS]


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split("|")]


def interval(values: Sequence[float]) -> str:
    half = t.ppf(0.975, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return f"{fmean(values):.1f} [{fmean(values) - half:.1f}, {fmean(values) + half:.1f}]"


def test_a_row_is_a_method_in_every_order(text: OrderText, study: Boards, boards: Boards) -> None:
    assert (text.count(), text.runs(), sorted(text.methods())) == (3, 9, sorted(LEVELS))
    head, _, *rows = (cells(line) for line in text.table().splitlines())
    order_of = {f"`{order[-1]}`": place for place, order in enumerate(ORDERS)}
    assert head[0] == "last task" and head[4:] == ["mean", "deviation over orders", "over seeds"]
    assert [row[0] for row in rows] == text.methods()
    for method, *values, mean, over_orders, over_seeds in rows:
        wanted = ends(study, method)
        assert values == [f"{wanted[order_of[task]]:.1f}" for task in head[1:4]]
        assert (mean, over_orders) == (interval(wanted), f"{stdev(wanted):.1f}")
        seeds = [view.metric("preference_accuracy", "last") for view in boards.views if view.name == method]
        assert len(seeds) == 3 and over_seeds == f"{stdev(seeds):.1f}"


def test_a_position_is_the_mean_of_the_tasks_that_stood_there(text: OrderText, study: Boards) -> None:
    head, _, *rows = (cells(line) for line in text.by_position().splitlines())
    assert head == ["position", "1", "2", "3"]
    for method, *values in rows:
        own = [view.per_task("preference_accuracy")["final"] for view in study.views if view.name == method]
        assert len(own) == 3 and values == [f"{np.mean([final[place] for final in own]):.1f}" for place in range(3)]


def test_shares_are_those_of_the_variance_model(text: OrderText, study: Boards) -> None:
    (table,) = order_tables(study.views)
    effect = order_effect(table, "preference_accuracy", "last")
    assert effect is not None
    row = cells(text.shares("last", "forgetting").splitlines()[2])
    assert row[1:4] == [said_share(part) for part in effect.parts.values()]
    assert text.share("order") == row[2] and text.winner() == effect.winner
    assert row[4:] == [f"{effect.deviation:.1f}", f"{effect.others} of 3", f"{effect.discordant:.1f}"]
    assert text.shares("last", "forgetting").count("\n") == 3


def test_what_seeds_do_on_the_board_is_held_against_that_variance(
    text: OrderText, study: Boards, boards: Boards
) -> None:
    effect = order_effect(order_tables(study.views)[0], "preference_accuracy", "last")
    assert effect is not None
    ends = [[v.metric("preference_accuracy", "last") for v in boards.views if v.name == m] for m in LEVELS]
    pooled = fmean(stdev(own) ** 2 for own in ends)  # three seeds each
    assert text.seeds_on_board() == f"{100 * pooled / effect.deviation**2:.1f}" != "0.0"


def test_some_methods_are_a_table_of_their_own(text: OrderText, study: Boards) -> None:
    views = [view for view in study.views if view.name != "dpo"]
    (table,) = order_tables(views)
    effect = order_effect(table, "preference_accuracy", "last")
    few = text.among("replay", "other")
    assert effect is not None and few.runs() == 6 and set(few.methods()) == {"replay", "other"}
    assert few.share("order") == said_share(effect.parts["order"]) != text.share("order")
    assert few.difference("replay", "other") == text.difference("replay", "other")


def test_the_hardest_order_is_called_by_its_last_task(text: OrderText) -> None:
    assert text.lowest("replay") == ORDERS[2][-1] and text.lowest("dpo") == ORDERS[0][-1]


def test_differences_are_paired_over_orders(text: OrderText, study: Boards) -> None:
    gaps = [a - b for a, b in zip(ends(study, "replay"), ends(study, "dpo"), strict=True)]
    assert text.difference("replay", "dpo") == interval(gaps) and text.ahead("replay", "dpo") == 3
    assert (text.least("replay", "dpo"), text.most("replay", "dpo")) == (f"{min(gaps):.1f}", f"{max(gaps):.1f}")
    ratio = fmean(gaps) / (stdev(gaps) / math.sqrt(3))
    assert text.p("replay", "dpo") == p_text(1 - ratio / math.sqrt(ratio**2 + 2))  # Student's t with two degrees
    assert text.ahead("replay", "other") == 1 and text.ahead("dpo", "replay") == 0
    lost = {(v.name, v.tasks): v.metric("preference_accuracy", "forgetting") for v in study.views}
    more = sum(lost["dpo", order] > lost["replay", order] for order in ORDERS)
    assert text.ahead("dpo", "replay", "forgetting") == more > 0
    with pytest.raises(BenchError, match="once has not run in other orders"):
        text.difference("once", "dpo")


def test_claims_about_orders_fail_where_the_records_do_not_show_them(text: OrderText) -> None:
    assert text.latin() == text.always("replay", "dpo") == text.untold("replay", "other") == ""
    with pytest.raises(UnsupportedClaimError, match="replay is above other in 1 of 3 orders"):
        text.always("replay", "other")
    assert text.outweigh_seeds("replay", "other") == ""
    with pytest.raises(UnsupportedClaimError, match="replay minus other over orders"):
        text.told("replay", "other")
    with pytest.raises(UnsupportedClaimError, match="dpo minus replay over orders"):
        text.told("dpo", "replay")


def test_variances_over_orders_and_over_seeds_are_held_against_each_other(
    text: OrderText, study: Boards, boards: Boards
) -> None:
    wanted = []
    for method in text.methods():
        seeds = [view.metric("preference_accuracy", "last") for view in boards.views if view.name == method]
        if f.sf(stdev(ends(study, method)) ** 2 / stdev(seeds) ** 2, 2, 2) <= 0.05:
            wanted.append(f"`{method}`")
    assert text.surely_outweigh_seeds() == (", ".join(wanted) or "none")
    assert wanted != [f"`{method}`" for method in text.methods()]  # some are not shown to


def test_what_comes_back_after_the_stage_of_a_rival(text: OrderText, study: Boards) -> None:
    # In one order a stage follows: one, two, three.
    (view,) = [v for v in study.views if v.name == "replay" and v.tasks == ("one", "two", "three")]
    after, end = (float(view.record.scores["preference_accuracy"].array()[row, 0]) for row in (2, 3))
    assert text.back("replay", "one", "two", after, 0.1) == f"{end:.1f} to {end:.1f}"
    with pytest.raises(UnsupportedClaimError, match=f"replay has {after:.1f} on one after the stage of two"):
        text.back("replay", "one", "two", after - 5, 1)
    last = [order for order in ORDERS if order.index("one") < order.index("three") < 2]
    assert not last
    with pytest.raises(UnsupportedClaimError, match="replay has no order with stages after one and then three"):
        text.back("replay", "one", "three", 50, 100)


def test_an_interval_that_leaves_zero_out_is_told_apart(boards: Boards, tmp_path: Path) -> None:
    for method, level in (("dpo", 0.3), ("replay", 0.95)):
        for order in ORDERS:
            publish(tmp_path, method, level=level, stream=",".join(order), tasks=list(order))
    text = OrderText(Boards(tmp_path).views, boards("some", "small"))
    assert text.told("replay", "dpo") == ""
    with pytest.raises(UnsupportedClaimError, match=r"dpo: \d\.\d over orders and \d\.\d over seeds"):
        text.outweigh_seeds("dpo")  # as hard in every order
    with pytest.raises(UnsupportedClaimError, match="replay minus dpo over orders"):
        text.untold("replay", "dpo")


def test_the_own_order_repeats_the_board(text: OrderText, boards: Boards, tmp_path: Path) -> None:
    assert text.repeats_board() == "" and text.differing() == f"0 of {3 * 40 * 3 * 4:,}"
    for order in ORDERS:
        publish(tmp_path, "dpo", level=0.8, stream=",".join(order), tasks=list(order))
        publish(tmp_path, "replay", level=0.9, stream=",".join(order), tasks=list(order))
    views = Boards(tmp_path).views
    other = OrderText(views, boards("some", "small"))
    changed, count = (int(part) for part in other.differing().split(" of "))
    assert other.repeats_board() == "" and 0 < changed < count == 2 * 40 * 3 * 4
    others = [view for view in views if view.tasks != TASKS]
    with pytest.raises(UnsupportedClaimError, match="own order is not among"):
        OrderText(others, boards("some", "small")).repeats_board()
    place = tmp_path / ",".join(TASKS) / "small" / "replay" / "seed-0.json"
    content = json.loads(place.read_text())
    content["stages"][2]["final_loss"] += 1e-7
    rewrite(place, content)
    with pytest.raises(UnsupportedClaimError, match="replay: the board's run ended its stages with other losses"):
        OrderText(Boards(tmp_path).views, boards("some", "small")).repeats_board()


def test_what_is_scored_after_fewer_stages_is_held_against_what_it_has() -> None:
    whole = {"one": np.array([[0.5, 0.5], [1, 0], [1, 1]])}
    seen = {"one": np.array([[np.nan, np.nan], [1, 0], [1, 1]])}
    assert (differing(whole, seen), differing(whole, whole)) == ((0, 4), (0, 6))
    assert differing(seen, whole) == (2, 6)  # what it has and the published one lacks
    assert differing(whole, {"one": np.where(seen["one"] == 0, 1, seen["one"])}) == (1, 4)


def test_orders_that_no_square_has_are_refused(boards: Boards, tmp_path: Path) -> None:
    orders = [("one", "two", "three"), ("two", "one", "three"), ("three", "one", "two")]
    publish_orders(tmp_path, orders)
    text = OrderText(Boards(tmp_path).views, boards("some", "small"))
    for said in (text.latin, text.by_position):
        with pytest.raises(UnsupportedClaimError, match="more often than at another"):
            said()
    with pytest.raises(UnsupportedClaimError, match="Two orders end with the same task"):
        text.table()


def test_runs_that_are_no_table_of_the_board_are_refused(boards: Boards, study: Boards, tmp_path: Path) -> None:
    one: list[RunView] = [view for view in study.views if view.name == "dpo"]
    with pytest.raises(BenchError, match="not one table of methods and orders of small"):
        OrderText(one, boards("some", "small"))


def test_a_page_has_them(boards: Boards, study: Boards, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.findings.BOARD", ("some", "small"))
    studies = {"orders": study, "others": study}
    page = page_of("{% set o = orders() %}{{ o.latin() }}{{ o.count() }} orders", Sources(boards, studies.__getitem__))
    assert page == "3 orders\n"
    del studies["orders"]
    page = page_of("{{ orders('others').count() }} orders", Sources(boards, studies.__getitem__))
    assert page == "3 orders\n"
