"""A GPU that is not there, cannot compute, lacks bfloat16 or memory: one message with the remedy, by stand-ins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import BenchError, UsageError, as_bench_error, is_out_of_memory
from lifealign_bench.models import accelerator, load
from lifealign_bench.models.accelerator import require_memory
from lifealign_bench.models.device import resolve_device
from tests.command import Call

Make = Callable[..., RunConfig]

# As torch words them.
TOO_OLD = (
    "The NVIDIA driver on your system is too old (found version 12020). Please update your GPU driver by downloading "
    "and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx"
)
NO_DRIVER = "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed a driver"


def stand_in(monkeypatch: pytest.MonkeyPatch, **answers: Any) -> None:
    """A GPU that answers so; of those that are not named, a T4's answers."""
    usual = {
        "is_available": True,
        "init": None,
        "get_device_capability": (7, 5),
        "get_device_name": "Tesla T4",
        "get_arch_list": ["sm_75", "sm_80", "sm_90", "compute_120"],
        "is_bf16_supported": False,
        "mem_get_info": (3 * 2**30, 16 * 2**30),
        "memory_reserved": 2**30,
        "memory_allocated": 0,
    }
    for name, answer in (usual | answers).items():

        def say(*_: object, answer: Any = answer, **__: object) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(torch.cuda, name, say)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.version, "hip", None)


def refused(device: str = "cuda", dtype: str = "auto") -> UsageError:
    with pytest.raises(UsageError) as caught:
        resolve_device(device, dtype)
    assert "\n" not in str(caught.value) and caught.value.remedy
    return caught.value


@pytest.mark.parametrize(
    ("said", "told", "remedy"),
    [
        (TOO_OLD, "driver is too old: it knows CUDA 12.2", "for CUDA 12.2 or older"),
        (NO_DRIVER, "there is no NVIDIA driver", "Install the driver"),
        ("No CUDA GPUs are available", "No CUDA GPUs are available", "CUDA_VISIBLE_DEVICES"),
        ("", "CUDA cannot be started", "nvidia-smi"),
    ],
)
def test_why_there_is_no_gpu(said: str, told: str, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, is_available=False, init=RuntimeError(said))
    error = refused()
    assert "no CUDA device" in error.message and told in error.message and remedy in error.remedy
    assert "--device cpu" in error.remedy
    # Not asked for, it is not missed.
    assert resolve_device("auto", "float32") == ("cpu", "float32")


def test_a_gpu_that_a_batch_system_did_not_give(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, is_available=False)
    assert "no GPU is visible" in refused().message


def test_torch_without_cuda(monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    stand_in(monkeypatch, is_available=False)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "CPU build" in refused().message and "CUDA build" in refused().remedy
    code, out, err = call("run", "--model", "fake", "--stream", "fake", "--method", "dpo", "--device", "cuda")
    assert code == 2 and "CPU build" in err and "Traceback" not in err and not out
    assert not list(Path("runs").rglob("*.json"))


@pytest.mark.parametrize(
    ("capability", "built", "runs"),
    [
        ((7, 5), ["sm_75"], True),
        ((8, 6), ["sm_80"], True),  # machine code of a major version runs on its later ones
        ((8, 0), ["sm_86"], False),
        ((7, 0), ["sm_75", "sm_80", "sm_90"], False),
        ((12, 0), ["sm_90", "compute_90"], True),  # compiled when it is loaded
        ((12, 0), ["sm_90"], False),
        ((9, 0), ["sm_90a", "odd"], True),
        ((9, 0), [], True),  # a build that does not say
    ],
)
def test_a_gpu_that_this_torch_has_no_kernels_for(
    capability: tuple[int, int], built: list[str], runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, get_device_capability=capability, get_arch_list=built)
    if runs:
        assert resolve_device("cuda", "float32") == ("cuda", "float32")
    else:
        assert "has no kernels for the GPU Tesla T4" in refused(dtype="float32").message


def test_a_gpu_without_bfloat16_takes_float32_and_refuses_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)
    assert resolve_device("auto", "auto") == ("cuda", "float32")
    error = refused(dtype="bfloat16")
    assert "Tesla T4 (compute capability 7.5) has no bfloat16" in error.message and "float32" in error.remedy
    stand_in(monkeypatch, is_bf16_supported=True)
    assert resolve_device("auto", "auto") == ("cuda", "bfloat16")


def test_one_run_on_gpus_of_different_kinds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = ["NVIDIA A100", "NVIDIA H100", "NVIDIA A100"]
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: kinds[0])
    monkeypatch.setattr(accelerator, "from_all", lambda mine: [mine, *kinds[1:]])
    with pytest.raises(UsageError, match=r"different kinds \(NVIDIA A100, NVIDIA H100\)") as caught:
        accelerator.require_one_kind("cuda")
    assert "CUDA_VISIBLE_DEVICES" in caught.value.remedy
    accelerator.require_one_kind("cpu")
    kinds[1] = "NVIDIA A100"
    accelerator.require_one_kind("cuda")


def test_a_model_that_does_not_fit_is_refused_before_it_is_moved(
    fake_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, mem_get_info=(100_000, 16 * 2**30), memory_reserved=5_000, memory_allocated=1_000)
    moved: list[object] = []
    base = load.load_base_model(fake_config())  # on a CPU nothing is asked
    monkeypatch.setattr(load, "fake_model", lambda: (base.model, base.tokenizer))

    def to(self: Any, place: object) -> Any:
        moved.append(place)
        return self

    monkeypatch.setattr(type(base.model), "to", to)
    with pytest.raises(BenchError, match=r"The weights of the model 'fake' in float32 take .*16.0 GiB.*Tesla T4"):
        load.load_base_model(fake_config(device="cuda"))
    assert torch.device("cuda") not in moved
    require_memory(104_000, "It takes", torch.device("cuda"))  # what torch holds and does not use counts as free
    with pytest.raises(BenchError) as caught:
        require_memory(104_001, "It takes", torch.device("cuda"))
    assert "nvidia-smi" in caught.value.remedy and "--device cpu" in caught.value.remedy
    require_memory(10**15, "It takes", torch.device("cpu"))


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_what_libraries_say_that_find_no_memory_is_taken_for_that(said: str) -> None:
    error = as_bench_error(RuntimeError(said))
    assert is_out_of_memory(RuntimeError(said)) and error is not None and "token_budget" in error.remedy
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))
