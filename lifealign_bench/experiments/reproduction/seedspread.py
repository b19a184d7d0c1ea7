"""How far the published seeds of a method lie apart, to hold a run against that was done again with other last bits.

Training amplifies the last bits, so such a run may lie as far from its record as one with another seed does. The
tolerance knows of the record's test pairs alone; this stands beside it and changes no verdict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lifealign_bench.errors import BenchError
from lifealign_bench.results.record import Record
from lifealign_bench.results.sameness import method_key, run_key, unlike
from lifealign_bench.results.view import RunView

FEWEST = 3  # runs: of two, one distance says little of how far seeds lie apart


def published_seeds(view: RunView) -> tuple[list[RunView], list[str]]:
    """A published record and those beside it that differ from it in the seed alone.

    Returns:
        They, or nothing where they are fewer than three; and what a reader should know of those that were left out.
    """
    if view.published is None:
        return [], []
    found, notes = [view], []
    for place in sorted(view.published.parent.glob("seed-*.json")):
        if place == view.published:
            continue
        try:
            other = RunView.open(place)
        except BenchError as error:
            notes.append(f"{place.name}, beside the record, is left out of what seeds do: {error.message}")
            continue
        if other.complete and _of_one_kind(view.record, other.record):
            found.append(other)
    return (found if len(found) >= FEWEST else []), notes


def largest_gap(views: Sequence[RunView], score: str, metric: str) -> float:
    """The most that two of the runs differ by in a metric, in its unit; NaN where fewer than three have it."""
    values = [value for view in views if not math.isnan(value := view.metric(score, metric))]
    return max(values) - min(values) if len(values) >= FEWEST else math.nan


def _of_one_kind(record: Record, other: Record) -> bool:
    """Whether two records have in common what a board asks of a method's seeds, and the method's file."""

    def key(own: Record) -> dict[str, str]:
        # The test pairs have a digest, so that nobody needs to read which were scored.
        return run_key(own, "", lambda task: ()) | method_key(own) | {"the method's file": own.method.source_sha256}

    return not unlike((key(record), key(other)))
