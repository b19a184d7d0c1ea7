"""``lifealign-bench report``: figures as data, the page, the files, and the page in a browser."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import html

from lifealign_bench.config import GenerationConfig, RunConfig
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.reporting.figures import charts
from lifealign_bench.reporting.figures.drawn import KINDS, picture, write_figures
from lifealign_bench.reporting.figures.figure import Figure
from lifealign_bench.reporting.figures.palette import DARK, HUES, LIGHT, PAGE, SERIES, STRONGEST, Theme, look_of
from lifealign_bench.reporting.figures.run import (
    cell_estimate,
    cost_figure,
    curve_figure,
    effort_figure,
    heat_figure,
    length_figure,
    margin_figure,
    mean_of_cells,
    quantiles,
    tints,
    transfer_figure,
)
from lifealign_bench.reporting.figures.several import board_figures, group_figures, order_figures, seeds_note
from lifealign_bench.reporting.page.content import Browser as Generations
from lifealign_bench.reporting.page.content import Gallery, Table, flat, sort_key, walk
from lifealign_bench.reporting.page.document import render
from lifealign_bench.reporting.page.report import ReportRequest, find_runs, make_page, usual_place
from lifealign_bench.reporting.page.several import comparison_result
from lifealign_bench.reporting.page.texts import LONGEST, embedded, select_texts, visible
from lifealign_bench.results.history import PairHistory, moved
from lifealign_bench.results.leaderboard import make_boards
from lifealign_bench.results.record import Record, read_record, write_record
from lifealign_bench.results.view import RunView
from lifealign_bench.runs.run import run
from lifealign_bench.util.text import DASH, clean, number
from tests.browser import Browser, find_chromium, open_browser
from tests.command import Call
from tests.pages import check_document
from tests.places import ROOT, TESTS
from tests.reporting.test_tables import TASKS, folder_of, record_of, scores

HOSTILE = (
    "<script>window.broken = 1</script>",
    "</script><script>window.broken = 2</script>",
    "<img src=x onerror='window.broken = 3'>",
    "\x1b[31mred\x1b[0m \x07",
    "one \u202eevil\u202c two",
    "line\u2028separator\u2029paragraph",
    "{{ 7 * 7 }} ${7 * 7} &lt;b&gt; \"quoted\" 'single'",
    "half a character \ud800 and \x00 nothing",
)
NAN = math.nan


def estimate(value: float, error: float, n: int, percent: bool = True) -> tuple[float, float, float]:
    found = cell_estimate(value, error, n, percent)
    return found.value, found.low, found.high


# Intervals


def test_intervals_of_cells() -> None:
    # 24 of 24: Wilson's lower end is n / (n + z^2).
    assert estimate(100.0, 0.0, 24) == pytest.approx((100.0, 100 * 24 / (24 + 1.959964**2), 100.0))
    assert estimate(0.0, 0.0, 24)[2] == pytest.approx(100 - 100 * 24 / (24 + 1.959964**2))
    # 12 of 16 right: p = 0.75, the sample's standard error is sqrt(p (1 - p) / 15); Wilson's ends by hand.
    error = 100 * math.sqrt(0.75 * 0.25 / 15)
    assert estimate(75.0, error, 16) == pytest.approx((75.0, 50.5017, 89.8179), abs=1e-3)
    # No share of right and wrong: Student's t, 2.0687 for 23 degrees of freedom.
    assert estimate(60.0, 2.0, 24) == pytest.approx((60.0, 60 - 2.0687 * 2, 60 + 2.0687 * 2), abs=1e-3)
    assert estimate(99.0, 2.0, 24)[2] == 100.0
    assert estimate(-1.0, 0.5, 24, percent=False)[1] == pytest.approx(-1 - 2.0687 * 0.5, abs=1e-3)
    # A tie everywhere is 50 by definition; nothing is known of one pair, or of no error.
    assert estimate(50.0, 0.0, 24) == (50.0, 50.0, 50.0)
    assert not cell_estimate(50.0, NAN, 24, True).bounded and not cell_estimate(100.0, 0.0, 1, True).bounded
    assert not cell_estimate(NAN, NAN, 24, True).known


def test_means_of_cells() -> None:
    found = mean_of_cells([60.0, 80.0], [3.0, 4.0], True)
    assert (found.value, found.low) == pytest.approx((70.0, 70 - 1.96 * 2.5))
    assert not mean_of_cells([60.0, NAN], [3.0, NAN], True).known
    assert not mean_of_cells([60.0, 80.0], [3.0, NAN], True).bounded


# Colours


def luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb`` (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def over(top: str, ground: str, opacity: float) -> str:
    """The colour of a half-transparent one on another."""
    pairs = [(int(top[i : i + 2], 16), int(ground[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a * opacity + b * (1 - opacity)):02x}" for a, b in pairs)


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_colours_are_readable_and_stand_out(theme: Theme) -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    for hue in (theme["high"], theme["low"]):
        assert contrast(theme["ink"], over(hue, theme["surface"], STRONGEST)) >= 4.5
    hues = [theme[f"c{i}"] for i in range(HUES)]
    assert len(set(hues)) == HUES and all(contrast(hue, theme["surface"]) >= 3 for hue in hues)
    assert set(theme) == set(LIGHT) == set(PAGE)


def test_as_many_series_as_there_are_hues_marks_and_fillings_look_different() -> None:
    looks = [look_of(i) for i in range(SERIES)]
    assert len({(look.hue, look.mark, look.filled) for look in looks}) == len(set(looks)) == SERIES == 24
    # Without colour as well, of twelve methods no two have the same mark.
    assert len({(look.mark, look.filled) for look in looks[:12]}) == 12


def test_tints_part_where_the_base_model_is() -> None:
    values = np.array([[50.0, 30.0], [90.0, 20.0], [50.0, NAN]])
    found = tints(values, values[0], True)
    assert found[:2].tolist() == [[0.0, 0.0], [1.0, -0.25]] and found[2, 0] == 0 and math.isnan(found[2, 1])
    # What is next to nothing has no deep colour; of other units nobody knows what is little.
    assert tints(np.array([[50.0, 52.0]]), 50.0, True).max() == pytest.approx(0.1)
    assert tints(np.array([[0.0, 0.02]]), 0.0, False).max() == 1
    assert tints(np.array([[0.0]]), 0.0, False).tolist() == [[0.0]]


# Figures of a run


@pytest.fixture
def view(tmp_path: Path) -> RunView:
    values = scores()
    return RunView(record_of(values), folder_of(tmp_path / "run", values))


def test_a_heatmap_says_what_the_record_says(view: RunView) -> None:
    figure = heat_figure(view, "preference_accuracy")
    columns, rows = figure.table()
    assert columns == ("after stage", "task", "value", "standard error", "n")
    matrix = view.record.scores["preference_accuracy"].array()
    assert [row[2] for row in rows] == pytest.approx(matrix.ravel().tolist())
    assert {row[4] for row in rows} == {32}
    outlined = {(row["row"], row["column"]) for row in figure.rows if row["current"]}
    assert outlined == {(f"{i} {task}", task) for i, task in enumerate(TASKS, start=1)}
    assert list(csv.reader(io.StringIO(figure.csv())))[1][:2] == ["0 base", "mini-facts"]
    assert "Outlined: 1 mini-facts, mini-facts" in figure.alt
    # Colours part at the base model's value on the task.
    base = dict(zip(TASKS, matrix[0], strict=True))
    for row in figure.rows:
        assert np.sign(row["tint"]) == np.sign(np.round(row["value"] - base[row["column"]], 9))


def drawn(figure: Figure) -> html.HtmlElement:
    return html.fromstring(picture(figure))


def test_what_was_not_evaluated_is_a_dash_and_never_0() -> None:
    values = scores()
    values["mini-brief"][1] = NAN
    view = RunView(record_of(values))
    figure = heat_figure(view, "preference_accuracy")
    (row,) = [r for r in figure.table()[1] if r[:2] == ("1 mini-facts", "mini-brief")]
    assert row[2] is None and row[3] is None
    cells = [title.text_content() for title in drawn(figure).findall(".//path/title")]
    assert cells.count("1 mini-facts, mini-brief: not evaluated") == 1
    assert [t.text for t in drawn(figure).iter("text") if t.text == DASH] == [DASH]
    curves = curve_figure(view, "preference_accuracy")
    line = [row["value"] is not None for row in curves.rows if row["series"] == "mini-brief"]
    assert line == [True, False, True, True]
    # A line with a hole is two lines; neither goes through the hole.
    lines = [p.get("d", "") for p in drawn(curves).iter("path") if p.get("stroke-width") == "1.8"]
    assert [(d.count("M"), d.count("L")) for d in lines] == [(1, 3), (2, 1), (1, 3)]


def test_curves_have_intervals_and_their_own_stage(view: RunView) -> None:
    rows = curve_figure(view, "preference_accuracy").rows
    assert [row["place"] for row in rows if row["own"]] == [f"{i} {task}" for i, task in enumerate(TASKS, start=1)]
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)
    assert "95 % intervals over a task's test pairs (by bootstrap" in curve_figure(view, "preference_accuracy").caption
    # They are those of the tables; a record alone has less to say them from.
    tables = view.cell_intervals("preference_accuracy")
    shown = {(int(row["place"].split()[0]), row["series"]): (row["low"], row["high"]) for row in rows}
    assert {key: pytest.approx(ends) for key, ends in tables.items()} == shown
    assert "from their means alone" in curve_figure(RunView(view.record), "preference_accuracy").caption


def test_learning_against_forgetting(view: RunView) -> None:
    figure = transfer_figure(view, "preference_accuracy")
    assert figure is not None
    matrix = view.record.scores["preference_accuracy"].array()
    first = figure.rows[0]
    assert [row["name"] for row in figure.rows] == list(TASKS[:-1])  # nothing comes after the last
    assert (first["x"], first["y"]) == pytest.approx((matrix[1, 0], matrix[1:3, 0].max() - matrix[3, 0]))
    assert None not in (first["x_low"], first["x_high"], first["y_low"], first["y_high"])
    joint = record_of(scores(), plan=[TASKS], method="joint")
    assert transfer_figure(RunView(joint), "preference_accuracy") is None


def test_margins_are_quantiles_of_the_pairs() -> None:
    found = quantiles(np.arange(101.0))
    assert found == pytest.approx({"p5": 5, "p25": 25, "p50": 50, "p75": 75, "p95": 95, "mean": 50, "n": 101})
    for array in (np.array([]), np.array([1.0, NAN])):
        assert quantiles(array)["n"] == 0 and math.isnan(quantiles(array)["p50"])


def test_without_the_scores_of_pairs_there_are_no_distributions() -> None:
    assert margin_figure(RunView(record_of(scores()))) is None


def test_cost_by_stage_and_over_time(view: RunView) -> None:
    figure = cost_figure(view)
    assert figure is not None
    seconds = sum(v for stage in view.record.stages for v in stage.seconds.values())
    assert sum(row["value"] for row in figure.rows) == pytest.approx(seconds / 60, rel=0.02)
    effort = effort_figure(view, "preference_accuracy")
    assert effort is not None
    spent = [row["x"] for row in effort.rows]
    assert spent[0] == 0 and spent == sorted(spent)
    matrix = view.record.scores["preference_accuracy"].array()
    assert [row["y"] for row in effort.rows] == pytest.approx(matrix.mean(axis=1))


def test_lengths_of_responses(view: RunView) -> None:
    figure = length_figure(
        view, {0: {"mini-facts": {"a": "one", "b": "one two three"}}, 1: {"mini-facts": {"a": "", "b": "one"}}}
    )
    assert figure is not None and {row["panel"] for row in figure.rows} == {"mini-facts"}
    assert [row["mean"] for row in figure.rows] == [2.0, 0.5, None, None]
    assert length_figure(view, {}) is None


# Figures of several runs


def several(path: Path) -> list[RunView]:
    found = []
    for place, (method, seed) in enumerate((("dpo", 0), ("dpo", 1), ("replay", 0), ("joint", 0))):
        values = scores(place)
        plan = [TASKS] if method == "joint" else None
        if plan:
            for array in values.values():
                array[1:3] = NAN
        rows = {0: 0, 1: 3} if plan else None
        folder = folder_of(path / f"{method}-{seed}", values, rows)
        found.append(RunView(record_of(values, method=method, seed=seed, plan=plan), folder))
    return found


def test_methods_beside_each_other(tmp_path: Path) -> None:
    views = several(tmp_path)
    course, transfer, cost, final = group_figures(views, "preference_accuracy")
    assert all(figure.series == ("dpo", "replay", "joint") for figure in (course, transfer, cost))
    points = {(row["series"], row["place"]): row["value"] for row in course.rows}
    assert [points["joint", str(i)] is not None for i in range(4)] == [True, False, False, True]
    means = [v.record.scores["preference_accuracy"].array()[3].mean() for v in views[:2]]
    assert points["dpo", "3"] == pytest.approx(np.mean(means))
    assert [row["name"] for row in transfer.rows] == ["dpo", "replay"]
    learned = [v.metric("preference_accuracy", "learning") for v in views[:2]]
    assert transfer.rows[0]["x"] == pytest.approx(np.mean(learned))
    assert len(cost.rows) == 3
    assert list(dict.fromkeys(row["row"] for row in final.rows)) == ["base model", "dpo", "replay", "joint"]
    assert {row["tint"] for row in final.rows if row["row"] == "base model"} == {0}
    assert "Each method has 1 to 2 seeds" in seeds_note(views, "preference_accuracy")
    # In the order of a ranking where there is one.
    final = group_figures(views, "preference_accuracy", ["joint", "dpo", "replay"])[-1]
    assert list(dict.fromkeys(row["row"] for row in final.rows)) == ["base model", "joint", "dpo", "replay"]
    assert group_figures(views[:2], "preference_accuracy") == []


def test_cost_is_in_operations_where_all_runs_have_counted_them(tmp_path: Path) -> None:
    def counted(view: RunView, flops: float) -> RunView:
        stages = [stage.model_copy(update={"flops": {"train": flops}, "seen": 1}) for stage in view.record.stages]
        return RunView(view.record.model_copy(update={"stages": stages}), view.directory)

    def cost(views: list[RunView]) -> Figure:
        return next(f for f in group_figures(views, "preference_accuracy") if f.id.startswith("methods-cost-quality"))

    views = several(tmp_path)
    clock = cost(views)
    assert clock.table()[0][2] == "minutes of training" and "same machine" in clock.caption
    stages = [len(view.record.stages) for view in views]
    some = [counted(view, 2e12) for view in views]
    figure = cost(some)
    assert figure.table()[0][2] == "operations of training (1e12)" and "machine" not in figure.caption
    assert {row["name"]: row["x"] for row in figure.rows} == pytest.approx(
        {"dpo": 2.0 * stages[0], "replay": 2.0 * stages[2], "joint": 2.0 * stages[3]}
    )
    assert cost([*some[:3], views[3]]).table()[0][2] == "minutes of training"


def test_methods_not_scored_on_later_tasks_are_drawn_over_those_trained_so_far(tmp_path: Path) -> None:
    views = several(tmp_path)
    early, bound = scores(2), scores(3)
    for j, array in enumerate(early.values()):
        array[1 : j + 1] = NAN
    for array in bound.values():
        array[:3] = NAN
    views[2] = RunView(record_of(early, method="replay"))
    views.insert(0, RunView(record_of(bound, method="bound", plan=[TASKS])))
    course, *_, final = group_figures(views, "preference_accuracy")
    assert "over the tasks trained so far" in course.title
    points = {(row["series"], row["place"]): row["value"] for row in course.rows}
    replay = views[3].record.scores["preference_accuracy"].array()
    assert points["replay", "0"] is None
    assert [points["replay", str(i)] for i in (1, 2)] == pytest.approx([replay[1, 0], replay[2, :2].mean()])
    both = [view.record.scores["preference_accuracy"].array()[2, :2].mean() for view in views[1:3]]
    assert points["dpo", "2"] == pytest.approx(np.mean(both))
    # The base model is that of a run in which it was scored.
    assert {row["tint"] for row in final.rows if row["row"] == "base model"} == {0}


def test_a_method_that_starts_again_has_no_line_and_takes_nobodys_colour(tmp_path: Path) -> None:
    views = several(tmp_path)
    values = scores(5)
    for j, array in enumerate(values.values()):
        array[[i for i in range(1, 4) if i != j + 1]] = NAN
    views.insert(2, RunView(record_of(values, method="single")))
    figures = group_figures(views, "preference_accuracy")
    assert Gallery(tuple(figures)).legend == {"dpo": 0, "replay": 2, "joint": 3}
    assert "single" not in figures[0].csv()
    on_page = picture(figures[0])
    assert "var(--s2)" in on_page and "var(--s1)" not in on_page and "single" not in on_page
    files = write_figures(figures[:1], tmp_path / "drawn", force=False)
    on_paper = files[-1].read_text(encoding="utf-8")
    assert LIGHT["c2"] in on_paper and LIGHT["c1"] not in on_paper and ">replay<" in on_paper and "var(" not in on_paper
    # Nor a row of nothing but dashes.
    assert "single" not in figures[-1].csv()


def test_win_rates_are_those_of_the_leaderboard() -> None:
    views = [RunView.open(file) for file in sorted(RESULTS.rglob("seed-*.json"))]
    figures = {figure.id: figure for figure in group_figures(views, "preference_accuracy")}
    rows = figures["methods-responses-preference-accuracy"].rows
    (board,) = make_boards(views)
    points = {row["name"]: (row["x"], row["y"], row["y_low"]) for row in rows}
    for entry in board.entries:
        last, wins = entry.estimates["last"], entry.estimates["win_rate"]
        assert points[entry.method] == pytest.approx((last.value, wins.value, wins.low), abs=0.5)
    assert all("responses" not in figure.id for figure in group_figures(views, "win_rate"))
    ranking = board_figures(replace(board, score="win_rate"))[0]
    panels = dict.fromkeys((row["panel"], row["even"]) for row in ranking.rows)
    assert list(panels) == [("win rate, last (percent)", 50.0), ("forgetting", None)]  # what is ranked by: once


def test_an_incomplete_run_is_in_no_figure(tmp_path: Path) -> None:
    views = [*several(tmp_path), RunView(record_of(scores(9), method="ewc", status="interrupted"))]
    for figure in group_figures(views, "preference_accuracy"):
        assert "ewc" not in figure.csv()


def test_order_sensitivity() -> None:
    orders = (TASKS, TASKS[::-1])
    views = [RunView(record_of(scores(i, tasks=o), stream=",".join(o))) for i, o in enumerate(orders)]
    last, _ = order_figures(views, "preference_accuracy")
    assert {row["name"] for row in last.rows} == {"dpo"}
    values = [view.metric("preference_accuracy", "last") for view in views]
    assert [row["value"] for row in last.rows] == pytest.approx(values)
    assert [row["mean"] for row in last.rows] == pytest.approx([np.mean(values)] * 2)
    assert [row["deviation"] for row in last.rows] == pytest.approx([np.std(values, ddof=1)] * 2)
    assert order_figures(views[:1], "preference_accuracy") == []


# Texts


def test_text_is_made_visible() -> None:
    assert visible("a\tb\nc") == "a\tb\nc"
    assert visible("\x1b[31m\x00\x7f") == "␛[31m␀␡"
    assert visible("a\u202eb\u2066c") == "a⟨U+202E⟩b⟨U+2066⟩c"
    assert visible("a\u2028b\r\nc") == "a\nb\nc" and visible("\ud800") == "\ufffd"
    assert visible("क\u200dष 👩\u200d🔬") == "क\u200dष 👩\u200d🔬"


@given(st.text())
def test_what_is_embedded_ends_no_script_and_comes_back(text: str) -> None:
    found = embedded({"text": visible(text)})
    assert not re.search("[<>&\u2028\u2029]", found)
    assert json.loads(found) == {"text": visible(text)}


def history(number: int, margins: Sequence[float], text: str = "text") -> PairHistory:
    stages = dict(enumerate(margins))
    return PairHistory(f"t/{number}", "prompt", "chosen", "rejected", stages, dict.fromkeys(stages, text))


def test_what_was_lost_comes_first_and_is_counted_as_elsewhere(view: RunView) -> None:
    margins = np.random.default_rng(0).normal(0.3, 1, (20, 4))
    pairs = [history(i, row.tolist()) for i, row in enumerate(margins)]
    texts = select_texts(view, {"mini-facts": pairs}, 10**6)
    assert texts is not None and len(texts.shown) == 20
    lost = [sample.lost for sample in texts.shown]
    assert sum(lost) == moved(margins[:, 1], margins[:, 3]).lost > 0
    assert lost == sorted(lost, reverse=True)
    assert select_texts(view, {}, 10**6) is None


def test_texts_stay_within_their_size_and_every_task_has_its_share(view: RunView) -> None:
    found = {task: [history(i, [0.0] * 4, "<" * 500) for i in range(200)] for task in TASKS}
    found["mini-facts"] = found["mini-facts"][:2]
    texts = select_texts(view, found, 100_000)
    assert texts is not None and len(embedded(texts.as_json())) <= 101_000
    counts = {task: sum(s.task == task for s in texts.shown) for task in TASKS}
    # What the first task leaves over goes to the others.
    assert counts["mini-facts"] == 2 and counts["mini-brief"] == counts["mini-direct"] >= 3
    assert Generations("b", texts).summary.startswith(f"{len(texts.shown)} of 402 test pairs")
    # Beside other runs it is the same pairs, whatever this run lost.
    lost = [history(i, [1.0, 1.0, 1.0, -float(i)], "<" * 500) for i in range(200)]
    shown = select_texts(view, {"mini-facts": lost}, 100_000, beside=True)
    assert (
        shown is not None and 3 < len(shown.shown) < 200 and "the same of every run" in Generations("b", shown).summary
    )
    assert {s.plain["id"] for s in shown.shown} == set(sorted(h.pair_id for h in lost)[: len(shown.shown)])
    assert [s.plain["margins"][3] for s in shown.shown] == sorted(s.plain["margins"][3] for s in shown.shown)
    long = select_texts(view, {"mini-facts": [history(0, [0.0], "x" * (LONGEST + 7))]}, 10**6)
    assert long is not None and long.cut == 1
    assert long.as_json()["pairs"][0]["responses"][0].endswith("… (7 more characters)")


# Tables


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("93.8 ±4.2", 93.8),
        ("-1,234.5 [-1, 2]", -1234.5),
        ("2 h 05 min", 7500.0),
        ("4 min 10 s", 250.0),
        ("8.5 s", 8.5),
        ("2.6 GiB", 2.6 * 2**30),
        ("48 bytes", 48.0),
        ("< 0.001", 0.001),
        (DASH, None),
        ("", None),
        ("dpo", None),
        ("2026-11-23", None),
        ("1 mini-facts", 1.0),
    ],
)
def test_what_cells_are_sorted_by(text: str, key: float | None) -> None:
    assert sort_key(text) == key


def test_nested_facts_become_lines() -> None:
    facts = {"judge": {"model": "m", "agrees": 0.912345678}, "empty": {}, "list": [1, 2], "pairs": [{"a": None}]}
    assert flat(facts) == [
        ("judge.model", "m"),
        ("judge.agrees", "0.912346"),
        ("empty", "none"),
        ("list", "1, 2"),
        ("pairs.0.a", "none"),
    ]


# The page


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = RunConfig(
        method="dpo",
        stream="fake",
        tasks=("fake-upper", "fake-lower", "fake-digits"),
        model="fake",
        dtype="float32",
        device="cpu",
        train_limit=8,
        test_limit=10,
        generation=GenerationConfig(max_new_tokens=6),
        out=tmp_path_factory.mktemp("runs"),
    )
    run(config)
    return config.run_directory()


@pytest.fixture(scope="module")
def hostile(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run with hostile generations, and hostile names and facts in its record."""
    copy = tmp_path_factory.mktemp("hostile") / "run"
    shutil.copytree(finished, copy)
    for stage in range(4):
        file = copy / f"stage-{stage}" / "generations.jsonl"
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
        for i, line in enumerate(lines):
            line["response"] = f"{HOSTILE[i % len(HOSTILE)]} stage {stage}"
        file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    record = read_record(copy / "record.json")
    content = record.to_json()
    content["method"]["name"] = HOSTILE[0] + HOSTILE[4]
    content["config"]["stream"] = HOSTILE[1]
    content["config"]["model"] = HOSTILE[2]
    content["versions"][HOSTILE[2]] = HOSTILE[1]
    content["facts"] = {HOSTILE[0]: {"run": {HOSTILE[2]: HOSTILE[3]}, "stages": {}}}
    content["scores"][HOSTILE[2]] = content["scores"]["reward"]
    write_record(copy / "record.json", Record.model_validate(content))
    return copy


