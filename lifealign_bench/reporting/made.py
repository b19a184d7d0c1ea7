"""What is made from the published records: LEADERBOARD.md and report.html beside them, and the README's tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lifealign_bench.errors import BenchError
from lifealign_bench.reporting.page.document import render
from lifealign_bench.reporting.page.report import ReportRequest, make_page
from lifealign_bench.reporting.tables.grid import to_markdown
from lifealign_bench.reporting.tables.leaderboard import board_grids, broken_grid, short_rank_grid
from lifealign_bench.reporting.tables.run import matrix_grid
from lifealign_bench.reporting.tables.tuning import tuning_grids
from lifealign_bench.results.budgets import budget_of
from lifealign_bench.results.leaderboard import Apart, Board, make_boards, open_published
from lifealign_bench.results.tuning import Tuning, read_tunings
from lifealign_bench.results.view import SCORE, RunView
from lifealign_bench.util.files import read_regular, write_text

PAGE = "LEADERBOARD.md"
REPORT = "report.html"
BEGIN = "<!-- made by lifealign-bench leaderboard --write from results/ -->"
END = "<!-- end of what is made -->"
# What the README shows: the matrix that `make demo` ends with, and the board of the embedded default.
_STREAM, _MODEL = "forms", "smollm2-135m"
_MOST_BYTES = 256 << 20  # of a page; what is larger is not one of ours
_MATRIX = ("lifealign", 0, "reward")


def leaderboard_markdown(boards: Sequence[Board], broken: Sequence[Apart], tunings: Sequence[Tuning] = ()) -> str:
    """All boards as one page, and how settings were chosen."""
    grids = [grid for board in boards for grid in board_grids(board)] + ([broken_grid(broken)] if broken else [])
    grids += [grid for tuning in tunings for grid in tuning_grids(tuning)]
    head = (
        "# Leaderboard\n\nMade from the records in this folder by `lifealign-bench leaderboard --write`; "
        "`lifealign-bench verify results/` checks them. How it is ranked, and how to submit a run: "
        "[docs/leaderboard.md](../docs/leaderboard.md). With figures, as a page to download and open: "
        f"[{REPORT}]({REPORT}).\n"
    )
    return "\n".join([head, *(to_markdown(grid) for grid in grids)])


def made_files(results: Path) -> dict[Path, str]:
    """File to what it should hold: LEADERBOARD.md, report.html, and the README beside ``results`` if it has a place for
    tables.

    Raises:
        BenchError: no records there; see ``leaderboard``.
    """
    views, broken = open_published([results])
    boards = make_boards(views)
    tunings, unread = read_tunings(results)
    broken += [Apart(place, "", reason) for place, reason in unread.items()]
    files = {
        results / PAGE: leaderboard_markdown(boards, broken, tunings),
        results / REPORT: render(make_page([results], ReportRequest(out=results / REPORT))),
    }
    readme = results.absolute().parent / "README.md"
    text = _content(readme) or ""
    board = next((b for b in boards if (b.stream, b.model) == (_STREAM, _MODEL)), None)
    if BEGIN in text and END in text and board is not None:
        before, _, rest = text.partition(BEGIN)
        _, _, after = rest.partition(END)
        files[readme] = f"{before}{BEGIN}\n\n{_readme_tables(board, views)}\n{END}{after}"
    return files


def _readme_tables(board: Board, views: Sequence[RunView]) -> str:
    method, seed, score = _MATRIX
    matrices = [
        to_markdown(matrix_grid(view, score if score in view.record.scores else SCORE)).replace(
            "### ", f"### {method}, seed {seed}: ", 1
        )
        for view in views
        if (view.group, view.name, view.seed) == ((board.stream, board.model), method, seed)
        and budget_of(view.record.config) == board.budget
    ]
    return "\n".join([*matrices, to_markdown(short_rank_grid(board)).replace("### ", "## Leaderboard: ", 1)])


def stale_files(results: Path) -> list[Path]:
    """The files that do not show what the records say."""
    return [path for path, wanted in made_files(results).items() if _content(path) != wanted]


def write_made_files(results: Path) -> list[Path]:
    """Write what is stale; returns the files that were written."""
    made = made_files(results)
    stale = [path for path, wanted in made.items() if _content(path) != wanted]
    for path in stale:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            what = "a link" if path.is_symlink() else "no regular file"
            raise BenchError(f"{path} is {what}.", "Put a real file there, or delete it.")
        write_text(path, made[path])
    return stale


def _content(path: Path) -> str | None:
    """Its text; None where it is not there, or holds something that nobody wrote here, as a pipe would."""
    try:
        return read_regular(path, _MOST_BYTES).decode("utf-8")
    except (OSError, ValueError):
        return None
