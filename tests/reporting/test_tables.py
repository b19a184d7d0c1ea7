"""Records as tables, on a terminal and in files; and records of every past schema."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from lifealign_bench.errors import BenchError
from lifealign_bench.reporting.tables.files import run_summary, write_comparison, write_tables
from lifealign_bench.reporting.tables.grid import Cell, Grid, show_grid, to_markdown
from lifealign_bench.reporting.tables.run import (
    matrix_grid,
    record_grids,
    render_comparison,
    render_run,
    summary_grid,
    task_grid,
)
from lifealign_bench.results.clusters import alone
from lifealign_bench.results.comparison import comparison_rows
from lifealign_bench.results.metrics import summarize
from lifealign_bench.results.record import SCHEMA_VERSION, Record, read_record
from lifealign_bench.results.sameness import differing_settings
from lifealign_bench.results.view import RunView
from lifealign_bench.util.text import DASH, break_name, clean, duration, number
from tests.places import V1

TASKS = ("mini-facts", "mini-brief", "mini-direct")


def text_of(width: int = 80, **kind: Any) -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, width=width, **kind), stream


def record_of(
    values: dict[str, np.ndarray],
    plan: Sequence[Sequence[str]] | None = None,
    method: str = "dpo",
    seed: int = 0,
    status: str = "complete",
    **config: Any,
) -> Record:
    """A record with one score, from scores per task of shape (rows, pairs)."""
    content = json.loads(V1.read_text(encoding="utf-8"))
    tasks = list(values)
    means = np.array([array.mean(axis=1) for array in values.values()]).T * 100
    errors = np.array([array.std(axis=1, ddof=1) / math.sqrt(array.shape[1]) for array in values.values()]).T * 100
    stages = [list(stage) for stage in (plan if plan is not None else [(task,) for task in tasks])]

    def plain(matrix: np.ndarray) -> list[list[float | None]]:
        return [[None if math.isnan(v) else float(v) for v in row] for row in matrix]

    score = {
        "percent": True,
        "value": plain(means),
        "standard_error": plain(errors),
        "n": [[array.shape[1] for array in values.values()] for _ in means],
    }
    stage = content["stages"][1]
    metrics = {name: None if math.isnan(v) else v for name, v in summarize(means).items()}
    content |= {
        "status": status,
        "config": content["config"] | {"tasks": tasks, "stream": "mini", "seed": seed} | config,
        "method": content["method"] | {"name": method},
        "data": dict.fromkeys(tasks, content["data"]["fake-upper"]),
        "stages": [stage | {"index": i, "tasks": names} for i, names in enumerate([[], *stages])],
        "scores": {"preference_accuracy": score},
        "metrics": {"preference_accuracy": metrics},
    }
    return Record.model_validate(content)


def folder_of(path: Path, values: dict[str, np.ndarray], rows: dict[int, int] | None = None) -> Path:
    """A run's folder with the per-pair scores; ``rows``: stage to row of the matrix."""
    height = next(iter(values.values())).shape[0]
    for stage, row in (rows or {row: row for row in range(height)}).items():
        frames = [
            pd.DataFrame(
                {
                    "task": task,
                    "pair_id": [f"{task}/{i}" for i in range(array.shape[1])],
                    "preference_accuracy": array[row],
                }
            )
            for task, array in values.items()
        ]
        folder = path / f"stage-{stage}"
        folder.mkdir(parents=True)
        pd.concat(frames).to_parquet(folder / "scores.parquet", index=False)
    return path


def scores(seed: int = 0, pairs: int = 32, tasks: Sequence[str] = TASKS) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    share = generator.uniform(0.3, 1.0, (len(tasks), len(tasks) + 1, 1))
    return {t: (generator.random((len(tasks) + 1, pairs)) < share[j]).astype(float) for j, t in enumerate(tasks)}


# Records


def test_a_record_of_schema_1_is_readable_forever() -> None:
    record = read_record(V1)
    assert (record.schema_version, record.status, record.tasks) == (
        SCHEMA_VERSION,
        "complete",
        ["fake-upper", "fake-lower", "fake-digits"],
    )
    assert record.method.settings == {"focal_gamma": 2.0, "names": ["a", "b"]}
    assert record.scores["preference_accuracy"].array()[3].tolist() == pytest.approx([100.0, 600 / 11, 100.0])
    assert record.metrics["preference_accuracy"] == pytest.approx(
        summarize(record.scores["preference_accuracy"].array())
    )
    console, stream = text_of()
    render_run(console, RunView(record))
    assert "fake-digits" in stream.getvalue()


