"""``lifealign-bench summary`` and ``inspect``: a run's tables again, and its pairs and responses through the stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lifealign_bench.cli import options
from lifealign_bench.cli.doubts import say_doubts
from lifealign_bench.cli.output import echo_json, results_console
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.reporting.tables.brief import show_summary
from lifealign_bench.reporting.tables.files import run_summary
from lifealign_bench.reporting.tables.grid import show_grid
from lifealign_bench.reporting.tables.noise import noise_grid
from lifealign_bench.reporting.tables.rollouts import rollout_grid
from lifealign_bench.reporting.tables.run import render_comparison, render_run
from lifealign_bench.reporting.tables.scores import movement_grid, quartile_grid, response_grid
from lifealign_bench.results.history import (
    PairHistory,
    histories,
    pair_texts,
    stage_responses,
    stage_rollouts,
)
from lifealign_bench.results.rollouts import Rollout
from lifealign_bench.results.view import RunView
from lifealign_bench.util.registry import unknown_name
from lifealign_bench.util.text import DASH, clean, known, number

app = typer.Typer()


@app.command()
def summary(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, or records.")],
    full: options.Full = False,
    as_json: options.AsJson = False,
) -> None:
    """Show the results of finished runs again, several side by side; with --full every table."""
    console = results_console()
    views = [RunView.open(path) for path in runs]
    say_doubts(views)
    if as_json:
        content = [{"directory": str(path), **run_summary(view)} for path, view in zip(runs, views, strict=True)]
        echo_json(content)
    elif not full:
        show_summary(console, views, runs)
    elif len(views) == 1:
        render_run(console, views[0])
    else:
        render_comparison(console, views)


@app.command("inspect")
def inspect_command(
    run: Annotated[Path, typer.Argument(help="The folder of a run, or a record.")],
    task: Annotated[
        str | None, options.text_option("--task", help="Show this task's test pairs one by one.", panel="Options")
    ] = None,
    stage: Annotated[
        list[int] | None, typer.Option("--stage", help="Only after these stages; repeatable.", show_default=False)
    ] = None,
    pair: Annotated[
        list[str] | None, typer.Option("--pair", help="Only these pairs, by id or number.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(help="Show this many pairs; 0: all.", min=0)] = 5,
    order: Annotated[str, typer.Option(help="moved: those that lost most first; file: as they stand.")] = "moved",
    rollouts: Annotated[
        bool, typer.Option("--rollouts", help="With --task: what was sampled in training, and its reward.")
    ] = False,
    data_dir: options.DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --task: as one JSON document.")] = False,
) -> None:
    """Show what a mean hides: pairs that changed sides, and pairs and responses through the stages."""
    inspect_run(
        results_console(),
        run,
        task=task,
        stages=tuple(stage or ()),
        pairs=tuple(pair or ()),
        limit=limit,
        order=order,
        data_dir=data_dir,
        as_json=as_json,
        rollouts=rollouts,
    )


_LONGEST = 700  # characters of a text that are shown


def inspect_run(
    console: Console,
    path: Path,
    *,
    task: str | None,
    stages: Sequence[int],
    pairs: Sequence[str],
    limit: int,
    order: str,
    data_dir: Path | None,
    as_json: bool,
    rollouts: bool = False,
) -> None:
    """Print what moved in a run, or with ``task`` its pairs one by one; with ``rollouts`` what was sampled for them.

    Raises:
        UsageError: no such task, stage, pair or order.
        BenchError: there is no run.
    """
    view = RunView.open(path)
    say_doubts([view])
    if task is None:
        if stages or pairs or rollouts:
            raise UsageError("--stage, --pair and --rollouts are of one task.", "Name it with --task.")
        _show_movement(console, view)
        return
    if rollouts:
        _show_rollouts(console, view, task, stages, pairs, limit, data_dir, as_json)
        return
    found = histories(view, task, data_dir, stage_responses(view))
    shown = [row.stage for row in view.rows if not stages or row.stage in stages]
    missing = [s for s in stages if s not in shown]
    if missing:
        raise UsageError(f"The run has no stage {missing[0]}.", f"It has {', '.join(str(r.stage) for r in view.rows)}.")
    found = _select(view, task, found, pairs, order)[: None if limit == 0 else limit]
    if as_json:
        echo_json([asdict(h) | {"margins": {s: known(margin) for s, margin in h.margins.items()}} for h in found])
        return
    for history in found:
        _show(console, view, history, shown)


def _show_movement(console: Console, view: RunView) -> None:
    grids = [
        *(movement_grid(view), quartile_grid(view), noise_grid(view)),
        response_grid(view, stage_responses(view)),
        rollout_grid(view, stage_rollouts(view)),
    ]
    if all(grid is None for grid in grids):
        raise BenchError(
            f"There is nothing per pair beside {view.directory}.",
            "Name the folder of a finished run, or a published record with its scores file.",
        )
    for grid in grids:
        if grid is not None:
            show_grid(console, grid)


def _select(view: RunView, task: str, found: list[PairHistory], pairs: Sequence[str], order: str) -> list[PairHistory]:
    if pairs:
        by_id = {h.pair_id: h for h in found} | {h.pair_id.rpartition("/")[2]: h for h in found}
        unknown = [p for p in pairs if p not in by_id]
        if unknown:
            raise UsageError(
                f"The run has no test pair {unknown[0]!r} of {task}.",
                f"Its pairs are called like {found[0].pair_id!r}.",
            )
        return [by_id[p] for p in pairs]
    if order == "file":
        return found
    if order != "moved":
        raise unknown_name("order", order, ("moved", "file"))
    own = next((row.stage for row in view.rows if task in row.tasks), 0)
    last = view.rows[-1].stage
    return sorted(found, key=lambda h: h.margins.get(last, 0.0) - h.margins.get(own, 0.0))


def _show(console: Console, view: RunView, history: PairHistory, stages: Sequence[int]) -> None:
    console.print(Text(clean(history.pair_id), style="bold"))
    for name, text in (("prompt", history.prompt), ("chosen", history.chosen), ("rejected", history.rejected)):
        if text:
            console.print(Text.assemble((f"{name}: ", "dim"), shown_text(text)))
    if not history.prompt:
        console.print(Text("The texts are not available (--data-dir).", style="dim"))
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("after stage", no_wrap=True)
    table.add_column("margin", justify="right", no_wrap=True)
    table.add_column("response", overflow="fold")
    for row in view.rows:
        if row.stage in stages:
            margin = history.margins.get(row.stage)
            style = "green" if (margin or 0) > 0 else "red" if (margin or 0) < 0 else ""
            response = history.responses.get(row.stage)
            table.add_row(
                Text(clean(row.label)),
                Text(number(margin, 2), style=style),
                Text(DASH, style="dim") if response is None else shown_text(response or "(empty)"),
            )
    console.print(table)
    console.print()


def _show_rollouts(
    console: Console,
    view: RunView,
    task: str,
    stages: Sequence[int],
    pairs: Sequence[str],
    limit: int,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """The responses that were sampled for the training pairs of a task, in the order of their time."""
    if task not in view.tasks:
        raise unknown_name("task of this run", task, view.tasks)
    found: dict[tuple[int, str], list[Rollout]] = {}
    for stage, said in stage_rollouts(view).items():
        for one in said:
            own = one.pair_id.partition("/")[0] == task and (not stages or stage in stages)
            if own and (not pairs or {one.pair_id, one.pair_id.rpartition("/")[2]} & set(pairs)):
                found.setdefault((stage, one.group), []).append(one)
    if not found:
        raise BenchError(
            f"Nothing that was sampled in training for {task} is beside {view.directory}.",
            "Name the folder of a run whose method samples, and a task, stage and pair that it was trained on.",
        )
    shown = list(found.items())[: None if limit == 0 else limit]
    if as_json:
        echo_json([{"stage": stage, **asdict(one)} for (stage, _), group in shown for one in group])
        return
    texts = pair_texts(task, data_dir, "train")
    for (stage, _), group in shown:
        first = group[0]
        place = f"stage {stage}, {first.phase} phase, step {first.step}"
        console.print(Text.assemble((clean(first.pair_id), "bold"), (f"  {place}", "dim")))
        pair = texts.get(first.pair_id)
        if pair is not None:
            prompt = "\n".join(f"{turn.role}: {turn.content}" for turn in pair.prompt)
            console.print(Text.assemble(("prompt: ", "dim"), shown_text(prompt)))
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("reward", justify="right", no_wrap=True)
        table.add_column("tokens", justify="right", no_wrap=True)
        table.add_column("response", overflow="fold")
        for one in group:
            size = f"{len(one.tokens)}{'' if one.ended else ', cut'}"
            table.add_row(number(one.reward, 3), size, shown_text(one.text or "(empty)"))
        console.print(table)
        console.print()


def shown_text(text: str) -> Text:
    """Text of a model or of data: plain, without escape sequences, not endless."""
    cut = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return Text("\n".join(clean(line) for line in cut.split("\n")))