def page_of(*paths: Path, **wish: Any) -> str:
    return render(make_page(paths, ReportRequest(Path("report.html"), **wish)))


def test_the_page_of_a_run(finished: Path) -> None:
    text = page_of(finished)
    tree = check_document(text)
    assert len(text.encode()) < 5_000_000
    titles = [h.text_content() for h in tree.iter("h2")]
    for title in ("Summary", "Scores through the stages", "Margins", "Generations", "Configuration", "Provenance"):
        assert title in titles
    figures = {f.get("id") for f in tree.iter("figure")}
    assert {"heatmap-preference-accuracy", "curves-reward", "distribution-preference-margin"} <= figures
    assert {"learning-forgetting-reward", "response-lengths", "cost-quality-preference-accuracy"} <= figures
    facts = {row[0].text_content(): row[1].text_content() for row in tree.iter("tr") if len(row) == 2}
    record = read_record(finished / "record.json")
    last = number(record.metrics["preference_accuracy"]["last"])
    said = tree.find(".//header/p[@class='result']").text_content()
    assert said.startswith(f"dpo ends at {last} [") and "the base model has 50.0. Earlier tasks lost" in said
    assert facts["configuration (hash)"] == record.config_hash and facts["torch"] == record.versions["torch"]
    assert facts["training.beta"] == "0.1" and facts["fake-upper.test_digest"] == record.data["fake-upper"].test_digest
    assert facts["commit"] == record.git["commit"] or "unknown" in facts["commit"]
    (source,) = [json.loads(s.text or "") for s in tree.iter("script") if s.get("type") == "application/json"]
    assert len(source["pairs"]) == 30 and len(source["stages"]) == 4
    assert all(pair["prompt"] and pair["chosen"] for pair in source["pairs"])


