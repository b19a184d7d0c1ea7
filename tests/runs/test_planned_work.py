"""What a run is planned to do is what it does, so that its progress ends with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from lifealign_bench.config import RunConfig
from lifealign_bench.method import Method, MethodConfig, Stage
from lifealign_bench.pairs import Pair
from lifealign_bench.runs.run import run
from lifealign_bench.util.progress import Meter, Progress, Work

Make = Callable[..., RunConfig]


class Measured(Progress):
    """A run's meter."""

    def __init__(self) -> None:
        self.meter = Meter()

    def run_started(self, config: RunConfig, work: Work) -> None:
        self.meter.start(config, work)

    def advanced(self, work: float, **more: Any) -> None:
        self.meter.done += work


@pytest.mark.parametrize("method", ["replay", "lifealign"])
def test_replayed_pairs_are_planned(fake_config: Make, method: str) -> None:
    told = Measured()
    settings = {"method_settings": {"replay_fraction": 0.5}, "scorers": ("preference",), "threads": 1}
    run(fake_config(method=method, tasks=("fake-upper", "fake-digits"), **settings), told)
    assert told.meter.done == pytest.approx(told.meter.work.total, rel=0.01)


class Twice(Method):
    """Trains on every pair of its second stage twice: nobody's who wrote this package."""

    def training_pairs(self, stage: Stage, pairs: Sequence[Pair]) -> Sequence[Pair]:
        return [*pairs, *pairs] if stage.index == 2 else pairs


def test_what_a_foreign_method_mixes_in_changes_no_progress(fake_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lifealign_bench.runs.run.make_method", lambda config: Twice(MethodConfig()))
    told = Measured()
    record = run(fake_config(tasks=("fake-upper", "fake-digits"), scorers=("preference",), threads=1), told)
    assert record.stages[2].tokens["train"] > 1.5 * record.stages[1].tokens["train"]
    assert told.meter.done == pytest.approx(told.meter.work.total, rel=0.01)
