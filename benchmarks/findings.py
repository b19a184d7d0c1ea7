"""Pages made from published records: no number in them is typed, and no claim outlives its data.

    python benchmarks/findings.py              write docs/findings.md, boards.md and studies.md, and their figures where
                                               their data changed
    python benchmarks/findings.py --check      exit with 1 if they do not say what the records say

Their texts are docs/findings/*.jinja. Every number of a board in them is an expression over that board, facts of papers
are ``{{ cited("8.3") }}``, and a digit that stands outside of both is refused. Claims are expressions as well:
``{{ forms.better("replay", "dpo") }}`` prints nothing, and fails where the records do not show it. ``board`` has the
boards of results/, ``study("dial")`` those of studies/dial, ``tuned`` the tables of tuned settings,
``transfer(one, other)`` how far one board's ranking holds on another, ``planned(board)`` what came of its planned
comparisons, ``topics(board, task, other)`` whether tasks of the same topics are independent, ``lasting()`` what was
measured within stages, ``course(board)`` what tasks have between stages, ``aside(board)`` what stands beside its
ranking, ``agreement(board)`` how far the orders by its two scores agree, ``with_unchanged(bound, free)`` that of a
budget with what it would not change, ``orders()`` what other orders of the tasks do (of other studies:
``orders("orders-2")``), ``contrast(board, other, methods)`` the same methods in two ways,
``one_source(board)`` claims that its runs are of one code.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, StrictUndefined

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # benchmarks/ is no installed package

from benchmarks import dose_response  # noqa: E402
from benchmarks.agreement_text import AgreementText  # noqa: E402
from benchmarks.aside_text import AsideText  # noqa: E402
from benchmarks.board_text import Boards  # noqa: E402
from benchmarks.contrast_text import ContrastText  # noqa: E402
from benchmarks.course_text import CourseText  # noqa: E402
from benchmarks.equal_text import with_unchanged  # noqa: E402
from benchmarks.halflife_text import HalfLifeText  # noqa: E402
from benchmarks.order_text import OrderText  # noqa: E402
from benchmarks.origin_text import one_source  # noqa: E402
from benchmarks.plan_text import PlanText  # noqa: E402
from benchmarks.topic_text import Topics  # noqa: E402
from benchmarks.transfer_text import Transfer  # noqa: E402
from benchmarks.tuning_text import TuningText  # noqa: E402
from lifealign_bench.errors import BenchError  # noqa: E402
from lifealign_bench.reporting.figures.drawn import write_figures  # noqa: E402
from lifealign_bench.reporting.figures.figure import Figure  # noqa: E402
from lifealign_bench.util.files import write_text  # noqa: E402

RESULTS, STUDIES = Path("results"), Path("studies")
FIGURES = Path("docs/findings")
DATA = FIGURES / "figures.json"
# Source and page.
PAGES = {FIGURES / f"{name}.jinja": Path(f"docs/{name}.md") for name in ("findings", "boards", "studies")}
BOARD = ("forms", "smollm2-135m")  # whose figures they show
DOSES = "dial"  # the study that has a dose and a response
ORDERS = "orders"  # the study of other orders of that board's tasks
LASTING = "half-life"  # the study of steps within a stage
_DIGIT = re.compile(r"\d")
# What may hold digits though nobody computed it: expressions, comments, code, addresses and places of links.
_NOT_PROSE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}|```.*?```|`[^`\n]*`|\]\([^)\n]*\)|<img[^>]*>", re.DOTALL)


class Sources(NamedTuple):
    """What pages are made of: the boards of results/, and those of each study by the name of its folder."""

    board: Boards
    study: Callable[[str], Boards]
    dosed: bool = False  # whether there is the study of doses
    studies: Path = STUDIES

    def lasting(self) -> HalfLifeText:
        """How long tasks of the board's runs last."""
        return HalfLifeText(self.studies / LASTING, self.board(*BOARD))

    def orders(self, *studies: str) -> OrderText:
        """Methods of the board in other orders of its tasks: those that all of these studies have."""
        views = [self.study(name).views for name in studies or (ORDERS,)]
        methods = set.intersection(*({view.name for view in own} for own in views))
        return OrderText([view for own in views for view in own if view.name in methods], self.board(*BOARD))

    def tuned(self, stream: str, model: str, study: str = "") -> TuningText:
        """The table of settings that were tuned on a stream with a model, beside the boards or in a study."""
        return TuningText(self.studies / study if study else self.board.results, stream, model)

    def doses(self) -> list[dose_response.Response]:
        """The methods at every dose, of the study that has them."""
        return dose_response.responses(self.study(DOSES).views)

    def figures(self) -> list[Figure]:
        """All that a page may show."""
        doses = [dose_response.figure(self.doses())] if self.dosed else []
        return [*self.board(*BOARD).ranked().figures(), *doses]  # of all, nobody would read the names