def test_the_same_run_gives_the_same_page(finished: Path) -> None:
    assert page_of(finished) == page_of(finished)


def test_hostile_text_is_only_text(hostile: Path) -> None:
    text = page_of(hostile)
    tree = check_document(text)
    assert not any(window in text for window in ("<script>window", "<img"))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)
    assert "window.broken = 1" in tree.findtext(".//h1", "")
    (source,) = [json.loads(s.text or "") for s in tree.iter("script") if s.get("type") == "application/json"]
    said = {response for pair in source["pairs"] for response in pair["responses"]}
    assert {visible(f"{line} stage {k}") for line in HOSTILE for k in range(4)} <= said


def test_what_a_published_record_has_not_takes_no_place() -> None:
    (record,) = sorted((TESTS / "records").glob("v1.json"))
    tree = check_document(page_of(record))
    titles = [h.text_content() for h in tree.iter("h2")]
    assert "Scores through the stages" in titles
    assert not {"Generations", "Margins", "Responses"} & set(titles)
    assert all(len(section) > 1 for section in tree.iter("section"))


def test_judges_and_abilities_are_told(tmp_path: Path) -> None:
    stages = {
        "0": {"value": 50.0, "standard_error": 2.0, "change": 0.0, "change_error": 0.0},
        "3": {"value": 41.0, "standard_error": 2.0, "change": -9.0, "change_error": 1.0},
    }
    content = record_of(scores()).to_json() | {
        "abilities": {"some_test": {"metric": "acc", "items": 64, "chance": 25.0, "digest": "d", "stages": stages}},
        "abilities_left_out": {"other_test": "its data is <not> here"},
        "facts": {"judge": {"run": {"judge": {"name": "server:m"}}, "stages": {"1": {"mini-facts": {"calls": 32}}}}},
    }
    write_record(tmp_path / "record.json", Record.model_validate(content))
    tree = check_document(page_of(tmp_path))
    text = tree.get_element_by_id("judges").text_content()
    assert "alignment tax" in text and "-9.0 ±1.0" in text and "its data is <not> here" in text
    facts = {row[0].text_content(): row[1].text_content() for row in tree.iter("tr") if len(row) == 2}
    assert facts["judge.name"] == "server:m" and facts["1.mini-facts.calls"] == "32"
    assert facts["some_test.stages.3.change"] == "-9"


