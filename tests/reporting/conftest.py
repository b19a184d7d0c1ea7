"""A finished run on the fakes, for what is made of one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lifealign_bench.config import GenerationConfig, RunConfig, TrainingConfig
from lifealign_bench.runs.run import run


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Its folder: two tasks, with responses and rewards. Nobody writes there."""
    out = tmp_path_factory.mktemp("toy")
    config = RunConfig(
        method="dpo",
        stream="fake",
        tasks=("fake-upper", "fake-lower"),
        model="fake",
        dtype="float32",
        device="cpu",
        out=out,
        train_limit=4,
        test_limit=4,
        training=TrainingConfig(learning_rate=5e-3, batch_size=4),
        generation=GenerationConfig(max_new_tokens=6),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIFEALIGN_BENCH_CACHE", str(out / "cache"))
        run(config)
    yield config.run_directory()