def test_a_record_of_a_future_schema_is_refused(tmp_path: Path) -> None:
    content = json.loads(V1.read_text(encoding="utf-8")) | {"schema_version": 99}
    path = tmp_path / "record.json"
    path.write_text(json.dumps(content))
    with pytest.raises(BenchError, match="schema 99") as caught:
        RunView.open(tmp_path)
    assert "Update" in caught.value.remedy


def test_what_is_no_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no record"):
        RunView.open(tmp_path)
    (tmp_path / "record.json").write_text("{")
    with pytest.raises(BenchError, match="not JSON"):
        RunView.open(tmp_path / "record.json")


# One run


def test_the_matrix_marks_the_best_and_the_current_task() -> None:
    grid = matrix_grid(RunView(read_record(V1)), "preference_accuracy")
    assert [row[0] for row in grid.rows] == ["0 base", "1 fake-upper", "2 fake-lower", "3 fake-digits"]
    cells = [[cell for cell in row[1:] if isinstance(cell, Cell)] for row in grid.rows]
    assert [[cell.current for cell in row] for row in cells[1:]] == np.eye(3, dtype=bool).tolist()
    assert [[cell.best for cell in row] for row in cells] == [
        [False, False, False],
        [True, False, True],
        [False, True, False],
        [True, False, True],
    ]
    assert cells[2][0].text == "72.7 ±14.1"


def test_colour_marks_on_a_terminal_and_signs_elsewhere() -> None:
    grid = matrix_grid(RunView(read_record(V1)), "preference_accuracy")
    console, stream = text_of()
    show_grid(console, grid)
    assert "*>100.0 ±0.0" in stream.getvalue() and "\x1b" not in stream.getvalue()
    console, stream = text_of(force_terminal=True, color_system="standard", no_color=False)
    console.no_color = False
    show_grid(console, grid)
    assert "\x1b[1;4;32m" in stream.getvalue() and "*>" not in stream.getvalue()


def test_metrics_come_with_their_interval(tmp_path: Path) -> None:
    values = scores()
    view = RunView(record_of(values), folder_of(tmp_path, values))
    rows = {row[0]: str(row[1]) for row in summary_grid(view, ["preference_accuracy"]).rows}
    value = view.metric("preference_accuracy", "last")
    found = view.interval("preference_accuracy", "last")
    assert found is not None and found.low < value < found.high
    assert rows["last"] == f"{value:.1f} [{found.low:.1f}, {found.high:.1f}]"
    assert "intransigence" not in rows
    without = RunView(record_of(values))
    assert without.interval("preference_accuracy", "last") is None
    assert any("Without intervals" in note for note in summary_grid(without, ["preference_accuracy"]).notes)


def test_scores_of_another_run_give_no_error_bars(tmp_path: Path) -> None:
    view = RunView(record_of(scores(0)), folder_of(tmp_path, scores(1)))
    assert view.interval("preference_accuracy", "last") is None


def test_what_became_of_each_task(tmp_path: Path) -> None:
    values = scores()
    view = RunView(record_of(values), folder_of(tmp_path, values))
    grid = task_grid(view, "preference_accuracy")
    means = {task: array.mean(axis=1) * 100 for task, array in values.items()}
    first = grid.rows[0]
    assert str(first[2]).startswith(f"{means['mini-facts'][1]:.1f} ±")
    change = means["mini-facts"][3] - means["mini-facts"][1]
    assert str(first[5]).startswith(f"{number(change)} ±")
    assert grid.rows[2][4] == DASH  # forgetting of the last task


def test_a_joint_run_has_two_rows_and_dashes(tmp_path: Path) -> None:
    values = scores()
    for array in values.values():
        array[1:3] = math.nan
    view = RunView(record_of(values, plan=[TASKS], method="joint"), folder_of(tmp_path, values, {0: 0, 1: 3}))
    assert [(row.row, row.label) for row in view.rows] == [(0, "0 base"), (3, "1 all 3 tasks")]
    rows = {row[0]: str(row[1]) for row in summary_grid(view, ["preference_accuracy"]).rows}
    assert rows["BWT"] == rows["forgetting"] == rows["AP"] == DASH
    assert "[" in rows["last"] and "[" in rows["gain"]
    assert all(row[2] == row[4] == row[5] == DASH for row in task_grid(view, "preference_accuracy").rows)


def test_a_run_that_failed_has_cells_and_no_metrics() -> None:
    values = scores()
    for array in values.values():
        array[2:] = math.nan
    record = record_of(values, plan=[TASKS[:1]], status="failed").model_copy(update={"error": "NaN in [red]step 3"})
    console, stream = text_of()
    render_run(console, RunView(record))
    assert "Status: failed. NaN in [red]step 3" in stream.getvalue()
    assert "not complete" in stream.getvalue()
    grid = summary_grid(RunView(record), ["preference_accuracy"])
    assert {str(row[1]) for row in grid.rows} == {DASH}