def test_a_run_that_failed_is_reported_without_metrics(tmp_path: Path) -> None:
    values = scores()
    for array in values.values():
        array[2:] = NAN
    record = record_of(values, plan=[TASKS[:1]], status="failed").model_copy(update={"error": "NaN in <step> 3"})
    write_record(tmp_path / "record.json", record)
    tree = check_document(page_of(tmp_path))
    assert "not complete (status: failed)" in tree.text_content() and "NaN in <step> 3" in tree.text_content()
    assert {t.text_content() for t in tree.findall(".//div[@class='tile']/strong")} == {DASH}


def save(views: Sequence[tuple[str, int, str]], root: Path, stream: str = "mini", start: int = 0) -> None:
    for place, (method, seed, status) in enumerate(views, start=start):
        file = root / stream / "m" / method / f"seed-{seed}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_record(file, record_of(scores(place), method=method, seed=seed, status=status, stream=stream, model="m"))


def test_several_runs_are_compared(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "runs" / "a")
    other = tmp_path / "runs" / "b"
    shutil.copytree(finished, other)
    record = read_record(other / "record.json")
    named = record.model_copy(update={"method": record.method.model_copy(update={"name": "other"})})
    write_record(other / "record.json", named)
    page = make_page([tmp_path / "runs"], ReportRequest(Path("report.html")))
    assert page.nature == "comparison" and len(page.browsers()) == 2
    last = number(record.metrics["preference_accuracy"]["last"])
    mean = "(mean preference accuracy over all tasks)"
    assert page.result == (f"fake on fake: of 2 methods, all end at {last} {mean}.",)
    views = several(tmp_path / "several")
    (line,) = comparison_result(views)
    ends = {v.name: v.metric("preference_accuracy", "last") for v in views[2:]}
    ends["dpo"] = float(np.mean([v.metric("preference_accuracy", "last") for v in views[:2]]))
    first, last = max(ends, key=lambda name: ends[name]), min(ends, key=lambda name: ends[name])
    told = f"{first} ends highest, {number(ends[first])}, and {last} lowest, {number(ends[last])} {mean}."
    assert line == f"mini on {views[0].group[1]}: of {len(ends)} methods, {told}"
    tree = check_document(render(page))
    folded = [d for d in tree.iter("details") if "section" in d.get("class", "").split()]
    assert {"run-1", "run-2"} <= {d.get("id") for d in folded}
    assert all(d.get("open") is None for d in folded)
    assert tree.get_element_by_id("table-1-methods") is not None
    assert tree.get_element_by_id("group-1-methods-curves-preference-accuracy") is not None


