"""A sweep on a Ray cluster of two nodes, of which one dies in the middle."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lifealign_bench.config import RunConfig, TrainingConfig
from lifealign_bench.experiments.engines.events import Began, Ended, Event
from lifealign_bench.experiments.engines.ray import RayEngine, require_ray
from lifealign_bench.results.record import read_record
from lifealign_bench.runs.run import run

Make = Callable[..., RunConfig]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without CPUs, where the sweep is, and two nodes of one CPU."""
    require_ray()
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))  # not the user's
    from ray.cluster_utils import Cluster

    # A dead node is noticed within seconds. Ray's workers give way to all else, and get nowhere on a busy machine.
    config: dict[str, int] = {"worker_niceness": 0}
    config |= {"health_check_period_ms": 500, "health_check_failure_threshold": 3, "health_check_timeout_ms": 500}
    small = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": config, **small})
    try:
        yield made
    finally:
        made.shutdown()


@pytest.mark.slow
def test_a_node_dies_and_all_runs_end_as_in_one_process(
    cluster: Any, fake_config: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training = TrainingConfig(learning_rate=5e-3, batch_size=2, epochs=4, checkpoint_steps=1)
    configs = [fake_config(seed=seed, training=training, out=tmp_path / "cluster", threads=1) for seed in (0, 1, 2)]
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20) for _ in range(2)]
    cluster.wait_for_nodes()
    begun: list[int] = []
    ends: dict[int, Ended] = {}
    killed: list[float] = []
    half: set[int] = set()

    def tell(number: int, event: Event) -> None:
        if isinstance(event, Began):
            begun.append(number)
        elif isinstance(event, Ended):
            ends[number] = event

    def tick() -> None:
        # In the middle: two runs work, and both have left a checkpoint at some time (between stages there is none). On
        # a busy machine the first run may be done before the second node's has begun; then it is the next two.
        half.update(
            n for n, c in enumerate(configs) if n not in half and list(c.run_directory().rglob("complete.json"))
        )
        if not killed and len((set(begun) - set(ends)) & half) > 1:
            cluster.remove_node(nodes[1], allow_graceful=False)
            killed.append(time.monotonic())

    engine = RayEngine(cluster.address, gpus_per_run=0)
    engine.work(dict(enumerate(configs)), tell, lambda: False, tick)
    assert killed
    assert [end.status for end in ends.values()] == ["complete"] * 3, ends
    assert len(begun) > 3  # what was on that node, again
    assert not capsys.readouterr().out  # standard output is for results
    attempts = [read_record(c.run_directory() / "record.json").attempts for c in configs]
    assert max(attempts) > 1, attempts
    for config in configs:
        alone = run(config.model_copy(update={"out": tmp_path / "alone"}))
        there = read_record(config.run_directory() / "record.json")
        assert there.scores == alone.scores and there.metrics == alone.metrics
