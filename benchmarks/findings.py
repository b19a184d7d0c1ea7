"""docs/findings.md, made from the published records: no number in it is typed, and no claim outlives its data.

    python benchmarks/findings.py              write docs/findings.md, and its figures where their data changed
    python benchmarks/findings.py --check      exit with 1 if it does not say what the records say

The text is docs/findings/text.jinja. Every number of a board in it is an expression over that board, facts of papers
are ``{{ cited("8.3") }}``, and a digit that stands outside of both is refused. Claims are expressions as well:
``{{ forms.better("replay", "dpo") }}`` prints nothing, and fails where the records do not show it.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from lifealign_bench.errors import BenchError
from lifealign_bench.reporting.figures.drawn import write_figures
from lifealign_bench.reporting.figures.figure import Figure
from lifealign_bench.reporting.figures.several import board_figures, group_figures
from lifealign_bench.reporting.tables.grid import to_markdown
from lifealign_bench.reporting.tables.leaderboard import short_rank_grid
from lifealign_bench.results.comparison import estimate_of, metric_function, paired_runs
from lifealign_bench.results.leaderboard import LEVEL, Board, make_boards, open_published
from lifealign_bench.results.paired import Difference, Estimate, PairedRuns
from lifealign_bench.results.power import detectable
from lifealign_bench.results.view import RunView
from lifealign_bench.util.files import write_text
from lifealign_bench.util.text import number, p_text

ROOT = Path(__file__).resolve().parents[1]
TEXT = Path("docs/findings/text.jinja")
PAGE = Path("docs/findings.md")
FIGURES = Path("docs/findings")
DATA = FIGURES / "figures.json"
BOARD = ("forms", "smollm2-135m")  # whose figures it shows
_DIGIT = re.compile(r"\d")
# What may hold digits though nobody computed it: expressions, comments, code, addresses and places of links.
_NOT_PROSE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}|```.*?```|`[^`\n]*`|\]\([^)\n]*\)|<img[^>]*>", re.DOTALL)


class UnsupportedClaimError(BenchError):
    """The page claims something that the records do not show."""


class BoardText:
    """One board as a text speaks of it.

    Args:
        board: it.
        views: its runs.
    """

    def __init__(self, board: Board, views: Sequence[RunView]) -> None:
        self.board = board
        self._methods: dict[str, list[RunView]] = {}
        for view in views:
            self._methods.setdefault(view.name, []).append(view)
        self._paired: dict[tuple[str, tuple[str, ...]], PairedRuns | None] = {}

    def figures(self) -> list[Figure]:
        """Those that the page may show."""
        views = [view for own in self._methods.values() for view in own]
        names = [entry.method for entry in self.board.entries]
        return [*group_figures(views, self.board.score, names), *board_figures(self.board)]

    def count(self, seeds: int = 1) -> int:
        """How many methods have so many seeds or more."""
        return sum(len(entry.seeds) >= seeds for entry in self.board.entries)

    def runs(self) -> int:
        """How many runs there are."""
        return sum(len(entry.seeds) for entry in self.board.entries)

    def seeds(self, method: str) -> int:
        """Of a method."""
        return len(self._own(method))

    def pairs(self) -> int:
        """Test pairs of all tasks."""
        return self.board.pairs

    def value(self, method: str, metric: str = "last", score: str = "") -> str:
        """A method's mean over its seeds: ``57.5``."""
        return number(self._known(method, metric, score).value, self._digits)

    def interval(self, method: str, metric: str = "last", score: str = "") -> str:
        """With its 95 % interval: ``57.5 [55.0, 61.2]``."""
        found = self._known(method, metric, score)
        low, high = (number(bound, self._digits) for bound in (found.low, found.high))
        return f"{number(found.value, self._digits)} [{low}, {high}]"

    def column(self, method: str, column: str, digits: int = 1) -> str:
        """A column of the board, a cost (``tokens``, ``seconds``) included, of a method."""
        entry = next(e for e in self.board.entries if e.method == self._own(method)[0].name)
        value = entry.estimates[column].value if column in entry.estimates else getattr(entry.cost, column)
        return f"{value:,.{digits}f}"

    def task(self, method: str, task: str, what: str = "final", score: str = "") -> str:
        """Of one task the mean over the seeds of what it was after its own stage (``learned``) or at the end."""
        own = [view.per_task(score or self.board.score)[what] for view in self._own(method)]
        at = self._own(method)[0].tasks.index(task)
        return number(sum(float(values[at]) for values in own) / len(own), self._digits)

    def difference(self, first: str, second: str, metric: str = "last", score: str = "") -> str:
        """First minus second with half its 95 % interval: ``12.3 ± 4.5``."""
        found = self._difference(first, second, metric, score)
        half = (found.high - found.low) / 2
        return f"{number(found.value, self._digits)} ± {number(half, self._digits)}"

    def p(self, first: str, second: str) -> str:
        """The p-value of a planned comparison, corrected for all planned ones of the board."""
        return p_text(self._corrected(first, second))

    def better(self, first: str, second: str) -> str:
        """Claim that first is significantly better than second in what the board ranks by, among planned comparisons.

        Raises:
            UnsupportedClaimError: it is not.
        """
        value, p = self._difference(first, second, self.board.metric, "").value, self._corrected(first, second)
        if not (value > 0 and p <= LEVEL):
            raise UnsupportedClaimError(
                f"{self.board.name}: {first} is not significantly better than {second} ({value:.1f}, p {p:.3f}).",
                f"Mend the sentence in {TEXT}.",
            )
        return ""

    def undecided(self, first: str, second: str) -> str:
        """Claim that two methods cannot be told apart, among planned comparisons.

        Raises:
            UnsupportedClaimError: they can.
        """
        p = self._corrected(first, second)
        if p <= LEVEL:
            raise UnsupportedClaimError(
                f"{self.board.name}: {first} and {second} are told apart (p {p:.3f}).", f"Mend the sentence in {TEXT}."
            )
        return ""

    def interval_below(self, first: str, second: str, metric: str, score: str = "") -> str:
        """Claim that the 95 % interval of first minus second lies below 0, of a metric that is not tested on the board.

        Raises:
            UnsupportedClaimError: it does not.
        """
        found = self._difference(first, second, metric, score)
        if not found.high < 0:
            raise UnsupportedClaimError(
                f"{self.board.name}: {metric} of {first} is not surely below that of {second}: "
                f"[{found.low:.1f}, {found.high:.1f}].",
                f"Mend the sentence in {TEXT}.",
            )
        return ""

    def detectable(self) -> str:
        """The smallest difference that the board finds with a chance of 80 %, points."""
        if self.board.variances is None or self.board.design is None:
            return "no difference"
        found = detectable(self.board.variances, self.board.design)
        return number(found, self._digits) if math.isfinite(found) else "no difference"

    def table(self) -> str:
        """The board in short, without the terms that the leaderboard explains."""
        grid = short_rank_grid(self.board)
        lines = to_markdown(grid).splitlines()
        return "\n".join(line for line in lines if line.startswith("|"))

    @property
    def _digits(self) -> int:
        return 1 if self.board.unit == "percent" else 2

    def _own(self, method: str) -> list[RunView]:
        if method not in self._methods:
            raise BenchError(f"{self.board.name} has no run of {method}.", f"Mend {TEXT}.")
        return self._methods[method]

    def _runs(self, score: str, *methods: str) -> PairedRuns:
        key = (score or self.board.score, methods)
        if key not in self._paired:
            own = {name: self._own(name) for name in methods}
            self._paired[key] = paired_runs(own, key[0], self.board.metric)
        found = self._paired[key]
        if found is None:
            raise BenchError(f"{self.board.name}: the runs of {', '.join(methods)} cannot be paired.", "See the board.")
        return found

    def _known(self, method: str, metric: str, score: str) -> Estimate:
        return estimate_of(self._runs(score, method), method, metric)

    def _difference(self, first: str, second: str, metric: str, score: str) -> Difference:
        return self._runs(score, first, second).difference(first, second, metric_function(metric))

    def _corrected(self, first: str, second: str) -> float:
        for compared in self.board.planned:
            if {compared.first, compared.second} == {first, second}:
                return compared.corrected
        raise BenchError(
            f"{self.board.name}: {first} and {second} are not among the planned comparisons.", f"Mend {TEXT}."
        )