RESULTS = ROOT / "results" / "mini"


def test_a_folder_of_results_is_a_leaderboard(tmp_path: Path) -> None:
    shutil.copytree(RESULTS, tmp_path / "mini")
    save([("gem", 0, "failed")], tmp_path)
    save([("dpo", 0, "complete")], tmp_path, "other", start=7)
    page = make_page([tmp_path], ReportRequest(Path("report.html")))
    assert page.nature == "leaderboard"
    assert re.match(
        r"mini on smollm2-135m: \w+ has the best mean preference accuracy at the end, \d+\.\d \[.*\] percent\. "
        r".*may be best",
        page.result[0],
    )
    assert [line.partition(":")[0] for line in page.result] == ["mini on smollm2-135m"]
    tables = {block.id: block for block in walk(page.sections) if isinstance(block, Table)}
    views = [RunView.open(file) for file in sorted((tmp_path / "mini").rglob("seed-*.json"))]
    (board,) = make_boards([view for view in views if view.group[1] != "m"])
    ranking = next(
        table
        for table in tables.values()
        if table.grid.title == "Preference accuracy (percent)" and "bound" in table.csv()
    )
    computed = ["frozen", "length-only"]  # at the end
    assert [row[1].text for row in ranking.rows] == [entry.method for entry in board.entries] + computed
    assert [row[0].text for row in ranking.rows] == [
        *("bound" if entry.bound else "—" if entry.ranks is None else str(entry.ranks) for entry in board.entries),
        *("computed" for _ in computed),
    ]
    # What has no rank is told with its reason.
    apart = [row for table in tables.values() if "Not ranked" in table.grid.title for row in table.rows]
    assert any("gem" in row[0].text and "not complete" in row[1].text for row in apart)
    assert len(tables["table-records"].rows) == len(views) + 1
    tree = check_document(render(page))
    # The model with the most runs comes first.
    assert tree.get_element_by_id("group-1-methods-curves-preference-accuracy") is not None