def test_a_wide_stream_is_split_and_loses_nothing() -> None:
    tasks = [f"a-task-with-a-long-name-{i}" for i in range(12)]
    view = RunView(record_of(scores(tasks=tasks)))
    console, stream = text_of(60)
    show_grid(console, matrix_grid(view, "preference_accuracy"))
    lines = stream.getvalue().split("\n")
    assert max(map(len, lines)) <= 60
    # Parts of like width, of which the first has the title.
    counts = [line.count("─") for line in lines if line.startswith("─")]
    assert len(counts) >= 3 and min(counts) > max(counts) // 2 and "continued" not in stream.getvalue()
    values = view.record.scores["preference_accuracy"].array()
    for value in values.ravel():
        assert f"{value:.1f} ±" in stream.getvalue()


@pytest.mark.parametrize("width", [40, 80, 120])
def test_every_table_fits_its_console(width: int, tmp_path: Path) -> None:
    values = scores()
    console, stream = text_of(width)
    render_run(console, RunView(record_of(values), folder_of(tmp_path, values)))
    assert max(len(line) for line in stream.getvalue().split("\n")) <= width


def test_all_right_everywhere_is_not_certainty() -> None:
    values = {task: np.ones((4, 32)) for task in TASKS}
    notes = matrix_grid(RunView(record_of(values)), "preference_accuracy").notes
    assert any("32 of 32 is compatible with 89.3" in note for note in notes)


