"""A base model in pieces: two processes come to what one comes to, with the hooks of methods that look at matrices."""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.models.sharding import check_sharding
from lifealign_bench.results.record import read_record
from lifealign_bench.runs.run import run

Make = Callable[..., RunConfig]
# One worker has the process that all are started from.
processes = pytest.mark.xdist_group("two processes")


@processes
@pytest.mark.parametrize(
    ("method", "sft", "again"), [("lifealign", True, False), ("ewc", False, True), ("ogpsa", False, False)]
)
def test_a_model_in_two_pieces_is_trained_and_scored_as_a_whole_one(
    fake_config: Make,
    tmp_path: Path,
    in_two_processes: Callable[[RunConfig], Path],
    method: str,
    sft: bool,
    again: bool,
) -> None:
    small: dict[str, object] = {
        "tasks": ("fake-upper", "fake-lower"),
        "train_limit": 7,
        "test_limit": 5,
        "method": method,
        "sft": sft,
    }
    if not sft:
        small["scorers"] = ("preference",)  # responses are asked for once, above
    config = fake_config(**small, activation_checkpointing=again)
    pieces = config.model_copy(update={"shard": True, "out": tmp_path / "pieces"})
    folder = in_two_processes(pieces)
    held = [literal_eval((folder / f"held.{rank}").read_text()) for rank in (0, 1)]
    # Seven matrices and two norms of each of two layers, half of them here and half there.
    assert held == [(36992, 73984)] * 2
    whole, split = run(config), read_record(pieces.run_directory() / "record.json")
    assert (whole.hardware["processes"], split.hardware["processes"]) == (1, 2)
    assert split.config_hash == whole.config_hash
    assert [s.tokens for s in whole.stages] == [s.tokens for s in split.stages]
    for one, two in zip(whole.stages, split.stages, strict=True):
        if one.final_loss is not None and two.final_loss is not None:
            assert two.final_loss == pytest.approx(one.final_loss, abs=1e-4)
    assert np.allclose(
        whole.scores["preference_margin"].array(), split.scores["preference_margin"].array(), atol=1e-4, equal_nan=True
    )


def test_pieces_are_refused_where_nobody_holds_them(fake_config: Make) -> None:
    with pytest.raises(UsageError, match="this run is one process") as caught:
        run(fake_config(shard=True))
    assert "accelerate launch" in caught.value.remedy and "nf4" in caught.value.remedy


def test_what_cannot_be_in_pieces_is_refused(fake_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lifealign_bench.models.sharding.world_size", lambda: 2)
    with pytest.raises(UsageError, match="four-bit weights are not split"):
        check_sharding(fake_config(shard=True, quantization="nf4"))
    check_sharding(fake_config(shard=True))
    check_sharding(fake_config(quantization="nf4"))
