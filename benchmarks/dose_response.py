"""Forgetting against the degree of conflict of generated streams: a dose and its response.

    for c in 0 0.25 0.5 0.75 1; do python benchmarks/make_dial.py --conflict $c --out dial; done
    lifealign-bench sweep --method dpo,replay --seed 0,1,2 --stream dial/dial-0.yaml --stream dial/dial-0.25.yaml \\
        --stream dial/dial-0.5.yaml --stream dial/dial-0.75.yaml --stream dial/dial-1.yaml
    python benchmarks/dose_response.py runs --out FOLDER          dose.md, and the figure as PDF, PNG and SVG

What is drawn is the backward transfer of a score, by default of the win rate: what became of the earlier tasks between
their own stage and the end, points, with its 95 % interval over test pairs and seeds. Exit status 1 where the dial does
not do what it is for: at a conflict of 0 an interval lies below 0, or the mean over the methods rises by more than
RISE with the conflict.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.reporting.figures.charts import lines
from lifealign_bench.reporting.figures.drawn import write_figures
from lifealign_bench.reporting.figures.figure import Bar, Figure
from lifealign_bench.results.comparison import estimate, paired_runs
from lifealign_bench.results.finding import open_runs
from lifealign_bench.results.view import WIN_RATE, RunView, score_title
from lifealign_bench.util.files import write_text

METRIC = "backward_transfer"
RISE = 2.0  # points by which the mean may rise from one dose to the next: what test pairs leave open
_STREAM = re.compile(r"dial-(\d+(?:\.\d+)?)")


class Response(NamedTuple):
    """A method at one dose: points with their 95 % interval, and of how many seeds."""

    method: str
    dose: float
    bar: Bar
    seeds: int


def responses(views: Sequence[RunView], score: str = WIN_RATE) -> list[Response]:
    """Every method at every dose, by method and dose.

    Raises:
        UsageError: no complete run on a stream of the dial.
    """
    groups: dict[tuple[str, float], list[RunView]] = {}
    for view in views:
        found = _STREAM.fullmatch(view.group[0])
        if found and view.complete and view.sequential:
            groups.setdefault((view.name, float(found[1])), []).append(view)
    if not groups:
        raise UsageError("No finished run on a stream dial-N is there.", "Make one: see --help.")
    return [Response(name, dose, _bar(name, own, score), len(own)) for (name, dose), own in sorted(groups.items())]


def _bar(name: str, own: Sequence[RunView], score: str) -> Bar:
    found = estimate(name, own, score, METRIC, paired_runs({name: own}, score, METRIC))
    return Bar(found.value, found.low, found.high)


def failings(found: Sequence[Response]) -> list[str]:
    """What the dial should do and does not, a sentence each."""
    said = [
        f"At a conflict of 0 {r.method} loses {r.bar.said()} points."
        for r in found
        if r.dose == 0 and r.bar.bounded and r.bar.high < 0
    ]
    means = mean_by_dose(found)
    doses = sorted(means)
    said += [
        f"From a conflict of {low:g} to {high:g} the mean rises from {means[low]:.1f} to {means[high]:.1f}."
        for low, high in pairwise(doses)
        if means[high] > means[low] + RISE
    ]
    return said


def mean_by_dose(found: Sequence[Response]) -> Mapping[float, float]:
    """The mean over the methods that have every dose."""
    doses = {r.dose for r in found}
    whole = {m for m in {r.method for r in found} if {r.dose for r in found if r.method == m} == doses}
    return {dose: fmean(r.bar.value for r in found if r.dose == dose and r.method in whole) for dose in doses if whole}


def table(found: Sequence[Response]) -> str:
    """A row a method, a column a dose, as Markdown."""
    doses = sorted({r.dose for r in found})
    cells = {(r.method, r.dose): r for r in found}
    rows = [
        f"| conflict | {' | '.join(f'{dose:g}' for dose in doses)} | seeds |",
        "| --- |" + " ---: |" * (len(doses) + 1),
    ]
    for method in dict.fromkeys(r.method for r in found):
        own = [cells.get((method, dose)) for dose in doses]
        seeds = "/".join(dict.fromkeys(str(r.seeds) for r in own if r))
        rows.append(f"| {method} | {' | '.join(r.bar.said() if r else '-' for r in own)} | {seeds} |")
    means = mean_by_dose(found)
    rows.append(f"| mean | {' | '.join(f'{means[d]:.1f}' if d in means else '-' for d in doses)} | |")
    return "\n".join(rows) + "\n"


def figure(found: Sequence[Response], score: str = WIN_RATE) -> Figure:
    """A line a method over the doses."""
    methods = tuple(dict.fromkeys(r.method for r in found))
    ordered = sorted(found, key=lambda r: r.dose)
    return Figure(
        id="dose-response",
        title=f"Backward transfer of the {score_title(score)} by the share of contested prompts",
        caption="95 % intervals over test pairs and seeds; 0: nothing is lost.",
        chart=lines("conflict", "backward transfer (points)"),
        data=tuple({"series": r.method, "place": f"{r.dose:g}", **r.bar.columns()} for r in ordered),
        series=methods,
    )


def main() -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="folders with runs on streams of the dial")
    parser.add_argument("--score", default=WIN_RATE, help="of which score (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="write the table and the figure there")
    words = parser.parse_args()
    try:
        found = responses(open_runs(words.folders), words.score)
        print(table(found), end="")
        if words.out is not None:
            write_text(words.out / "dose.md", table(found))
            write_figures([figure(found, words.score)], words.out, force=True)
    except BenchError as error:
        print(f"{error.message}\n{error.remedy}", file=sys.stderr)
        return 2
    for sentence in failings(found):
        print(sentence)
    return 1 if failings(found) else 0


if __name__ == "__main__":
    raise SystemExit(main())