def test_runs_are_found_wherever_they_are_named(tmp_path: Path) -> None:
    save([("dpo", 0, "complete"), ("ewc", 0, "complete")], tmp_path / "results")
    write_record(tmp_path / "runs" / "x" / "record.json", record_of(scores()))
    one = tmp_path / "results" / "mini" / "m" / "dpo" / "seed-0.json"
    assert len(find_runs([tmp_path])[0]) == 3 and len(find_runs([tmp_path, one])[0]) == 3
    assert [view.published is not None for view in find_runs([one, tmp_path / "runs"])[0]] == [True, False]
    assert make_page([one, tmp_path / "runs"], ReportRequest(Path("x"))).nature == "comparison"
    (tmp_path / "empty").mkdir()
    with pytest.raises(BenchError, match="no run"):
        find_runs([tmp_path / "empty"])
    with pytest.raises(BenchError, match="no record"):
        find_runs([tmp_path / "nowhere"])


# The command


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A record with one score: few figures, since drawing them takes its time."""
    values = scores()
    folder = folder_of(tmp_path / "small", values)
    write_record(folder / "record.json", record_of(values))
    return folder


def test_the_command_writes_a_page_and_figures(call: Call, small: Path, tmp_path: Path) -> None:
    code, out, _ = call("report", str(small), "--figures", "figures", "--title", "A <title>")
    assert code == 0 and f"Written: {small}/report.html" in out
    text = (small / "report.html").read_text(encoding="utf-8")
    tree = check_document(text)
    assert tree.findtext(".//title") == tree.findtext(".//h1") == "A <title>"
    drawn = {f.get("id") for f in tree.iter("figure")}
    files = {file.name for file in (tmp_path / "figures").iterdir()}
    assert files == {f"{name}.{kind}" for name in drawn for kind in KINDS}
    first = {file.name: file.read_bytes() for file in (tmp_path / "figures").iterdir()}
    assert {content[:4] for content in first.values()} == {b"%PDF", b"\x89PNG", b"<svg"}
    assert call("report", str(small), "--figures", "figures")[0] == 0  # its own files may be written again
    assert {file.name: file.read_bytes() for file in (tmp_path / "figures").iterdir()} == first


def test_other_peoples_files_are_not_overwritten(call: Call, small: Path, tmp_path: Path) -> None:
    mine = small / "report.html"
    mine.write_text("my own page")
    code, _, err = call("report", str(small))
    assert code == 2 and "no report wrote it" in err and mine.read_text() == "my own page"
    assert call("report", str(small), "--force")[0] == 0 and mine.read_text() != "my own page"
    folder = tmp_path / "figures"
    folder.mkdir()
    (folder / "time-by-stage.png").write_text("my own figure")
    code, _, err = call("report", str(small), "--figures", str(folder))
    assert code == 2 and "time-by-stage.png" in err and len(list(folder.iterdir())) == 1
    code, _, err = call("report", str(small), "--out", str(folder))
    assert code == 2 and "is a folder" in err
    code, _, err = call("report", str(small), "--figures", str(mine))
    assert code == 2 and "not a folder" in err


def test_a_report_goes_beside_what_it_is_of_and_over_no_other(call: Call, small: Path, tmp_path: Path) -> None:
    record = str(small / "record.json")
    assert usual_place([small]) == usual_place([Path(record)]) == small / "report.html"
    assert usual_place([tmp_path]) == tmp_path / "report.html"
    assert usual_place([small, tmp_path]) == Path("report.html")
    save([("dpo", 0, "complete")], tmp_path / "results")
    published = tmp_path / "results" / "mini" / "m" / "dpo" / "seed-0.json"
    # Published records lie among what is made of them, and nothing is added there.
    assert usual_place([tmp_path / "results"]) == usual_place([published]) == Path("report.html")
    assert call("report", record, "--out", "one.html")[0] == 0
    first = (tmp_path / "one.html").read_bytes()
    code, _, err = call("report", str(published), "--out", "one.html")
    assert code == 2 and "a report of other runs" in err and "--force" in err
    assert (tmp_path / "one.html").read_bytes() == first
    assert call("report", record, "--out", "one.html")[0] == 0  # its own it makes again
    assert call("report", str(published), "--out", "one.html", "--force")[0] == 0


def test_there_is_no_report_of_nothing(call: Call, tmp_path: Path) -> None:
    code, _, err = call("report", str(tmp_path))
    assert code == 2 and "no run" in err and "Traceback" not in err
    assert not (tmp_path / "report.html").exists()


NAMES = ("$x^2$ \\frac", "_hidden", HOSTILE[0], "') || alert(1) || ('", 'a "b" \\n', "日本語", HOSTILE[4])


def every_kind() -> list[Figure]:
    """A figure of each kind, with names that mean something to a drawer."""
    interval = {"value": 1.0, "low": 0.5, "high": 2.0}
    point = {"x": 1.0, "x_low": 0.5, "x_high": 2.0, "y": 3.0, "y_low": NAN, "y_high": NAN, "note": "n"}
    box = {"p5": 0.0, "p25": 1.0, "p50": 2.0, "p75": 3.0, "p95": 4.0, "mean": 2.0, "n": 9}
    cell = {"column": NAMES[2], "value": 1.0, "error": 0.5, "n": 3, "tint": -1.0, "current": True}
    rows: dict[str, list[dict[str, Any]]] = {
        "lines": [{"series": name, "place": place, **interval, "own": False} for name in NAMES for place in NAMES],
        "points": [{"name": name, "at": i, **point} for i, name in enumerate(NAMES)],
        "heat": [{"row": name, **cell} for name in NAMES],
        "boxes": [{"panel": name, "place": name, **box} for name in NAMES],
        "intervals": [{"name": name, "panel": NAMES[2], **interval, "even": 1.5} for name in NAMES],
        "orders": [{"name": n, "label": n, "value": 1.0, "mean": 1.5, "deviation": 0.7} for n in NAMES],
        "parts": [{"name": name, "part": name, "value": 1.0} for name in NAMES],
    }
    drawings = {
        "lines": charts.lines(NAMES[2], NAMES[3]),
        "points": charts.points(NAMES[2], NAMES[3], log=True, path=True),
        "heat": charts.heat(NAMES[2], NAMES[3]),
        "boxes": charts.boxes(NAMES[2], NAMES[3], zero=True),
        "intervals": charts.intervals(),
        "orders": charts.orders(NAMES[2]),
        "parts": charts.parts(NAMES[2]),
    }
    series = {"lines", "points", "boxes", "intervals"}
    return [
        Figure(kind, NAMES[2], "c", drawings[kind], tuple(found), NAMES if kind in series else ())
        for kind, found in rows.items()
    ]


@pytest.mark.parametrize("figure", every_kind(), ids=lambda figure: figure.chart.kind)
def test_every_kind_of_figure_is_drawn_with_names_that_mean_something_to_a_drawer(figure: Figure) -> None:
    text = picture(figure)
    assert "<script>" not in text and picture(figure) == text
    tree = html.fromstring(text)
    shown = {" ".join(t.itertext()) for t in tree.iter("text")}
    told = {t.text for t in tree.iter("title")}
    # Each is told somewhere, as what it is, without what turns the direction of writing.
    for name in NAMES:
        assert any(clean(name) in (line or "") for line in shown | told), name
    assert not re.search("[\u202a-\u202e]", text)
    assert all(t.get("href") is None for t in tree.iter())


def test_figures_for_papers_overwrite_their_own_alone(tmp_path: Path) -> None:
    files = write_figures(every_kind()[-1:], tmp_path / "drawn", force=False)
    assert [file.name for file in files] == ["parts.pdf", "parts.png", "parts.svg"]
    write_figures(every_kind()[-1:], tmp_path / "drawn", force=False)  # it knows its own again
    with pytest.raises(UsageError):
        write_figures(every_kind()[-1:], files[0], force=False)


@pytest.mark.skipif(shutil.which("node") is None, reason="node, which would check the script's syntax, is not here")
def test_the_script_is_javascript() -> None:
    import lifealign_bench.reporting.page.document as document

    script = Path(document.__file__).parent / "script.js"
    assert subprocess.run(["node", "--check", str(script)], capture_output=True).returncode == 0
    assert "innerHTML" not in script.read_text(encoding="utf-8")


# In a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    binary = find_chromium()
    if binary is None:
        pytest.skip("no chromium on the path (Debian's package: chromium): the page is not tried in a browser")
    with open_browser(binary) as opened:
        yield opened


def test_in_a_browser_generations_are_shown_as_text_and_found(browser: Browser, hostile: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(page_of(hostile), encoding="utf-8")
    tab = browser.open(page)
    assert tab.run("window.broken") is None
    assert tab.run("document.querySelectorAll('img').length") == 0
    assert tab.run("document.querySelectorAll('.pair').length") == 20
    shown = tab.run("Array.from(document.querySelectorAll('.pair .text'), (e) => e.textContent)")
    for line in HOSTILE:
        assert visible(f"{line} stage 3") in shown
    tab.run("document.querySelector('button.more').click()")
    assert tab.run("document.querySelectorAll('.pair').length") == 30
    assert tab.run("document.querySelector('button.more').hidden")

    # Search, and the word found is marked.
    count = "document.querySelector('.browser output').textContent"
    tab.run(
        "(() => { const s = document.querySelector('.browser input[type=search]'); s.value = 'BROKEN = 3';"
        " s.dispatchEvent(new Event('input')); })()"
    )
    tab.wait(f"{count} !== '30 of 30 pairs'")
    found = tab.run("Array.from(document.querySelectorAll('.pair'), (e) => e.textContent)")
    assert found and len(found) < 20 and all("broken = 3" in text for text in found)
    assert tab.run("document.querySelector('.pair mark').textContent") == "broken = 3"
    # A stage that is switched off is neither shown nor searched.
    stages = tab.run("document.querySelectorAll('.chips button').length")
    tab.run("document.querySelectorAll('.chips button').forEach((b) => b.click())")
    assert stages == 4 and tab.run("document.querySelectorAll('.pair').length") == 0
    tab.run("document.querySelectorAll('.chips button')[2].click()")
    assert tab.run("document.querySelectorAll('.pair')[0].querySelectorAll('.stage').length") == 1
    # One task alone.
    tab.run(
        "(() => { const s = document.querySelector('.browser input[type=search]'); s.value = '';"
        " const t = document.querySelector('.browser select'); t.value = 'fake-lower';"
        " s.dispatchEvent(new Event('input')); })()"
    )
    tab.wait(f"{count} === '10 of 30 pairs'")

    # Tables sort, up and down.
    values = "Array.from(document.querySelector('[id^=table-tasks] tbody').rows, (r) => Number(r.cells[3].dataset.v))"
    before = tab.run(values)
    tab.run("document.querySelectorAll('[id^=table-tasks] thead button')[3].click()")
    assert tab.run(values) == sorted(before, reverse=True)
    tab.run("document.querySelectorAll('[id^=table-tasks] thead button')[3].click()")
    assert tab.run(values) == sorted(before)

    # A task that is switched off has no colour in any figure of its section, with no script's help.
    path = "document.querySelector('#curves-preference-accuracy path[stroke=\"var(--s1)\"]')"
    seen = f"getComputedStyle({path}).stroke"
    assert tab.run(seen) not in ("none", "rgba(0, 0, 0, 0)")
    tab.run("document.querySelector('#scores .key input[value=\"1\"]').click()")
    assert tab.run(seen) == "rgba(0, 0, 0, 0)"

    # Nothing was refused, nothing was fetched, nothing threw.
    assert tab.errors() == []
    assert [url for url in tab.requests() if not url.startswith(("file:", "data:"))] == []


def test_in_a_browser_only_its_own_script_may_run(browser: Browser, finished: Path, tmp_path: Path) -> None:
    text = page_of(finished)
    page = tmp_path / "report.html"
    # As if something had found its way into the page.
    foreign = "<script>window.broken = 1</script><img src=x onerror='window.broken = 2'>"
    page.write_text(text.replace("</main>", f"{foreign}</main>"), encoding="utf-8")
    tab = browser.open(page)
    assert tab.run("window.broken") is None
    assert any("Content Security Policy" in error for error in tab.errors())
    assert tab.run("document.querySelectorAll('.pair').length") == 20


@pytest.fixture(scope="module")
def two(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of two runs that differ in their responses."""
    folder = tmp_path_factory.mktemp("two")
    for name in ("one", "other"):
        shutil.copytree(finished, folder / "runs" / name)
        record = read_record(finished / "record.json")
        write_record(
            folder / "runs" / name / "record.json",
            record.model_copy(update={"method": record.method.model_copy(update={"name": name})}),
        )
        for file in (folder / "runs" / name).glob("stage-*/generations.jsonl"):
            lines = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
            text = "".join(json.dumps(line | {"response": f"{name} {HOSTILE[0]}"}) + "\n" for line in lines)
            file.write_text(text, encoding="utf-8")
    (folder / "report.html").write_text(page_of(folder / "runs"), encoding="utf-8")
    return folder / "report.html"


