"""Hold runs on the stream forms (or a generated one like it) against what the stream must be.

    lifealign-bench sweep --stream forms --method joint,dpo,replay --seed 0,1,2 --jobs 2
    python benchmarks/calibrate_forms.py runs/forms                  the report, as Markdown
    python benchmarks/calibrate_forms.py results/forms --out FILE    into a file

Reads the records under the folders that are named, of runs or published ones. Exit status 1 where a target is missed, 2
where a method has no record.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.results.record import Record, read_record

RESPONSES, PREFERENCES = "win_rate", "preference_accuracy"
JUDGED = ("joint", "dpo", "replay")
LOST, KEPT = 25.0, 5.0  # points of win rate that a task surely loses, and that count as none
Matrix = npt.NDArray[np.float64]
Runs = Mapping[str, Sequence[Record]]


class Verdict(NamedTuple):
    """A target, what was found, and whether it holds."""

    target: str
    found: str
    holds: bool


def matrix(records: Sequence[Record], score: str) -> Matrix:
    """A score's matrix, shape (N+1, N), percent: its mean over several runs."""
    mean: Matrix = np.mean([record.scores[score].array() for record in records], axis=0)
    return mean


def losses(scores: Matrix) -> Matrix:
    """(N-1,) points that each earlier task lost between the end of its own stage and the end of the run."""
    learned = np.diag(scores[1:])
    lost: Matrix = (learned - scores[-1])[:-1]
    return lost


def verdicts(runs: Runs) -> list[Verdict]:
    """What the stream must show, judged on the mean over the seeds of each method."""
    joint, dpo, replay = (runs[name] for name in JUDGED)
    tasks = joint[0].tasks
    # A run that scores seen tasks alone has not asked the base model.
    base = matrix(next((own for own in (joint, dpo, replay) if _base_known(own)), joint), "reward")[0]
    wins, accuracies = matrix(joint, RESPONSES)[-1], matrix(joint, PREFERENCES)[-1]
    lost, kept = losses(matrix(dpo, RESPONSES)), losses(matrix(replay, RESPONSES))
    large = lost >= LOST
    back = float(lost[large].sum() - kept[large].sum())
    return [
        Verdict("the base model's reward is at most 50 on every task", f"{listed(base)}", bool((base <= 50).all())),
        Verdict("joint: win rate of at least 70 % on every task", lowest(wins, tasks), bool((wins >= 70).all())),
        Verdict(
            "joint: preference accuracy of at least 85 % on every task",
            lowest(accuracies, tasks),
            bool((accuracies >= 85).all()),
        ),
        Verdict(
            f"dpo loses at least {LOST:g} points of win rate on at least two tasks",
            f"on {int(large.sum())}; all: {listed(lost)}",
            bool(large.sum() >= 2),
        ),
        Verdict(
            f"dpo loses at most {KEPT:g} points of win rate on at least one earlier task",
            f"least: {tasks[int(lost.argmin())]} {lost.min():.1f}",
            bool(lost.min() <= KEPT),
        ),
        Verdict(
            "replay wins back at least half of what dpo loses on these tasks",
            f"{back:.1f} of {float(lost[large].sum()):.1f} points; all losses: {listed(kept)}",
            bool(large.any() and back >= lost[large].sum() / 2),
        ),
    ]


def _base_known(records: Sequence[Record]) -> bool:
    return not np.isnan(matrix(records, "reward")[0]).any()


def listed(values: Matrix) -> str:
    """Rounded numbers in the tasks' order."""
    return ", ".join("-" if np.isnan(value) else f"{value:.0f}" for value in values)


def lowest(values: Matrix, tasks: Sequence[str]) -> str:
    """The lowest of the tasks' values."""
    return f"lowest: {tasks[int(values.argmin())]} {values.min():.1f} %"


