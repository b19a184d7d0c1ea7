"""The tables as files: CSV and JSON for programs, Markdown for people. The same run gives the same bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lifealign_bench.reporting.tables.comparison import comparison_grids, difference_grids
from lifealign_bench.reporting.tables.grid import escape_markdown, to_markdown
from lifealign_bench.reporting.tables.run import record_grids
from lifealign_bench.reporting.tables.scores import ability_summary
from lifealign_bench.results.budgets import budget_of, spent_by
from lifealign_bench.results.comparison import comparison_rows, ranking_score, run_columns, seconds_of
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.record import reward_model_facts
from lifealign_bench.results.single import SINGLE
from lifealign_bench.results.view import RunView
from lifealign_bench.util.files import write_json, write_text
from lifealign_bench.util.text import rounded

TABLES = "tables"

_CELL = ("value", "low", "high", "standard_error", "n")


def write_tables(view: RunView, directory: Path) -> Path:
    """Write ``tables/`` into a run's folder: scores.csv, metrics.csv, per_task.csv, summary.md, summary.json.

    Returns:
        The folder.
    """
    folder = directory / TABLES
    _write_csv(folder / "scores.csv", score_rows(view), ("score", "stage", "task", *_CELL))
    _write_csv(folder / "metrics.csv", metric_rows(view), ("score", "metric", "value", "low", "high", "standard_error"))
    _write_csv(folder / "per_task.csv", task_rows(view), ("score", "task", *_task_columns()))
    heading = f"# {view.name} on {view.group[0]}, {view.group[1]}, seed {view.seed}, {view.protocol}"
    parts = [escape_markdown(heading).replace("\\#", "#", 1), *(to_markdown(grid) for grid in record_grids(view))]
    write_text(folder / "summary.md", "\n\n".join(part.strip("\n") for part in parts) + "\n")
    write_json(folder / "summary.json", run_summary(view))
    return folder


def write_comparison(views: Sequence[RunView], folder: Path) -> None:
    """Write comparison.csv, .md and .json of runs of one stream and model into ``folder``."""
    rows = []
    said = run_columns(ranking_score(views))
    for row in comparison_rows(views):
        entry: dict[str, Any] = {
            "method": row.method,
            "seeds": " ".join(map(str, row.seeds)),
            "kind": "run" if len(row.seeds) == 1 else "mean",
            "status": row.status,
            "seconds": round(row.seconds, 3),
        }
        for (_, score, metric), value, error in zip(said, row.values, row.errors, strict=True):
            entry[f"{score}.{metric}"] = rounded(value)
            entry[f"{score}.{metric}.standard_error"] = rounded(error)
        rows.append(entry)
    columns = tuple(rows[0]) if rows else ("method", "seeds")
    _write_csv(folder / "comparison.csv", rows, columns)
    write_json(folder / "comparison.json", rows)
    grids = [*comparison_grids(views), *difference_grids(views)]
    write_text(folder / "comparison.md", "\n".join(to_markdown(grid) for grid in grids))


def run_summary(view: RunView) -> dict[str, Any]:
    """What came out of a run, as plain JSON values."""
    record = view.record
    model, yardsticks = reward_model_facts(record)
    return {
        "method": view.name,
        "stream": view.group[0],
        "model": view.group[1],
        "seed": view.seed,
        "status": record.status,
        "error": record.error,
        "config_hash": record.config_hash,
        "tasks": list(view.tasks),
        "single": {"run": view.single.name, "refused": view.single.refused or None} if view.single.name else None,
        "metrics": {
            score: {row["metric"]: {k: row[k] for k in ("value", "low", "high", "standard_error")} for row in rows}
            for score in view.scores()
            if (rows := [r for r in metric_rows(view) if r["score"] == score])
        },
        "scores": {
            score: [
                {"stage": row.stage, "tasks": list(row.tasks), "value": dict(zip(view.tasks, values, strict=True))}
                for row in view.rows
                for values in [record.scores[score].value[row.row]]
            ]
            for score in view.scores()
        },
        "reward_model": {"model": model, "tasks": yardsticks} if yardsticks else None,
        **ability_summary(view),
        "seconds": round(seconds_of(view), 3),
        "tokens": sum(sum(stage.tokens.values()) for stage in record.stages),
        "budget": budget_of(record.config) or None,
        "training": {name: rounded(value) for name, value in asdict(spent_by(record)).items()},
        "tokens_per_second": [
            {"stage": s.index, **{part: s.tokens_per_second(part) for part in ("train", "score", "generate")}}
            for s in record.stages
        ],
    }


def score_rows(view: RunView) -> list[dict[str, Any]]:
    """One row a score, stage and task: its mean over the test pairs with its 95 % interval."""
    rows = []
    for score, matrix in view.record.scores.items():
        intervals = view.cell_intervals(score)
        for row in view.rows:
            for j, task in enumerate(view.tasks):
                low, high = intervals.get((row.row, task), (math.nan, math.nan))
                rows.append(
                    {
                        "score": score,
                        "stage": row.stage,
                        "task": task,
                        "value": matrix.value[row.row][j],
                        "low": rounded(low),
                        "high": rounded(high),
                        "standard_error": matrix.standard_error[row.row][j],
                        "n": matrix.n[row.row][j],
                    }
                )
    return rows


def metric_rows(view: RunView) -> list[dict[str, Any]]:
    """One row a score and metric, with its 95 % interval over the test pairs."""
    rows = []
    for score in view.scores():
        for metric, info in METRICS.items():
            value = view.metric(score, metric)
            if info.needs_single and not view.single.name:
                continue
            interval = view.interval(score, metric)
            low, high, error = interval if interval is not None else (math.nan,) * 3
            rows.append(
                {
                    "score": score,
                    "metric": metric,
                    "value": rounded(value),
                    "low": rounded(low),
                    "high": rounded(high),
                    "standard_error": rounded(error),
                }
            )
    return rows


def _task_columns() -> list[str]:
    names = ("base", "learned", "final", "forgetting", "change")
    return [column for name in names for column in (name, f"{name}_standard_error")]


def task_rows(view: RunView) -> list[dict[str, Any]]:
    """One row a main score and task: what became of it, each with its standard error."""
    rows = []
    for score in view.main_scores():
        found, errors = view.per_task(score), view.per_task_errors(score)
        for j, task in enumerate(view.tasks):
            row: dict[str, Any] = {"score": score, "task": task}
            for name, values in found.items():
                row[name] = rounded(float(values[j]))
                row[f"{name}_standard_error"] = rounded(errors[name][j]) if name in errors else None
            rows.append(row)
    return rows


def _write_csv(path: Path, rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    import pandas as pd

    frame = pd.DataFrame(list(rows), columns=list(columns))
    write_text(path, frame.to_csv(index=False, lineterminator="\n"))


def save_comparisons(views: Mapping[Path, RunView], say: Callable[[str], None]) -> None:
    """Write the comparison of all complete runs beside these (by their folders), for each stream and model; ``say``
    takes where it is."""
    if any(view.name == SINGLE for view in views.values()):
        # What was written of the runs before it had no intransigence yet.
        for directory, view in views.items():
            write_tables(view, directory)
    for folder in dict.fromkeys(directory.parent.parent for directory in views):
        files = sorted(folder.glob("*/seed-*/record.json"))
        # A view that is open has its intervals already.
        present = [views.get(file.parent) or RunView.open(file.parent) for file in files]
        complete = [view for view in present if view.complete]
        if len(complete) > 1:
            write_comparison(complete, folder)
            say(f"comparison of the {len(complete)} runs in {folder}: {folder / 'comparison.md'}")
