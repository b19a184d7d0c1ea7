"""What ``lifealign-bench leaderboard`` and ``verify`` take over many records.

    python benchmarks/leaderboard_speed.py                            1,000 records: 20 streams, 10 methods, 5 seeds
    python benchmarks/leaderboard_speed.py --methods 20               2,000 records
    python benchmarks/leaderboard_speed.py --streams 1 --methods 100  one board of 100 methods
    python benchmarks/leaderboard_speed.py --limit 30                 exit with 1 if one takes more seconds of processor

The records are synthetic: copies of the published ones on ``mini`` with other names, seeds and per-pair scores.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lifealign_bench.results.metrics import summarize
from lifealign_bench.results.published import pair_scores_file, seal
from lifealign_bench.results.scores import ScoreInfo, score_matrices

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "results" / "mini" / "smollm2-135m" / "dpo" / "seed-0.json"


def synthetic(content: dict[str, Any], frame: pd.DataFrame, level: float, rng: np.random.Generator) -> pd.DataFrame:
    """Per-pair scores with another share of right answers; ``content`` gets the matrices and metrics that belong."""
    frame = frame.copy()
    for name, matrix in content["scores"].items():
        if matrix["percent"]:
            frame[name] = (rng.random(len(frame)) < level).astype(float)
        else:
            frame[name] = rng.normal(level, 1, len(frame))
    tasks = list(content["data"])
    rows = {int(str(stage)): part for stage, part in frame.groupby("stage")}
    infos = [ScoreInfo(n, m["percent"], "", m.get("unit") or "") for n, m in content["scores"].items()]
    matrices = score_matrices(tasks, rows, len(tasks), infos)
    for name, matrix in matrices.items():
        content["scores"][name] |= matrix.model_dump(mode="json", include={"value", "standard_error", "n"})
    content["metrics"] = {
        name: {k: None if np.isnan(v) else v for k, v in summarize(matrix.array()).items()}
        for name, matrix in matrices.items()
    }
    return frame


def make(folder: Path, streams: int, methods: int, seeds: int) -> int:
    """Write the records; returns how many."""
    text, frame = SOURCE.read_text(encoding="utf-8"), pd.read_parquet(pair_scores_file(SOURCE))
    rng = np.random.default_rng(0)
    for stream in range(streams):
        for method in range(methods):
            for seed in range(seeds):
                content = json.loads(text)
                content["schema_version"] = 2
                content["config"] |= {"stream": f"stream-{stream}", "method": f"method-{method}", "seed": seed}
                content["method"]["name"] = f"method-{method}"
                config = json.dumps(content["config"], sort_keys=True, ensure_ascii=False)
                content["config_hash"] = hashlib.sha256(config.encode()).hexdigest()[:16]
                scores = synthetic(content, frame, 0.5 + 0.04 * method + rng.normal(0, 0.02), rng)
                place = folder / f"stream-{stream}" / "smollm2-135m" / f"method-{method}" / f"seed-{seed}.json"
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(json.dumps(content, indent=2), encoding="utf-8")
                scores.to_parquet(pair_scores_file(place), index=False, compression="zstd")
                seal(place)
    return streams * methods * seeds


def main() -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--methods", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--limit", type=float, help="seconds of processor time that each may take")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = make(folder, words.streams, words.methods, words.seeds)
        ranked = _measure(folder, "leaderboard", "--format", "json")
        checked = _measure(folder, "verify", "--json")
    boards = json.loads(ranked.out)["boards"]
    methods = sum(len(board["methods"]) for board in boards)
    print(f"{count} records, {len(boards)} boards, {methods} methods ranked, each in a process of its own:")
    for what, cost in {"leaderboard": ranked, "verify": checked}.items():
        print(f"{what:<12} {cost.wall:7.2f} s {cost.cpu:7.2f} s of processor time {cost.mib:6.0f} MiB")
    return int(words.limit is not None and max(ranked.cpu, checked.cpu) > words.limit)


class Cost(NamedTuple):
    """What a command wrote, its seconds by the clock and of the processor, and the most memory that it had."""

    out: bytes
    wall: float
    cpu: float
    mib: float


def _measure(folder: Path, command: str, *options: str) -> Cost:
    """Raises CalledProcessError: the command failed."""
    words = [sys.executable, "-m", "lifealign_bench", command, str(folder), *options]
    clock = time.perf_counter()
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=folder
    ) as running:
        assert running.stdout is not None
        out = running.stdout.read()
        _, status, spent = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - clock
    if running.returncode:
        raise subprocess.CalledProcessError(running.returncode, words)
    return Cost(out, seconds, spent.ru_utime + spent.ru_stime, spent.ru_maxrss / 1024)


if __name__ == "__main__":
    raise SystemExit(main())
