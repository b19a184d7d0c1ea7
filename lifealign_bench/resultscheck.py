"""``lifealign-bench verify``: whether the published records are whole, untouched, and say what their pairs say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lifealign_bench.errors import BenchError
from lifealign_bench.grid import Grid
from lifealign_bench.origins import Findings, Origins
from lifealign_bench.pairtable import PairBlock, read_pair_file
from lifealign_bench.published import (
    digest_file,
    digest_problem,
    leftover_of,
    pair_scores_file,
    published_records,
    record_place,
)
from lifealign_bench.record import Record, read_record
from lifealign_bench.recordcheck import number_problems, whole_problems
from lifealign_bench.recordfields import field_problems
from lifealign_bench.resultothers import Others
from lifealign_bench.tuning import FOLDER, tuning_problems

__all__ = ["RecordState", "check_results", "note_lines", "state_grid"]

_ENDINGS = (".json", ".parquet", ".sha256")


@dataclass(frozen=True)
class RecordState:
    """One file of a folder of results.

    Args:
        place: below the folder.
        problems: what is wrong with it; none: it holds.
        notes: what a reader should know, and what could not be checked.
        unfinished: whether it is no record, but what a killed ``submit`` left of one.
    """

    place: str
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unfinished: bool = False

    @property
    def word(self) -> str:
        """Its state in one word."""
        return "unfinished" if self.unfinished else "right" if self.good else "wrong"

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "good": self.good}


def check_results(folder: Path, origins: Origins) -> list[RecordState]:
    """Check every record in a folder of results, by itself and beside the others, and that nothing else lies there that
    looks like one.

    Raises:
        BenchError: there is no such folder.
    """
    if not folder.is_dir():
        raise BenchError(f"There is no folder {folder}.", "Name the folder of published records.")
    records = published_records(folder)
    states: list[RecordState] = []
    among = Others()
    for file in records:
        state, record, blocks = _state(file, folder, origins)
        states.append(state)
        if record is not None:
            among.add(state.place, record, blocks)
    for state in states:
        state.problems.extend(among.problems(state.place))
    owned = {path for file in records for path in (file, pair_scores_file(file), digest_file(file))}
    for path in sorted(folder.rglob("*")):
        if path not in owned or path.is_symlink():
            states += _other(path, path.relative_to(folder).as_posix())
    return states


def _other(path: Path, place: str) -> list[RecordState]:
    """What is to say of a file that belongs to no record."""
    if path.is_symlink():
        return [RecordState(place, ["it is a link: records lie in real files"])]
    if path.is_dir():
        return []
    if not path.is_file():
        return [RecordState(place, ["it is no regular file"])]
    table = place.removeprefix(f"{FOLDER}/")
    if table != place and path.suffix == ".json" and table.count("/") == 1:
        return [RecordState(place, tuning_problems(path, table))]
    if path.suffix not in _ENDINGS or path.name.startswith("."):
        return []
    if leftover_of(path):
        note = "a submit was killed here and nothing is published: submit the run again, or delete the file"
        return [RecordState(place, notes=[note], unfinished=True)]
    return [RecordState(place, ["it belongs to no record (seed-N.json)"])]


def _state(
    file: Path, folder: Path, origins: Origins
) -> tuple[RecordState, Record | None, Mapping[int, Mapping[str, PairBlock]]]:
    """A record by itself, and what it and its per-pair scores are where they can be read."""
    place = file.relative_to(folder).as_posix()
    problem = digest_problem(file)
    found = Findings([problem] if problem else [])
    state = RecordState(place, found.problems, found.notes)
    blocks: dict[int, dict[str, PairBlock]] = {}
    try:
        record = read_record(file)
        wanted = record_place(record).as_posix()
    except BenchError as error:
        found.problems.append(error.message.replace(str(file), file.name).rstrip("."))
        return state, None, blocks
    if wanted != place:
        found.problems.append(f"its names and seed belong to {wanted}")
    problems = whole_problems(record) + field_problems(record)
    found.problems.extend(problems)
    if problems:
        return state, None, blocks
    try:
        blocks = read_pair_file(pair_scores_file(file))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        found.problems.append(f"{pair_scores_file(file).name} cannot be read: {reason}")
    else:
        found.problems.extend(number_problems(record, blocks) or origins.pairs(record, blocks))
    origin = origins.check(record)
    found.problems.extend(origin.problems)
    found.notes.extend(origin.notes)
    return state, record if wanted == place else None, blocks


def note_lines(states: Sequence[RecordState]) -> list[str]:
    """Every note once, with how many records it is of."""
    places: dict[str, list[str]] = {}
    for state in states:
        for note in state.notes:
            places.setdefault(note, []).append(state.place)
    return [f"{own[0]}{f' and {len(own) - 1} more' if len(own) > 1 else ''}: {note}." for note, own in places.items()]


def state_grid(states: Sequence[RecordState]) -> Grid:
    """One row a record."""
    rows = tuple((state.place, state.word) for state in states)
    finished = [state for state in states if not state.unfinished]
    good = sum(state.good for state in finished)
    notes = (
        f"{good} of {len(finished)} right: whole, as published, and every score and metric computed again from the "
        "per-pair scores. A digest finds edits; it is no signature.",
    )
    return Grid("Published records", ("record", "state"), rows, notes, prose=(0,))
