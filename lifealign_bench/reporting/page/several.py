"""Several runs as sections of a page: a comparison of a few, or the leaderboard of many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lifealign_bench.reporting.figures.figure import Bar, Figure
from lifealign_bench.reporting.figures.run import slug
from lifealign_bench.reporting.figures.several import board_figures, group_figures, order_figures, seeds_note
from lifealign_bench.reporting.page.content import (
    Block,
    Browser,
    Gallery,
    Prose,
    Section,
    SideBySide,
    Table,
    walk,
)
from lifealign_bench.reporting.page.run import run_sections, run_title
from lifealign_bench.reporting.tables.comparison import comparison_grids, difference_grids
from lifealign_bench.reporting.tables.grid import Grid
from lifealign_bench.reporting.tables.leaderboard import board_grids, broken_grid
from lifealign_bench.reporting.tables.tuning import tuning_grids
from lifealign_bench.results.budgets import budget_of
from lifealign_bench.results.checks import metric_problems, whole_problems
from lifealign_bench.results.comparison import ranking_score, seconds_of
from lifealign_bench.results.leaderboard import METRIC, Apart, Board, make_boards
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.tuning import Tuning
from lifealign_bench.results.view import RunView, score_title
from lifealign_bench.util.text import DASH, clean, duration, number

Group = tuple[str, str]
_GROUPS_DRAWN = 6


def comparison_sections(
    views: Sequence[RunView], data_dir: Path | None, budget: int, broken: Sequence[Apart] = ()
) -> list[Section]:
    """A table and figures for each stream and model, the orders, and every run by itself, folded.

    Args:
        broken: records that cannot be read.

    Raises:
        BenchError: a file of generations is damaged.
    """
    sections = [_group_section(i, group, own) for i, (group, own) in enumerate(_groups(views).items(), start=1)]
    runs = []
    for i, view in enumerate(views, start=1):
        parts = run_sections(view, f"run-{i}-", data_dir, budget // len(views), beside=True)
        title = f"{run_title(view)}, {view.group[1]}{'' if view.complete else f' ({view.record.status})'}"
        runs.append(Section(f"run-{i}", title, tuple(parts), folded=True))
    return [*sections, *_order_section(views), *_sides_section(runs), *runs, *_broken_section(broken)]


def _sides_section(runs: Sequence[Section]) -> list[Section]:
    """Responses of two runs beside each other; nothing where fewer have any."""
    found = [(clean(run.title), block.id) for run in runs for block in walk(run.blocks) if isinstance(block, Browser)]
    block = SideBySide("side-by-side", tuple(found))
    return [Section("sides", "Two runs' responses side by side", (block,))] if len(found) > 1 else []


def comparison_result(views: Sequence[RunView]) -> tuple[str, ...]:
    """A sentence for each stream and model with two methods or more: who ends highest and lowest."""
    found = []
    for (stream, model), own in _groups(views).items():
        score = ranking_score(own)
        ends: dict[str, list[float]] = {}
        for view in own:
            if math.isfinite(value := view.metric(score, METRIC)):
                ends.setdefault(view.name, []).append(value)
        means = sorted(((sum(values) / len(values), name) for name, values in ends.items()), reverse=True)
        if len(means) > 1:
            (best, first), (worst, last) = means[0], means[-1]
            told = f"{first} ends highest, {number(best)}, and {last} lowest, {number(worst)}"
            told = told if best > worst else f"all end at {number(best)}"
            found.append(
                f"{stream} on {model}: of {len(means)} methods, {told} (mean {score_title(score)} over all tasks)."
            )
    return tuple(found)


def table_sections(grids: Sequence[Grid]) -> tuple[Section, ...]:
    """Tables alone, each as a section."""
    tables = [Table(f"table-{i}", grid, search=True) for i, grid in enumerate(grids, start=1)]
    return tuple(Section(f"part-{table.id}", table.grid.title, (table,)) for table in tables)


def leaderboard_sections(
    views: Sequence[RunView], broken: Sequence[Apart] = (), tunings: Sequence[Tuning] = ()
) -> tuple[list[Section], tuple[str, ...]]:
    """The leaderboard of every stream and model, with the figures of the largest; the orders; how settings
    were chosen; all records. And what each board says, in words.

    Args:
        broken: records that cannot be read.
        tunings: the tables of tuned settings beside the records.

    Raises:
        BenchError: the same seed of a method twice.
    """
    # What contradicts itself is told among what has no rank; a figure would draw it as if it held.
    sound = [view for view in views if not (whole_problems(view.record) or metric_problems(view.record))]
    groups = _groups(sound)
    largest = sorted(groups, key=lambda group: -len(groups[group]))[:_GROUPS_DRAWN]
    sections: list[Section] = []
    result: list[str] = []
    for i, board in enumerate(make_boards(views), start=1):
        group = (board.stream, board.model)
        main = (METRICS[board.metric].label, "forgetting", "win rate", "accuracy")
        grids = board_grids(board)
        ranking, *others = [
            Table(f"table-{i}-{k}", _below(grid, board.name), search=k == 1, main=main if k == 1 else (), folded=k > 1)
            for k, grid in enumerate(grids, start=1)
        ]
        gallery: list[Block] = []
        if group in largest:
            names = [entry.method for entry in board.entries]
            own = [view for view in groups[group] if budget_of(view.record.config) == board.budget]
            figures = [*board_figures(board), *group_figures(own, board.score, names)]
            gallery = _gallery(i, figures, own, board.score)
            result += _board_result(board, grids[0].lead)
        sections.append(Section(f"group-{i}", board.name, (ranking, *gallery, *others)))
    if len(largest) < len(groups):
        text = f"Figures are of the {len(largest)} groups with most runs; report a group's folder for its own."
        sections.insert(0, Section("about", "About", (Prose(text),)))
    records = Table("table-records", _records(views), (1, 2, 0, 4), search=True, main=("seed", "status", "last"))
    sections += [
        *_order_section(sound),
        *_tuning_section(tunings),
        Section("records", f"All {len(views)} records", (records,), folded=True),
        *_broken_section(broken),
    ]
    return sections, tuple(result)


def _board_result(board: Board, lead: str) -> list[str]:
    """Who has the best mean, and how much of an order the board shows; nothing where there is no method."""
    best = next((entry for entry in board.entries if not entry.bound), None)
    if best is None:
        return []
    found = best.estimates[board.metric]
    value = Bar(found.value, found.low, found.high).said(1 if board.unit == "percent" else 2)
    unit = f" {board.unit}" if board.unit else ""
    name = f"{board.stream} on {board.model}"
    at = " at the end" if board.metric == METRIC else f", {METRICS[board.metric].label}"
    return [f"{name}: {best.method} has the best mean {score_title(board.score)}{at}, {value}{unit}. {lead}"]


def _tuning_section(tunings: Sequence[Tuning]) -> list[Section]:
    """How each method's settings were chosen; nothing where that is not told."""
    grids = [grid for tuning in tunings for grid in tuning_grids(tuning)]
    tables = [Table(f"table-tuning-{i}", grid) for i, grid in enumerate(grids, start=1)]
    return [Section("tuning", "How settings were chosen", tuple(tables), folded=True)] if tables else []


