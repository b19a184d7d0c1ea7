"""A run whose responses come from a server is the run without: through a server that dies, and to the last score."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import BenchError
from lifealign_bench.experiments.reproduction.match import (
    circumstance_differences,
    here,
    of_record,
    why_not_to_the_bit,
)
from lifealign_bench.results.folder import read_token_ids
from lifealign_bench.runs.run import run
from lifealign_bench.util.patience import RetryPolicy
from tests.lora_server import serve_adapters

KEY = "a-secret-key-0123456789"
QUICK = RetryPolicy(first_wait=0.01, longest_wait=0.02, longest_asked=0.05, reach=5)


@pytest.fixture
def make(fake_config: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunConfig]:
    """Short runs on two tasks, and a server's key in the environment."""
    monkeypatch.setenv("LIFEALIGN_BENCH_SERVER_KEY", KEY)
    monkeypatch.setattr("lifealign_bench.models.engines.server.PATIENCE", QUICK)

    def config(**changes: object) -> RunConfig:
        return fake_config(**{"tasks": ("fake-upper", "fake-lower"), "train_limit": 4, "test_limit": 4, **changes})

    return config


def test_a_run_with_a_server_is_the_run_without(make: Callable[..., RunConfig], tmp_path: Path) -> None:
    plain = run(make())
    with serve_adapters(key=KEY, dies_after=8 + 8 + 3) as dying:  # in the middle of the second stage
        config = make(out=tmp_path / "served", generation_engine="server", generation_url=dying.address)
        with pytest.raises(BenchError, match=r"answers no more: .*; 3 responses are kept"):
            run(config)
    with serve_adapters(key=KEY) as server:
        config = config.model_copy(update={"generation_url": server.address})
        record = run(config)
        assert len(server.responses()) == 5 and not set(server.responses()) & set(dying.responses())
        machine = here(config, plain.method.source_sha256)

    assert (record.status, record.attempts) == ("complete", 2)
    assert record.scores == plain.scores and record.metrics == plain.metrics
    for stage in ("stage-0", "stage-1", "stage-2"):
        folder = config.run_directory() / stage
        assert read_token_ids(folder) == read_token_ids(make().run_directory() / stage)
        assert not (folder / "parts").exists()
    # The stages' own adapters were handed over, by their paths.
    assert dying.loads == [
        str((config.run_directory() / name / "adapter").resolve()) for name in ("stage-1", "stage-2")
    ]
    assert server.loads == dying.loads[1:]

    assert record.config["generation_engine"] == "server" and "generation_url" not in record.config
    assert "generation" not in plain.hardware and record.hardware["generation"] == "server: vllm 0.99.1"
    there, now = of_record(plain), of_record(record)
    assert circumstance_differences(there, now)["generation engine"] == ("batches", "server: vllm 0.99.1")
    assert machine.get("generation engine") == "server: vllm 0.99.1"
    reasons = why_not_to_the_bit(now, machine, {})
    assert "what generates the responses rounds by what it generates at the same time" in reasons
    assert any(
        "not the same" in reason and "generation engine" in reason for reason in why_not_to_the_bit(there, now, {})
    )

    written = [file for file in (tmp_path / "served").rglob("*") if file.is_file()]
    assert written and not any(KEY.encode() in file.read_bytes() for file in written)


def test_a_server_that_ignores_adapters_stops_the_run_and_another_base_model_begins_none(
    make: Callable[..., RunConfig],
) -> None:
    with serve_adapters(applies=False) as server:
        config = make(generation_engine="server", generation_url=server.address)
        with pytest.raises(BenchError, match=r"does not apply the stage's adapter"):
            run(config)
        assert {model for model, _ in server.responses()} == {"toy"}  # none but the base model's
    with serve_adapters(shift=0.05) as server:
        config = make(method="sft", generation_engine="server", generation_url=server.address)
        with pytest.raises(BenchError, match="does not answer as the base model"):
            run(config)
        assert not list(config.run_directory().rglob("trained.json"))
