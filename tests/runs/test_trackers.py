"""``--report-to``: trackers hear every step and every score, and none can stop a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.results.record import read_record
from lifealign_bench.runs import trackers
from lifealign_bench.runs.run import run
from lifealign_bench.runs.trackers import Tracking, check_trackers
from lifealign_bench.util import redaction
from lifealign_bench.util.progress import Progress, Work
from tests.command import Call
from tests.places import ROOT

Make = Callable[..., RunConfig]


class Heard:
    """A tracker that remembers."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, dict[str, float]]] = []
        self.finished = 0

    def open(self, config: RunConfig, name: str) -> Heard:
        self.name = name
        return self

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.entries.append((step, dict(values)))

    def finish(self) -> None:
        self.finished += 1


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    tracker = Heard()
    monkeypatch.setitem(trackers.TRACKERS, "tensorboard", tracker.open)
    return tracker


def test_a_tracker_hears_every_step_and_every_score(fake_config: Make, heard: Heard) -> None:
    config = fake_config(report_to=("tensorboard",), sft=True)
    record = run(config)
    log = [json.loads(line) for line in (config.run_directory() / "log.jsonl").read_text().splitlines()]
    steps = [(step, values) for step, values in heard.entries if "train/stage" in values]
    # Counted through the run: no step of a later phase or stage lies on an earlier one's.
    assert [step for step, _ in steps] == list(range(1, len(log) + 1))
    assert [v[f"train/{e['phase']}/loss"] for (_, v), e in zip(steps, log, strict=True)] == [e["loss"] for e in log]
    scores = [(step, values) for step, values in heard.entries if "stage" in values]
    assert [values["stage"] for _, values in scores] == [0, 1, 2, 3]
    step, last = scores[-1]
    assert step == len(log)
    matrix = record.scores["preference_accuracy"].array()
    assert last["preference_accuracy/fake-lower"] == matrix[3][1]
    assert last["preference_accuracy/mean"] == pytest.approx(matrix[3].mean())
    assert heard.finished == 1 and heard.name == "dpo fake fake seed 0"


def test_a_tracker_is_told_no_secret(fake_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_known", {})
    redaction.learn("hf_never-to-be-seen")
    told: dict[str, Any] = {}
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **words: told.update(words)))
    config = fake_config(method_settings={"place": "https://host/?k=hf_never-to-be-seen"})
    Tracking(("wandb",), lambda text: None).run_started(config, Work(1.0, 1))
    assert told["config"]["method_settings"] == {"place": "https://host/?k=[hidden]"}


def test_trackers_are_no_part_of_the_run(fake_config: Make, heard: Heard) -> None:
    config = fake_config()
    record = run(config)
    told = run(fake_config(report_to=("tensorboard",)))
    assert told == record and not heard.entries  # a finished run says nothing again


def test_a_tracker_that_fails_stops_nothing(fake_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    class Breaks(Heard):
        def log(self, step: int, values: Mapping[str, float]) -> None:
            super().log(step, values)
            if len(self.entries) == 3:
                raise ConnectionError("gone")

    breaks, notices = Breaks(), []
    monkeypatch.setitem(trackers.TRACKERS, "tensorboard", breaks.open)

    class Told(Progress):
        def notice(self, text: str) -> None:
            notices.append(text)

    record = run(fake_config(report_to=("tensorboard",)), Told())
    assert record.status == "complete" and len(breaks.entries) == 3
    assert [n for n in notices if "tensorboard failed" in n and "gone" in n] == notices[-1:]


def test_what_a_tracker_prints_is_no_part_of_the_results(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    class Talks(Heard):
        def open(self, config: RunConfig, name: str) -> Heard:
            sys.stdout.write("a project was made\n")
            return self

        def finish(self) -> None:
            sys.stdout.write("all was sent\n")

    monkeypatch.setitem(trackers.TRACKERS, "tensorboard", Talks().open)
    code, shown, errors = call("run", "--model", "fake", "--stream", "fake", "--json", "--report-to", "tensorboard")
    assert code == 0 and json.loads(shown)[0]["method"] == "lifealign"
    assert "a project was made" in errors and "all was sent" in errors


def test_values_that_are_no_numbers_are_not_passed_on() -> None:
    found = Heard()
    tracking = Tracking(("x",), print)
    tracking.trackers = {"x": found}
    tracking.logged(1, "preference", 2, {"loss": float("nan"), "grad_norm": 1.0})
    assert found.entries == [(2, {"train/preference/grad_norm": 1.0, "train/stage": 1.0})]


def test_event_files_of_tensorboard_hold_the_curves(fake_config: Make) -> None:
    accumulator: Any = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config = fake_config(report_to=("tensorboard",))
    record = run(config)
    events = accumulator.EventAccumulator(str(config.run_directory() / "tensorboard"))
    events.Reload()
    losses = events.Scalars("train/preference/loss")
    assert len(losses) == sum(stage.steps for stage in record.stages)
    scores = events.Scalars("reward/fake-digits")
    assert [s.value for s in scores] == pytest.approx(record.scores["reward"].array()[:, 2], abs=1e-5)


@pytest.mark.model
def test_trackio_holds_the_curves_of_a_run_without_network(tmp_path: Path) -> None:
    # In processes of its own: Trackio reads TRACKIO_DIR once, when it is imported. Nothing answers at the proxy.
    nowhere = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
    root = str(ROOT)
    env = {**os.environ, **nowhere, "TRACKIO_DIR": str(tmp_path / "trackio"), "PYTHONPATH": root}

    def started(*words: str) -> Any:
        done = subprocess.run([sys.executable, *words], env=env, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    words = ("--model", "fake", "--stream", "fake", "--method", "dpo", "--out", "runs", "--report-to", "trackio")
    (told,) = started("-m", "lifealign_bench", "run", "--json", *words)
    folder = tmp_path / told["directory"]

    def kept(metric: str) -> list[tuple[int, float]]:
        """What Trackio's own command line gives back: step and value."""
        asked = ("get", "metric", "--project", "lifealign-bench", "--run", "dpo fake fake seed 0", "--metric", metric)
        found = started("-c", "from trackio.cli import main; main()", *asked, "--json")
        return [(entry["step"], entry["value"]) for entry in found["values"]]

    log = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert kept("train/preference/loss") == [(n, entry["loss"]) for n, entry in enumerate(log, start=1)]
    record = read_record(folder / "record.json")
    means = record.scores["preference_accuracy"].array().mean(axis=1)
    assert [value for _, value in kept("preference_accuracy/mean")] == pytest.approx(list(means))


def test_trackers_that_are_not_there_are_refused_at_once(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, text = call("run", "--model", "fake", "--stream", "fake", "--report-to", "tensorbord")
    assert code == 2 and "tensorboard" in text
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install mlflow"):
        check_trackers(("mlflow",))


def test_a_tracker_that_is_broken_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "wandb.py").write_text("import a_module_that_is_nowhere\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with pytest.raises(UsageError, match=r"wandb is installed and cannot be imported.*a_module_that_is_nowhere"):
        check_trackers(("wandb",))
