"""How far validation pairs are from test pairs: the same trained models, scored on both.

    python benchmarks/validation_gap.py results/tuning/mini/smollm2-135m.json              the runs lie in runs/tuning
    python benchmarks/validation_gap.py TABLE --runs FOLDER --test-limit 24 --json

Of every method in a table of ``lifealign-bench tune`` the runs of what was taken, one for each seed, are loaded as they
were after their last stage (``single``: after each) and asked about the test pairs. Nothing is trained. If settings are
chosen on answers that were trained on, validation accuracy lies above test accuracy, and by more for methods that learn
by heart. The exit code is 1 where the mean over the methods differs by 3 points or more.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from lifealign_bench.config import RunConfig, safe_name
from lifealign_bench.data.tasks import load_data
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.results.folder import RunFolder
from lifealign_bench.results.guards import end_rows
from lifealign_bench.results.record import Record, read_record
from lifealign_bench.results.statistics import half_at_zero
from lifealign_bench.results.tuning import Tuning, read_tuning
from lifealign_bench.results.view import SCORE, RunView
from lifealign_bench.runs.session import Session
from lifealign_bench.runs.setup import make_method
from lifealign_bench.training.checkpoint import load_adapter, load_state
from lifealign_bench.util.progress import Progress

BOUND = 3.0  # points


@dataclass(frozen=True)
class Gap:
    """A method's accuracy at the end, percent, mean over tasks and seeds."""

    method: str
    seeds: int
    validation: float
    test: float

    @property
    def points(self) -> float:
        """By how much validation is too good."""
        return self.validation - self.test


def chosen_runs(tuning: Tuning, runs: Path, method: str) -> list[Path]:
    """The folders of the runs of what was taken, one for each seed.

    Raises:
        UsageError: one is not there.
    """
    taken = tuning.methods[method].taken
    known = {
        read_record(file).config_hash: file.parent
        for file in runs.glob(f"*/{safe_name(tuning.stream)}/{safe_name(tuning.model)}/{method}/seed-*/record.json")
    }
    wanted = {} if taken is None else {seed: run.config_hash for seed, run in taken.runs.items()}
    absent = [seed for seed, digest in wanted.items() if digest not in known]
    if absent or not wanted:
        raise UsageError(
            f"The run of {method} with seed {', '.join(absent) or 'any'} is not in {runs}.",
            "Give --runs the folder that lifealign-bench tune wrote its runs to.",
        )
    return [known[digest] for digest in wanted.values()]


def settings_of(record: Record, runs: Path, test_limit: int | None) -> RunConfig:
    """A run's settings, on the test pairs."""
    folder = {"out": runs, "validation": None, "test_limit": test_limit, "scorers": ("preference",)}
    return RunConfig.model_validate({**record.config, **folder, "clock": record.model.clock})


def validation_accuracy(view: RunView) -> float:
    """What the run reached on its validation pairs."""
    matrix, rows = view.record.scores[SCORE].array(), end_rows(view)
    return fmean(float(matrix[rows[task], j]) for j, task in enumerate(view.tasks))


def accuracy_at_end(folder: Path, config: RunConfig) -> float:
    """What the models of a run reach on the pairs of these settings.

    Raises:
        BenchError: what the run left cannot be loaded.
    """
    session = Session.build(config, load_data(config, Progress()), make_method(config), Progress())
    plan = session.plan()
    found: dict[str, float] = {}
    for stage, trained in enumerate(plan, start=1):
        tasks = trained if session.method.restarts else tuple(session.data)
        if stage < len(plan) and not session.method.restarts:
            continue
        stored = RunFolder(folder).stage(stage)
        load_adapter(session.model, stored.adapter)
        session.method.load_state_dict(load_state(stored.state))
        session.model.eval()
        for task in tasks:
            pairs = session.test[task]
            gained = session.speaker.score(pairs) - session.speaker.base_score(pairs)
            found[task] = 100 * float(half_at_zero((gained[:, 0] - gained[:, 1]).double().numpy()).mean())
    return fmean(found.values())


def gap_of(tuning: Tuning, runs: Path, method: str, test_limit: int | None) -> Gap:
    """Of one method."""
    views = [RunView.open(folder) for folder in chosen_runs(tuning, runs, method)]
    test = [accuracy_at_end(view.directory or runs, settings_of(view.record, runs, test_limit)) for view in views]
    return Gap(method, len(views), fmean(map(validation_accuracy, views)), fmean(test))


def table_of(gaps: Sequence[Gap]) -> str:
    """One row a method, then the mean."""
    lines = ["| method | seeds | validation | test | difference |", "| --- | --: | --: | --: | --: |"]
    lines += [f"| {g.method} | {g.seeds} | {g.validation:.1f} | {g.test:.1f} | {g.points:+.1f} |" for g in gaps]
    validation, test = fmean(g.validation for g in gaps), fmean(g.test for g in gaps)
    return "\n".join([*lines, f"| mean | | {validation:.1f} | {test:.1f} | {validation - test:+.1f} |"])


def main(words: Sequence[str] | None = None) -> int:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="made by lifealign-bench tune")
    parser.add_argument("--runs", type=Path, default=Path("runs/tuning"), help="where its runs lie")
    parser.add_argument("--method", help="of these methods alone: a,b (default: all of the table)")
    parser.add_argument("--test-limit", type=int, help="test pairs a task (default: all)")
    parser.add_argument("--json", action="store_true", help="as one JSON document")
    asked = parser.parse_args(words)
    tuning, _ = read_tuning(asked.table)
    names = asked.method.split(",") if asked.method else list(tuning.methods)
    gaps = [gap_of(tuning, asked.runs, name, asked.test_limit) for name in names]
    mean = fmean(gap.points for gap in gaps)
    if asked.json:
        rows = [asdict(gap) | {"points": gap.points} for gap in gaps]
        print(json.dumps({"methods": rows, "mean_points": mean, "bound": BOUND}))
    else:
        print(table_of(gaps))
    return int(abs(mean) >= BOUND)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"error: {error.message}\n{error.remedy}")
