"""How fast things are: start-up, a whole run on the fakes, the demo, and a stage's training against plain TRL.

    python benchmarks/measure.py            all but the demo
    python benchmarks/measure.py --demo     the demo too, in a fresh folder (minutes)

Prints a Markdown table. Compared things are measured in turn in one go; medians are shown with minimum and maximum.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # benchmarks/ is no installed package
PROGRAM = [sys.executable, "-m", "lifealign_bench"]


def command(*words: str, cache: Path | None = None) -> tuple[float, float]:
    """Wall-clock seconds and peak resident memory (GB) of one command."""
    environment = dict(os.environ)
    if cache is not None:
        environment["LIFEALIGN_BENCH_CACHE"] = str(cache)
    clock = time.perf_counter()
    process = subprocess.Popen(
        [*PROGRAM, *words], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    watched, peak = psutil.Process(process.pid), 0
    while process.poll() is None:
        try:
            peak = max(peak, watched.memory_info().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.02)
    if process.wait() != 0:
        raise SystemExit(f"{' '.join(words)} failed")
    return time.perf_counter() - clock, peak / 1e9


def row(what: str, seconds: list[float], more: str = "") -> None:
    """One row of the table."""
    spread = f"{statistics.median(seconds):.2f} ({min(seconds):.2f}-{max(seconds):.2f})"
    print(f"| {what} | {spread} | {len(seconds)} | {more} |", flush=True)


def against_trl(repeats: int, pairs: int) -> None:
    """One stage of DPO on mini-brief: ours, and stock TRL with the reference precomputed, alternating."""
    from benchmarks.trl_stage import ours, stock
    from lifealign_bench.config import RunConfig, TrainingConfig
    from lifealign_bench.method import Method, MethodConfig
    from lifealign_bench.progress import Progress
    from lifealign_bench.run import resolved
    from lifealign_bench.session import Session, load_data

    training = TrainingConfig(batch_size=8)
    config = resolved(
        RunConfig(method="dpo", stream="mini-brief", tasks=("mini-brief",), train_limit=pairs, training=training)
    )
    data = load_data(config, Progress())
    sides: dict[str, Callable[[Session, Path], float]] = {"ours": ours, "stock TRL": stock}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            session = Session.build(config, data, Method(MethodConfig()), Progress())
            with tempfile.TemporaryDirectory() as folder:
                seconds[name].append(side(session, Path(folder)))
    for name in sides:
        row(f"training {pairs} pairs of mini-brief, {name}", seconds[name], config.dtype)
    ratios = [b / a for a, b in zip(seconds["ours"], seconds["stock TRL"], strict=True)]
    print(f"| ratio TRL / ours, pair by pair | {statistics.median(ratios):.2f} | {len(ratios)} | |")


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=32)
    words = parser.parse_args()
    print("| what | seconds: median (min-max) | runs | |\n| --- | --- | --- | --- |")
    for what in (["--help"], ["list"]):
        command(*what)
        row(" ".join(what), [command(*what)[0] for _ in range(words.repeats)])
    found = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            found.append(
                command("run", "--model", "fake", "--stream", "fake", "--out", folder, cache=Path(folder) / "cache")
            )
    row("run --model fake --stream fake", [s for s, _ in found], f"peak {max(m for _, m in found):.2f} GB")
    if words.demo:
        with tempfile.TemporaryDirectory() as folder:
            demo = ["run", "--method", "lifealign", "--stream", "mini", "--out", folder]
            seconds, memory = command(*demo, cache=Path(folder) / "cache")
        row("the demo, empty cache", [seconds], f"peak {memory:.2f} GB")
    against_trl(words.repeats, words.pairs)


if __name__ == "__main__":
    main()
