"""The record that is to be reproduced, checked against itself before anything is spent on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lifealign_bench.errors import BenchError
from lifealign_bench.results.checks import metric_problems, number_problems, whole_problems
from lifealign_bench.results.folder import places
from lifealign_bench.results.published import digest_file, digest_problem
from lifealign_bench.results.record import Record
from lifealign_bench.results.view import RunView

__all__ = ["Source", "open_source"]


@dataclass(frozen=True)
class Source:
    """What is reproduced.

    Args:
        path: as it was named: a record's file or a run's folder.
        view: its record and, where they are at hand, its per-pair scores.
        notes: what a reader should know of it.
    """

    path: Path
    view: RunView
    notes: tuple[str, ...] = ()

    @property
    def record(self) -> Record:
        """Its record."""
        return self.view.record

    def places(self) -> dict[str, Any]:
        """Where data, cards and opponents of a run's folder lie; a record alone says of no file where it is."""
        own = self.view.published is None and self.view.directory is not None
        return places(self.view.directory) if own and self.view.directory is not None else {}


def open_source(path: Path) -> Source:
    """The record in a file or a run's folder.

    Raises:
        BenchError: there is none; it is not of a finished run; it is not whole, or its numbers contradict each other.
    """
    view = RunView.open(path)
    record = view.record
    if record.status != "complete":
        raise BenchError(
            f"The record {path} is of a run that is {record.status}.",
            "Only a finished run can be reproduced: name another record, or finish that run.",
        )
    problems, notes = whole_problems(record), []
    if view.published is not None and digest_file(view.published).is_file():
        problem = digest_problem(view.published)
        problems += [problem] if problem else []
    elif view.published is not None:
        notes.append("the record has no digest: edits that agree with each other would not be seen")
    if not problems:
        stages = {row.stage: row.row for row in view.rows}
        blocks = {stage: view.blocks[row] for stage, row in stages.items() if row in view.blocks}
        problems += number_problems(record, blocks) if blocks else metric_problems(record)
        if not blocks:
            notes.append("the record's per-pair scores are not at hand: metrics have no tolerance and are not judged")
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise BenchError(
            f"The record {path} is not as it was written: {'; '.join(problems[:3])}{more}.",
            "Nothing was trained. Take it from where it was published (git checkout), and see lifealign-bench verify.",
        )
    return Source(path, view, tuple(notes))