class Boards:
    """All published boards, by stream and model."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self._views, _ = open_published([results])

    @cached_property
    def _boards(self) -> list[Board]:
        return make_boards(self._views)

    def __call__(self, stream: str, model: str) -> BoardText:
        """The board of a stream and model.

        Raises:
            BenchError: there is none.
        """
        found = [board for board in self._boards if (board.stream, board.model, board.budget) == (stream, model, "")]
        if not found:
            raise BenchError(f"There is no board of {stream} on {model}.", f"Mend {TEXT}, or publish its runs.")
        apart = {a.place for a in found[0].apart}
        own = [
            view
            for view in self._views
            if view.group == (stream, model) and f"{stream}/{model}/{view.name}/seed-{view.seed}" not in apart
        ]
        return BoardText(found[0], own)


def typed_numbers(text: str) -> list[str]:
    """The lines of a page's source that hold a digit which no expression made."""
    bare = _NOT_PROSE.sub(lambda found: "\n" * found[0].count("\n"), text)
    return [f"{place}: {line.strip()}" for place, line in enumerate(bare.splitlines(), 1) if _DIGIT.search(line)]


def page_of(text: str, boards: Boards) -> str:
    """The page.

    Raises:
        BenchError: a digit is typed; a board or method is not there; a claim does not hold.
    """
    if typed := typed_numbers(text):
        raise BenchError(f"Numbers are typed into {TEXT}: {'; '.join(typed)}", "Compute them, or say cited(...).")
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    template = environment.from_string(text)
    made = template.render(board=boards, cited=str)
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
        boards = Boards(ROOT / "results")
        page = page_of((ROOT / TEXT).read_text(encoding="utf-8"), boards)
        figures = shown_figures(page, boards(*BOARD).figures())
    except BenchError as error:
        print(f"{error.message}\n{error.remedy}", file=sys.stderr)
        return 2
    made = {PAGE: page, DATA: data_of(figures)}
    stale = [place for place, text in made.items() if _content(ROOT / place) != text]
    stale += [FIGURES / f"{f.id}.png" for f in figures if not (ROOT / FIGURES / f"{f.id}.png").is_file()]
    for place in stale:
        print(f"{place} {'is not what the records say' if words.check else 'is written anew'}")
    if words.check:
        return 1 if stale else 0
    if any(place != PAGE for place in stale):
        with tempfile.TemporaryDirectory() as folder:
            write_figures(figures, Path(folder), force=True)
            for figure in figures:
                (ROOT / FIGURES / f"{figure.id}.png").write_bytes((Path(folder) / f"{figure.id}.png").read_bytes())
    for place in stale:
        if place in made:
            write_text(ROOT / place, made[place])
    return 0


def _content(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.is_file() else None


if __name__ == "__main__":
    raise SystemExit(main())
