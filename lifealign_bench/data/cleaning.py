"""A split's rows become pairs: what cannot be used is dropped, what is mended is counted, nothing goes unsaid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lifealign_bench.cleaner import NO_OPENING, Cleaner, Unusable
from lifealign_bench.data.rows import Row
from lifealign_bench.pairs import Message, Pair, Split

__all__ = ["CleaningReport", "clean_rows", "report_overlap"]

EXAMPLES = 5
DUPLICATE = "duplicate pair"
IN_TRAIN = "test prompt also in train"


@dataclass(frozen=True)
class CleaningReport:
    """What cleaning did to one split.

    Args:
        task: its name.
        split: train or test.
        read: rows in the source.
        kept: pairs left; ``read == kept + sum(dropped.values())``.
        dropped: reason -> pairs.
        changed: what was mended -> kept pairs.
        noted: what is odd but was left alone -> kept pairs.
        examples: reason, mending or note -> the first row numbers (from 0), at most five.
    """

    task: str
    split: Split
    read: int
    kept: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    changed: Mapping[str, int] = field(default_factory=dict)
    noted: Mapping[str, int] = field(default_factory=dict)
    examples: Mapping[str, list[int]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for the record."""
        return {
            "task": self.task,
            "split": self.split,
            "read": self.read,
            "kept": self.kept,
            "dropped": dict(self.dropped),
            "changed": dict(self.changed),
            "noted": dict(self.noted),
            "examples": {what: list(rows) for what, rows in self.examples.items()},
        }

    def summary(self) -> str:
        """One line for people: counts, and for drops the rows to look at."""
        parts = [f"{self.task} {self.split}: kept {self.kept} of {self.read}"]
        for verb, counts in (("dropped", self.dropped), ("changed", self.changed), ("noted", self.noted)):
            if counts:
                parts.append(
                    f"{verb} {', '.join(self._count(what, n, verb == 'dropped') for what, n in counts.items())}"
                )
        return "; ".join(parts)

    def _count(self, what: str, number: int, with_rows: bool) -> str:
        if not with_rows:
            return f"{number} ({what})"
        rows = self.examples.get(what, [])
        more = ", ..." if number > len(rows) else ""
        return f"{number} ({what}: row {', '.join(map(str, rows))}{more})"


def clean_rows(cleaner: Cleaner, rows: Sequence[Row], split: Split) -> tuple[tuple[Pair, ...], CleaningReport]:
    """All usable pairs of a split in their order, and the account of the rest."""
    pairs: list[Pair] = []
    seen: set[tuple[tuple[Message, ...], str, str]] = set()
    dropped: dict[str, list[int]] = {}
    marked: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        try:
            pair, marks = cleaner.pair(row, f"{cleaner.task}/{split}/{number}")
            key = (pair.prompt, pair.chosen, pair.rejected)
            if key in seen:
                raise Unusable(DUPLICATE)
        except Unusable as reason:
            dropped.setdefault(str(reason), []).append(number)
            continue
        seen.add(key)
        pairs.append(pair)
        for mark in sorted(marks):
            marked.setdefault(mark, []).append(number)
    report = CleaningReport(
        task=cleaner.task,
        split=split,
        read=len(rows),
        kept=len(pairs),
        dropped={what: len(numbers) for what, numbers in dropped.items()},
        changed={what: len(numbers) for what, numbers in marked.items() if what != NO_OPENING},
        noted={what: len(numbers) for what, numbers in marked.items() if what == NO_OPENING},
        examples={what: numbers[:EXAMPLES] for what, numbers in {**dropped, **marked}.items()},
    )
    return tuple(pairs), report


def report_overlap(report: CleaningReport, train: Sequence[Pair], test: Sequence[Pair]) -> tuple[int, CleaningReport]:
    """How many test pairs have a prompt that is also a training prompt, and the test report that notes it."""
    known = {pair.prompt for pair in train}
    rows = [int(pair.id.rpartition("/")[2]) for pair in test if pair.prompt in known]
    if not rows:
        return 0, report
    noted = {**report.noted, IN_TRAIN: len(rows)}
    return len(rows), replace(report, noted=noted, examples={**report.examples, IN_TRAIN: rows[:EXAMPLES]})
