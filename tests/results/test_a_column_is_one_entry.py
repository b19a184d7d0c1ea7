"""A column of the leaderboard is an entry in ``results/columns.py`` and its function: every form of a board has it."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest

from lifealign_bench.results.columns import COLUMNS, BoardRuns, Column
from lifealign_bench.results.metrics import METRICS, MetricInfo
from lifealign_bench.results.paired import Estimate
from tests.command import Call
from tests.published_records import publish
from tests.results.test_a_metric_is_one_file import worst


def stages(runs: BoardRuns, method: str) -> Estimate:
    """How many stages a method went through."""
    own = runs.methods[method]
    return Estimate(float(len(own[0].record.stages)), math.nan, math.nan, math.nan, len(own))


def test_a_column_and_a_metric_are_in_every_form_of_a_board(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also where the records are of before there was the metric."""
    for method in ("one", "two"):
        publish(tmp_path, method, level=0.6)
    monkeypatch.setitem(COLUMNS, "stages", Column("stages gone through", stages, "stages gone through: of one run."))
    monkeypatch.setitem(METRICS, "worst", MetricInfo("worst", worst, "worst of all", "The worst at the end."))
    shown = {form: call("leaderboard", str(tmp_path), "--format", form) for form in ("markdown", "csv", "json", "html")}
    assert all(code == 0 for code, _, _ in shown.values()), shown
    markdown = shown["markdown"][1]
    heads = next(line for line in markdown.splitlines() if "| method" in line).split("|")
    row = next(line for line in markdown.splitlines() if "| one " in line).split("|")
    cells = {head.strip(): cell.strip() for head, cell in zip(heads, row, strict=True)}
    count = float(cells["stages gone through"])
    assert count >= 2 and cells["worst of all"] and "stages gone through: of one run." in markdown
    assert float(next(csv.DictReader(shown["csv"][1].splitlines()))["stages"]) == count
    (board,) = json.loads(shown["json"][1])["boards"]
    assert board["methods"][0]["metrics"]["stages"]["value"] == count
    assert board["methods"][0]["metrics"]["worst"]["value"] is not None
    assert call("verify", str(tmp_path))[0] == 0
    assert "stages gone through" in shown["html"][1] and "worst of all" in shown["html"][1]
