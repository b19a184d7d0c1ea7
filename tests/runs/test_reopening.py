"""A finished run opened again: asking in the middle of training changes nothing, and what is asked is the run's."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.results.folder import RunFolder
from lifealign_bench.results.pairtable import read_frame
from lifealign_bench.runs.reopening import reopened, spread_evenly, untouched
from lifealign_bench.runs.run import run

Make = Callable[..., RunConfig]
SCORERS = ("preference", "reward")


def files(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def test_a_stage_with_readings_ends_as_the_run_did_to_the_bit(fake_config: Make, tmp_path: Path) -> None:
    # A method that has state of its own and changes the weights after training, in two phases a stage.
    config = fake_config(method="lifealign", sft=True, tasks=("fake-upper", "fake-lower"), threads=1)
    run(config)
    finished = config.run_directory()
    before = files(finished)
    with reopened(finished, tmp_path / "work", SCORERS, pairs=6) as opened:
        opened.base()
        often = opened.train_again(2, at=lambda step: True)
        once = opened.train_again(2, at=lambda step: step == 2)
        learned = opened.train_task("fake-upper", 2, enough=lambda readings: len(readings) > 2, at=lambda step: True)
        assert opened.after(2, ["fake-upper"]).equals(learned[0].rows)  # which changed no checkpoint either
    assert often.exact and once.exact
    assert files(finished) == before
    steps = [reading.step for reading in often.readings]
    assert steps == list(range(len(steps))) and len(steps) > 4  # of both phases
    assert [reading.step for reading in once.readings] == [0, 2, steps[-1]]
    assert [reading.step for reading in learned] == [0, 1, 2]
    # Before its first step and after its last one a stage says what the run said.
    for reading, stage in ((often.readings[0], 1), (often.readings[-1], 2), (once.readings[-1], 2)):
        said = read_frame(RunFolder(finished).stage(stage).scores)
        own = said[said["task"] == "fake-upper"].reset_index(drop=True)
        assert reading.rows["task"].unique().tolist() == ["fake-upper"]
        for score in ("preference_margin", "reward", "win_rate"):
            assert np.allclose(reading.rows[score], own[score], atol=1e-5)
    changes = [float(np.ptp(column)) for column in np.array([r.rows["preference_margin"] for r in often.readings]).T]
    assert min(changes) > 0  # readings are of other weights


def test_what_asking_does_to_a_model_is_taken_back() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout())
    model[1].eval()
    model[0].weight.requires_grad_(False)
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    expected = torch.rand(1), np.random.rand(), random.random()
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    with untouched(model):
        assert not model.training and not model[0].training
        model.requires_grad_(True)
        torch.rand(5), np.random.rand(5), random.random()
    assert (torch.rand(1), np.random.rand(), random.random()) == expected
    assert (model.training, model[0].training, model[1].training) == (True, True, False)
    assert not model[0].weight.requires_grad and model[0].bias.requires_grad


def test_what_cannot_be_opened_again_is_refused(fake_config: Make, tmp_path: Path) -> None:
    config = fake_config(tasks=("fake-upper", "fake-lower"), scorers=("preference",), threads=1, train_limit=4)
    run(config)
    finished = config.run_directory()
    work = iter(tmp_path / f"work-{i}" for i in range(9))
    with reopened(finished, next(work), ("preference",), 6) as opened, pytest.raises(UsageError, match="no task was"):
        opened.train_again(1, at=lambda step: True)
    copy = tmp_path / "copy" / finished.relative_to(finished.parents[3])
    shutil.copytree(finished, copy)
    shutil.rmtree(RunFolder(copy).stage(1).adapter)
    with (
        pytest.raises(BenchError, match="no whole checkpoint of stage-1 any more"),
        reopened(copy, next(work), ("preference",), 6),
    ):
        pass
    record = RunFolder(copy).record
    record.write_text(record.read_text(encoding="utf-8").replace('"complete"', '"interrupted"'), encoding="utf-8")
    with pytest.raises(BenchError, match="is interrupted"), reopened(copy, next(work), ("preference",), 6):
        pass
    alone = fake_config(
        tasks=("fake-upper",), scorers=("preference",), threads=1, train_limit=4, out=tmp_path / "alone"
    )
    run(alone)
    with (
        pytest.raises(UsageError, match="trains no task after another"),
        reopened(alone.run_directory(), next(work), ("preference",), 6),
    ):
        pass


def test_pairs_are_spread_evenly() -> None:
    assert spread_evenly(5, 9) == [0, 1, 2, 3, 4]
    assert spread_evenly(9, 3) == [0, 4, 8]
    assert len(spread_evenly(100, 24)) == 24
