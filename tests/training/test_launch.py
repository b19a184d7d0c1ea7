"""What launchers and saved settings leave in the environment: no number of a run follows it, and half a launch is
refused in one sentence."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lifealign_bench.config import RunConfig
from lifealign_bench.experiments.reproduction.match import circumstance_differences, of_record
from lifealign_bench.results.record import Record
from lifealign_bench.runs.recording import hardware
from lifealign_bench.runs.run import run
from lifealign_bench.util.launchenv import numeric_settings
from lifealign_bench.util.progress import Progress
from tests.command import Call

Make = Callable[..., RunConfig]
FAKE = ("run", "--model", "fake", "--stream", "fake", "--method", "dpo", "--device", "cpu", "--dtype", "float32")


class Listening(Progress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def notice(self, text: str) -> None:
        self.said.append(text)


def trained(config: RunConfig, progress: Progress | None = None) -> tuple[Record, list[float | None]]:
    record = run(config, progress)
    return record, [stage.final_loss for stage in record.stages]


@pytest.mark.parametrize(
    "setting",
    [
        {"ACCELERATE_MIXED_PRECISION": "bf16"},
        {"ACCELERATE_MIXED_PRECISION": "fp16"},
        {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "3"},
        {"ACCELERATE_DYNAMO_BACKEND": "eager", "ACCELERATE_DYNAMO_USE_DYNAMIC": "true"},
        {"ACCELERATE_TORCH_DEVICE": "meta"},
    ],
    ids=lambda setting: next(iter(setting.items()))[1],
)
def test_a_run_is_trained_in_its_own_type_whatever_accelerate_is_set_to(
    setting: dict[str, str], fake_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"tasks": ("fake-upper", "fake-lower"), "scorers": ("preference",)}
    plain, losses = trained(fake_config(**small))
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    heard = Listening()
    other, others = trained(fake_config(**small, out=tmp_path / "other"), heard)
    assert losses == others
    for name, matrix in plain.scores.items():
        assert np.array_equal(matrix.array(), other.scores[name].array(), equal_nan=True), name
    first = next(f"{name}={value}" for name, value in setting.items())
    assert [text for text in heard.said if first in text and "not followed" in text]
    # The variables are the user's: what is started afterwards finds them.
    assert setting == {name: os.environ[name] for name in setting}


def test_a_plain_launch_is_no_news(fake_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    # accelerate launch --cpu says all of this itself.
    for name, value in {"MIXED_PRECISION": "no", "USE_CPU": "true", "DYNAMO_BACKEND": "NO"}.items():
        monkeypatch.setenv(f"ACCELERATE_{name}", value)
    heard = Listening()
    trained(fake_config(tasks=("fake-upper",), scorers=("preference",)), heard)
    assert not [text for text in heard.said if "ACCELERATE" in text]


@pytest.mark.parametrize("name", ["DEEPSPEED", "FSDP", "MEGATRON_LM", "PARALLELISM_CONFIG", "SAGEMAKER"])
def test_settings_that_split_the_model_are_refused(name: str, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")
    code, _, err = call(*FAKE)
    assert code == 2 and f"ACCELERATE_USE_{name}=true" in err and "Traceback" not in err
    assert not list(Path("runs").rglob("*.json"))


WHOLE = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.mark.parametrize(
    ("launch", "named"),
    [
        ({k: v for k, v in WHOLE.items() if k != "MASTER_ADDR"}, "MASTER_ADDR is not set"),
        ({k: v for k, v in WHOLE.items() if k != "MASTER_PORT"}, "MASTER_PORT is not set"),
        ({"RANK": "1"}, "WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT are not set"),
        ({"LOCAL_RANK": "0"}, "RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT are not set"),
        ({"WORLD_SIZE": "2"}, "RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT are not set"),
        ({**WHOLE, "WORLD_SIZE": "two"}, "WORLD_SIZE is 'two'"),
        ({**WHOLE, "RANK": "-1"}, "RANK is '-1'"),
        ({**WHOLE, "LOCAL_RANK": "0x1"}, "LOCAL_RANK is '0x1'"),
        ({**WHOLE, "RANK": "2"}, "RANK is 2 in a launch of 2"),
    ],
)
def test_half_a_launch_is_one_message(
    launch: dict[str, str], named: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in launch.items():
        monkeypatch.setenv(name, value)
    code, out, err = call(*FAKE)
    assert code == 2 and named in err and "torchrun" in err and not out
    assert "Traceback" not in err and "should not happen" not in err


def test_what_cannot_be_overruled_is_recorded_and_said_in_a_reproduction(
    fake_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert numeric_settings({"HOME": "/root", "MKL_CBWR": ""}) == {}
    small = {"tasks": ("fake-upper",), "scorers": ("preference",)}
    plain = run(fake_config(**small))
    assert "environment" not in plain.hardware
    monkeypatch.setenv("ONEDNN_DEFAULT_FPMATH_MODE", "BF16")
    assert hardware("cpu", "float32", "")["environment"] == {"ONEDNN_DEFAULT_FPMATH_MODE": "BF16"}
    other = run(fake_config(**small, out=tmp_path / "other"))
    found = circumstance_differences(of_record(plain), of_record(other))
    assert found["variable ONEDNN_DEFAULT_FPMATH_MODE"] == ("not recorded", "BF16")
