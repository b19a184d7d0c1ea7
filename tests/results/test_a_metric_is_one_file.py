"""A metric is a function and its line in ``results/metrics.py``: everything that shows metrics then has it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from lifealign_bench.results.metrics import METRICS, MetricInfo
from lifealign_bench.results.record import read_record
from tests.command import Call


def worst(scores: Any) -> Any:
    """The lowest score after the last stage."""
    return np.asarray(scores, dtype=float)[..., -1, :].min(axis=-1)


def test_a_metric_is_one_file(call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setitem(METRICS, "worst", MetricInfo("worst", worst, "worst of all", "The worst at the end."))
    code, out, _ = call("list", "metrics")
    assert code == 0 and "worst of all" in out
    words = ("run", "--model", "fake", "--stream", "fake", "--method", "dpo", "--limit", "4", "--device", "cpu")
    code, out, err = call(*words, "--scorer", "preference", "--quiet", "--full", "--out", "runs")
    assert code == 0 and "worst of all" in out, err
    record = read_record(next((tmp_path / "runs").rglob("record.json")))
    assert record.metrics["preference_accuracy"]["worst"] == min(
        value for value in record.scores["preference_accuracy"].value[-1] if value is not None
    )
    folder = next((tmp_path / "runs").rglob("record.json")).parent
    code, out, err = call("summary", str(folder), "--json")
    assert code == 0 and "worst" in json.dumps(json.loads(out)), err
    code, _, err = call("report", str(folder), "--out", "r.html")
    assert code == 0 and "worst of all" in (tmp_path / "r.html").read_text(), err
