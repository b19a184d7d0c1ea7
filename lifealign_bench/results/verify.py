"""``lifealign-bench verify``: whether the published records are whole, untouched, and say what their pairs say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lifealign_bench.errors import BenchError
from lifealign_bench.results.checks import number_problems, whole_problems
from lifealign_bench.results.folder import record_file
from lifealign_bench.results.origins import Findings, Origins
from lifealign_bench.results.pairtable import PairBlock, read_pair_file, read_stages, read_whole
from lifealign_bench.results.planned import PLAN_FILE, read_plan
from lifealign_bench.results.published import (
    digest_file,
    digest_problem,
    leftover_of,
    pair_scores_file,
    publish_run,
    published_records,
    read_pair_scores,
    record_place,
    seal,
)
from lifealign_bench.results.record import Record, read_record
from lifealign_bench.results.recordfields import field_problems
from lifealign_bench.results.resultothers import Others
from lifealign_bench.results.runcheck import file_problems, record_problems
from lifealign_bench.results.tuning import FOLDER, tuning_problems
from lifealign_bench.util.files import sha256_file

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
        state.notes.extend(among.notes(state.place))
    owned = {path for file in records for path in (file, pair_scores_file(file), digest_file(file))}
    for path in sorted(folder.rglob("*")):
        if path not in owned or path.is_symlink():
            states += _other(path, path.relative_to(folder).as_posix())
    return states


def _plan_problems(path: Path) -> list[str]:
    try:
        read_plan(path)
    except BenchError as error:
        return [error.message]
    return []


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
    if path.name == PLAN_FILE and place.count("/") == 1:
        return [RecordState(place, _plan_problems(path))]
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


@dataclass(frozen=True)
class Submission:
    """What became of a run: its record in the folder of results, and what a reader should know of it.

    ``state`` is ``added``, ``sealed`` (it lay there without a digest) or ``there already``.
    """

    place: Path
    state: str
    notes: list[str] = field(default_factory=list)


def submit_run(run: Path, results: Path, origins: Origins) -> Submission:
    """Check a finished run and publish it; nothing is written where anything is wrong, and nothing is overwritten.

    Args:
        run: its folder, or a record that lies in ``results`` and has no digest yet.
        results: the folder of published records.

    Raises:
        BenchError: what is wrong, or that a scoring was not finished.
    """
    folder = run.is_dir()
    file = record_file(run)
    record = read_record(file)
    if folder:
        _refuse_unfinished_scoring(record, run)
    found = _findings(record, run if folder else None, file, origins)
    if found.problems:
        more = f" (and {len(found.problems) - 5} more)" if len(found.problems) > 5 else ""
        raise BenchError(
            f"{run} cannot be submitted: {'; '.join(found.problems[:5])}{more}.",
            "A published record has to be that of a whole run, untouched. Run its command again: it makes the record "
            "anew from what its stages left, and does again what is damaged.",
        )
    place = results / record_place(record)
    if not folder and place.resolve() != file.resolve():
        raise BenchError(f"{file} is no run's folder.", "Name the folder of the run: it holds record.json.")
    if not folder:
        return _seal(place, found)
    _refuse_links(place, results)
    if place.exists():
        if place.is_file() and sha256_file(place) == sha256_file(file) and not digest_problem(place):
            return Submission(place, "there already", found.notes)
        raise BenchError(
            f"There is another record of this method and seed: {place}.",
            "Nothing was overwritten. If the new run is to replace it, delete its three files (seed-N.*) first.",
        )
    publish_run(run, place)
    return Submission(place, "added", found.notes)


def _refuse_unfinished_scoring(record: Record, run: Path) -> None:
    """A ``score`` that was killed leaves scores that the record does not have.

    Raises:
        BenchError: it did; how to finish it.
    """
    if record.status != "complete":
        return
    stages, _ = read_stages(run, [stage.index for stage in record.stages])  # what cannot be read is told later
    for index, blocks in stages.items():
        more = sorted({name for block in blocks.values() for name in block.values} - set(record.scores))
        if more:
            raise BenchError(
                f"{run} cannot be submitted: a lifealign-bench score was stopped before it was finished, so that stage "
                f"{index} has {', '.join(more)} and the record has not.",
                f"Run the same lifealign-bench score {run} command again, then submit. Should it say that files are "
                "damaged: the run's own command first, which mends them.",
            )


def _findings(record: Record, folder: Path | None, file: Path, origins: Origins) -> Findings:
    found = Findings(whole_problems(record) + field_problems(record))
    try:
        record_place(record)
    except BenchError as error:
        found.problems.append(error.message.rstrip("."))
    if not found.problems:
        stages = [stage.index for stage in record.stages]
        blocks = read_whole(folder, stages) if folder is not None else read_pair_scores(file)
        found.problems.extend(number_problems(record, blocks) or origins.pairs(record, blocks))
        if folder is not None and not found.problems:
            found.problems.extend(record_problems(record, folder))
            found.problems.extend(p for p in file_problems(record, folder) if not p.endswith("is missing"))
    return found if found.problems else origins.check(record)


def _seal(place: Path, found: Findings) -> Submission:
    """A record of before there were digests; one that does not fit its digest is not sealed anew."""
    problem = digest_problem(place)
    if digest_file(place).exists():
        if problem:
            raise BenchError(f"{place}: {problem}.", "Restore the files as they were (git checkout).")
        return Submission(place, "there already", found.notes)
    seal(place)
    return Submission(place, "sealed", found.notes)


def _refuse_links(place: Path, results: Path) -> None:
    """A link among the folders would lead the files elsewhere."""
    for part in (place, *place.parents):
        if part == results:
            return
        if part.is_symlink():
            raise BenchError(f"{part} is a link.", "Records lie in real folders: put the folder itself there.")
