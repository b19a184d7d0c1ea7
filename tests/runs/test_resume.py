"""A run that is killed equals one that is not, to the bit; what is damaged is found, told and done again."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from lifealign_bench.config import RunConfig, TrainingConfig
from lifealign_bench.errors import BenchError, Interrupted
from lifealign_bench.method import Method
from lifealign_bench.results.record import Record
from lifealign_bench.runs.run import run
from lifealign_bench.util.files import sha256_file
from lifealign_bench.util.progress import Progress
from tests.places import TESTS

Make = Callable[..., RunConfig]
HERE = TESTS


class Ear(Progress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notices: list[str] = []
        self.phases: list[tuple[int, str]] = []
        self.steps: list[int] = []

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def phase_started(self, stage: int, name: str, tasks: tuple[str, ...], steps: int) -> None:
        self.phases.append((stage, name))

    def advanced(self, work: float, *, step: int | None = None, loss: float | None = None, tokens: int = 0) -> None:
        if step is not None:
            self.steps.append(step)


def weights(config: RunConfig) -> list[str]:
    folder = config.run_directory()
    return [sha256_file(f) for f in sorted(folder.glob("stage-*/adapter/adapter_model.safetensors"))]


def same(a: RunConfig, b: RunConfig) -> None:
    """Score matrices, per-pair scores, generations, weights and method states are equal to the bit."""
    first, second = (json.loads((c.run_directory() / "record.json").read_text()) for c in (a, b))
    assert first["status"] == second["status"] == "complete"
    assert first["scores"] == second["scores"] and first["metrics"] == second["metrics"]
    stages = sorted(p.name for p in a.run_directory().glob("stage-*"))
    assert stages == sorted(p.name for p in b.run_directory().glob("stage-*"))
    for stage in stages:
        left, right = a.run_directory() / stage, b.run_directory() / stage
        pd.testing.assert_frame_equal(
            pd.read_parquet(left / "scores.parquet"), pd.read_parquet(right / "scores.parquet"), check_exact=True
        )
        for file in ("generations.jsonl", "method.safetensors"):
            assert (left / file).read_bytes() == (right / file).read_bytes(), (stage, file)
    assert weights(a) == weights(b)


@pytest.mark.model
@pytest.mark.parametrize("method", ["lifealign", str(HERE / "stateful_method.py")])
def test_killed_at_random_moments_equals_unbroken(fake_config: Make, tmp_path: Path, method: str) -> None:
    training = TrainingConfig(learning_rate=5e-3, batch_size=2, epochs=2, checkpoint_steps=1)
    whole = fake_config(method=method, training=training, token_budget=40, out=tmp_path / "whole")
    broken = whole.model_copy(update={"out": tmp_path / "broken"})
    # A child lives at most 0.4 times as long as the unbroken run took, wherever that falls.
    texts = [config.model_dump_json() for config in (whole, broken)]
    done = subprocess.run(
        [sys.executable, str(HERE / "kill_driver.py"), *texts, "20260123", "6", "0.4"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.split()[-1]) >= 3
    same(whole, broken)


class Stops:
    """Asks to stop after so many questions."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


def test_stopped_again_and_again_equals_unbroken(fake_config: Make, tmp_path: Path) -> None:
    """Ctrl-C loses nothing: every attempt goes on where the one before it stopped."""
    whole, broken = (fake_config(method="replay", out=tmp_path / name) for name in ("whole", "broken"))
    run(whole)
    stops = 0
    while True:
        ear = Ear()
        try:
            record = run(broken, ear, Stops(2))
            break
        except Interrupted as error:
            stops += 1
            assert error.exit_code == 130
            partial = json.loads((broken.run_directory() / "record.json").read_text())
            assert partial["status"] == "interrupted"
        assert stops < 60
    assert stops > 5 and record.attempts == stops + 1
    same(whole, broken)


def test_a_finished_run_is_not_trained_again(fake_config: Make) -> None:
    config = fake_config()
    first, ear = run(config), Ear()
    second = run(config, ear)
    assert second == first and not ear.phases
    assert any("finished already" in n for n in ear.notices)


@pytest.fixture
def half_done(fake_config: Make) -> RunConfig:
    """A run that was stopped in its second stage with three checkpoints behind it."""
    training = TrainingConfig(learning_rate=5e-3, batch_size=2, checkpoint_steps=1)
    config = fake_config(method="lifealign", training=training)

    class Watch(Ear):
        def stop(self) -> bool:
            return self.phases[-1:] == [(2, "train")] and self.steps[-1] == 3 and len(self.steps) > 4

    watch = Watch()
    with pytest.raises(Interrupted, match="stage 2 at step 4"):
        run(config, watch, watch.stop)
    return config


def finish_and_compare(config: RunConfig, fake_config: Make, tmp_path: Path) -> Ear:
    whole = config.model_copy(update={"out": tmp_path / "whole"})
    run(whole)
    ear = Ear()
    run(config, ear)
    same(whole, config)
    return ear


def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    half_done: RunConfig, fake_config: Make, tmp_path: Path
) -> None:
    folder = half_done.run_directory() / "stage-2" / "checkpoints"
    newest = max(folder.glob("checkpoint-*"), key=lambda p: int(p.name.rpartition("-")[2]))
    file = newest / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-7] + b"damaged")
    ear = finish_and_compare(half_done, fake_config, tmp_path)
    assert any("damaged" in n and str(newest) in n for n in ear.notices)
    assert ear.steps[0] == 4  # step 4 again, from checkpoint 3


