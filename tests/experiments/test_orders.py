"""Orders of a stream: which there are, and statistics over them, counted by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from lifealign_bench.data.cards import StreamCard, load_stream
from lifealign_bench.errors import UsageError
from lifealign_bench.experiments.sweep import expand_orders, permutations
from lifealign_bench.reporting.tables.experiments import order_grids
from lifealign_bench.results.finding import open_runs
from lifealign_bench.results.metrics import summarize
from lifealign_bench.results.orders import order_rows, order_summary
from lifealign_bench.results.record import Record
from lifealign_bench.results.statistics import spread
from lifealign_bench.results.view import RunView
from tests.places import V1


def test_permutations_are_different_and_begin_with_the_own_order() -> None:
    tasks = ("a", "b", "c", "d")
    found = permutations(tasks, 10, seed=3)
    assert found[0] == tasks and len(set(found)) == 10
    assert all(sorted(order) == list(tasks) for order in found)
    assert found == permutations(tasks, 10, seed=3) != permutations(tasks, 10, seed=4)
    assert permutations(tasks, 4, seed=3) == found[:4]
    assert len(permutations(("a", "b", "c"), 99, seed=0)) == 6
    assert permutations(("a",), 3, seed=0) == [("a",)]


def test_a_random_order_is_a_stream_with_the_settings_of_its_own() -> None:
    fake = load_stream("fake")
    streams, notices = expand_orders([fake], "3", seed=0)
    assert streams[0].name == "fake" and len({s.tasks for s in streams}) == 3
    assert all(s.name == ",".join(s.tasks) for s in streams[1:])
    assert all(s.defaults == fake.defaults for s in streams) and not notices
    assert load_stream(streams[1].name).tasks == streams[1].tasks  # what `run --stream` takes


def test_fewer_orders_than_asked_for_are_told() -> None:
    one = StreamCard(name="one", tasks=("fake-upper",))
    streams, notices = expand_orders([one], "3", seed=0)
    assert streams == [one] and notices == ("Stream one has 1 tasks and so 1 orders.",)


def test_registered_orders_are_those_of_the_same_tasks() -> None:
    streams, _ = expand_orders([load_stream("order2")], "registered", seed=0)
    assert {s.name for s in streams} == {"order1", "order2", "order3"}


@pytest.mark.parametrize("word", ["0", "-1", "three", "1.5", ""])
def test_what_is_no_number_of_orders_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match="not a number of orders"):
        expand_orders([load_stream("fake")], word, seed=0)


def test_spread() -> None:
    found = spread([1.0, 2.0, 6.0])
    assert found == pytest.approx((3.0, math.sqrt(7.0), 1.0, 6.0, 3))
    assert math.isnan(spread([5.0]).deviation) and spread([5.0]).mean == 5.0
    assert math.isnan(spread([1.0, math.nan]).mean) and math.isnan(spread([]).low)


def view(tasks: str, seed: int, last: float, status: str = "complete", **config: object) -> RunView:
    """A run whose preference accuracy is ``last`` wherever it is known, over one-letter tasks."""
    content = json.loads(V1.read_text())
    n = len(tasks)
    matrix = [[50.0] * n] + [[last] * n] * n
    content["config"] |= {"stream": tasks, "tasks": list(tasks), "seed": seed, **config}
    content["status"] = status
    data = next(iter(content["data"].values()))
    content["data"] = dict.fromkeys(tasks, data)
    cells = {"percent": True, "value": matrix, "standard_error": matrix, "n": [[4] * n] * (n + 1)}
    content["scores"] = {"preference_accuracy": cells}
    values = {k: None if math.isnan(v) else v for k, v in summarize(matrix).items()}
    content["metrics"] = {"preference_accuracy": values}
    return RunView(Record.model_validate(content))


def test_mean_and_spread_over_orders_by_hand() -> None:
    views = [view("abc", 0, 80.0), view("abc", 1, 90.0), view("cba", 0, 60.0), view("cba", 1, 70.0)]
    views.append(view("bac", 0, 90.0))
    (row,) = order_rows(views)
    # Seeds first: 85, 65 and 90; not the mean of the five runs (78), nor their spread.
    assert row.spreads["preference_accuracy", "last"] == pytest.approx((80.0, math.sqrt(175.0), 65.0, 90.0, 3))
    assert row.spreads["preference_accuracy", "gain"].mean == pytest.approx(30.0)
    assert (row.orders, row.seeds, row.tasks) == (("abc", "cba", "bac"), (2, 2, 1), ("a", "b", "c"))
    (grid,) = order_grids([row])
    assert "80.0 ±13.2 [65.0, 90.0]" in grid.rows[0]
    assert any("not every order has as many seeds: 2, 2, 1" in note for note in grid.notes)
    (summary,) = order_summary([row])
    entry = next(m for m in summary["metrics"] if m["metric"] == "last")
    assert (entry["mean"], entry["min"], entry["max"], entry["orders"]) == (80.0, 65.0, 90.0, 3)


def test_only_complete_runs_of_the_same_settings_and_tasks_are_one_row() -> None:
    whole = [view("abc", 0, 80.0), view("cba", 0, 60.0)]
    assert not order_rows(whole[:1])
    assert not order_rows([whole[0], view("cba", 0, 60.0, "failed")])
    assert not order_rows([whole[0], view("cbd", 0, 60.0)])
    assert not order_rows([whole[0], view("cba", 0, 60.0, test_limit=7)])
    (row,) = order_rows([*whole, view("bca", 0, 10.0, "interrupted")])
    assert row.incomplete == 1 and row.spreads["preference_accuracy", "last"].n == 2
    (again,) = order_rows([*whole, view("cba", 0, 60.0)])  # one run, by two names of its order
    assert again.seeds == (1, 1)


def test_an_undefined_metric_stays_undefined() -> None:
    (row,) = order_rows([view("ab", 0, 80.0), view("ba", 0, 60.0)])
    assert row.spreads["preference_accuracy", "backward_transfer"].mean == 0.0
    broken = view("ba", 0, 60.0)
    broken.record.metrics["preference_accuracy"]["backward_transfer"] = None
    (row,) = order_rows([view("ab", 0, 80.0), broken])
    assert math.isnan(row.spreads["preference_accuracy", "backward_transfer"].mean)


def test_runs_are_found_below_a_folder_once(tmp_path: Path) -> None:
    for name in ("abc", "cba"):
        folder = tmp_path / name / "fake" / "dpo" / "seed-0"
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(json.dumps(view(name, 0, 80.0).record.to_json()))
    found = open_runs([tmp_path, tmp_path / "abc", tmp_path / "cba/fake/dpo/seed-0/record.json"])
    assert [v.group[0] for v in found] == ["abc", "cba"]
