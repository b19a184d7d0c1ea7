"""Intransigence: which run of ``single`` a run is measured against, and why none is."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from lifealign_bench.config import RunConfig
from lifealign_bench.reporting.tables.files import run_summary, write_comparison, write_tables
from lifealign_bench.reporting.tables.run import render_comparison, render_run
from lifealign_bench.results.published import publish_run
from lifealign_bench.results.record import Record, read_record, write_record
from lifealign_bench.results.single import find_single
from lifealign_bench.results.view import RunView
from lifealign_bench.runs.run import run
from tests.places import V1

TASKS = ("fake-upper", "fake-lower", "fake-digits")
SCORE = "preference_accuracy"


def record_of(method: str, cells: np.ndarray, tasks: tuple[str, ...] = TASKS, **config: Any) -> Record:
    """A record with one score, from its matrix; NaN is not evaluated."""
    content = json.loads(V1.read_text(encoding="utf-8"))
    plain = [[None if math.isnan(v) else float(v) for v in row] for row in cells]
    score = {"percent": True, "value": plain, "standard_error": plain, "n": [[8] * len(tasks)] * len(plain)}
    stage = content["stages"][1]
    content |= {
        "config": content["config"] | {"tasks": list(tasks), "stream": ",".join(tasks), "method": method} | config,
        "method": content["method"] | {"name": method},
        "data": {task: content["data"][task] for task in tasks},
        "stages": [stage | {"index": i, "tasks": [t] if t else []} for i, t in enumerate(["", *tasks])],
        "scores": {SCORE: score},
        "metrics": {SCORE: {}},
    }
    return Record.model_validate(content)


def place(out: Path, record: Record, stream: str = "s", model: str = "m", seed: int = 0) -> Path:
    """Write a record where a run's would be; the run's folder."""
    folder = out / stream / model / record.method.name / f"seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    write_record(folder / "record.json", record)
    return folder


def alone(values: tuple[float, ...] = (90, 80, 70), tasks: tuple[str, ...] = TASKS, **config: Any) -> Record:
    cells = np.full((len(tasks) + 1, len(tasks)), np.nan)
    cells[0] = 50
    cells[np.arange(len(tasks)) + 1, np.arange(len(tasks))] = values
    return record_of("single", cells, tasks, **config)


def sequence(tasks: tuple[str, ...] = TASKS, **config: Any) -> Record:
    """R[j, j] is 60, 70, 80."""
    cells = np.full((len(tasks) + 1, len(tasks)), 10.0)
    cells[np.arange(len(tasks)) + 1, np.arange(len(tasks))] = (60, 70, 80)[: len(tasks)]
    return record_of("dpo", cells, tasks, **config)


def text_of(view: RunView) -> str:
    stream = io.StringIO()
    render_run(Console(file=stream, width=120), view)
    return stream.getvalue()


def test_by_hand(tmp_path: Path) -> None:
    place(tmp_path, alone())
    view = RunView.open(place(tmp_path, sequence()))
    assert view.metric(SCORE, "intransigence") == pytest.approx(((90 - 60) + (80 - 70) + (70 - 80)) / 3)
    text = text_of(view)
    assert "intransigence" in text and "Intransigence is against s/m/single/seed-0." in text
    summary = run_summary(view)
    assert summary["metrics"][SCORE]["intransigence"]["value"] == pytest.approx(10)
    assert summary["single"] == {"run": "s/m/single/seed-0", "refused": None}


def test_without_a_run_of_single_it_is_not_defined(tmp_path: Path) -> None:
    view = RunView.open(place(tmp_path, sequence()))
    assert math.isnan(view.metric(SCORE, "intransigence"))
    assert "ntransigence" not in text_of(view) and run_summary(view)["single"] is None
    place(tmp_path, alone(), model="other")
    place(tmp_path, alone(), seed=1)
    assert find_single(sequence(), tmp_path / "s/m/dpo/seed-0/record.json").name == ""


def test_an_order_or_a_part_of_its_tasks_is_enough(tmp_path: Path) -> None:
    """S is a score of each task by itself."""
    turned = TASKS[::-1]
    place(tmp_path, alone((70, 80, 90), turned), stream="turned")
    view = RunView.open(place(tmp_path, sequence()))
    assert view.metric(SCORE, "intransigence") == pytest.approx(10)
    assert view.single.name == "turned/m/single/seed-0"
    part = RunView.open(place(tmp_path, sequence(TASKS[1:]), stream="part"))
    assert part.metric(SCORE, "intransigence") == pytest.approx(((80 - 60) + (70 - 70)) / 2)
    # The same stream's own comes first.
    place(tmp_path, alone((60, 70, 80)))
    view = RunView.open(tmp_path / "s/m/dpo/seed-0")
    assert view.metric(SCORE, "intransigence") == pytest.approx(0) and view.single.name == "s/m/single/seed-0"


def changed(record: Record, *place: str | int, value: Any) -> Record:
    content = record.to_json()
    inner: Any = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return Record.model_validate(content)


@pytest.mark.parametrize(
    ("where", "value", "reason"),
    [
        (("status",), "interrupted", "its status is interrupted"),
        (("model", "fingerprint"), "f" * 64, "other weights"),
        (("data", "fake-lower", "train_digest"), "0" * 64, "the train pairs of fake-lower are others"),
        (("data", "fake-lower", "test_digest"), "0" * 64, "the test pairs of fake-lower are others"),
        (("config", "training", "learning_rate"), 0.25, "learning_rate is 0.25 there and"),
        (("config", "adapter", "lora_r"), 99, "lora_r is 99 there and"),
        (("config", "sft"), True, "sft is True there and"),
        (("config", "dtype"), "float8", "dtype is float8 there and"),
        (("method", "name"), "dpo", "it is a run of dpo"),
    ],
)
def test_what_is_not_comparable_is_refused_with_the_reason(
    tmp_path: Path, where: tuple[str | int, ...], value: Any, reason: str
) -> None:
    other = changed(alone(), *where, value=value)
    folder = tmp_path / "s" / "m" / "single" / "seed-0"
    folder.mkdir(parents=True)
    write_record(folder / "record.json", other)
    view = RunView.open(place(tmp_path, sequence()))
    assert math.isnan(view.metric(SCORE, "intransigence"))
    assert view.single.name == "s/m/single/seed-0" and reason in view.single.refused
    text = " ".join(text_of(view).split())
    assert "No intransigence: s/m/single/seed-0 is not comparable" in text
    assert run_summary(view)["metrics"][SCORE]["intransigence"]["value"] is None


def test_rates_of_the_same_table_may_differ(tmp_path: Path) -> None:
    """Each at its best rate, as one grid found it; rates of two tables, or of none, are two settings."""
    table, other = {"digest": "a" * 64}, {"digest": "b" * 64}
    single = changed(alone(), "config", "training", "learning_rate", value=0.25)
    place(tmp_path, changed(single, "tuned", value=table))
    run = changed(sequence(), "tuned", value=table)
    view = RunView.open(place(tmp_path, run))
    assert view.metric(SCORE, "intransigence") == pytest.approx(10)
    own = run.config["training"]["learning_rate"]
    assert view.single.rates == f"learning_rate 0.25, here {own:g}"
    assert "which has another rate (learning_rate 0.25, here" in text_of(view)
    for tuned in (None, other):
        view = RunView.open(place(tmp_path, changed(run, "tuned", value=tuned)))
        assert math.isnan(view.metric(SCORE, "intransigence")) and "learning_rate is 0.25" in view.single.refused
    view = RunView.open(place(tmp_path, changed(run, "config", "adapter", "lora_r", value=99)))
    assert "lora_r is" in view.single.refused
    place(tmp_path, alone())
    assert RunView.open(place(tmp_path, sequence())).single.rates == ""


def test_a_stream_with_fewer_tasks_and_a_broken_record_are_refused(tmp_path: Path) -> None:
    place(tmp_path, alone((90, 80), TASKS[:2]))
    view = RunView.open(place(tmp_path, sequence()))
    assert view.single.refused == "it has no task fake-digits"
    (tmp_path / "s/m/single/seed-0/record.json").write_text("{")
    view = RunView.open(tmp_path / "s/m/dpo/seed-0")
    assert "not JSON" in view.single.refused and str(tmp_path) not in view.single.note


def test_settings_that_change_no_score_are_of_no_consequence(tmp_path: Path) -> None:
    place(tmp_path, changed(alone(), "config", "training", "checkpoint_steps", value=7))
    view = RunView.open(place(tmp_path, sequence()))
    assert view.metric(SCORE, "intransigence") == pytest.approx(10)


def test_whole_runs_beside_a_run_of_single(fake_config: Callable[..., RunConfig], tmp_path: Path) -> None:
    settings: dict[str, Any] = {"scorers": ("preference",), "train_limit": 4}
    single = fake_config(method="single", **settings)
    own = run(single)
    for row, cells in enumerate(own.scores[SCORE].value):
        assert [value is not None for value in cells] == [row == 0 or row == j for j in (1, 2, 3)]
    assert own.metrics[SCORE]["learning"] is not None
    assert all(own.metrics[SCORE][name] is None for name in ("last", "average_performance", "backward_transfer"))

    views = []
    for method in ("agem", "cppo", "gem", "sft"):
        config = fake_config(method=method, **settings)
        record = run(config)
        assert record.status == "complete"
        assert all(("sft" in stage.tokens) == (method == "sft") for stage in record.stages[1:])
        assert all(("train" in stage.tokens) == (method != "sft") for stage in record.stages[1:])
        view = RunView.open(config.run_directory())
        r, s = record.scores[SCORE].array(), own.scores[SCORE].array()
        expected = np.mean([s[j, j - 1] - r[j, j - 1] for j in (1, 2, 3)])
        assert view.metric(SCORE, "intransigence") == pytest.approx(expected), method
        views.append(view)
    interval = views[-1].interval(SCORE, "intransigence")
    assert interval is not None and interval.low <= expected <= interval.high

    # The run of single has its tables too, with dashes and without an intransigence of its own.
    first = RunView.open(single.run_directory())
    text = text_of(first)
    assert "learning" in text and "intransigence" not in text
    write_tables(first, single.run_directory())
    write_comparison([*views, first], tmp_path / "all")
    stream = io.StringIO()
    render_comparison(Console(file=stream, width=160), [*views, first])
    assert "intransigence" in stream.getvalue() and "AP to intransigence" in stream.getvalue()
    assert stream.getvalue().count("single/seed-0") == 1

    # Published records find each other as well.
    results = tmp_path / "results" / "fake" / "fake"
    for name, folder in (("single", single.run_directory()), ("sft", config.run_directory())):
        (results / name).mkdir(parents=True)
        publish_run(folder, results / name / "seed-0.json")
    published = RunView.open(results / "sft" / "seed-0.json")
    assert published.metric(SCORE, "intransigence") == pytest.approx(expected)
    assert published.interval(SCORE, "intransigence") == interval
    assert read_record(results / "single" / "seed-0.json").method.name == "single"