def sources(root: Path) -> Sources:
    """Those of a checkout; a study is read when a page asks for it."""
    dosed = (root / STUDIES / DOSES).is_dir()
    studies = root / STUDIES
    return Sources(Boards(root / RESULTS), cache(lambda name: Boards(studies / name)), dosed, studies)


def typed_numbers(text: str) -> list[str]:
    """The lines of a page's source that hold a digit which no expression made."""
    bare = _NOT_PROSE.sub(lambda found: "\n" * found[0].count("\n"), text)
    return [f"{place}: {line.strip()}" for place, line in enumerate(bare.splitlines(), 1) if _DIGIT.search(line)]


def without(table: str, column: str, row: str) -> str:
    """A Markdown table without a column, by its heading, and without a row, by its second cell.

    Raises:
        BenchError: it has no such column or row.
    """
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    if column not in lines[0] or row not in [cells[1] for cells in lines]:
        raise BenchError(f"The table has no column {column}, or no row {row}.", "Mend the source of the page.")
    at = lines[0].index(column)
    kept = [cells[:at] + cells[at + 1 :] for cells in lines if cells[1] != row]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in kept)


def page_of(text: str, given: Sources) -> str:
    """The page.

    Raises:
        BenchError: a digit is typed; a board or method is not there; a claim does not hold.
    """
    if typed := typed_numbers(text):
        raise BenchError(f"Numbers are typed into a page: {'; '.join(typed)}", "Compute them, or say cited(...).")
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    environment.filters["without"] = without
    template = environment.from_string(text)
    made = template.render(
        board=given.board,
        study=given.study,
        tuned=given.tuned,
        transfer=Transfer,
        planned=PlanText,
        topics=Topics,
        course=CourseText,
        aside=AsideText,
        agreement=AgreementText,
        with_unchanged=with_unchanged,
        one_source=one_source,
        lasting=given.lasting,
        orders=given.orders,
        contrast=ContrastText,
        cited=str,
        dose_table=lambda: dose_response.table(given.doses()),
        dose_failings=lambda: dose_response.failings(given.doses()),
    )
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in made.splitlines())).strip() + "\n"


def shown_figures(page: str, figures: Sequence[Figure]) -> list[Figure]:
    """Those of ``figures`` that the page shows.

    Raises:
        BenchError: it shows one that is not there.
    """
    wanted = re.findall(rf"\({FIGURES.name}/([\w-]+)\.png\)", page)
    known = {figure.id: figure for figure in figures}
    if missing := [name for name in wanted if name not in known]:
        raise BenchError(f"There is no figure {missing[0]}.", f"There are: {', '.join(known)}.")
    return [known[name] for name in dict.fromkeys(wanted)]


def data_of(figures: Sequence[Figure]) -> str:
    """What the figures show, as JSON: a picture's bytes are the drawing program's, its data are the records'."""
    found: Mapping[str, Any] = {figure.id: [dict(row) for row in figure.data] for figure in figures}
    return json.dumps(_rounded(found), indent=1, sort_keys=True) + "\n"


def _rounded(value: Any) -> Any:
    """To what a picture can show: the last digits are another machine's matter."""
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, (list, tuple)) else value


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if something is stale")
    words = parser.parse_args(arguments)
    try:
        given = sources(ROOT)
        made = {page: page_of((ROOT / source).read_text(encoding="utf-8"), given) for source, page in PAGES.items()}
        figures = shown_figures("\n".join(made.values()), given.figures())
    except BenchError as error:
        print(f"{error.message}\n{error.remedy}", file=sys.stderr)
        return 2
    made[DATA] = data_of(figures)
    stale = [place for place, text in made.items() if _content(ROOT / place) != text]
    drawn = [FIGURES / f"{figure.id}.png" for figure in figures]
    stale += [place for place in drawn if not (ROOT / place).is_file()]
    for place in stale:
        print(f"{place} {'is not what the records say' if words.check else 'is written anew'}")
    if words.check:
        return 1 if stale else 0
    if DATA in stale or any(place in stale for place in drawn):
        with tempfile.TemporaryDirectory() as folder:
            write_figures(figures, Path(folder), force=True)
            for place in drawn:
                (ROOT / place).write_bytes((Path(folder) / place.name).read_bytes())
    for place in stale:
        if place in made:
            write_text(ROOT / place, made[place])
    return 0


def _content(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.is_file() else None


if __name__ == "__main__":
    raise SystemExit(main())
