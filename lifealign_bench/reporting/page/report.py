"""``lifealign-bench report``: runs -> one HTML page, and figures for a paper."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lifealign_bench.errors import BenchError
from lifealign_bench.reporting.page.content import Page
from lifealign_bench.reporting.page.document import render
from lifealign_bench.reporting.page.run import run_result, run_sections, run_title
from lifealign_bench.reporting.page.several import comparison_result, comparison_sections, leaderboard_sections
from lifealign_bench.results.finding import is_above_runs, record_files
from lifealign_bench.results.folder import record_file
from lifealign_bench.results.leaderboard import Apart, open_apart
from lifealign_bench.results.published import published_records
from lifealign_bench.results.runcheck import doubts_of
from lifealign_bench.results.single import Neighbours
from lifealign_bench.results.tuning import Tuning, read_tunings
from lifealign_bench.results.view import RunView
from lifealign_bench.util.files import refuse_foreign, write_text
from lifealign_bench.util.text import clean

# Generations in a page, in bytes: with everything else of one run it stays below 5 MB.
BUDGET = 3_000_000

# More runs than this get no section each.
FEW, MANY = 12, 24


@dataclass(frozen=True)
class ReportRequest:
    """What is to be written.

    Args:
        out: the page.
        figures: folder for figures as files, or None.
        title: of the page; None: what it is about.
        data_dir: where the texts of the paper's tasks are.
        force: overwrite files that no report wrote, and reports of other runs.
    """

    out: Path
    figures: Path | None = None
    title: str | None = None
    data_dir: Path | None = None
    force: bool = False


def write_page(paths: Sequence[Path], wish: ReportRequest) -> Page:
    """Make the page of what ``paths`` name and write it to ``wish.out``.

    Raises:
        UsageError: a file is there that no report wrote, or one of other runs.
        BenchError: there is no run, a file of one is broken, or the page cannot be written.
    """
    subject = _subject(paths, wish.out)
    refuse_foreign([wish.out], wish.force, subject)
    page = make_page(paths, wish)
    try:
        write_text(wish.out, render(page, subject))
    except OSError as error:
        raise BenchError(
            f"{wish.out} cannot be written: {error.strerror}.", "Choose another place with --out."
        ) from error
    return page


def usual_place(paths: Sequence[Path]) -> Path:
    """Where a report goes when nobody says it: beside the run, or in the folder above several, that is named alone; of
    anything else, and of published records, in the working folder."""
    name = Path("report.html")
    if len(paths) != 1:
        return name
    place = paths[0].expanduser()
    if place.is_file() and place == record_file(place.parent):
        place = place.parent
    return place / name if place.is_dir() and not published_records(place) else name


def _subject(paths: Sequence[Path], out: Path) -> str:
    """What a report is of, as a mark in its page: the same while page and runs move together."""
    beside = out.expanduser().absolute().parent
    names = sorted({os.path.relpath(path.expanduser().absolute(), beside) for path in paths})
    return f"report-of-{hashlib.sha256(chr(10).join(names).encode()).hexdigest()[:16]}"


def make_page(paths: Sequence[Path], wish: ReportRequest) -> Page:
    """The page of what ``paths`` name: a run's, a comparison's, or a leaderboard's.

    Args:
        doubted: is told where a run is not what its files give, of which the page says the first.

    Raises:
        BenchError: there is no run, or a file of one is broken.
    """
    views, broken = find_runs(paths)
    if not views:
        reasons = "; ".join(f"{apart.place}: {apart.reason}" for apart in broken[:3])
        more = f" (and {len(broken) - 3} more)" if len(broken) > 3 else ""
        raise BenchError(f"No record there can be read: {reasons}{more}.", "lifealign-bench verify tells more.")
    if len(views) == 1 and not broken:
        (view,) = views
        when = view.record.finished[:10]
        subtitle = f"{view.group[1]}, {len(view.tasks)} tasks, status {view.record.status}, finished {when}"
        doubts = doubts_of(views)
        sections = run_sections(view, "", wish.data_dir, BUDGET)
        title = wish.title or run_title(view)
        subtitle += _doubted(doubts)
        return Page(title, subtitle, "report of a run", tuple(sections), tuple(doubts), (run_result(view),))
    methods = len({view.name for view in views})
    groups = len({view.group for view in views})
    subtitle = (
        f"{len(views)} runs of {methods} methods in {groups} {'group' if groups == 1 else 'groups'} of stream and model"
    )
    if broken:
        subtitle += f"; {len(broken)} {'record' if len(broken) == 1 else 'records'} cannot be read"
    if _is_leaderboard(paths, views):
        title = wish.title or "Leaderboard"
        tunings, unread = _tunings(paths)
        sections, result = leaderboard_sections(views, [*broken, *unread], tunings)
        return Page(title, subtitle, "leaderboard", tuple(sections), result=result)
    doubts = doubts_of(views)
    title = wish.title or f"{views[0].group[0]}: {', '.join(dict.fromkeys(view.name for view in views))}"
    sections = comparison_sections(views, wish.data_dir, BUDGET, broken)
    subtitle += _doubted(doubts)
    return Page(title, subtitle, "comparison", tuple(sections), tuple(doubts), comparison_result(views))


def _doubted(doubts: Sequence[str]) -> str:
    """What the page says below its title of runs that are not what their files give."""
    more = f" (and {len(doubts) - 1} more)" if len(doubts) > 1 else ""
    return f"; not what its files give: {clean(doubts[0])}{more}" if doubts else ""


def _tunings(paths: Sequence[Path]) -> tuple[list[Tuning], list[Apart]]:
    """The tables of tuned settings in the folders that are named, and those that cannot be read."""
    found: list[Tuning] = []
    broken: list[Apart] = []
    for path in paths:
        if path.is_dir():
            tunings, unread = read_tunings(path.expanduser())
            found += tunings
            broken += [Apart(place, "", reason) for place, reason in unread.items()]
    return found, broken


def _is_leaderboard(paths: Sequence[Path], views: Sequence[RunView]) -> bool:
    """Runs that were named one by one are compared, unless they are very many; so are a few in a folder, unless they
    are published records, as in ``results/``."""
    if len(paths) == len(views) and not any(is_above_runs(path.expanduser()) for path in paths):
        return len(views) > MANY
    return len(views) > FEW or all(view.published is not None for view in views)


def find_runs(paths: Sequence[Path]) -> tuple[list[RunView], list[Apart]]:
    """The runs that are named: folders of runs, records, and everything below other folders; each once. Of those that
    were found below a folder, the ones that cannot be read, apart: a record that was named has to be one.

    Raises:
        BenchError: there is none, or a record that was named is broken.
    """
    views: list[RunView] = []
    broken: list[Apart] = []
    neighbours = Neighbours()
    for file, above in record_files(paths).items():
        if above is None:
            views.append(RunView.open(file, neighbours))
            continue
        run = open_apart(file, file.relative_to(above).as_posix(), neighbours)
        if isinstance(run, Apart):
            broken.append(run)
        else:
            views.append(run)
    return views, broken
