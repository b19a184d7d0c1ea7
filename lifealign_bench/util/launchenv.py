"""What launchers and saved settings leave in the environment: which process of a launch this is, and what of the
training they would change behind a run's back."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from lifealign_bench.errors import UsageError

_PLACE = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
_MEETING = ("MASTER_ADDR", "MASTER_PORT")
# Each wraps or splits the model, in its own type; none of them leaves the weights and the losses as a run needs them.
_SHARDED = {
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism configuration",
    "ACCELERATE_USE_SAGEMAKER": "SageMaker",
}
# What accelerate's settings may say and a run decides by itself. The variable alone does nothing in its last column.
_OVERRULED = {
    "ACCELERATE_MIXED_PRECISION": "no",
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "1",
    "ACCELERATE_DYNAMO_BACKEND": "no",
    "ACCELERATE_USE_CPU": "false",
    "ACCELERATE_TORCH_DEVICE": "",
    "ACCELERATE_DOWNCAST_BF16": "",
}
_BELONGING = ("ACCELERATE_DYNAMO_",)
# By these accelerate takes a process that MPI or a batch system started for one of a launch, which it would wait for.
_MPI_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
_MPI = (
    *(*_MPI_SIZES, "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    *("OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE", "MV2_COMM_WORLD_LOCAL_RANK"),
    "MV2_COMM_WORLD_LOCAL_SIZE",
)
# Read by the libraries below torch, when they are loaded: they cannot be overruled, so that they are recorded.
_NUMERIC = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "DNNL_DEFAULT_FPMATH_MODE",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "NVIDIA_TF32_OVERRIDE",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "TORCH_BLAS_PREFER_CUBLASLT",
)
_OFF = ("", "0", "no", "n", "none", "false", "f", "off")


def check_launch(environment: Mapping[str, str] = os.environ) -> None:
    """Refuse what no run can be trained under.

    Raises:
        UsageError: a launch of several processes that is only half described, or settings that split the model.
    """
    _check_place(environment)
    for name, what in _SHARDED.items():
        if environment.get(name, "").lower() not in _OFF:
            raise UsageError(
                f"The environment asks for {what} ({name}={environment[name]}), which lifealign-bench does not train "
                "with: the weights and the type of a run would not be those that are recorded.",
                f"Unset {name}, or choose plain data parallelism in accelerate's settings (accelerate config; "
                "accelerate launch --multi_gpu).",
            )


def _check_place(environment: Mapping[str, str]) -> None:
    said = {name: environment[name] for name in _PLACE if environment.get(name)}
    _check_numbers(said)
    if not _is_launch(environment):
        return
    missing = [name for name in (*_PLACE, *_MEETING) if not environment.get(name)]
    if missing:
        raise UsageError(
            f"{', '.join(said)} {'say' if len(said) > 1 else 'says'} that this is one process of a launch, but "
            f"{', '.join(missing)} {'are' if len(missing) > 1 else 'is'} not set: it would not find the others.",
            _unset(said),
        )
    if int(said["RANK"]) >= int(said["WORLD_SIZE"]):
        raise UsageError(
            f"RANK is {said['RANK']} in a launch of {said['WORLD_SIZE']} processes, which are numbered from 0.",
            _unset(said),
        )


def _check_numbers(said: Mapping[str, str]) -> None:
    for name, value in said.items():
        if not (value.isascii() and value.isdigit()) or len(value) > 6:
            raise UsageError(f"The environment variable {name} is {value[:40]!r}, no number.", _unset(said))


def _is_launch(environment: Mapping[str, str]) -> bool:
    """Whether more than a leftover ``RANK=0`` or ``WORLD_SIZE=1`` is said; the values are numbers."""
    return (
        int(environment.get("RANK") or 0) > 0
        or int(environment.get("WORLD_SIZE") or 1) != 1
        or bool(environment.get("LOCAL_RANK"))
    )


def _unset(said: Mapping[str, str]) -> str:
    return f"Unset {', '.join(said)}, or start the run with accelerate launch or torchrun, which set all of it."


def launched_processes(environment: Mapping[str, str] = os.environ) -> int:
    """Number of processes that the launcher says there are.

    Raises:
        UsageError: it is no number.
    """
    said = {"WORLD_SIZE": environment.get("WORLD_SIZE") or "1"}
    _check_numbers(said)
    return int(said["WORLD_SIZE"])


def speaks(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process writes to the terminal: the first of a launch, and any that is no whole launch's."""
    try:
        _check_place(environment)
    except UsageError:
        return True  # somebody has to say so
    return all(int(environment.get(name) or 0) == 0 for name in ("RANK", "LOCAL_RANK"))


@contextmanager
def own_settings() -> Iterator[None]:
    """An environment in which accelerate and the trainer take a run's own type, steps, device and processes.

    Afterwards all is as it was, for others to read.
    """
    kept = {n: v for n, v in os.environ.items() if _is_hidden(n)}
    try:
        for name in kept:
            del os.environ[name]
        yield
    finally:
        for name in [n for n in os.environ if _is_hidden(n)]:
            del os.environ[name]
        os.environ.update(kept)


def _is_hidden(name: str) -> bool:
    return name in _OVERRULED or name in _MPI or name.startswith(_BELONGING)


def overruled(device: str, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """``NAME=value`` of all that is set and that a run on ``device`` does not follow."""
    found = []
    for name, plain in _OVERRULED.items():
        value = environment.get(name, "")
        as_it_is = name == "ACCELERATE_USE_CPU" and device == "cpu"
        if value.lower() not in (plain, *_OFF) and not as_it_is:
            found.append(f"{name}={value[:40]}")
    if not _is_launch(environment):
        sizes = {name: environment.get(name, "") for name in _MPI_SIZES}
        found += [f"{name}={value[:40]}" for name, value in sizes.items() if value not in ("", "1")]
    return tuple(found)


def numeric_settings(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables that are set and by which the libraries below torch compute otherwise, for the record."""
    return {name: environment[name][:64] for name in _NUMERIC if environment.get(name)}
