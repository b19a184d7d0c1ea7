"""Where a task's rows come from: files, those of a git repository, the Hugging Face hub, a generator, the card."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from lifealign_bench.data.cardfile import CardModel
from lifealign_bench.data.generated import GeneratedSource, generated_file, make_rows, wrong_hash_remedy
from lifealign_bench.data.packed import bare_name
from lifealign_bench.data.rows import FORMATS, Format, Row, parse_rows, table_rows
from lifealign_bench.data.shaping import value_at
from lifealign_bench.data.streaming import Hash, stream_rows
from lifealign_bench.errors import BenchError
from lifealign_bench.pairs import Split
from lifealign_bench.util.files import cache_folder

SPLITS: tuple[Split, ...] = ("train", "test")


class FileSource(CardModel):
    """Two local files; relative paths are relative to the card's folder."""

    type: Literal["file"] = "file"
    train: str
    test: str
    sha256: dict[Split, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]] = Field(default={})
    format: Format | None = Field(default=None, description="default: by the file's suffix")


class HubSource(CardModel):
    """A Hugging Face data set; ``repo`` may also be a local folder (starts with ``.`` or ``/``)."""

    type: Literal["hub"] = "hub"
    repo: str
    revision: str | None = Field(default=None, description="a commit, so that the data cannot change")
    config: str | None = None
    folder: str | None = Field(default=None, description="of the data set, that alone is read")
    train_split: str = Field(default="train", description="also a slice of one: train[:95%]")
    test_split: str = "test"
    rows: dict[Split, str] = Field(
        default={}, description="where a split's rows are, if one row holds them: datasets.0.train"
    )


class InlineSource(CardModel):
    """The rows themselves, for very small tasks and fakes."""

    type: Literal["inline"] = "inline"
    train: tuple[dict[str, Any], ...] = Field(min_length=1)
    test: tuple[dict[str, Any], ...] = Field(min_length=1)


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


Source = Annotated[FileSource | GitSource | HubSource | InlineSource | GeneratedSource, Field(discriminator="type")]


@dataclass(frozen=True)
class SourceRows:
    """What a source holds for one split.

    Args:
        rows: in their order in the source.
        place: the file or data set, for messages.
        digest: ``git:<blob id>`` or ``sha256:<hex>`` of what was read.
        format: how the file was written; empty where there is no file.
    """

    rows: list[Row]
    place: str
    digest: str
    format: str = ""


def missing(source: Source, home: Path, data_dir: Path | None, task: str = "", *, download: bool = True) -> str | None:
    """Why the source cannot be read here, with the remedy; ``None`` when its files are there. Reads no data.

    Args:
        source: from a task card.
        home: the card's folder.
        data_dir: see :func:`read_source`.
        task: as the command line names it, for the remedy.
        download: a data set of the hub may be downloaded for it; else it has to be in the Hugging Face cache.
    """
    for split in SPLITS:
        try:
            locate(source, split, home, data_dir, task)
        except BenchError as error:
            return str(error)
    if isinstance(source, HubSource) and not (download or _is_folder(source) or _cached_repo(source).is_dir()):
        word = f" {shlex.quote(task)}" if task else ""
        return (
            f"The data set {source.repo} is not in the Hugging Face cache. It is downloaded when the task is asked for "
            f"by name: lifealign-bench data stats{word}."
        )
    return None


def read_source(source: Source, split: Split, home: Path, data_dir: Path | None, task: str = "") -> SourceRows:
    """Read and verify one split.

    Args:
        source: from a task card.
        split: which half of it.
        home: the card's folder.
        data_dir: a copy of the repository's ``data/`` tree for git sources; else see :func:`data_folders`.
        task: as the command line names it, for the remedy.

    Raises:
        BenchError: not there, damaged, or of another hash than the card's.
    """
    path = locate(source, split, home, data_dir, task)
    if isinstance(source, InlineSource):
        inline = list(source.train if split == "train" else source.test)
        return SourceRows(list(inline), f"the card's {split} rows", _digest_rows(inline))
    if isinstance(source, HubSource):
        return _read_hub(source, split, path)
    if isinstance(source, GeneratedSource):
        path = path or make_rows(source, split, home)
    assert path is not None
    begin, kind, expected = _sha256, "sha256", ""
    if isinstance(source, GitSource):
        begin, kind, expected, format = _git_blob, "git", f"git:{source.files[split].blob}", _format_of(path, None)
        remedy = f"Replace it by {source.files[split].path} of {source.repository} at commit {source.commit}."
        if cache_folder() in path.parents:
            remedy = f"Run {fetch_command(task)}, which fetches it again."
    else:
        if split in source.sha256:
            expected = f"sha256:{source.sha256[split]}"
        if isinstance(source, GeneratedSource):
            remedy, format = wrong_hash_remedy(source), "jsonl"
        else:
            remedy = "Restore the file, or give a changed task a new name and put the new hash on its card."
            format = _format_of(path, source.format)
    try:
        streamed = stream_rows(path, format, begin)
        content = path.read_bytes() if streamed is None else b""
    except OSError as error:
        raise BenchError(f"The data file {path} cannot be read: {error.strerror}.", "Check its rights.") from error
    if streamed is None and (not content or content.isspace()):
        raise BenchError(f"The data file {path} is empty.", remedy)
    digest = f"{kind}:{streamed[1] if streamed is not None else _digest(begin, content)}"
    if expected and digest != expected:
        raise BenchError(f"The data file {path} has the wrong hash: {digest}, the card says {expected}.", remedy)
    rows = streamed[0] if streamed is not None else parse_rows(content, format, str(path))
    return SourceRows(rows, str(path), digest, format)


