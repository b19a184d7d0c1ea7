"""``lifealign-bench list``: what there is, without importing anything heavy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from lifealign_bench.cards import load_stream, load_task, stream_names, task_names
from lifealign_bench.grid import Grid, show_grid
from lifealign_bench.methods import find_variant, method_names, method_summary, variant_names
from lifealign_bench.presets import SUMMARIES
from lifealign_bench.sources import missing
from lifealign_bench.util.registry import unknown_name

__all__ = ["KINDS", "show_lists"]


def show_lists(console: Console, what: str | None, data_dir: Path | None) -> None:
    """Print one list, or all.

    Raises:
        UsageError: no such list.
        BenchError: a registered card is broken.
    """
    if what is not None and what not in KINDS:
        plural = next((kind for kind in KINDS if kind in (f"{what}s", f"{what.removesuffix('y')}ies")), None)
        if plural is None:
            raise unknown_name("list", what, KINDS)
        what = plural
    for kind, grid in KINDS.items():
        if what in (None, kind):
            show_grid(console, grid(data_dir))


def _methods(data_dir: Path | None) -> Grid:
    variants = [(name, found.of) for name in variant_names() if (found := find_variant(name)) is not None]
    rows = []
    for name in method_names():
        rows.append((name, _summary(name)))
        rows += [(variant, f"variant: {_summary(variant)}") for variant, of in variants if of == name]
    notes = (
        "A file of your own: --method path/to/mine.py. --method all is every method without the variants, "
        "--method ablations all variants.",
    )
    return Grid("Methods", ("name", "what it is"), tuple(rows), notes, prose=(1,))


def _summary(name: str) -> str:
    try:
        return method_summary(name)
    except (OSError, SyntaxError, ValueError) as error:
        return f"(its file cannot be read: {error})"


def _streams(data_dir: Path | None) -> Grid:
    rows = []
    for name in stream_names():
        stream = load_stream(name)
        rows.append((name, stream.title, ", ".join(stream.tasks)))
    notes = ("A list of tasks is a stream too: --stream TruthfulQA,safe-rlhf. For tests: --model fake --stream fake.",)
    return Grid("Streams", ("name", "title", "tasks"), tuple(rows), notes, prose=(1, 2))


def _tasks(data_dir: Path | None) -> Grid:
    rows = []
    for name in task_names():
        card = load_task(name)
        at_hand = "yes" if missing(card.source, card.home, data_dir, card.word) is None else "no"
        rows.append((name, card.title, card.kind, card.reward or "", at_hand))
    notes = ("Data: whether it is at hand here; show NAME says why not, data fetch NAME gets the paper's.",)
    return Grid("Tasks", ("name", "title", "kind", "reward", "data"), tuple(rows), notes, prose=(1, 2))


def _scorers(data_dir: Path | None) -> Grid:
    from lifealign_bench.scorers import SCORERS

    rows: list[tuple[str, ...]] = []
    for name in SCORERS.names():
        scorer = SCORERS.get(name)
        rows.append((name, "", scorer.summary))
        rows += [("", info.name, info.summary) for info in scorer.scores]
    return Grid("Scorers and their scores", ("scorer", "score", "what it measures"), tuple(rows), prose=(2,))


def _metrics(data_dir: Path | None) -> Grid:
    from lifealign_bench.metrics import METRICS

    rows = tuple(
        (info.label, name, info.meaning + ("" if info.higher_is_better else " Lower is better."))
        for name, info in METRICS.items()
    )
    notes = ("R[k, j] is the score after stage k on task j; the formulas are in lifealign_bench/metrics.py.",)
    return Grid("Metrics of a score matrix", ("label", "name", "meaning"), rows, notes, prose=(2,))


def _presets(data_dir: Path | None) -> Grid:
    rows = tuple(SUMMARIES.items())
    return Grid("Presets", ("name", "what it is"), rows, ("show paper lists its settings.",), prose=(1,))


def _abilities(data_dir: Path | None) -> Grid:
    from lifealign_bench.abilities.names import BUILTIN, SETS

    rows: list[tuple[str, str]] = [(name, "a set: " + ", ".join(members)) for name, members in SETS.items()]
    rows += BUILTIN.items()
    notes = (
        "For --ability; builtin needs no network. It may also name any task of lm-eval, or a YAML task of yours by its "
        "path.",
    )
    return Grid("Tests of general ability", ("name", "what it is"), tuple(rows), notes, prose=(1,))


KINDS: dict[str, Callable[[Path | None], Grid]] = {
    "methods": _methods,
    "streams": _streams,
    "tasks": _tasks,
    "scorers": _scorers,
    "metrics": _metrics,
    "abilities": _abilities,
    "presets": _presets,
}
