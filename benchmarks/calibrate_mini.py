"""Run every method on the stream mini and hold the result against what the stream must be.

    python benchmarks/calibrate_mini.py                      every method, seeds 0, 1, 2 (hours on two cores)
    python benchmarks/calibrate_mini.py --method dpo,replay,joint --seed 0
    python benchmarks/calibrate_mini.py --publish            also copy the records to results/ and write the report

Runs are those of ``lifealign-bench run --stream mini`` and continue where they were stopped. The targets are stated for
``dpo``, ``replay`` and ``joint``; the other methods are reported as they are, and nothing is tuned for any of them.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lifealign_bench.leaderboardfiles import write_made_files
from lifealign_bench.methods import method_names
from lifealign_bench.published import publish_run
from lifealign_bench.record import Record
from lifealign_bench.settings import Words, build_configs

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"
RECORDS = RESULTS / "mini" / "smollm2-135m"
REPORT = RESULTS / "mini-calibration.md"
SCORE = "preference_accuracy"


def matrix(record: Record) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Preference accuracy of a run, shape (N+1, N)."""
    return record.scores[SCORE].array()


def losses(record: Record) -> dict[str, float]:
    """Points that each earlier task lost between the end of its own stage and the end of the run."""
    scores = matrix(record)
    return {task: float(scores[j + 1, j] - scores[-1, j]) for j, task in enumerate(record.tasks[:-1])}


def verdicts(records: Mapping[str, Record]) -> list[tuple[str, str, bool]]:
    """The targets of one seed: what is wanted, what was found, whether it holds. Needs dpo, replay and joint."""
    dpo, replay, joint = (records[name] for name in ("dpo", "replay", "joint"))
    lost, kept = losses(dpo), losses(replay)
    worst = max(lost, key=lambda task: lost[task])
    least = min(lost, key=lambda task: lost[task])
    low = min(zip(matrix(joint)[-1], joint.tasks, strict=True))
    base = dpo.scores["policy_accuracy"].array()[0]
    reward = dpo.scores["reward"].array()[0]
    below = sum((base < 75) | (reward < 75))
    return [
        ("joint reaches at least 90 % on every task", f"lowest: {low[1]} {low[0]:.1f} %", bool(low[0] >= 90)),
        ("dpo loses at least 30 points on an earlier task", f"{worst} {lost[worst]:.1f}", lost[worst] >= 30),
        ("dpo loses at most 5 points on another", f"{least} {lost[least]:.1f}", lost[least] <= 5),
        (
            "replay wins back at least half of the largest loss",
            f"{worst}: lost {kept[worst]:.1f} instead of {lost[worst]:.1f}",
            kept[worst] <= lost[worst] / 2,
        ),
        (
            "the base model starts below 75 % on most tasks (policy accuracy or reward)",
            f"{below} of {len(base)}; policy accuracy {_row(base)}; reward {_row(reward)}",
            below > len(base) / 2,
        ),
    ]


def _row(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    return ", ".join("-" if math.isnan(v) else f"{v:.0f}" for v in values)


def report(records: Mapping[str, Mapping[int, Record]]) -> str:
    """The calibration as Markdown."""
    lines = ["# Calibration of the stream mini", ""]
    lines += ["Made by `python benchmarks/calibrate_mini.py --publish`. Preference accuracy in percent.", ""]
    seeds = sorted({seed for runs in records.values() for seed in runs})
    for seed in seeds:
        of_seed = {name: runs[seed] for name, runs in records.items() if seed in runs}
        if {"dpo", "replay", "joint"} <= of_seed.keys():
            lines += [f"## Targets, seed {seed}", "", "| target | found | holds |", "| --- | --- | --- |"]
            lines += [f"| {t} | {f} | {'yes' if ok else 'no'} |" for t, f, ok in verdicts(of_seed)]
            lines.append("")
    for name, runs in records.items():
        for seed, record in sorted(runs.items()):
            lines += [f"## {name}, seed {seed}", "", f"| after | {' | '.join(record.tasks)} |"]
            lines.append("| --- |" + " ---: |" * len(record.tasks))
            errors = record.scores[SCORE].errors()
            for k, row in enumerate(matrix(record)):
                after = "base" if k == 0 else record.tasks[k - 1]
                if name == "joint" and k == len(record.tasks):
                    after = "all"
                cells = ["-" if math.isnan(v) else f"{v:.1f} ± {errors[k, j]:.1f}" for j, v in enumerate(row)]
                if not np.isnan(row).all():
                    lines.append(f"| {after} | {' | '.join(cells)} |")
            rewards = record.scores["reward"].array()
            lines += ["", f"Reward at the end: {_row(rewards[-1])}; of the base model: {_row(rewards[0])}.", ""]
    return "\n".join(lines)


def publish(records: Mapping[str, Mapping[int, Record]], folders: Mapping[tuple[str, int], Path]) -> None:
    """Publish the runs in results/ and write the report there, the leaderboard and the README's tables."""
    for (name, seed), folder in folders.items():
        publish_run(folder, RECORDS / name / f"seed-{seed}.json")
    REPORT.write_text(report(records), encoding="utf-8")
    write_made_files(RESULTS)


def main() -> int:
    """See the module's docstring; exit code 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default=",".join(method_names()))
    parser.add_argument("--seed", default="0,1,2")
    parser.add_argument("--set", action="append", default=[], help="a setting, as for lifealign-bench run")
    parser.add_argument("--out", type=Path, default=ROOT / "runs")
    parser.add_argument("--publish", action="store_true")
    words = parser.parse_args()

    from rich.console import Console

    from lifealign_bench.display import choose_progress
    from lifealign_bench.run import run
    from lifealign_bench.run_command import quieten_libraries

    quieten_libraries()
    choice = build_configs(
        Words(
            methods=(words.method,),
            streams=("mini",),
            seeds=(words.seed,),
            assignments=tuple(words.set),
            out=words.out,
        )
    )
    records: dict[str, dict[int, Record]] = {}
    folders: dict[tuple[str, int], Path] = {}
    for config in choice.configs:
        record = run(config, choose_progress(Console(stderr=True), quiet=False))
        records.setdefault(config.method, {})[config.seed] = record
        folders[config.method, config.seed] = config.run_directory()
        print(config.method, config.seed, np.array2string(matrix(record)[-1], precision=1))
    print(report(records))
    if words.publish:
        publish(records, folders)
    missed = 0
    for seed in sorted({seed for runs in records.values() for seed in runs}):
        of_seed = {name: runs[seed] for name, runs in records.items() if seed in runs}
        if {"dpo", "replay", "joint"} <= of_seed.keys():
            missed += sum(not ok for _, _, ok in verdicts(of_seed))
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
