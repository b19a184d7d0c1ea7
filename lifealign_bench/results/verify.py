"""``lifealign-bench verify``: whether the published records are whole, untouched, and say what their pairs say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lifealign_bench.errors import BenchError
from lifealign_bench.results.checks import number_problems, whole_problems
from lifealign_bench.results.origins import Findings, Origins
from lifealign_bench.results.pairtable import read_pair_file
from lifealign_bench.results.published import (
    digest_file,
    digest_problem,
    pair_scores_file,
    published_records,
    record_place,
)
from lifealign_bench.results.record import read_record
from lifealign_bench.results.tuning import FOLDER, tuning_problems

__all__ = ["RecordState", "check_results", "note_lines"]


_ENDINGS = (".json", ".parquet", ".sha256")


@dataclass(frozen=True)
class RecordState:
    """One file of a folder of results.

    Args:
        place: below the folder.
        problems: what is wrong with it; none: it holds.
        notes: what a reader should know, and what could not be checked.
    """

    place: str
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "good": self.good}


def check_results(folder: Path, origins: Origins) -> list[RecordState]:
    """Check every record in a folder of results, and that nothing else lies there that looks like one.

    Raises:
        BenchError: there is no such folder.
    """
    if not folder.is_dir():
        raise BenchError(f"There is no folder {folder}.", "Name the folder of published records.")
    records = published_records(folder)
    states = [_state(file, folder, origins) for file in records]
    owned = {path for file in records for path in (file, pair_scores_file(file), digest_file(file))}
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder).as_posix()
        if path.is_symlink():
            states.append(RecordState(place, ["it is a link: records lie in real files"]))
        elif path.is_file() and path.match("*.json") and path.parent.parent == folder / FOLDER and path not in owned:
            states.append(RecordState(place, tuning_problems(path, place.removeprefix(f"{FOLDER}/"))))
        elif path.is_file() and path.suffix in _ENDINGS and path not in owned and not path.name.startswith("."):
            states.append(RecordState(place, ["it belongs to no record (seed-N.json)"]))
    return states


def _state(file: Path, folder: Path, origins: Origins) -> RecordState:
    place = file.relative_to(folder).as_posix()
    problem = digest_problem(file)
    found = Findings([problem] if problem else [])
    try:
        record = read_record(file)
        wanted = record_place(record).as_posix()
    except BenchError as error:
        found.problems.append(error.message.replace(str(file), file.name).rstrip("."))
        return RecordState(place, found.problems, found.notes)
    if wanted != place:
        found.problems.append(f"its names and seed belong to {wanted}")
    problems = whole_problems(record)
    found.problems.extend(problems)
    if not problems:
        try:
            blocks = read_pair_file(pair_scores_file(file))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            found.problems.append(f"{pair_scores_file(file).name} cannot be read: {reason}")
        else:
            found.problems.extend(number_problems(record, blocks))
        origin = origins.check(record)
        found.problems.extend(origin.problems)
        found.notes.extend(origin.notes)
    return RecordState(place, found.problems, found.notes)


def note_lines(states: Sequence[RecordState]) -> list[str]:
    """Every note once, with how many records it is of."""
    places: dict[str, list[str]] = {}
    for state in states:
        for note in state.notes:
            places.setdefault(note, []).append(state.place)
    return [f"{own[0]}{f' and {len(own) - 1} more' if len(own) > 1 else ''}: {note}." for note, own in places.items()]
