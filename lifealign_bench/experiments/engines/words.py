"""What was said about where and how the runs of a sweep are done -> the engine that does them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.experiments.engines import ENGINES, Engine
from lifealign_bench.experiments.engines.local import local_engine
from lifealign_bench.experiments.engines.ray import RayEngine, require_ray
from lifealign_bench.experiments.weighttypes import settled, told_of_other_types
from lifealign_bench.util.launchenv import launched_processes
from lifealign_bench.util.process import require_processes
from lifealign_bench.util.registry import unknown_name


@dataclass(frozen=True)
class SweepWords:
    """What was said about where and how runs are done.

    Args:
        jobs: runs at a time on this machine.
        engine: one of ``engines.ENGINES``.
        address: of a Ray cluster.
        gpus_per_run: None for one where there are any.
        memory: main memory of a run, as text.
        retries: None for 0 on this machine and 3 on a cluster.
        orders, order_seed: see ``orders.expand_orders``.
        devices: GPUs of this machine, as text: ``cuda:0,cuda:1``.
    """

    jobs: int | None = None
    engine: str = "local"
    address: str | None = None
    gpus_per_run: int | None = None
    memory: str | None = None
    retries: int | None = None
    orders: str | None = None
    order_seed: int = 0
    devices: str | None = None


def check_words(wanted: SweepWords) -> None:
    """Refuse what no sweep can be made of.

    Raises:
        UsageError: an unknown engine, words that do not go together, a launch of several processes.
    """
    if launched_processes() > 1:
        raise UsageError(
            "A sweep starts the processes of its runs itself; this one was launched as several.",
            "Start it without accelerate launch or torchrun, with --gpus-per-run.",
        )
    if wanted.engine not in ENGINES:
        raise unknown_name("engine", wanted.engine, ENGINES)
    if wanted.engine == "local" and wanted.address is not None:
        raise UsageError("--address is for --engine ray.", "Add --engine ray, or leave --address out.")
    if wanted.engine == "ray" and wanted.jobs is not None:
        raise UsageError(
            "--jobs is for --engine local.", "On a cluster as many runs go on as fit: --threads, --gpus-per-run."
        )
    if wanted.devices is not None:
        if wanted.engine == "ray":
            raise UsageError("--devices is for --engine local.", "On a cluster Ray lends GPUs: --gpus-per-run.")
        parse_devices(wanted.devices)
    for name, least in (("jobs", 1), ("gpus_per_run", 0), ("retries", 0), ("order_seed", 0)):
        number = getattr(wanted, name)
        if number is not None and number < least:
            raise UsageError(f"--{name.replace('_', '-')} is {number}.", f"Give a whole number from {least}.")
    if wanted.memory is not None:
        parse_size(wanted.memory)
    if wanted.engine == "local":
        require_processes("A sweep", "lifealign-bench run, which takes several methods and seeds one after the other")


def make_engine(
    configs: list[RunConfig], wanted: SweepWords, notice: Callable[[str], None]
) -> tuple[Engine, list[RunConfig]]:
    """The engine, and the runs as it wants them.

    Args:
        notice: takes what the user should know.

    Raises:
        BenchError: there is no such engine here.
    """
    memory = parse_size(wanted.memory) if wanted.memory is not None else None
    if wanted.engine == "ray":
        require_ray()
        retries = 3 if wanted.retries is None else wanted.retries
        return RayEngine(wanted.address, wanted.gpus_per_run, memory, retries), configs
    asked, configs = configs, settled(configs)
    for told in told_of_other_types(asked, configs):
        notice(told)
    engine = local_engine(
        configs,
        jobs=wanted.jobs,
        devices=parse_devices(wanted.devices) if wanted.devices is not None else (),
        gpus_per_run=wanted.gpus_per_run,
        memory=memory,
        retries=wanted.retries or 0,
        notice=notice,
    )
    return engine, configs


def parse_size(text: str) -> int:
    """Bytes of ``16G``, ``16GiB``, ``16GB`` (all 2**30 each), ``512M``.

    Raises:
        UsageError: it is nothing of that kind.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([MGT])(?:i?B)?", text.strip(), re.IGNORECASE)
    size = int(float(found[1]) * 2 ** {"M": 20, "G": 30, "T": 40}[found[2].upper()]) if found else 0
    if size <= 0:
        raise UsageError(f"--memory-per-run {text!r} is not a size.", "Write it like 16G or 512M.")
    return size


def parse_devices(text: str) -> tuple[int, ...]:
    """The places of ``cuda:0,cuda:2``.

    Raises:
        UsageError: it is nothing of that kind, or names one twice.
    """
    words = [word.strip() for word in text.split(",")]
    found = [re.fullmatch(r"cuda:([0-9]{1,3})", word) for word in words]
    places = [int(match[1]) for match in found if match is not None]
    if len(places) < len(words) or len(set(places)) < len(places):
        raise UsageError(
            f"--devices {text!r} is no list of different GPUs.",
            "Write it like cuda:0,cuda:1; several runs share a GPU with --jobs.",
        )
    return tuple(places)
