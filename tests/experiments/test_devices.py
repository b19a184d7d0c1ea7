"""The GPUs of a sweep, on a machine that has none: stand-ins are listed, and what a run would see is looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.experiments.engines import local
from lifealign_bench.experiments.engines.events import Ended
from lifealign_bench.experiments.engines.local import LocalEngine, local_engine
from lifealign_bench.experiments.engines.words import SweepWords, check_words, parse_devices

Make = Callable[..., RunConfig]
KINDS = ["NVIDIA H100", "NVIDIA H100", "NVIDIA A100", "NVIDIA H100"]


@pytest.fixture
def four(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with four GPUs of two kinds, called 0, 1, 4 and 5 by the one who started this."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,4,5")
    monkeypatch.setattr(local, "_gpu_kinds", lambda places: [KINDS[place] for place in places])


def engine(config: RunConfig, **words: Any) -> LocalEngine:
    told: dict[str, Any] = {"jobs": None, "gpus_per_run": None, "memory": None, "retries": 0, "notice": print}
    return local_engine([config], **(told | words))


@pytest.mark.usefixtures("four")
def test_every_run_has_a_gpu_of_those_that_are_named(fake_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    config = fake_config(device="cuda")
    assert engine(config, devices=(0, 3)).shares == [("0",), ("5",)]
    assert engine(config, devices=(0, 1, 3), gpus_per_run=2).shares == [("0", "1")]
    assert engine(config, devices=(3,), jobs=2).shares == [("5",), ("5",)]
    seen: list[tuple[str, str]] = []

    class Process:
        """A run that ends at once."""

        def __init__(self, config: RunConfig, *more: Any, environment: Mapping[str, str], **named: Any) -> None:
            seen.append((config.method, environment["CUDA_VISIBLE_DEVICES"]))

        def ended(self) -> Ended:
            """It is done."""
            return Ended(status="complete", message="")

    monkeypatch.setattr(local, "WorkerProcess", Process)
    runs = {number: fake_config(device="cuda", method=f"m{number}") for number in range(4)}
    told: list[int] = []
    engine(config, devices=(0, 3)).work(runs, lambda number, event: told.append(number), lambda: False, lambda: None)
    assert sorted(told) == [0, 1, 2, 3]
    assert [gpu for _, gpu in seen] == ["0", "5", "0", "5"]


@pytest.mark.usefixtures("four")
def test_gpus_of_different_kinds_are_refused_and_those_of_one_kind_named(
    fake_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="different kinds") as caught:
        engine(fake_config(device="cuda"))
    assert "--devices cuda:0,cuda:1,cuda:3" in caught.value.remedy
    with pytest.raises(UsageError, match="names cuda:4, and this machine shows 4 GPUs"):
        engine(fake_config(device="cuda"), devices=(4,))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(UsageError, match="the runs are on the CPU"):
        engine(fake_config(device="cpu"), devices=(0,))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(UsageError, match=r"torch sees no CUDA device here: torch here is the CPU build\.") as caught:
        engine(fake_config(device="cpu"), devices=(0,))
    assert "install the CUDA build" in caught.value.remedy


@pytest.mark.parametrize("text", ["", "0", "cuda", "cuda:0,cuda:0", "cuda:0,cpu", "cuda:-1"])
def test_what_names_no_gpus_is_one_clear_error(text: str) -> None:
    with pytest.raises(UsageError, match="no list of different GPUs") as caught:
        check_words(SweepWords(devices=text))
    assert "cuda:0,cuda:1" in caught.value.remedy


def test_names_are_places(fake_config: Make) -> None:
    assert parse_devices("cuda:0, cuda:12") == (0, 12)
    with pytest.raises(UsageError, match="--devices is for --engine local"):
        check_words(SweepWords(engine="ray", devices="cuda:0"))
