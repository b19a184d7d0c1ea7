"""Forgetting as a dose and its response."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.dose_response import Response, failings, figure, mean_by_dose, responses, table
from lifealign_bench.errors import UsageError
from lifealign_bench.reporting.figures.figure import Bar
from lifealign_bench.results.view import RunView
from tests.reporting.test_tables import record_of


def at(method: str, dose: float, value: float, spread: float = 3.0) -> Response:
    return Response(method, dose, Bar(value, value - spread, value + spread), 1)


def view_of(stream: str, rows: Sequence[Sequence[float]]) -> RunView:
    """A run whose score after stages 0, 1, 2 on two tasks is ``rows``, percent."""
    values = {task: np.repeat(np.array(rows)[:, [j]] / 100, 4, axis=1) for j, task in enumerate("ab")}
    return RunView(record_of(values, stream=stream))


def test_the_response_is_what_the_earlier_tasks_lost_since_their_own_stage() -> None:
    views = [
        view_of("dial-0", [[50, 50], [90, 50], [88, 95]]),
        view_of("dial-1", [[50, 50], [90, 50], [50, 95]]),
        view_of("forms", [[50, 50], [90, 50], [0, 95]]),
    ]
    found = responses(views, "preference_accuracy")
    assert [(r.method, r.dose, r.seeds) for r in found] == [("dpo", 0.0, 1), ("dpo", 1.0, 1)]
    assert [r.bar.value for r in found] == pytest.approx([-2, -40])
    assert [row["value"] for row in figure(found, "preference_accuracy").data] == pytest.approx([-2, -40])
    with pytest.raises(UsageError, match="No finished run"):
        responses(views[2:])


def test_a_loss_without_conflict_and_a_rise_with_it_are_said() -> None:
    fine = [at("dpo", 0, -2), at("dpo", 0.5, -20), at("dpo", 1, -40), at("replay", 0, 1), at("replay", 1, -9)]
    assert failings(fine) == []
    assert mean_by_dose(fine) == {0: -2, 0.5: -20, 1: -40}  # replay lacks a dose
    assert failings([at("dpo", 0, -4), at("dpo", 1, -40)]) == ["At a conflict of 0 dpo loses -4.0 [-7.0, -1.0] points."]
    assert failings([at("dpo", 0, 0), at("dpo", 1, 1.9)]) == []
    (said,) = failings([at("dpo", 0, 0), at("dpo", 0.5, -30), at("dpo", 1, -20)])
    assert said == "From a conflict of 0.5 to 1 the mean rises from -30.0 to -20.0."
    lines = table(fine).splitlines()
    assert lines[0] == "| conflict | 0 | 0.5 | 1 | seeds |"
    assert lines[3] == "| replay | 1.0 [-2.0, 4.0] | - | -9.0 [-12.0, -6.0] | 1 |"
    assert lines[4] == "| mean | -2.0 | -20.0 | -40.0 | |"
    assert not math.isnan(mean_by_dose(fine)[0])
