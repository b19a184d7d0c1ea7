"""Fixtures shared by all tests: a cache of their own, and small runs on the fakes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

# Two workers on two cores: one thread each. Set before torch is imported anywhere.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from lifealign_bench.config import GenerationConfig, RunConfig, TrainingConfig
from lifealign_bench.scoring.judging.budget import calls_of_this_process
from tests.command import Call

# How long an example takes on a machine with other work says nothing about the code.
settings.register_profile("steady", deadline=None)
settings.load_profile("steady")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True, scope="session")
def unsynced() -> Iterator[None]:
    """Files are not forced onto the disk: only a power cut could tell, and thousands of them wait milliseconds each.
    That this is asked for is tested (tests/util/test_files.py)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda file: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def installed() -> Iterator[None]:
    """Accelerate reads anew what is installed, several times a training step; during the tests nothing is installed."""
    from accelerate.utils import imports

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imports, "_is_package_available", cache(imports._is_package_available))
        yield


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No test reads or writes the user's cache, and none sees another's."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LIFEALIGN_BENCH_CACHE", str(folder))
    # A judge's budget is one for all runs of a process; every test begins with all of it.
    calls_of_this_process.cache_clear()
    yield folder


@pytest.fixture
def fake_config(tmp_path: Path) -> Callable[..., RunConfig]:
    """A function that makes the configuration of a run on the fakes; keywords override."""

    def make(**changes: object) -> RunConfig:
        training = TrainingConfig(learning_rate=5e-3, batch_size=4, checkpoint_steps=2)
        settings: dict[str, object] = {
            "method": "dpo",
            "stream": "fake",
            "tasks": ("fake-upper", "fake-lower", "fake-digits"),
            "model": "fake",
            "dtype": "float32",
            "device": "cpu",
            "out": tmp_path / "runs",
            "train_limit": 8,
            "test_limit": 6,
            "training": training,
            "token_budget": 65,  # two pairs a pass, so that a step takes several
            "generation": GenerationConfig(max_new_tokens=6),
        }
        return RunConfig.model_validate(settings | changes)

    return make


@pytest.fixture
def shared_data() -> Path:
    """The paper's data beside the checkout; tests that need it are skipped where it is not."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("the paper's data is not beside this checkout (../shared/data)")
    return folder


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Run a command line in this process; gives exit code, stdout, stderr."""
    from lifealign_bench.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    return run