def report(runs: Runs) -> str:
    """The calibration as Markdown: the targets, then every method's responses and preferences after each stage."""
    first = runs[JUDGED[0]][0]
    stream = first.config["stream"]
    lines = [f"# Calibration of the stream {stream}", "", *settings(runs), "", "## Targets", ""]
    lines += ["| target | found | holds |", "| --- | --- | --- |"]
    lines += [f"| {v.target} | {v.found} | {'yes' if v.holds else 'no'} |" for v in verdicts(runs)]
    for name, records in runs.items():
        for score in (RESPONSES, "reward", PREFERENCES):
            lines += ["", f"## {name}: {score.replace('_', ' ')}, percent", "", *table(records, score)]
    return "\n".join(lines) + "\n"


def settings(runs: Runs) -> list[str]:
    """What was run, in words."""
    config = runs[JUDGED[0]][0].config
    training, supervised = config["training"], config["supervised"]
    seeds = {name: ", ".join(str(record.config["seed"]) for record in records) for name, records in runs.items()}
    counts = sorted({n for records in runs.values() for r in records for row in r.scores["reward"].n for n in row if n})
    rate, passes = supervised["sft_learning_rate"], supervised["sft_epochs"]
    first = f"{passes} supervised passes at {rate:g}" if config["sft"] else "no supervised phase"
    return [
        f"Model {config['model']}, {first}, {training['epochs']} of preferences at {training['learning_rate']:g}, "
        f"batches of {training['batch_size']}, {config['train_limit']} training pairs and "
        f"{' to '.join(map(str, (counts[0], counts[-1])[: len(counts)]))} test pairs a task.",
        "",
        "Seeds: " + "; ".join(f"{name} {found}" for name, found in seeds.items()) + ". Values are means over them.",
    ]


def table(records: Sequence[Record], score: str) -> list[str]:
    """One row a stage that was scored."""
    tasks = records[0].tasks
    rows = [f"| after | {' | '.join(tasks)} |", "| --- |" + " ---: |" * len(tasks)]
    for k, values in enumerate(matrix(records, score)):
        if np.isnan(values).all():
            continue
        after = "base" if k == 0 else "all" if len(records[0].stages) == 2 else tasks[k - 1]
        rows.append(f"| {after} | {' | '.join('-' if np.isnan(v) else f'{v:.1f}' for v in values)} |")
    return rows


def found_runs(folders: Sequence[Path]) -> dict[str, list[Record]]:
    """Method to its finished runs, by the seed.

    Raises:
        UsageError: a method that the targets are about has none; they are of several streams.
        BenchError: a record is broken.
    """
    runs: dict[str, dict[int, Record]] = {}
    for record in map(read_record, record_files(folders)):
        if record.status == "complete":
            runs.setdefault(record.method.name, {})[record.config["seed"]] = record
    lacking = [name for name in JUDGED if name not in runs]
    if lacking:
        raise UsageError(
            f"No finished run of {', '.join(lacking)} in {', '.join(map(str, folders))}.",
            "Make them: lifealign-bench sweep --stream forms --method joint,dpo,replay.",
        )
    streams = {record.config["stream"] for found in runs.values() for record in found.values()}
    if len(streams) > 1:
        raise UsageError(f"These runs are of several streams: {', '.join(sorted(streams))}.", "Name one's folder.")
    order = [*JUDGED, *sorted(runs.keys() - set(JUDGED))]
    return {name: [runs[name][seed] for seed in sorted(runs[name])] for name in order}


def record_files(folders: Sequence[Path]) -> Iterator[Path]:
    """``record.json`` of runs, ``seed-N.json`` of published ones."""
    for folder in folders:
        yield from sorted({*folder.rglob("record.json"), *folder.rglob("seed-*.json")})


def main() -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="folders with records of joint, dpo and replay")
    parser.add_argument("--out", type=Path, help="write the report there")
    words = parser.parse_args()
    try:
        runs = found_runs(words.folders)
    except BenchError as error:
        print(f"{error.message}\n{error.remedy}", file=sys.stderr)
        return 2
    text = report(runs)
    if words.out is None:
        print(text, end="")
    else:
        words.out.write_text(text, encoding="utf-8")
        print(f"Written: {words.out}")
    return 0 if all(verdict.holds for verdict in verdicts(runs)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
