"""Several runs as sections of a page: a comparison of a few, or the leaderboard of many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lifealign_bench.reporting.figures.figure import Figure
from lifealign_bench.reporting.figures.several import difference_figure, group_figures, order_figures
from lifealign_bench.reporting.page.content import Block, Picture, Prose, Section, Table
from lifealign_bench.reporting.page.run import run_sections, run_title
from lifealign_bench.reporting.tables.comparison import comparison_grids, difference_grids
from lifealign_bench.reporting.tables.grid import Grid
from lifealign_bench.reporting.tables.leaderboard import board_grids, broken_grid
from lifealign_bench.reporting.tables.tuning import tuning_grids
from lifealign_bench.results.budgets import budget_of
from lifealign_bench.results.checks import metric_problems, whole_problems
from lifealign_bench.results.comparison import seconds_of
from lifealign_bench.results.leaderboard import SCORE, Apart, make_boards
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.tuning import Tuning
from lifealign_bench.results.view import RunView
from lifealign_bench.util.text import DASH, duration, number

__all__ = ["comparison_sections", "leaderboard_sections"]

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
    sections.append(_order_section(views))
    for i, view in enumerate(views, start=1):
        parts = run_sections(view, f"run-{i}-", data_dir, budget // len(views))
        title = f"{run_title(view)}, {view.group[1]}{'' if view.complete else f' ({view.record.status})'}"
        sections.append(Section(f"run-{i}", title, tuple(parts), folded=True))
    return [*sections, *_broken_section(broken)]


def leaderboard_sections(
    views: Sequence[RunView], broken: Sequence[Apart] = (), tunings: Sequence[Tuning] = ()
) -> list[Section]:
    """The leaderboard of every stream and model, with the figures of the largest; the orders; how settings
    were chosen; all records.

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
    scores = list(dict.fromkeys(score for view in sound for score in view.main_scores()))
    sections = []
    for i, board in enumerate(make_boards(views, scores[0] if scores else SCORE), start=1):
        group = (board.stream, board.model)
        blocks: list[Block] = [
            Table(f"table-{i}-{k}", _below(grid, board.name)) for k, grid in enumerate(board_grids(board), start=1)
        ]
        if group in largest:
            difference = difference_figure(board)
            blocks += [_picture(i, difference)] if difference is not None else []
            own = [view for view in groups[group] if budget_of(view.record.config) == board.budget]
            blocks += _pictures(i, own, [board.score])
        sections.append(Section(f"group-{i}", board.name, tuple(blocks)))
    if len(largest) < len(groups):
        text = f"Figures are of the {len(largest)} groups with most runs; report a group's folder for its own."
        sections.insert(0, Section("about", "About", (Prose(text),)))
    records = Table("table-records", _records(views), (1, 2, 0, 4))
    return [
        *sections,
        _order_section(sound),
        *_tuning_section(tunings),
        Section("records", f"All {len(views)} records", (records,)),
        *_broken_section(broken),
    ]


def _tuning_section(tunings: Sequence[Tuning]) -> list[Section]:
    """How each method's settings were chosen; nothing where that is not told."""
    grids = [grid for tuning in tunings for grid in tuning_grids(tuning)]
    tables = [Table(f"table-tuning-{i}", grid) for i, grid in enumerate(grids, start=1)]
    return [Section("tuning", "How settings were chosen", tuple(tables))] if tables else []


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
    blocks: list[Block] = [Table(f"table-{index}-methods", _below(grid, name)) for grid in comparison_grids(views)]
    blocks += [Table(f"table-{index}-differences", _below(grid, name)) for grid in difference_grids(views)]
    scores = list(dict.fromkeys(score for view in views for score in view.main_scores()))
    return Section(f"group-{index}", name, (*blocks, *_pictures(index, views, scores)))


def _below(grid: Grid, name: str) -> Grid:
    """``grid`` without the group's name, which the heading above it says."""
    title = grid.title.replace(f"{name}: ", "").replace(f": {name}", "")
    title = "Runs and their means" if title == name else title
    return replace(grid, title=title[:1].upper() + title[1:])


def _pictures(index: int, views: Sequence[RunView], scores: Sequence[str]) -> list[Block]:
    return [_picture(index, figure) for score in scores for figure in group_figures(views, score)]


def _picture(index: int, figure: Figure) -> Picture:
    return Picture(replace(figure, id=f"group-{index}-{figure.id}"))


def _order_section(views: Sequence[RunView]) -> Section:
    scores = list(dict.fromkeys(score for view in views for score in view.main_scores()))
    blocks: list[Block] = [Picture(figure) for score in scores for figure in order_figures(views, score)]
    if not blocks:
        blocks = [
            Prose(
                "How much the order of the tasks matters needs complete runs of one method, with the same settings, in "
                "two orders of the same tasks; there are none among these runs."
            )
        ]
    return Section("orders", "Order sensitivity", tuple(blocks))


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
