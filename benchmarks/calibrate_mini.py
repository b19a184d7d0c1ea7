"""Run every method on the stream mini and hold the result against what the stream must be.

    python benchmarks/calibrate_mini.py                      every method, seeds 0, 1, 2 (hours on two cores)
    python benchmarks/calibrate_mini.py --method dpo,replay,joint --seed 0
    python benchmarks/calibrate_mini.py --published          no runs: the report, results/mini-calibration.md, from the
                                                             published records

Runs are those of ``lifealign-bench run --stream mini``, with the stream's own learning rate, and continue where they
were stopped. The targets are stated for ``dpo``, ``replay`` and ``joint``; the other methods are trained with them and
reported as they are.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lifealign_bench.experiments.request import Words, build_configs
from lifealign_bench.methods import method_names
from lifealign_bench.results.record import Record, read_record

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"
RECORDS = RESULTS / "mini" / "smollm2-135m"
REPORT = RESULTS / "mini-calibration.md"
SCORE = "preference_accuracy"
JUDGED = ("dpo", "replay", "joint")
Matrix = npt.NDArray[np.float64]


def matrix(*records: Record, score: str = SCORE) -> Matrix:
    """A score's matrix, shape (N+1, N), its mean over several runs."""
    mean: Matrix = np.mean([record.scores[score].array() for record in records], axis=0)
    return mean


def losses(scores: Matrix, tasks: Sequence[str]) -> dict[str, float]:
    """Points that each earlier task lost between the end of its own stage and the end of the run."""
    return {task: float(scores[j + 1, j] - scores[-1, j]) for j, task in enumerate(tasks[:-1])}


def verdicts(records: Mapping[str, Sequence[Record]]) -> list[tuple[str, str, bool]]:
    """The targets: what is wanted, what was found, whether it holds.

    Args:
        records: runs of dpo, replay and joint, one a seed; what is judged is their mean.
    """
    dpo, replay, joint = (records[name] for name in JUDGED)
    tasks = dpo[0].tasks
    lost, kept = losses(matrix(*dpo), tasks), losses(matrix(*replay), tasks)
    worst = max(lost, key=lambda task: lost[task])
    least = min(lost, key=lambda task: lost[task])
    low = min(zip(matrix(*joint)[-1], tasks, strict=True))
    base = matrix(*dpo, score="policy_accuracy")[0]
    reward = matrix(*dpo, score="reward")[0]
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


def _row(values: Matrix) -> str:
    return ", ".join("-" if math.isnan(v) else f"{v:.0f}" for v in values)


def report(records: Mapping[str, Mapping[int, Record]]) -> str:
    """The calibration as Markdown: the targets, and the matrices that they are about."""
    lines = ["# Calibration of the stream mini", ""]
    lines += [
        "What the stream is made to show, and whether the published runs of these three methods show it. Made by "
        "`python benchmarks/calibrate_mini.py --published`. Preference accuracy in percent, ± one standard error over "
        "a task's test pairs.",
        "",
    ]
    seeds = complete_seeds(records)
    if len(seeds) > 1:
        of_seeds = {name: [records[name][seed] for seed in seeds] for name in JUDGED}
        lines += [f"## Targets, mean over seeds {', '.join(map(str, seeds))}", "", *_targets(of_seeds)]
    for seed in seeds:
        of_seed = {name: [records[name][seed]] for name in JUDGED}
        lines += [f"## Targets, seed {seed}", "", *_targets(of_seed)]
        for name in JUDGED:
            lines += _matrix(name, seed, records[name][seed])
    return "\n".join(lines)


def _targets(records: Mapping[str, Sequence[Record]]) -> list[str]:
    rates = (f"{name} {records[name][0].config['training']['learning_rate']:g}" for name in JUDGED)
    lines = [f"Learning rates: {', '.join(rates)}.", "", "| target | found | holds |", "| --- | --- | --- |"]
    return [*lines, *(f"| {t} | {f} | {'yes' if ok else 'no'} |" for t, f, ok in verdicts(records)), ""]


def complete_seeds(records: Mapping[str, Mapping[int, Record]]) -> list[int]:
    """The seeds for which the targets can be judged."""
    return sorted(set.intersection(*(set(records.get(name, {})) for name in JUDGED)))


def _matrix(name: str, seed: int, record: Record) -> list[str]:
    lines = [f"### {name}, seed {seed}", "", f"| after | {' | '.join(record.tasks)} |"]
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
    return [*lines, "", f"Reward at the end: {_row(rewards[-1])}; of the base model: {_row(rewards[0])}.", ""]


def published() -> dict[str, dict[int, Record]]:
    """Method to seed to the published record."""
    records: dict[str, dict[int, Record]] = {}
    for path in sorted(RECORDS.glob("*/seed-*.json")):
        record = read_record(path)
        records.setdefault(record.method.name, {})[record.config["seed"]] = record
    return records


def main() -> int:
    """See the module's docstring; exit code 1 when the mean over the seeds misses a target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default=",".join(method_names()))
    parser.add_argument("--seed", default="0,1,2")
    parser.add_argument("--set", action="append", default=[], help="a setting, as for lifealign-bench run")
    parser.add_argument("--out", type=Path, default=ROOT / "runs")
    parser.add_argument("--published", action="store_true")
    words = parser.parse_args()
    if words.published:
        records = published()
        REPORT.write_text(report(records), encoding="utf-8")
        print(f"Written: {REPORT.relative_to(ROOT)}")
        return _exit_code(records)

    from rich.console import Console

    from lifealign_bench.reporting.live import choose_progress
    from lifealign_bench.runs.run import run
    from lifealign_bench.util.process import quieten_libraries

    quieten_libraries()
    choice = build_configs(
        Words(
            method=(words.method,),
            stream=("mini",),
            seed=(words.seed,),
            assignments=tuple(words.set),
            out=words.out,
        )
    )
    runs: dict[str, dict[int, Record]] = {}
    for config in choice.configs:
        record = run(config, choose_progress(Console(stderr=True), quiet=False))
        runs.setdefault(config.method, {})[config.seed] = record
        print(config.method, config.seed, np.array2string(matrix(record)[-1], precision=1))
    print(report(runs))
    return _exit_code(runs)


def _exit_code(records: Mapping[str, Mapping[int, Record]]) -> int:
    seeds = complete_seeds(records)
    if not seeds:
        return 0
    return 0 if all(ok for _, _, ok in verdicts({n: [records[n][s] for s in seeds] for n in JUDGED})) else 1


if __name__ == "__main__":
    raise SystemExit(main())
