"""``lifealign-bench compare``: the first run against each of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
from lifealign_bench.reporting.tables.brief import brief_differences, brief_tasks
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
from lifealign_bench.results.comparison import Disagreement, RunPair, compare_runs, run_labels, shared_score
from lifealign_bench.results.history import pair_texts
from lifealign_bench.results.sameness import settings_rows
from lifealign_bench.results.view import RunView, score_title
from lifealign_bench.util.registry import unknown_name
from lifealign_bench.util.text import clean

app = typer.Typer()

_NAMES = 3


@app.command(
    epilog="Examples:\n\nlifealign-bench compare runs/forms/smollm2-135m/dpo/seed-0 "
    "runs/forms/smollm2-135m/replay/seed-0\n\n"
    "lifealign-bench compare results/mini/smollm2-135m/{dpo,ewc}/seed-0.json --task mini-facts"
)
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, or records; the first is compared with each.")],
    score: Annotated[
        str | None,
        typer.Option(
            help="The score to compare.",
            show_default="what a board of them is ranked by, where all have it, else preference_accuracy",
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", help="Show the pairs of this task on which they disagree.", metavar="TASK")
    ] = None,
    limit: Annotated[int, typer.Option(help="Show this many pairs; 0: all.", min=0)] = 10,
    data_dir: options.DataDir = None,
    full: options.Full = False,
    as_json: options.AsJson = False,
) -> None:
    """Compare runs on the same test pairs; with --full every task, stage, metric, setting and pair that differs."""
    wish = ComparisonRequest(score, task, limit or None, data_dir, full, as_json)
    show_comparison(results_console(), runs, wish)


@dataclass(frozen=True)
class ComparisonRequest:
    """What is to be shown.

    Args:
        score: None: what a board of the runs is ranked by.
        task: show the pairs of this task alone, with their texts where the data is here.
        limit: so many pairs of each comparison; None: all.
        full: every table, not the summary.
    """

    score: str | None
    task: str | None = None
    limit: int | None = None
    data_dir: Path | None = None
    full: bool = False
    as_json: bool = False


def show_comparison(console: Console, paths: Sequence[Path], wish: ComparisonRequest) -> None:
    """Print how each run differs from the first; where the settings differ and on which pairs they disagree, if all is
    asked for.

    Raises:
        UsageError: fewer than two runs; no such score or task.
        BenchError: runs that cannot be compared.
    """
    if len(paths) < 2:
        raise UsageError("A comparison needs two runs or more.", "Name two folders of runs, or two records.")
    views = [RunView.open(path) for path in paths]
    say_doubts(views)
    labels = run_labels(views, paths)
    score = wish.score or shared_score(views)
    found = [compare_runs(views[0], other, score) for other in views[1:]]
    if wish.task is not None and wish.task not in views[0].tasks:
        raise unknown_name("task of these runs", wish.task, views[0].tasks)
    settings = settings_rows([view.record for view in views])
    if wish.as_json:
        content = {
            "runs": [{"run": str(path), "name": label} for path, label in zip(paths, labels, strict=True)],
            "settings": settings,
            "comparisons": [comparison_json(pair, wish.task, wish.limit) for pair in found],
        }
        echo_json(content)
    elif wish.full:
        show_grid(console, settings_grid(settings, labels))
        for pair, label in zip(found, labels[1:], strict=True):
            _show_all(console, pair, labels[0], label, wish)
    else:
        show_grid(console, brief_differences(found, labels))
        if len(found) == 1:
            show_grid(console, brief_tasks(found[0]))
        if settings:
            console.print(Text(clean(f"Not the same: {_some(list(settings))}.")))
        if wish.task is not None:
            for pair, label in zip(found, labels[1:], strict=True):
                _show_pairs(console, pair, labels[0], label, wish)
        console.print(Text("Next: --full for stages, settings and pairs; --task TASK for the pairs' texts"))


def _some(names: Sequence[str]) -> str:
    """As many names as a line has room for."""
    shown = [name for name in names if not name.startswith("version.")][:_NAMES]
    more = len(names) - len(shown)
    return ", ".join([*shown, *([f"{more} more"] if more else [])])


def _show_all(console: Console, pair: RunPair, first: str, label: str, wish: ComparisonRequest) -> None:
    console.print(Text(clean(f"{label} against {first}: {score_title(pair.score)}"), style="bold reverse"))
    console.print()
    for grid in (
        metric_difference_grid(pair),
        task_difference_grid(pair),
        stage_grid(pair),
        count_grid(pair, first, label),
    ):
        show_grid(console, grid)
    _show_pairs(console, pair, first, label, wish)


def _show_pairs(console: Console, pair: RunPair, first: str, label: str, wish: ComparisonRequest) -> None:
    chosen = pairs_to_show(pair, wish.task, wish.limit)
    if chosen:
        show_grid(console, pair_grid(chosen, len(pairs_to_show(pair, wish.task, None)), first, label))
    if wish.task is not None:
        _show_texts(console, chosen, wish.task, wish.data_dir)


def _show_texts(console: Console, chosen: Sequence[Disagreement], task: str, data_dir: Path | None) -> None:
    texts = pair_texts(task, data_dir)
    if not texts:
        console.print(Text("The texts are not available (--data-dir).", style="dim"))
        return
    for found in chosen:
        pair = texts.get(found.pair_id)
        console.print(Text(clean(found.pair_id), style="bold"))
        if pair is None:
            console.print(Text("Its text is not available.", style="dim"))
            continue
        prompt = "\n".join(f"{m.role}: {m.content}" for m in pair.prompt)
        for name, text in (("prompt", prompt), ("chosen", pair.chosen), ("rejected", pair.rejected)):
            console.print(Text.assemble((f"{name}: ", "dim"), shown_text(text)))
        console.print()
