"""Whether the data files that are here are those of the cards, by blob id or SHA-256; reads bytes, parses nothing.

Rows of a generator that are not there yet are made for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from lifealign_bench.data.cards import TaskCard
from lifealign_bench.data.generated import GeneratedSource, make_rows, wrong_hash_remedy
from lifealign_bench.data.sources import SPLITS, FileSource, GitSource, fetch_command, locate
from lifealign_bench.errors import BenchError
from lifealign_bench.pairs import Split
from lifealign_bench.util.files import git_blob_file, sha256_file

FileState = Literal["right", "wrong", "missing", "unreadable", "not pinned", "no file"]


@dataclass(frozen=True)
class FileCheck:
    """One file of a task.

    Args:
        task: its name.
        split: which half of it.
        state: ``not pinned``: the card has no hash; ``no file``: the card itself or the hub holds the data.
        path: the file; empty where there is none.
        bytes: its size.
        expected: ``git:<blob id>`` or ``sha256:<hex>`` of the card.
        found: the same of the file.
        remedy: what to do about it.
        fetch: how ``data fetch`` is told to bring it; empty where it cannot.
    """

    task: str
    split: Split
    state: FileState
    path: str = ""
    bytes: int = 0
    expected: str = ""
    found: str = ""
    remedy: str = ""
    fetch: str = ""

    @property
    def good(self) -> bool:
        """Whether nothing is wrong with it."""
        return self.state in ("right", "not pinned", "no file")

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "good": self.good}


def check_files(card: TaskCard, data_dir: Path | None) -> list[FileCheck]:
    """Check the files of both splits; raises nothing for what is wrong with them."""
    return [_check(card, split, data_dir) for split in SPLITS]


def file_errors(checks: Sequence[FileCheck]) -> list[BenchError]:
    """What is wrong, for people: one message a file, and one for all files that fetching would bring."""
    problems = []
    absent = [check for check in checks if check.state == "missing" and check.fetch]
    if absent:
        names = ", ".join(f"{check.task} {check.split}" for check in absent)
        command = fetch_command(*dict.fromkeys(check.fetch for check in absent))
        problems.append(
            BenchError(
                f"Missing: {names}.",
                f"Run {command}, or give a copy of the repository's data folder with "
                "--data-dir or LIFEALIGN_BENCH_DATA.",
            )
        )
    for check in checks:
        if check.good or check in absent:
            continue
        message = f"Task {check.task}: the {check.split} file is {check.state}"
        if check.state == "wrong":
            message += f": {check.path} is {check.found}, the card says {check.expected}"
        problems.append(BenchError(f"{message}.", check.remedy))
    return problems


def _check(card: TaskCard, split: Split, data_dir: Path | None) -> FileCheck:
    source = card.source
    try:
        path = locate(source, split, card.home, data_dir, card.word)
        if path is None and isinstance(source, GeneratedSource):
            path = make_rows(source, split, card.home)
    except BenchError as error:
        word = card.word if isinstance(source, GitSource) and split in source.files else ""
        return FileCheck(
            card.name, split, "missing", expected=expected_hash(card, split), remedy=str(error), fetch=word
        )
    if path is None or not isinstance(source, GitSource | FileSource | GeneratedSource):
        return FileCheck(card.name, split, "no file", str(path or ""))
    expected = expected_hash(card, split)
    try:
        size = path.stat().st_size
        found = f"git:{git_blob_file(path)}" if isinstance(source, GitSource) else f"sha256:{sha256_file(path)}"
    except OSError as error:
        remedy = f"Check its rights ({error.strerror})."
        return FileCheck(card.name, split, "unreadable", str(path), expected=expected, remedy=remedy)
    if not expected:
        return FileCheck(card.name, split, "not pinned", str(path), size, found=found)
    if found == expected:
        return FileCheck(card.name, split, "right", str(path), size, expected, found)
    if isinstance(source, GitSource):
        remedy = f"Take it away, then run {fetch_command(card.word)}."
    elif isinstance(source, GeneratedSource):
        remedy = wrong_hash_remedy(source)
    else:
        remedy = "Restore the file, or give a changed task a new name and put the new hash on its card."
    return FileCheck(card.name, split, "wrong", str(path), size, expected, found, remedy)


def expected_hash(card: TaskCard, split: Split) -> str:
    """The hash on the card; empty where it names none."""
    source = card.source
    if isinstance(source, GitSource):
        return f"git:{source.files[split].blob}" if split in source.files else ""
    if isinstance(source, FileSource | GeneratedSource) and split in source.sha256:
        return f"sha256:{source.sha256[split]}"
    return ""
