"""``lifealign-bench compare``: the first run against each of the others."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from lifealign_bench.comparison import flat_settings
from lifealign_bench.doubts import say_doubts
from lifealign_bench.errors import UsageError
from lifealign_bench.grid import DASH, Grid, clean, number, show_grid
from lifealign_bench.inspection import pair_texts, shown_text
from lifealign_bench.metrics import METRICS
from lifealign_bench.redaction import redact
from lifealign_bench.registry import unknown_name
from lifealign_bench.runpairs import TASK_COLUMNS, Compared, Disagreement, RunPair, compare_runs
from lifealign_bench.runview import RunView, score_title

__all__ = ["comparison_json", "settings_rows", "show_comparison"]

_LEVEL = 0.05


def show_comparison(
    console: Console,
    paths: Sequence[Path],
    *,
    score: str,
    task: str | None,
    limit: int | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Print how each run differs from the first, where the settings differ, and on which pairs they disagree.

    Args:
        task: show the pairs of this task alone, with their texts where the data is at hand.
        limit: so many pairs of each comparison; None: all.

    Raises:
        UsageError: fewer than two runs; no such score or task.
        BenchError: runs that cannot be compared.
    """
    if len(paths) < 2:
        raise UsageError("A comparison needs two runs or more.", "Name two folders of runs, or two records.")
    views = [RunView.open(path) for path in paths]
    say_doubts(views)
    labels = _labels(views, paths)
    found = [compare_runs(views[0], other, score) for other in views[1:]]
    if task is not None and task not in views[0].tasks:
        raise unknown_name("task of these runs", task, views[0].tasks)
    settings = settings_rows(views)
    if as_json:
        if not console.quiet:
            content = {
                "runs": [{"run": str(path), "name": label} for path, label in zip(paths, labels, strict=True)],
                "settings": settings,
                "comparisons": [comparison_json(pair, task, limit) for pair in found],
            }
            console.file.write(redact(json.dumps(content, indent=2, allow_nan=False)) + "\n")
        return
    show_grid(console, _settings_grid(settings, labels))
    for pair, label in zip(found, labels[1:], strict=True):
        console.print(Text(clean(f"{label} against {labels[0]}: {score_title(score)}"), style="bold reverse"))
        console.print()
        for grid in (_metric_grid(pair), _task_grid(pair), _stage_grid(pair), _count_grid(pair, labels[0], label)):
            show_grid(console, grid)
        chosen = _chosen(pair, task, limit)
        if chosen:
            show_grid(console, _pair_grid(chosen, len(_chosen(pair, task, None)), labels[0], label))
        if task is not None:
            _show_texts(console, chosen, task, data_dir)


def _labels(views: Sequence[RunView], paths: Sequence[Path]) -> list[str]:
    """``dpo seed 0``; with the path where that is not enough."""
    names = [f"{view.name} seed {view.seed}" for view in views]
    return [f"{n} ({path})" if names.count(n) > 1 else n for n, path in zip(names, paths, strict=True)]


def settings_rows(views: Sequence[RunView]) -> dict[str, list[Any]]:
    """Name to its value in each run, of everything that is not the same: settings, model, data, versions, commit."""
    flat = []
    for view in views:
        record = view.record
        own: dict[str, Any] = {key: value for key, value in flat_settings(view).items() if key != "method_settings"}
        own = {key: value for key, value in own.items() if not key.startswith("method_settings.")}
        own |= {f"method.{key}": value for key, value in record.method.settings.items()}
        own |= {"method.file": record.method.source_sha256[:12], "model.weights": record.model.fingerprint}
        own["model.revision"] = record.model.revision
        for task, data in record.data.items():
            own |= {f"{task}.train": data.train_digest[:12], f"{task}.test": data.test_digest[:12]}
        own |= {f"version.{name}": version for name, version in record.versions.items()}
        own["commit"] = record.git.get("commit")
        flat.append(own)
    names = dict.fromkeys(name for own in flat for name in own)
    values = {name: [own.get(name) for own in flat] for name in names}
    return {name: row for name, row in values.items() if any(value != row[0] for value in row)}


def _settings_grid(settings: dict[str, list[Any]], labels: Sequence[str]) -> Grid:
    rows = [
        (name, *(DASH if value is None else str(value) for value in values)) for name, values in settings.items()
    ] or [("(nothing)", *("" for _ in labels))]
    return Grid("What is not the same", ("setting", *labels), tuple(rows), prose=tuple(range(1, len(labels) + 1)))


def _text(found: Compared | None, digits: int) -> str:
    if found is None:
        return DASH
    d = found.difference
    star = "*" if found.p < _LEVEL else ""
    return f"{number(d.value, digits)}{star} [{number(d.low, digits)}, {number(d.high, digits)}]"


def _digits(pair: RunPair) -> int:
    return 1 if pair.first.record.scores[pair.score].percent else 2


