"""Sweeps as a user starts them, in processes that fail, are killed and are stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from lifealign_bench.config import RunConfig
from lifealign_bench.experiments.request import Words, build_configs
from lifealign_bench.results.record import read_record
from lifealign_bench.runs.run import run
from tests.places import ROOT

Start = Callable[..., "subprocess.Popen[str]"]

RAISES = '''
"""A method for the test."""
from lifealign_bench.method import Method, register_method


@register_method("raises")
class Raises(Method):
    """DPO that raises."""

    def after_stage(self, stage, model):
        raise ZeroDivisionError("in [red]a hook[/red]")
'''
EXITS = '''
"""A method for the test."""
import os
from lifealign_bench.method import Method, register_method


@register_method("exits")
class Exits(Method):
    """DPO that takes the process with it."""

    def before_stage(self, stage, model):
        print("these are my last words", flush=True)
        os._exit(7)
'''


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the command line in ``tmp_path``, with this checkout's code; whatever is left at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def call(*words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "lifealign_bench", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )
        started.append(process)
        return process

    yield call
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


FAKE = ("--model", "fake", "--stream", "fake", "--device", "cpu", "--dtype", "float32")


@pytest.mark.model
def test_methods_that_fail_do_not_stop_the_others(start: Start, tmp_path: Path) -> None:
    (tmp_path / "raises.py").write_text(RAISES)
    (tmp_path / "exits.py").write_text(EXITS)
    words = ("sweep", *FAKE, "--method", "raises.py,exits.py,dpo", "--limit", "4", "--jobs", "2", "--json")
    out, err = (process := start(*words)).communicate(timeout=240)
    assert process.returncode == 1, err  # errors that nobody foresaw
    runs = {entry["method"]: entry for entry in json.loads(out)["runs"]}
    assert {name: entry["state"] for name, entry in runs.items()} == {
        "raises": "failed",
        "exits": "failed",
        "dpo": "complete",
    }
    assert "2 of 3 runs failed:" in err
    assert "ZeroDivisionError: in [red]a hook[/red]" in err and "raises.py" in err
    assert "ended by itself with exit code 7" in err and "these are my last words" in err
    (config,) = build_configs(
        Words(method=("dpo",), stream=("fake",), model="fake", limit=4, device="cpu", dtype="float32")
    ).configs
    alone = run(config.model_copy(update={"out": tmp_path / "alone"}))
    place, other = tmp_path / "runs/fake/fake/dpo/seed-0", tmp_path / "alone/fake/fake/dpo/seed-0"
    assert read_record(place / "record.json").scores == alone.scores
    # Forked from a process that others were forked from, beside others, or in this one: the same bytes.
    adapters = sorted(file.relative_to(other) for file in other.rglob("adapter_model.safetensors"))
    assert len(adapters) == 4
    assert [(place / file).read_bytes() for file in adapters] == [(other / file).read_bytes() for file in adapters]

    # Once more, and only what failed is tried again; the states are known without trying.
    out, err = (process := start("sweep", *words[1:], "--dry-run")).communicate(timeout=300)
    assert process.returncode == 0, err
    states = {entry["method"]: entry["state"] for entry in json.loads(out)}
    assert states == {"raises": "to be continued", "exits": "to be continued", "dpo": "finished"}


def workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The runs' processes, which the warm process started that the sweep started."""
    return [run for warm in psutil.Process(process.pid).children() for run in warm.children()]


def wait_until(what: Callable[[], Any], seconds: float = 300.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


@pytest.mark.model
def test_stopped_killed_and_continued_ends_with_the_same_numbers(start: Start, tmp_path: Path) -> None:
    words = ["sweep", *FAKE, "--method", "replay", "--limit", "8", "--out", "runs"]
    words += [word for s in ("epochs=6", "batch_size=2", "checkpoint_steps=1") for word in ("--set", s)]
    place = tmp_path / "runs/fake/fake/replay/seed-0"

    def checkpoints(stage: int) -> Callable[[], Any]:
        return lambda: list(place.glob(f"stage-{stage}/checkpoints/*/complete.json"))

    # Ctrl-C: all stop at a checkpoint, and the user learns how to go on.
    process = start(*words)
    wait_until(checkpoints(1))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert "Stopping all runs at their next checkpoint" in err
    assert f"-m lifealign_bench {' '.join(words)}" in err
    assert read_record(place / "record.json").status == "interrupted"

    # A worker is killed, and begun again; then the sweep itself is killed, and takes the workers with it.
    process = start(*words, "--retries", "1")
    wait_until(checkpoints(2))
    (first,) = workers(process)
    first.kill()
    wait_until(lambda: [p for p in workers(process) if p != first])
    family = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGKILL)
    _, gone_wrong = psutil.wait_procs(family, timeout=20)
    assert not gone_wrong
    assert re.search(r"killed \(SIGKILL\).*It is started again", process.communicate()[1])

    process = start(*words)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert "1 to be continued" in err and "replay on fake" in out
    record = read_record(place / "record.json")
    alone = run(RunConfig.model_validate({**record.config, "out": tmp_path / "alone"}))
    assert record.status == "complete" and record.attempts > 2
    assert (record.scores, record.metrics) == (alone.scores, alone.metrics)