def test_in_a_browser_two_runs_stand_side_by_side_and_a_link_leads_there(browser: Browser, two: Path) -> None:
    tab = browser.open(two)
    texts = "Array.from(document.querySelectorAll('.sides .stage .text'), (e) => e.textContent)"
    shown = tab.run(texts)
    names = [name for name in shown[:2] if name]
    assert "one on fake" in names[0] and "other on fake" in names[1]
    assert shown[2:] == [f"one {HOSTILE[0]}", f"other {HOSTILE[0]}"] * 4
    assert tab.run("window.broken") is None
    prompt = "document.querySelector('.sides .pair .text').textContent"
    first = tab.run(prompt)
    tab.run("document.querySelectorAll('.sides button')[1].click()")
    tab.run(
        "(() => { const s = document.querySelectorAll('.sides select'); s[0].value = '1'; s[1].value = '0';"
        " s[0].dispatchEvent(new Event('change')); })()"
    )
    second, address = tab.run(prompt), tab.run("document.querySelector('.sides a').href")
    assert second != first and address.endswith(tab.run("document.querySelector('.sides a').getAttribute('href')"))
    # The address in another window, and in this one.
    for opened in (browser.open(two, anchor=address.partition("#")[2]), tab):
        opened.run(f"location.href = {json.dumps(address)}")
        opened.wait(f"{prompt} === {json.dumps(second)}")
        assert opened.run(texts)[2:] == [f"other {HOSTILE[0]}", f"one {HOSTILE[0]}"] * 4
        assert opened.errors() == []


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (390, True)])
def test_in_a_browser_it_fits_the_window_in_both_themes(
    browser: Browser, finished: Path, tmp_path: Path, width: int, dark: bool
) -> None:
    page = tmp_path / "report.html"
    page.write_text(page_of(finished), encoding="utf-8")
    tab = browser.open(page, width=width, dark=dark)
    assert tab.run("document.documentElement.scrollWidth") == width
    # All texts of a figure lie within it.
    outside = tab.run(
        "Array.from(document.querySelectorAll('svg text')).filter((t) => { const s = t.ownerSVGElement"
        ".getBoundingClientRect(), r = t.getBoundingClientRect(); return s.width > 0 && (r.left < s.left - 1 ||"
        " r.right > s.right + 1 || r.bottom > s.bottom + 1 || r.top < s.top - 1); }).map((t) => t.textContent)"
    )
    assert outside == []
    ground = "getComputedStyle(document.body).backgroundColor"
    light, night = "rgb(255, 255, 255)", "rgb(22, 25, 29)"
    assert tab.run(ground) == (night if dark else light)
    seen = []
    for _ in range(3):
        tab.run("document.getElementById('theme').click()")
        seen.append(tab.run(ground))
    assert seen == [light, night, night if dark else light]
    assert tab.errors() == []


