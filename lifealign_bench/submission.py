"""``lifealign-bench submit``: a finished run becomes a published record, if everything about it holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lifealign_bench.errors import BenchError
from lifealign_bench.files import sha256_file
from lifealign_bench.origins import Findings, Origins
from lifealign_bench.pairtable import PairBlock, read_pair_file
from lifealign_bench.published import (
    digest_file,
    digest_problem,
    publish_run,
    read_pair_scores,
    record_place,
    seal,
)
from lifealign_bench.record import Record, read_record
from lifealign_bench.recordcheck import number_problems, whole_problems
from lifealign_bench.recordfields import field_problems
from lifealign_bench.runcheck import file_problems, record_problems

__all__ = ["Submission", "submit_run"]


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
    file = run / "record.json" if folder else run
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
    for stage in record.stages if record.status == "complete" else ():
        folder = run / f"stage-{stage.index}"
        try:
            blocks = read_pair_file(folder / "scores.parquet", stage.index).get(stage.index, {})
        except (OSError, ValueError):
            return  # told where the scores are read
        more = sorted({name for block in blocks.values() for name in block.values} - set(record.scores))
        if more:
            raise BenchError(
                f"{run} cannot be submitted: a lifealign-bench score was stopped before it was finished, so that stage "
                f"{stage.index} has {', '.join(more)} and the record has not.",
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
        blocks = _blocks(record, folder) if folder is not None else read_pair_scores(file)
        found.problems.extend(number_problems(record, blocks) or origins.pairs(record, blocks))
        if folder is not None and not found.problems:
            found.problems.extend(record_problems(record, folder))
            found.problems.extend(p for p in file_problems(record, folder) if not p.endswith("is missing"))
    return found if found.problems else origins.check(record)


def _blocks(record: Record, run: Path) -> dict[int, dict[str, PairBlock]]:
    """Raises BenchError: a stage's file is not there or damaged."""
    found = {}
    for stage in record.stages:
        file = run / f"stage-{stage.index}" / "scores.parquet"
        try:
            found[stage.index] = read_pair_file(file, stage.index).get(stage.index, {})
        except (OSError, ValueError) as error:
            raise BenchError(
                f"The scores {file} cannot be read: {error}.", "Run the same command again to rebuild them."
            ) from error
    return found


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
