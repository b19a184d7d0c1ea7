"""What launchers and saved settings leave in the environment: no number of a run follows it, and half a launch is
refused in one sentence."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from accelerate import Accelerator
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import (
    prepare_deepspeed_cmd_env,
    prepare_multi_gpu_env,
    prepare_simple_launcher_cmd_env,
)

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.experiments.reproduction.match import circumstance_differences, of_record
from lifealign_bench.results.record import Record
from lifealign_bench.runs.recording import hardware
from lifealign_bench.runs.run import run
from lifealign_bench.util.distributed import require_own_type
from lifealign_bench.util.launchenv import numeric_settings, overruled, own_settings
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


SMALL = {"tasks": ("fake-upper",), "scorers": ("preference",)}


def trained(config: RunConfig, progress: Progress | None = None) -> tuple[Record, list[float | None]]:
    record = run(config, progress)
    return record, [stage.final_loss for stage in record.stages]


PLAIN: list[tuple[Record, list[float | None]]] = []


@pytest.fixture
def plain(fake_config: Make) -> tuple[Record, list[float | None]]:
    """The run under no settings, done once."""
    if not PLAIN:
        PLAIN.append(trained(fake_config(**SMALL)))
    return PLAIN[0]


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
    setting: dict[str, str],
    plain: tuple[Record, list[float | None]],
    fake_config: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record, losses = plain
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    heard = Listening()
    other, others = trained(fake_config(**SMALL, out=tmp_path / "other"), heard)
    assert losses == others
    for name, matrix in record.scores.items():
        assert np.array_equal(matrix.array(), other.scores[name].array(), equal_nan=True), name
    first = next(f"{name}={value}" for name, value in setting.items())
    assert [text for text in heard.said if first in text and "not followed" in text]
    # The variables are the user's: what is started afterwards finds them.
    assert setting == {name: os.environ[name] for name in setting}


# What accelerate config saves, by what it is asked for.
SAVED: dict[str, dict[str, Any]] = {
    "compiled": {
        **{"distributed_type": "NO", "mixed_precision": "bf16"},
        "dynamo_config": {"dynamo_backend": "INDUCTOR", "dynamo_mode": "max-autotune", "dynamo_use_dynamic": True},
    },
    "fsdp": {
        **{"distributed_type": "FSDP", "mixed_precision": "bf16"},
        "fsdp_config": {"fsdp_version": 2, "fsdp_reshard_after_forward": True, "fsdp_offload_params": True},
    },
    "deepspeed": {
        **{"distributed_type": "DEEPSPEED", "mixed_precision": "bf16"},
        "deepspeed_config": {"zero_stage": 3, "gradient_accumulation_steps": 4, "gradient_clipping": 0.5},
    },
}


def launched_with(saved: dict[str, Any], tmp_path: Path) -> dict[str, str]:
    """What ``accelerate launch`` adds to the environment of a run when ``saved`` is what accelerate config wrote."""
    file = tmp_path / "saved.yaml"
    common = {"compute_environment": "LOCAL_MACHINE", "num_machines": 1, "num_processes": 1, "use_cpu": False}
    file.write_text(yaml.safe_dump({**common, **saved}))
    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args([f"--config_file={file}", "run.py"]))
    arguments.deepspeed_fields_from_accelerate_config = ",".join(saved.get("deepspeed_config", {}))
    if arguments.use_deepspeed:
        _, environment = prepare_deepspeed_cmd_env(arguments)
    elif arguments.use_fsdp:
        environment = prepare_multi_gpu_env(arguments)
    else:
        _, environment = prepare_simple_launcher_cmd_env(arguments)
    return {name: value for name, value in environment.items() if os.environ.get(name) != value}


def test_what_accelerate_config_saved_changes_no_number(
    plain: tuple[Record, list[float | None]], fake_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = launched_with(SAVED["compiled"], tmp_path)
    assert given["ACCELERATE_MIXED_PRECISION"] == "bf16" and given["ACCELERATE_DYNAMO_BACKEND"] == "INDUCTOR"
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    _, losses = trained(fake_config(**SMALL))
    assert losses == plain[1]


def test_what_accelerate_config_saved_of_a_split_model_is_refused_and_its_remains_are_read_by_nobody(
    plain: tuple[Record, list[float | None]], fake_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("fsdp", "deepspeed"):
        for name, value in launched_with(SAVED[kind], tmp_path).items():
            monkeypatch.setenv(name, value)
        using = f"ACCELERATE_USE_{kind.upper()}"
        with pytest.raises(UsageError, match=f"{using}=true"):
            trained(fake_config(**SMALL))
        assert not list((tmp_path / "runs").rglob("*.json"))
        # The advice is to unset it; all that the launcher sets beside it stays.
        monkeypatch.delenv(using)
    assert {"FSDP_VERSION", "ACCELERATE_DEEPSPEED_ZERO_STAGE"} <= os.environ.keys()
    _, losses = trained(fake_config(**SMALL))
    assert losses == plain[1]


def test_what_mpi_or_a_batch_system_started_is_a_run_of_its_own(
    plain: tuple[Record, list[float | None]], fake_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PMI_SIZE": "2", "PMI_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with own_settings():
        assert not {"PMI_SIZE", "PMI_RANK", "OMPI_COMM_WORLD_SIZE"} & os.environ.keys()
    heard = Listening()
    _, losses = trained(fake_config(**SMALL), heard)
    assert losses == plain[1]
    assert [text for text in heard.said if "PMI_SIZE=2" in text and "torchrun" in text]
    # torchrun that srun started is a launch, and no news.
    assert not overruled("cpu", {"PMI_SIZE": "2", **WHOLE})


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [("mixed_precision", "bf16", "mixed precision bf16"), ("gradient_accumulation_steps", 4, "4 steps")],
)
def test_a_trainer_that_would_cast_or_gather_after_all_is_refused(
    name: str, value: object, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with own_settings():
        accelerator = Accelerator(cpu=True)
    require_own_type(accelerator)
    monkeypatch.setattr(Accelerator, name, value)
    with pytest.raises(UsageError, match=told):
        require_own_type(accelerator)


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
