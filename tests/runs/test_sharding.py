"""A base model in pieces: two processes come to what one comes to, with the hooks of methods that look at matrices."""

from __future__ import annotations

import faulthandler
import os
import socket
import traceback
from ast import literal_eval
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState
from torch.distributed.tensor import DTensor

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.models.sharding import check_sharding, split_layers
from lifealign_bench.results.record import read_record
from lifealign_bench.runs.run import run

Make = Callable[..., RunConfig]
_PATIENCE = 200  # seconds


def in_two_processes(config: RunConfig, errors: Path) -> None:
    """The run by two forks of this process, as a launcher would start them; their errors go to a file."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    children = []
    for rank in range(2):
        child = os.fork()
        if child == 0:
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            os.environ.update({name: str(value) for name, value in place.items()})
            code = 1
            told = errors.with_suffix(f".{rank}").open("w")
            faulthandler.dump_traceback_later(_PATIENCE, exit=True, file=told)  # processes that wait for each other
            try:
                PartialState._reset_state()
                AcceleratorState._reset_state()
                run(config)
                code = 0
            except BaseException:  # noqa: BLE001 - a fork must never go back into the tests
                told.write(traceback.format_exc())
                told.flush()
            finally:
                os._exit(code)
        children.append(child)
    ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert ends == [0, 0], "".join(file.read_text() for file in errors.parent.glob(f"{errors.name}.*"))


@pytest.mark.parametrize(
    ("method", "sft", "again"), [("lifealign", True, False), ("ewc", False, True), ("ogpsa", False, False)]
)
def test_a_model_in_two_pieces_is_trained_and_scored_as_a_whole_one(
    fake_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, sft: bool, again: bool
) -> None:
    def told(model: torch.nn.Module, name: str, device: torch.device) -> None:
        split_layers(model, name, device)
        pieces = [p for p in model.parameters() if isinstance(p, DTensor)]
        held = sum(p.to_local().numel() for p in pieces), sum(p.numel() for p in pieces)
        (tmp_path / f"held.{os.environ['RANK']}").write_text(repr(held))

    monkeypatch.setattr("lifealign_bench.models.load.split_layers", told)
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
    in_two_processes(pieces, tmp_path / "error")
    held = [literal_eval((tmp_path / f"held.{rank}").read_text()) for rank in (0, 1)]
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
