"""The runs that are meant by files and folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lifealign_bench.errors import BenchError
from lifealign_bench.results.folder import RunFolder, record_file
from lifealign_bench.results.published import published_records
from lifealign_bench.results.single import Neighbours
from lifealign_bench.results.view import RunView


def record_files(paths: Sequence[Path]) -> dict[Path, Path | None]:
    """The records of folders of runs, of records' files, and of everything below other folders; each once.

    Returns:
        A record's file to the folder that it was found below, None where it was named itself.

    Raises:
        BenchError: there is none below a folder.
    """
    found: dict[Path, Path | None] = {}
    for path in paths:
        place = path.expanduser()
        if is_above_runs(place):
            inside = sorted([*place.rglob(RunFolder(place).record.name), *published_records(place)])
            if not inside:
                raise BenchError(
                    f"There is no run in {place}.", "Name the folder of a run, a record, or a folder above several."
                )
            found |= {file: place for file in inside if file not in found}
        else:
            found[record_file(place)] = None
    return found


def is_above_runs(path: Path) -> bool:
    """Whether a path is a folder, and not that of one run."""
    return path.is_dir() and not record_file(path).is_file()


def open_runs(paths: Sequence[Path]) -> list[RunView]:
    """The runs of :func:`record_files`.

    Raises:
        BenchError: there is none, or one cannot be read.
    """
    neighbours = Neighbours()
    return [RunView.open(file, neighbours) for file in record_files(paths)]