def locate(source: Source, split: Split, home: Path, data_dir: Path | None, task: str = "") -> Path | None:
    """The file or folder of a split; ``None`` where there is none (hub, inline, rows that are still to be generated).

    Raises:
        BenchError: there is none; says where it was looked for and how to get it.
    """
    if isinstance(source, InlineSource):
        return None
    if isinstance(source, FileSource):
        path = home / Path(source.train if split == "train" else source.test).expanduser()
        if not path.is_file():
            raise BenchError(f"The data file {path} is missing.", f"Put it there, or change {split!r} on the card.")
        return path
    if isinstance(source, HubSource):
        return _locate_hub(source, home)
    if isinstance(source, GeneratedSource):
        return generated_file(source, split, home)
    return locate_git(source, split, data_dir, task)


def _locate_hub(source: HubSource, home: Path) -> Path | None:
    if _is_folder(source):
        folder = home / Path(source.repo).expanduser()
        if not folder.is_dir():
            raise BenchError(f"The data set folder {folder} is missing.", "Put it there, or change 'repo' on the card.")
        return folder
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
    if offline and not _cached_repo(source).is_dir():
        raise BenchError(
            f"The data set {source.repo} is not in the Hugging Face cache and HF_HUB_OFFLINE is set.",
            "Unset HF_HUB_OFFLINE where there is a network, or use a local copy (type: file).",
        )
    return None


def _is_folder(source: HubSource) -> bool:
    return source.repo.startswith((".", "/", "~"))


def _cached_repo(source: HubSource) -> Path:
    return _hub_cache() / f"datasets--{source.repo.replace('/', '--')}"


def _hub_cache() -> Path:
    if os.environ.get("HF_HUB_CACHE"):
        return Path(os.environ["HF_HUB_CACHE"]).expanduser()
    return Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser() / "hub"


def _read_hub(source: HubSource, split: Split, folder: Path | None) -> SourceRows:
    import datasets

    name = str(folder) if folder is not None else source.repo
    part = source.train_split if split == "train" else source.test_split
    revision = None if folder is not None else source.revision
    named = [what for what in (source.config, source.folder) if what]
    place = f"data set {name}" + (f" ({', '.join(named)})" if named else "") + f", split {part}"
    try:
        with ExitStack() as stack:
            # The library's cache knows files by name, size and time of change; rsync and tar keep that time.
            fresh = stack.enter_context(TemporaryDirectory(prefix="lifealign-bench-")) if folder is not None else None
            table = datasets.load_dataset(
                name, source.config, data_dir=source.folder, split=part, revision=revision, cache_dir=fresh
            )
            rows = table_rows(table.with_format("arrow")[:])
    except Exception as error:  # the library raises dozens of kinds; their message is passed on
        first = (str(error).strip().splitlines() or [""])[0]
        raise BenchError(
            f"The {place} cannot be loaded: {type(error).__name__}: {first.rstrip('.')}.",
            "Check repo, revision, config and splits on the card, and the network; offline, load it once where there "
            "is a network, or use a local copy (type: file).",
        ) from error
    if split in source.rows:
        rows = _rows_inside(rows, source.rows[split], place)
    if not rows:
        raise BenchError(f"The {place} holds no rows.", "Choose another split on the card.")
    return SourceRows(rows, place, _digest_rows(rows))


def _rows_inside(rows: list[Row], path: str, place: str) -> list[Row]:
    """The list of rows that the first row holds at ``path``.

    Raises:
        BenchError: there is none.
    """
    found = value_at(rows[0], path) if rows else None
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        has = ", ".join(repr(str(name)[:40]) for name in list(rows[0] if rows else ())[:20])
        raise BenchError(
            f"The {place} has no list of rows at {path!r} (its first row has: {has}).", "Change 'rows' on the card."
        )
    return [dict(row) for row in found]


def _digest_rows(rows: list[Any]) -> str:
    sha = hashlib.sha256()
    for row in rows:
        line = json.dumps(row, ensure_ascii=False, sort_keys=True, default=str)
        sha.update(line.encode("utf-8", "surrogatepass") + b"\n")
    return f"sha256:{sha.hexdigest()}"


def _format_of(path: Path, chosen: Format | None) -> Format:
    suffix = bare_name(path).suffix.lower().lstrip(".")
    suffix = {"ndjson": "jsonl", "pq": "parquet"}.get(suffix, suffix)
    found = chosen or next((f for f in FORMATS if f == suffix), None)
    if found is None:
        raise BenchError(
            f"The format of the data file {path} cannot be told from its name.",
            f"Name it .{', .'.join(FORMATS)}, or put 'format:' into the card's source.",
        )
    return found


def git_blob_id(content: bytes) -> str:
    """Git's object id of a file: SHA-1 of ``"blob <size>\\0"`` and the content."""
    return _digest(_git_blob, content)


def _git_blob(size: int) -> Hash:
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


def _sha256(size: int) -> Hash:
    return hashlib.sha256()


def _digest(begin: Callable[[int], Hash], content: bytes) -> str:
    sha = begin(len(content))
    sha.update(content)
    return str(sha.hexdigest())


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