def _broken_section(broken: Sequence[Apart]) -> list[Section]:
    """The records that cannot be read, as the leaderboard lists them; nothing where there are none."""
    if not broken:
        return []
    return [Section("broken", "Records that cannot be read", (Table("table-broken", broken_grid(broken)),))]


def _groups(views: Sequence[RunView]) -> dict[Group, list[RunView]]:
    found: dict[Group, list[RunView]] = {}
    for view in views:
        found.setdefault(view.group, []).append(view)
    return found


def _group_section(index: int, group: Group, views: Sequence[RunView]) -> Section:
    """The comparison of one stream and model; ids hold the group's number."""
    name = " on ".join(group)
    blocks: list[Block] = [
        Table(f"table-{index}-methods", _below(grid, name), search=True) for grid in comparison_grids(views)
    ]
    blocks += [Table(f"table-{index}-differences", _below(grid, name)) for grid in difference_grids(views)]
    scores = list(dict.fromkeys(score for view in views for score in view.main_scores()))
    for place, score in enumerate(scores):
        gallery = _gallery(index, group_figures(views, score), views, score)
        # The first is what runs are compared by; the others are there for whoever asks.
        folded = Section(f"group-{index}-{slug(score)}", f"Figures of the {score_title(score)}", tuple(gallery), True)
        blocks += [folded] if place and gallery else gallery
    return Section(f"group-{index}", name, tuple(blocks))


def _below(grid: Grid, name: str) -> Grid:
    """``grid`` without what is said above it: the group's name and the result."""
    title = grid.title.replace(f"{name}: ", "").replace(f": {name}", "")
    title = "Runs and their means" if title == name else title
    return replace(grid, title=title[:1].upper() + title[1:], lead="")


def _gallery(index: int, figures: Sequence[Figure], views: Sequence[RunView], score: str) -> list[Block]:
    """The figures of a group's runs with what holds of all of them; nothing where there are none."""
    named = tuple(replace(figure, id=f"group-{index}-{figure.id}") for figure in figures)
    return [Gallery(named, seeds_note(views, score))] if named else []


def _order_section(views: Sequence[RunView]) -> list[Section]:
    """What the order of the tasks does; nothing where no method ran in two orders."""
    scores = list(dict.fromkeys(score for view in views for score in view.main_scores()))
    figures = tuple(figure for score in scores for figure in order_figures(views, score))
    return [Section("orders", "Order sensitivity", (Gallery(figures),))] if figures else []


def _records(views: Sequence[RunView]) -> Grid:
    lines = []
    for view in views:
        cells = [number(view.metric("preference_accuracy", name)) for name in METRICS]
        git = view.record.git
        commit = str(git.get("commit") or DASH)[:8] + (" (changed)" if git.get("dirty") else "")
        stream, model = view.group
        when = view.record.finished[:10]
        lines.append(
            (
                view.name,
                stream,
                model,
                str(view.seed),
                view.record.status,
                *cells,
                duration(seconds_of(view)),
                when,
                commit,
            )
        )
    heads = ("method", "stream", "model", "seed", "status", *(info.label for info in METRICS.values()))
    notes = ("AP to intransigence: of the preference accuracy, percent.",)
    return Grid("Records", (*heads, "time", "finished", "commit"), tuple(lines), notes, labels=3, legend=False)
