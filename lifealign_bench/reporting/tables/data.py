"""Fetched, verified and measured data as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lifealign_bench.data.fetch import Fetched
from lifealign_bench.data.stats import PARTS, Percentiles, TaskStats
from lifealign_bench.data.verify import FileCheck
from lifealign_bench.reporting.tables.grid import Grid
from lifealign_bench.util.text import DASH, file_size, number


def fetch_grid(results: Sequence[Fetched]) -> Grid:
    """What became of every file."""
    rows = [
        (r.wanted.card.name, r.wanted.split, r.state, file_size(r.bytes) if r.bytes else DASH, _short(r.path))
        for r in results
    ]
    return _files(rows, [r.path for r in results])


def verify_grid(checks: Sequence[FileCheck]) -> Grid:
    """Every file against its card."""
    paths = [Path(check.path) if check.path else None for check in checks]
    rows = [
        (c.task, c.split, c.state, file_size(c.bytes) if c.bytes else DASH, _short(path))
        for c, path in zip(checks, paths, strict=True)
    ]
    return _files(rows, [path for path in paths if path is not None])


def _files(rows: Sequence[tuple[str, ...]], paths: Sequence[Path]) -> Grid:
    """Files with the last two parts of their paths; the folders before them are told once, below."""
    counts = Counter(row[2] for row in rows)
    notes = (
        ", ".join(f"{count} {state}" for state, count in counts.items()) + ".",
        *(f"Folder: {folder}" for folder in dict.fromkeys(path.parent.parent for path in paths)),
    )
    return Grid("Data files", ("task", "split", "state", "size", "file"), tuple(rows), notes, prose=(4,))


def _short(path: Path | None) -> str:
    return f"{path.parent.name}/{path.name}" if path is not None else DASH


def stats_grids(tasks: Sequence[TaskStats], overlap: dict[str, dict[str, int]], model: str | None) -> list[Grid]:
    """Pairs; tokens, or characters where no model's tokens were counted; script; overlap."""
    if model is not None:
        title = "Tokens"
        note = (
            f"As {model} reads them: the prompt in the chat template, with the system message that the template may "
            "add; a response with its end of turn. Pair: the prompt and the longer response, which is what the cut-off "
            "(max_length) is held against."
        )
    else:
        title, note = (
            "Characters",
            "Of the texts alone, without a chat template. Pair: the prompt and the longer response.",
        )
    grids = [_pairs(tasks), _lengths(tasks, title, note)]
    return [*grids, _script(tasks), *_overlap(overlap)]


def _pairs(tasks: Sequence[TaskStats]) -> Grid:
    reasons = list(dict.fromkeys(what for t in tasks for s in t.splits.values() for what in s.report.dropped))
    counted = ("rows", "pairs", "repeated prompts", "most turns", "% chosen shorter")
    heads = ("task", "split", *counted, *(f"dropped: {reason}" for reason in reasons))
    rows = tuple(
        (
            task.card.name,
            split,
            number(stats.report.read, 0),
            number(stats.report.kept, 0),
            number(stats.repeated_prompts, 0),
            number(stats.turns, 0),
            number(stats.shorter_chosen, 1),
            *(number(stats.report.dropped.get(reason, 0), 0) for reason in reasons),
        )
        for task in tasks
        for split, stats in task.splits.items()
    )
    notes = (
        "Pairs: what cleaning kept; everything below is about these. Repeated prompts: pairs whose prompt an earlier "
        "pair of the split has.",
        "% chosen shorter: what a rule would score that takes the shorter response (in characters; equal ones count "
        "half) without reading it, and 100 less that for the longer one. A model that scores no more may know no more.",
    )
    return Grid("Pairs", heads, rows, notes, labels=2)


def _lengths(tasks: Sequence[TaskStats], title: str, note: str) -> Grid:
    rows = []
    for task in tasks:
        for split, stats in task.splits.items():
            spreads = stats.tokens if title == "Tokens" else stats.characters
            rows += [(task.card.name, split, part, *_numbers(spreads[part])) for part in PARTS if spreads is not None]
    heads = ("task", "split", "part", "5 %", "50 %", "95 %", "most", "total")
    return Grid(title, heads, tuple(rows), (note,), labels=3)


def _numbers(spread: Percentiles) -> tuple[str, ...]:
    return tuple(number(value, 0) for value in (spread.p5, spread.p50, spread.p95, spread.max, spread.total))


def _script(tasks: Sequence[TaskStats]) -> Grid:
    rows = []
    for task in tasks:
        for split, stats in task.splits.items():
            script = stats.script
            beyond, foreign = _share(script.beyond_ascii, script.characters), _share(script.not_latin, script.letters)
            rows.append((task.card.name, split, task.card.language, beyond, foreign, number(script.pairs_not_latin, 0)))
    heads = ("task", "split", "card says", "% not ASCII", "% letters not Latin", "pairs not Latin")
    notes = (
        "No language is detected: these are shares of characters beyond ASCII (accents, dashes, emoji too), of letters "
        "of another script than Latin, and the pairs with more than half of such letters.",
    )
    return Grid("Language", heads, tuple(rows), notes, labels=2)


def _share(part: int, whole: int) -> str:
    return number(100 * part / whole, 2) if whole else DASH


def _overlap(overlap: dict[str, dict[str, int]]) -> list[Grid]:
    names = list(overlap)
    rows = tuple((name, *(number(overlap[name][other], 0) for other in names)) for name in names)
    notes = (
        "Test pairs of the task on the left whose prompt, after cleaning, is word for word a training prompt of the "
        "task above.",
    )
    return [Grid("Test prompts among training prompts", ("test of", *names), rows, notes)]