def test_every_cell_has_an_interval() -> None:
    """By bootstrap; where all pairs agree, that says nothing, and it is Wilson's."""
    generator = np.random.default_rng(2)
    right = (generator.random((4, 400)) < 0.7).astype(float)
    values = {"fake-upper": np.ones((4, 32)), "fake-lower": np.zeros((4, 32)), "fake-digits": right}
    view = RunView(record_of(values), Path("nowhere"))
    view.__dict__["_pairs"] = {"preference_accuracy": values}
    view.__dict__["clusters"] = alone({task: array.shape[1] for task, array in values.items()})
    found = view.cell_intervals("preference_accuracy")
    assert found[3, "fake-upper"] == pytest.approx((89.28, 100.0), abs=0.01)
    assert found[3, "fake-lower"] == pytest.approx((0.0, 10.72), abs=0.01)
    mean, error = 100 * right[2].mean(), 100 * right[2].std(ddof=1) / 20
    assert found[2, "fake-digits"] == pytest.approx((mean - 1.96 * error, mean + 1.96 * error), abs=0.3 * error)
    assert RunView(record_of(values)).cell_intervals("preference_accuracy") == {}
    # Pairs of 16 topics that all agree are 16 answers and not 32.
    view.__dict__["clusters"] = {task: np.arange(array.shape[1]) // 2 for task, array in values.items()}
    assert view.cell_intervals("preference_accuracy")[3, "fake-upper"] == pytest.approx((80.64, 100.0), abs=0.01)


# Files


def test_files_are_complete_and_the_same_every_time(tmp_path: Path) -> None:
    values = scores()
    record = record_of(values)
    folder = folder_of(tmp_path, values)
    write_tables(RunView(record, folder), folder)
    names = ("scores.csv", "metrics.csv", "per_task.csv", "summary.md", "summary.json")
    first = {name: (folder / "tables" / name).read_bytes() for name in names}
    write_tables(RunView(record, folder), folder)
    assert first == {name: (folder / "tables" / name).read_bytes() for name in names}

    cells = pd.read_csv(folder / "tables" / "scores.csv")
    assert list(cells.columns) == ["score", "stage", "task", "value", "low", "high", "standard_error", "n"]
    assert len(cells) == 4 * 3
    assert (cells["low"] <= cells["value"]).all() and (cells["value"] <= cells["high"]).all()
    table = pd.read_csv(folder / "tables" / "metrics.csv")
    (row,) = table[table["metric"] == "last"][["low", "value", "high"]].to_numpy(dtype=float).tolist()
    summary = json.loads(first["summary.json"])
    assert summary["metrics"]["preference_accuracy"]["last"]["value"] == pytest.approx(row[1])
    assert row[0] < row[1] < row[2]
    assert str(tmp_path) not in first["summary.json"].decode()


def test_markdown_shows_names_as_they_are() -> None:
    grid = Grid("A | *b*", ("task", "<b>x</b>"), (("a|b_c`d", Cell("1.0", best=True, current=True)),))
    text = to_markdown(grid)
    assert r"a\|b\_c\`d" in text
    assert r"\<b\>x\</b\>" in text
    assert "**_1.0_**" in text
    assert all(line.count("|") - line.count(r"\|") == 3 for line in text.split("\n") if line.startswith("|"))


# Several runs


def views(tmp_path: Path) -> list[RunView]:
    found = []
    for method in ("dpo", "replay"):
        for seed in (0, 1):
            values = scores(seed + 10 * (method == "replay"))
            folder = folder_of(tmp_path / f"{method}-{seed}", values)
            found.append(RunView(record_of(values, method=method, seed=seed), folder))
    return found


def test_seeds_are_averaged_with_the_error_over_seeds_and_pairs(tmp_path: Path) -> None:
    rows = comparison_rows(views(tmp_path))
    assert [(row.method, row.seeds) for row in rows] == [
        ("dpo", (0,)),
        ("dpo", (1,)),
        ("dpo", (0, 1)),
        ("replay", (0,)),
        ("replay", (1,)),
        ("replay", (0, 1)),
    ]
    a, b, mean = rows[:3]
    assert mean.values[0] == pytest.approx((a.values[0] + b.values[0]) / 2)
    # Over the seeds, and a little more over the test pairs that they share.
    over_seeds = abs(a.values[0] - b.values[0]) / 2
    assert over_seeds <= mean.errors[0] <= math.hypot(over_seeds, max(a.errors[0], b.errors[0]))
    assert a.errors[0] > 0


def test_comparison_on_a_terminal_and_in_files(tmp_path: Path) -> None:
    found = views(tmp_path)
    console, stream = text_of()
    render_comparison(console, found)
    assert "mean of 2" in stream.getvalue()
    assert max(map(len, stream.getvalue().split("\n"))) <= 80
    write_comparison(found, tmp_path / "all")
    table = pd.read_csv(tmp_path / "all" / "comparison.csv")
    assert list(table["kind"]) == ["run", "run", "mean"] * 2
    assert len(json.loads((tmp_path / "all" / "comparison.json").read_text())) == 6
    assert "mean of 2" in (tmp_path / "all" / "comparison.md").read_text()


def test_an_unfinished_run_is_shown_without_numbers_and_in_no_mean() -> None:
    found = [
        RunView(record_of(scores(0))),
        RunView(record_of(scores(1), seed=1, status="interrupted")),
    ]
    rows = comparison_rows(found)
    assert len(rows) == 2
    assert all(math.isnan(value) for value in rows[1].values)
    console, stream = text_of(120)
    render_comparison(console, found)
    assert "dpo (interrupted)" in stream.getvalue()


def test_runs_that_differ_in_more_than_their_method_are_told_apart() -> None:
    assert differing_settings([record_of(scores()), record_of(scores(), method="ewc", seed=3)]) == []
    notes = differing_settings([record_of(scores(), test_limit=8), record_of(scores(), method="ewc", test_limit=16)])
    assert notes == ["Not the same everywhere: test_limit is 8 (dpo seed 0), 16 (ewc seed 0)."]


def test_the_summary_as_json_has_no_nan() -> None:
    values = scores()
    values["mini-facts"][0] = math.nan
    json.dumps(run_summary(RunView(record_of(values))), allow_nan=False)


# Text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ± é 中", "plain ± é 中"),
        ("a\x1b[31mred\x1b[0m", "a[31mred[0m"),
        ("two\nlines\tand a tab", "two lines and a tab"),
        ("bell\x07 null\x00", "bell null"),
        ("turned \u202eround\u202c", "turned round"),
        ("half \ud800 pair", "half \ufffd pair"),
    ],
)
def test_text_is_cleaned_of_what_controls_a_terminal(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_names_are_broken_where_they_can_be() -> None:
    assert break_name("hh-rlhf-harmless-base").split("\n") == ["hh-rlhf-", "harmless-", "base"]
    assert break_name("short") == "short"
    assert break_name("averyverylongnamewithnobreak") == "averyverylongnamewithnobreak"


def test_numbers_for_people() -> None:
    assert [number(v) for v in (None, math.nan, -0.04, 12.34, 1234.5)] == [DASH, DASH, "0.0", "12.3", "1,234.5"]
    assert [duration(s) for s in (None, 0.25, 12.4, 75, 3700)] == [DASH, "0.2 s", "12 s", "1 min 15 s", "1 h 01 min"]


def test_record_tables_have_one_head_for_each_column() -> None:
    for grid in record_grids(RunView(read_record(V1))):
        assert all(len(row) == len(grid.heads) for row in grid.rows)
