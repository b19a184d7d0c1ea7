"""Threads and types are measured once, kept, overridable, and a run that goes on keeps its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import Interrupted
from lifealign_bench.models import device as probe
from lifealign_bench.models.device import Probe, measure_threads, speed_of_this_machine, threads_to_use
from lifealign_bench.runs.run import run

Make = Callable[..., RunConfig]


@pytest.fixture(autouse=True)
def threads_as_before() -> object:
    before = torch.get_num_threads()
    yield None
    torch.set_num_threads(before)


def test_measuring_leaves_the_threads_as_they_were() -> None:
    before = torch.get_num_threads()
    found = measure_threads([1])
    assert found.threads == 1 and torch.get_num_threads() == before
    assert all(seconds > 0 for pair in found.seconds.values() for seconds in pair)


def test_fewest_threads_among_the_fast_and_the_faster_type(monkeypatch: pytest.MonkeyPatch) -> None:
    cost = {1: 4.0, 2: 2.05, 4: 2.0, 8: 3.0}

    def products(dtype: torch.dtype) -> tuple[float, float]:
        seconds = cost[torch.get_num_threads()]
        return (seconds, seconds) if dtype == torch.bfloat16 else (seconds / 2, 2 * seconds)

    monkeypatch.setattr(probe, "_products", products)
    found = measure_threads([1, 2, 4, 8])
    assert found.threads == 2 and found.seconds["float32"] == (2.05 / 2, 4.1)
    # Slower forward, faster in all: the sum decides.
    assert found.dtype == "bfloat16"
    assert Probe(1, {"float32": (1.0, 1.0), "bfloat16": (0.5, 2.0)}).dtype == "float32"


def test_measured_once_and_again_when_damaged(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[int]] = []
    results = Probe(1, {"float32": (1.0, 1.0), "bfloat16": (2.0, 2.0)})

    def measured(candidates: list[int]) -> Probe:
        calls.append(candidates)
        return results

    monkeypatch.setattr(probe, "measure_threads", measured)
    probe._measured_now.cache_clear()
    monkeypatch.setattr(probe, "_busy", lambda: True)
    began = 1e9

    def later_run(seconds: float) -> Probe:
        probe._measured_now.cache_clear()
        return speed_of_this_machine(lambda: began + seconds)

    assert later_run(0) == later_run(1) == later_run(3599) == results
    assert len(calls) == 1, "a busy machine measures once an hour, not for every run"
    assert later_run(3601) == results and len(calls) == 2
    assert later_run(-10) == results and len(calls) == 3, "the clock was set back"
    calls.clear()
    monkeypatch.setattr(probe, "_busy", lambda: False)
    assert later_run(4000) == later_run(1e8) == results
    assert len(calls) == 1, "what nothing disturbed is kept for good"
    (file,) = (own_cache / "probes").iterdir()
    assert json.loads(file.read_text())["machine"]["torch"] == torch.__version__
    file.write_text('{"threads": "many"}')
    probe._measured_now.cache_clear()
    assert speed_of_this_machine() == results and len(calls) == 2
    probe._measured_now.cache_clear()


def test_what_the_user_says_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "speed_of_this_machine", lambda: Probe(7, {}))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert threads_to_use(3) == 3
    torch.set_num_threads(2)  # an earlier run of this process
    assert threads_to_use(None) == 1
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert threads_to_use(None) == 7


def test_a_run_goes_on_with_its_own_threads(fake_config: Make) -> None:
    left = iter([False] * 3 + [True] * 100)
    with pytest.raises(Interrupted):
        run(fake_config(threads=2), stopped=lambda: next(left))
    torch.set_num_threads(1)
    record = run(fake_config())
    assert torch.get_num_threads() == 2 and record.hardware["threads"] == 2


@pytest.mark.parametrize(
    ("minute", "now", "busy"), [(0.0, 0.0, False), (1.5, 0.0, True), (0.0, 45.0, True), (0.9, 20.0, False)]
)
def test_who_has_just_begun_disturbs_as_well(
    monkeypatch: pytest.MonkeyPatch, minute: float, now: float, busy: bool
) -> None:
    """Two cores: one kept busy by others made one thread look as fast as two, and that was kept."""
    monkeypatch.setattr(probe, "cores", lambda: 2)
    monkeypatch.setattr(psutil, "getloadavg", lambda: (minute, 0.0, 0.0))
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: now)
    assert probe._busy() == busy
