"""Files of a git commit: what a card says of them, where copies lie, and how one is fetched."""

from __future__ import annotations

import hashlib
import os
import shlex
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import Field, field_validator

from lifealign_bench.cardfile import CardModel
from lifealign_bench.errors import BenchError
from lifealign_bench.files import cache_folder
from lifealign_bench.pairs import Split

__all__ = [
    "GitFile",
    "GitSource",
    "cached_copy",
    "data_folders",
    "fetch_command",
    "git_blob_id",
    "git_places",
    "locate_git",
]


class GitFile(CardModel):
    """One file of a git commit."""

    path: str
    blob: str = Field(pattern="^[0-9a-f]{40}$", description="git's object id of the file's content")

    @field_validator("path")
    @classmethod
    def _inside(cls, path: str) -> str:
        # A downloaded file is written at this path below the cache folder, and nowhere else.
        if PurePosixPath(path).is_absolute() or ".." in path.split("/") or "\\" in path or not path.strip("/. "):
            raise ValueError("must be a path inside the repository, with / and without ..")
        return path


class GitSource(CardModel):
    """Files of a git repository, read from a copy of its ``data/`` folder and verified by git's blob ids."""

    type: Literal["git"] = "git"
    repository: str
    commit: str = Field(pattern="^[0-9a-f]{40}$")
    files: dict[Split, GitFile]


def git_blob_id(content: bytes) -> str:
    """Git's object id of a file: SHA-1 of ``"blob <size>\\0"`` and the content."""
    sha = hashlib.sha1(b"blob %d\0" % len(content), usedforsecurity=False)
    sha.update(content)
    return sha.hexdigest()


def data_folders(commit: str, data_dir: Path | None) -> list[Path]:
    """Where copies of a repository's ``data/`` tree may lie, first choice first; the last is the cache."""
    folders = [data_dir] if data_dir is not None else []
    if os.environ.get("LIFEALIGN_BENCH_DATA"):
        folders.append(Path(os.environ["LIFEALIGN_BENCH_DATA"]).expanduser())
    return [*folders, cache_folder() / "data" / commit]


def git_places(source: GitSource, split: Split, data_dir: Path | None) -> list[Path]:
    """Where a file may lie, in the order of looking.

    Raises:
        BenchError: the card names no file for this split.
    """
    file = _file(source, split)
    # Whoever names a clone instead of its data folder is understood too.
    return [
        path for folder in data_folders(source.commit, data_dir) for path in (folder / _inner(file), folder / file.path)
    ]


def cached_copy(source: GitSource, split: Split) -> Path:
    """Where fetching puts a file.

    Raises:
        BenchError: the card names no file for this split.
    """
    return data_folders(source.commit, None)[-1] / _inner(_file(source, split))


def fetch_command(*tasks: str) -> str:
    """The command that downloads the files of ``tasks``, as the command line names them."""
    return " ".join(["lifealign-bench data fetch", *(shlex.quote(task) for task in tasks if task)])


def locate_git(source: GitSource, split: Split, data_dir: Path | None, task: str) -> Path:
    """A file of a git source.

    Raises:
        BenchError: it is nowhere; says where it was looked for and how to get it.
    """
    found = next((path for path in git_places(source, split, data_dir) if path.is_file()), None)
    if found is not None:
        return found
    file = _file(source, split)
    looked = ", ".join(str(folder / _inner(file)) for folder in data_folders(source.commit, data_dir))
    raise BenchError(
        f"The data file {file.path} is missing (looked for {looked}).",
        f"Run {fetch_command(task)}, or take it from {source.repository} at commit {source.commit} and put it at "
        f"{cached_copy(source, split)}, or give a copy of that repository's data folder with --data-dir or "
        "LIFEALIGN_BENCH_DATA.",
    )


def _file(source: GitSource, split: Split) -> GitFile:
    file = source.files.get(split)
    if file is None:
        raise BenchError(f"The card names no {split} file.", f"Add files.{split} with its path and blob id.")
    return file


def _inner(file: GitFile) -> PurePosixPath:
    return PurePosixPath(file.path.removeprefix("data/"))
