"""``lifealign-bench compare``: the first run against each of the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from lifealign_bench.cli import options
from lifealign_bench.cli.doubts import say_doubts
from lifealign_bench.cli.inspect import shown_text
from lifealign_bench.cli.output import echo_json, results_console
from lifealign_bench.errors import UsageError
from lifealign_bench.reporting.tables.comparison import (
    comparison_json,
    count_grid,
    metric_difference_grid,
    pair_grid,
    pairs_to_show,
    settings_grid,
    stage_grid,
    task_difference_grid,
)
from lifealign_bench.reporting.tables.grid import show_grid
from lifealign_bench.results.comparison import Disagreement, compare_runs, run_labels
from lifealign_bench.results.history import pair_texts
from lifealign_bench.results.sameness import settings_rows
from lifealign_bench.results.view import RunView, score_title
from lifealign_bench.util.registry import unknown_name
from lifealign_bench.util.text import clean

app = typer.Typer()


@app.command(
    epilog="Examples:\n\nlifealign-bench compare runs/mini/smollm2-135m/dpo/seed-0 "
    "runs/mini/smollm2-135m/replay/seed-0\n\n"
    "lifealign-bench compare results/mini/smollm2-135m/{dpo,ewc}/seed-0.json --task mini-facts"
)
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, or records; the first is compared with each.")],
    score: Annotated[str, typer.Option(help="The score to compare.")] = "preference_accuracy",
    task: Annotated[
        str | None, typer.Option("--task", help="Show the pairs of this task on which they disagree.", metavar="TASK")
    ] = None,
    limit: Annotated[int, typer.Option(help="Show so many pairs; 0: all.", min=0)] = 10,
    data_dir: options.DataDir = None,
    as_json: options.AsJson = False,
) -> None:
    """Compare runs on the same test pairs: every task, stage and metric with intervals, settings, pairs that differ."""
    show_comparison(
        results_console(), runs, score=score, task=task, limit=limit or None, data_dir=data_dir, as_json=as_json
    )


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
    labels = run_labels(views, paths)
    found = [compare_runs(views[0], other, score) for other in views[1:]]
    if task is not None and task not in views[0].tasks:
        raise unknown_name("task of these runs", task, views[0].tasks)
    settings = settings_rows([view.record for view in views])
    if as_json:
        content = {
            "runs": [{"run": str(path), "name": label} for path, label in zip(paths, labels, strict=True)],
            "settings": settings,
            "comparisons": [comparison_json(pair, task, limit) for pair in found],
        }
        echo_json(content)
        return
    show_grid(console, settings_grid(settings, labels))
    for pair, label in zip(found, labels[1:], strict=True):
        console.print(Text(clean(f"{label} against {labels[0]}: {score_title(score)}"), style="bold reverse"))
        console.print()
        for grid in (
            metric_difference_grid(pair),
            task_difference_grid(pair),
            stage_grid(pair),
            count_grid(pair, labels[0], label),
        ):
            show_grid(console, grid)
        chosen = pairs_to_show(pair, task, limit)
        if chosen:
            show_grid(console, pair_grid(chosen, len(pairs_to_show(pair, task, None)), labels[0], label))
        if task is not None:
            _show_texts(console, chosen, task, data_dir)


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