def _unit(pair: RunPair) -> str:
    matrix = pair.first.record.scores[pair.score]
    return "percentage points" if matrix.percent else matrix.measured_in


def _metric_grid(pair: RunPair) -> Grid:
    digits = _digits(pair)
    rows = []
    for name, found in pair.metrics.items():
        values = [number(view.metric(pair.score, name), digits) for view in (pair.first, pair.second)]
        rows.append((METRICS[name].label, *values, _text(found, digits), _p(found.difference.p), _p(found.p)))
    total = sum(pair.compared.values())
    notes = (
        f"Paired over {total} test pairs, {_unit(pair)}: second minus first, 95 % interval by bootstrap over the "
        "pairs; p by exchanging the runs' scores, Holm: corrected for all differences of a table; *: below 0.05 after "
        "that. What another seed of training would change is not in it.",
    )
    return Grid("Metrics", ("metric", "first", "second", "difference", "p", "p (Holm)"), tuple(rows), notes)


def _task_grid(pair: RunPair) -> Grid:
    digits = _digits(pair)
    columns = [c for c in TASK_COLUMNS if any(c in cells for cells in pair.tasks.values())]
    rows = [(task, *(_text(cells.get(column), digits) for column in columns)) for task, cells in pair.tasks.items()]
    return Grid("Tasks", ("task", *columns), tuple(rows))


def _stage_grid(pair: RunPair) -> Grid:
    digits = _digits(pair)
    labels = {row.row: row.label for row in pair.second.rows}
    rows = [
        (labels.get(row, str(row)), *(_text(cells.get(task), digits) for task in pair.first.tasks))
        for row, cells in pair.stages.items()
    ]
    return Grid("After every stage, on every task", ("after stage", *pair.first.tasks), tuple(rows))


def _count_grid(pair: RunPair, first: str, second: str) -> Grid:
    rows = []
    for task, count in pair.compared.items():
        own = [p for p in pair.pairs if p.task == task]
        higher = sum(p.second > p.first for p in own)
        rows.append((task, str(count), str(len(own) - higher), str(higher)))
    heads = ("task", "pairs", f"higher: {first}", f"higher: {second}")
    return Grid("Pairs on which they disagree after the last stage", heads, tuple(rows))


def _chosen(pair: RunPair, task: str | None, limit: int | None) -> list[Disagreement]:
    return [p for p in pair.pairs if task in (None, p.task)][:limit]


def _pair_grid(chosen: Sequence[Disagreement], total: int, first: str, second: str) -> Grid:
    rows = tuple(
        (p.pair_id, number(p.first, 2), number(p.second, 2), number(p.first_margin, 2), number(p.second_margin, 2))
        for p in chosen
    )
    heads = ("pair", first, second, f"margin {first}", f"margin {second}")
    notes = (f"{len(chosen)} of {total}; margin: preference margin in nats.",)
    return Grid("Where they disagree most", heads, rows, notes)


def _show_texts(console: Console, chosen: Sequence[Disagreement], task: str, data_dir: Path | None) -> None:
    texts = pair_texts(task, data_dir)
    if not texts:
        console.print(Text("The texts are not at hand (--data-dir).", style="dim"))
        return
    for found in chosen:
        pair = texts.get(found.pair_id)
        console.print(Text(clean(found.pair_id), style="bold"))
        if pair is None:
            console.print(Text("Its text is not at hand.", style="dim"))
            continue
        prompt = "\n".join(f"{m.role}: {m.content}" for m in pair.prompt)
        for name, text in (("prompt", prompt), ("chosen", pair.chosen), ("rejected", pair.rejected)):
            console.print(Text.assemble((f"{name}: ", "dim"), shown_text(text)))
        console.print()


def comparison_json(pair: RunPair, task: str | None, limit: int | None) -> dict[str, Any]:
    """A comparison as plain JSON values."""
    return {
        "first": {"method": pair.first.name, "seed": pair.first.seed},
        "second": {"method": pair.second.name, "seed": pair.second.seed},
        "score": pair.score,
        "test_pairs": pair.compared,
        "metrics": {name: _json(found) for name, found in pair.metrics.items()},
        "tasks": {t: {c: _json(found) for c, found in cells.items()} for t, cells in pair.tasks.items()},
        "stages": [
            {"row": row, "tasks": {t: _json(found) for t, found in cells.items()}} for row, cells in pair.stages.items()
        ],
        "disagreements": [
            {
                "task": p.task,
                "pair": p.pair_id,
                "first": p.first,
                "second": p.second,
                "first_margin": _plain(p.first_margin),
                "second_margin": _plain(p.second_margin),
            }
            for p in _chosen(pair, task, limit)
        ],
    }


def _json(found: Compared) -> dict[str, float | None]:
    d = found.difference
    return {"difference": _plain(d.value), "low": _plain(d.low), "high": _plain(d.high), "p": d.p, "p_holm": found.p}


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(f"{value:.12g}")


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else number(value, 3)