class _Bomb:
    """Runs a command where a pickle of it is read trustingly."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.trace,)


def test_a_forged_checkpoint_is_one_message_and_runs_nothing(half_done: RunConfig, tmp_path: Path) -> None:
    """Its marker holds the hashes of the files that somebody put there."""
    folder = half_done.run_directory() / "stage-2" / "checkpoints"
    newest = max(folder.glob("checkpoint-*"), key=lambda p: int(p.name.rpartition("-")[2]))
    trace, marker = tmp_path / "code ran", newest / "complete.json"
    whole = marker.read_text()
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"):
        before = (newest / name).read_bytes()
        (newest / name).write_bytes(pickle.dumps(_Bomb(trace), protocol=2))
        content = json.loads(whole)
        content["files"][name] = sha256_file(newest / name)
        marker.write_text(json.dumps(content))
        with pytest.raises(BenchError, match=f"The checkpoint .*{newest.name} cannot be read") as caught:
            run(half_done)
        assert "Delete it" in caught.value.remedy and not trace.exists(), name
        (newest / name).write_bytes(before)
    shutil.rmtree(newest)
    assert run(half_done).status == "complete"


def test_all_checkpoints_damaged_starts_the_stage_again(
    half_done: RunConfig, fake_config: Make, tmp_path: Path
) -> None:
    for file in half_done.run_directory().glob("stage-2/checkpoints/*/optimizer.pt"):
        file.write_bytes(b"")
    ear = finish_and_compare(half_done, fake_config, tmp_path)
    assert ear.steps[0] == 1


def test_a_damaged_adapter_redoes_its_stage(half_done: RunConfig, fake_config: Make, tmp_path: Path) -> None:
    file = half_done.run_directory() / "stage-1" / "adapter" / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    ear = finish_and_compare(half_done, fake_config, tmp_path)
    assert any("missing or damaged" in n for n in ear.notices)
    assert (1, "train") in ear.phases


def test_damaged_scores_are_scored_again_without_training(fake_config: Make) -> None:
    config = fake_config()
    first = run(config)
    folder = config.run_directory()
    (folder / "record.json").unlink()
    (folder / "stage-1" / "scores.parquet").write_bytes(b"not parquet")
    ear = Ear()
    second = run(config, ear)
    assert second.scores == first.scores
    assert {stage for stage, _ in ear.phases} == {1} and not ear.steps


def test_another_configuration_is_refused_and_named(fake_config: Make) -> None:
    config = fake_config(test_limit=4)
    run(config)
    before = {p: p.stat().st_mtime_ns for p in config.run_directory().rglob("*") if p.is_file()}
    other = config.model_copy(update={"training": config.training.model_copy(update={"epochs": 2})})
    with pytest.raises(BenchError) as caught:
        run(other)
    assert "training.epochs is 1 there and 2 now" in caught.value.message and "--out" in caught.value.remedy
    assert before == {p: p.stat().st_mtime_ns for p in config.run_directory().rglob("*") if p.is_file()}


def test_changed_data_is_refused(fake_config: Make) -> None:
    config = fake_config(test_limit=4)
    run(config)
    file = config.run_directory() / "config.json"
    content = json.loads(file.read_text())
    content["fixed"]["data"]["fake-upper"]["train"] = "0" * 64
    file.write_text(json.dumps(content))
    with pytest.raises(BenchError, match=r"fixed\.data\.fake-upper\.train"):
        run(config)


def test_another_schema_is_refused(fake_config: Make) -> None:
    config = fake_config()
    folder = config.run_directory()
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"schema_version": 99}')
    with pytest.raises(BenchError, match="schema 99"):
        run(config)


def test_a_run_in_use_names_its_holder(fake_config: Make) -> None:
    from filelock import FileLock

    config = fake_config()
    folder = config.run_directory()
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"):
        (folder / "holder.json").write_text('{"pid": 4711, "host": "elsewhere", "since": "2026-01-01"}')
        with pytest.raises(BenchError, match="process 4711 on elsewhere"):
            run(config)


def test_a_folder_that_cannot_be_made_is_one_clear_error(fake_config: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BenchError, match="cannot be made"):
        run(fake_config(out=tmp_path / "file"))


def test_a_failed_run_is_recorded_with_its_error_and_can_go_on(
    fake_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = fake_config()
    good = Method.after_stage

    def bad(self: Method, stage: object, model: object) -> None:
        raise BenchError("The loss is not finite.", "Mend it.")

    monkeypatch.setattr(Method, "after_stage", bad)
    with pytest.raises(BenchError):
        run(config)
    record = Record.model_validate_json((config.run_directory() / "record.json").read_text())
    assert record.status == "failed" and record.error == "The loss is not finite."
    assert record.scores["preference_accuracy"].value[0] == [50.0, 50.0, 50.0]
    assert record.scores["preference_accuracy"].value[1] == [None, None, None]
    assert record.metrics["preference_accuracy"]["last"] is None
    monkeypatch.setattr(Method, "after_stage", good)
    assert run(config).status == "complete"
    shutil.rmtree(config.run_directory())