def test_in_a_browser_the_published_ranking_fits_a_window_and_a_phone(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(page_of(RESULTS), encoding="utf-8")
    for width in (1280, 390):
        tab = browser.open(page, width=width)
        assert tab.run("document.documentElement.scrollWidth") == width
        table = "document.querySelector('#table-1-1 .scroll')"
        room, wide = tab.run(f"{table}.clientWidth"), tab.run(f"{table}.scrollWidth")
        assert wide <= (room if width == 1280 else 1.5 * room)
        # The methods stay where they are while the numbers are scrolled.
        tab.run(f"{table}.scrollLeft = 1000")
        cell = f"{table}.querySelector('td.stays').getBoundingClientRect().left"
        assert tab.run(f"{cell} >= {table}.getBoundingClientRect().left")
        # What a bar shows is there as text as well.
        error = f"getComputedStyle({table}.querySelector('td small')).display"
        assert tab.run(error) == "none"
        tab.run("document.querySelector('#table-1-1 .exact').click()")
        assert tab.run(error) != "none"
    # Without its script the page has all its numbers and figures, and the legend works.
    rows = "Array.from(document.querySelectorAll('#table-1-1 td'), (e) => e.textContent)"
    before = tab.run(rows)
    tab.ask("Emulation.setScriptExecutionDisabled", value=True)
    tab.ask("Page.reload")
    tab.wait("document.readyState === 'complete' && document.getElementById('theme').hidden")
    assert tab.run(rows) == before
    line = "getComputedStyle(document.querySelector('.gallery path[stroke=\"var(--s0)\"]')).stroke"
    assert tab.run(line) not in ("none", "rgba(0, 0, 0, 0)")
    tab.run("document.querySelector('.gallery .key input').click()")
    assert tab.run(line) == "rgba(0, 0, 0, 0)"


def test_in_a_browser_a_leaderboard_is_filtered(browser: Browser, tmp_path: Path) -> None:
    save([("dpo", 0, "complete"), ("ewc", 0, "complete"), ("gem", 0, "failed")], tmp_path)
    save([("dpo", 0, "complete")], tmp_path, "other", start=7)
    page = tmp_path / "report.html"
    page.write_text(page_of(tmp_path), encoding="utf-8")
    tab = browser.open(page)
    rows = "Array.from(document.querySelector('#table-records tbody').rows).map((r) => r.cells[0].textContent)"
    assert sorted(tab.run(rows)) == ["dpo", "dpo", "ewc", "gem"]
    tab.run(
        "(() => { const s = document.querySelector('#table-records select'); s.value = 'mini';"
        " s.dispatchEvent(new Event('change')); })()"
    )
    assert sorted(tab.run(rows)) == ["dpo", "ewc", "gem"]
    # Columns can be chosen.
    cells = "document.querySelector('#table-records tbody tr').querySelectorAll('td:not([hidden])').length"
    before = tab.run(cells)
    tab.run("document.querySelectorAll('#table-records .columns input')[3].click()")
    assert tab.run(cells) == before - 1
    assert tab.run("document.querySelector('#table-records thead').rows[0].cells[3].hidden")
    # A dash stays at the end, whichever way the column is sorted.
    column = (
        "Array.from(document.querySelectorAll('#table-records thead th')).findIndex((h) => h.textContent === 'last')"
    )
    for _ in range(2):
        tab.run(f"document.querySelectorAll('#table-records thead button')[{column}].click()")
        assert tab.run(rows)[-1] == "gem"
    assert tab.errors() == []
