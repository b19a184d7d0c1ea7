"""A published run tells what its folder tells: the same values, intervals and standard errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import BenchError, Interrupted
from lifealign_bench.results.published import pair_scores_file, publish_run
from lifealign_bench.results.view import RunView
from lifealign_bench.runs.run import run

Make = Callable[..., RunConfig]


@pytest.mark.parametrize("method", ["dpo", "joint"])
def test_intervals_are_those_of_the_folder(fake_config: Make, tmp_path: Path, method: str) -> None:
    config = fake_config(method=method)
    run(config)
    target = tmp_path / "results" / "seed-0.json"
    publish_run(config.run_directory(), target)
    whole, published = RunView.open(config.run_directory()), RunView.open(target)
    assert published.record == whole.record
    shown = 0
    for score in whole.scores():
        for metric in whole.record.metrics.get(score, {}):
            assert published.interval(score, metric) == whole.interval(score, metric)
            shown += whole.interval(score, metric) is not None
    assert shown > 5
    for score in whole.main_scores():
        for name, errors in whole.per_task_errors(score).items():
            for a, b in zip(errors, published.per_task_errors(score)[name], strict=True):
                assert a == b or (math.isnan(a) and math.isnan(b))


def test_without_pair_scores_there_are_fewer_error_bars_and_no_crash(fake_config: Make, tmp_path: Path) -> None:
    config = fake_config()
    run(config)
    target = tmp_path / "seed-0.json"
    publish_run(config.run_directory(), target)
    pair_scores_file(target).write_bytes(b"damaged")
    view = RunView.open(target)
    assert view.interval("preference_accuracy", "last") is None
    assert view.metric("preference_accuracy", "last") == RunView.open(config.run_directory()).metric(
        "preference_accuracy", "last"
    )


def test_an_unfinished_run_is_not_published(fake_config: Make, tmp_path: Path) -> None:
    config = fake_config()
    with pytest.raises(Interrupted):
        run(config, stopped=lambda: True)
    with pytest.raises(BenchError, match="interrupted") as caught:
        publish_run(config.run_directory(), tmp_path / "seed-0.json")
    assert "same command" in caught.value.remedy
    assert not list(tmp_path.glob("seed-0*"))
