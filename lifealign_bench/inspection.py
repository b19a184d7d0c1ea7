"""``lifealign-bench inspect``: pairs and generations of a run side by side through its stages."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lifealign_bench.cards import load_task
from lifealign_bench.data import load_split
from lifealign_bench.doubts import say_doubts
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.generations import StageResponses, read_all_responses
from lifealign_bench.grid import DASH, Grid, clean, number, show_grid
from lifealign_bench.movement import repetition
from lifealign_bench.movetables import movement_grid, quartile_grid
from lifealign_bench.pairs import Pair
from lifealign_bench.redaction import redact
from lifealign_bench.registry import unknown_name
from lifealign_bench.runview import RunView
from lifealign_bench.settings import register_fakes

__all__ = [
    "PairHistory",
    "histories",
    "inspect_run",
    "pair_texts",
    "response_grid",
    "shown_text",
    "stage_responses",
]

_LONGEST = 700  # characters of a text that are shown


@dataclass(frozen=True)
class PairHistory:
    """One test pair through the stages.

    Args:
        pair_id: see ``pairs``.
        prompt, chosen, rejected: their texts; empty where the data is not at hand.
        margins: stage to preference margin in nats.
        responses: stage to the generated response; empty where nothing was generated.
    """

    pair_id: str
    prompt: str
    chosen: str
    rejected: str
    margins: dict[int, float]
    responses: dict[int, str]


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
) -> None:
    """Print what moved in a run, or with ``task`` its pairs one by one.

    Raises:
        UsageError: no such task, stage, pair or order.
        BenchError: there is no run.
    """
    view = RunView.open(path)
    say_doubts([view])
    if task is None:
        if stages or pairs:
            raise UsageError("--stage and --pair are of one task.", "Name it with --task.")
        _show_movement(console, view)
        return
    found = histories(view, task, data_dir, stage_responses(view))
    shown = [row.stage for row in view.rows if not stages or row.stage in stages]
    missing = [s for s in stages if s not in shown]
    if missing:
        raise UsageError(f"The run has no stage {missing[0]}.", f"It has {', '.join(str(r.stage) for r in view.rows)}.")
    found = _select(view, task, found, pairs, order)[: None if limit == 0 else limit]
    if as_json:
        console.file.write(redact(json.dumps([asdict(h) for h in found], indent=2, ensure_ascii=False)) + "\n")
        return
    for history in found:
        _show(console, view, history, shown)


def stage_responses(view: RunView) -> StageResponses:
    """Everything that was generated in a run; empty for a published record.

    Raises:
        BenchError: a file is damaged.
    """
    if view.directory is None or view.published is not None:
        return {}
    return {row.stage: read_all_responses(view.directory / f"stage-{row.stage}") for row in view.rows}


def histories(view: RunView, task: str, data_dir: Path | None, said: StageResponses) -> list[PairHistory]:
    """All test pairs of a task, in the order of its file.

    Args:
        said: from :func:`stage_responses`.

    Raises:
        UsageError: the run has no such task.
        BenchError: neither scores nor generations of it are at hand.
    """
    if task not in view.tasks:
        raise unknown_name("task of this run", task, view.tasks)
    margins = _margins(view, task)
    responses = {row.stage: said.get(row.stage, {}).get(task, {}) for row in view.rows}
    ids = list(margins) or list(dict.fromkeys(i for by_id in responses.values() for i in by_id))
    if not ids:
        raise BenchError(
            f"There are no per-pair scores and no generations of {task} beside {view.directory}.",
            "Name the folder of a run, or a published record with its scores file.",
        )
    texts = pair_texts(task, data_dir)
    found = []
    for i in ids:
        pair = texts.get(i)
        own = {stage: by_id[i] for stage, by_id in responses.items() if i in by_id}
        prompt = "\n".join(f"{m.role}: {m.content}" for m in pair.prompt) if pair is not None else ""
        chosen, rejected = (pair.chosen, pair.rejected) if pair is not None else ("", "")
        found.append(PairHistory(i, prompt, chosen, rejected, margins.get(i, {}), own))
    return found


def response_grid(view: RunView, responses: StageResponses) -> Grid | None:
    """Length, emptiness and repetition of the responses after every stage; None where nothing was generated."""
    rows = []
    for task in view.tasks:
        first = math.nan
        for row in view.rows:
            said = list(responses.get(row.stage, {}).get(task, {}).values())
            if not said:
                continue
            words = float(np.mean([len(text.split()) for text in said]))
            first = words if math.isnan(first) else first
            repeated = [r for r in map(repetition, said) if not math.isnan(r)]
            rows.append(
                (
                    task,
                    row.label,
                    number(words),
                    number(words - first),
                    number(100 * float(np.mean([not text.strip() for text in said]))),
                    number(100 * float(np.mean(repeated))) if repeated else DASH,
                )
            )
    if not rows:
        return None
    return Grid(
        "Responses after every stage",
        ("task", "after stage", "words", "drift", "empty, %", "repeated, %"),
        tuple(rows),
        ("drift: words more than at first; repeated: share of a response's four-word runs that it has said before.",),
        labels=2,
    )


def _show_movement(console: Console, view: RunView) -> None:
    grids = [movement_grid(view), quartile_grid(view), response_grid(view, stage_responses(view))]
    if all(grid is None for grid in grids):
        raise BenchError(
            f"There is nothing per pair beside {view.directory}.",
            "Name the folder of a finished run, or a published record with its scores file.",
        )
    for grid in grids:
        if grid is not None:
            show_grid(console, grid)


def _margins(view: RunView, task: str) -> dict[str, dict[int, float]]:
    """Pair to stage to preference margin."""
    found: dict[str, dict[int, float]] = {}
    for row in view.rows:
        scores = view.stage_scores(row.row, task, "preference_margin")
        for pair_id, value in scores.items():
            found.setdefault(pair_id, {})[row.stage] = value
    return found


def pair_texts(task: str, data_dir: Path | None) -> Mapping[str, Pair]:
    """The task's test pairs by id; none where its card or data is not at hand, since the run itself holds no data."""
    register_fakes([task])
    try:
        pairs, _, _ = load_split(load_task(task), "test", data_dir=data_dir)
    except BenchError:
        return {}
    return {pair.id: pair for pair in pairs}


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
        console.print(Text("The texts are not at hand (--data-dir).", style="dim"))
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


def shown_text(text: str) -> Text:
    """Text of a model or of data: plain, without escape sequences, not endless."""
    cut = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return Text("\n".join(clean(line) for line in cut.split("\n")))
