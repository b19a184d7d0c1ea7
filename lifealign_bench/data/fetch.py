"""The files of git sources brought into the cache: each verified by its blob id before it gets its name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from filelock import FileLock, Timeout
from httpx2 import Client

from lifealign_bench.data.cards import TaskCard
from lifealign_bench.data.download import DownloadPolicy as Patience
from lifealign_bench.data.download import DownloadWatch, FetchStopped, download, forget, open_client
from lifealign_bench.data.sources import SPLITS, GitFile, GitSource, cached_copy, git_places
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.pairs import Split
from lifealign_bench.util.files import git_blob_file
from lifealign_bench.util.http import shown
from lifealign_bench.util.redaction import learn_address

MIRROR_VARIABLE = "LIFEALIGN_BENCH_MIRROR"
_RAW = "https://raw.githubusercontent.com"
_BLANKS = ("{repo}", "{commit}", "{path}")
_FOLDER = "Check space and rights there, or use another folder with LIFEALIGN_BENCH_CACHE."
FetchState = Literal["fetched", "available", "failed", "not tried"]


@dataclass(frozen=True)
class FetchOptions:
    """How to fetch.

    Args:
        mirror: an address instead of raw.githubusercontent.com; see :func:`file_address`.
        data_dir: a copy of the data that is looked at before the cache.
        force: download what is there already, too.
        patience: when to try again.
    """

    mirror: str | None = None
    data_dir: Path | None = None
    force: bool = False
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True)
class Wanted:
    """One file to fetch."""

    card: TaskCard
    source: GitSource
    split: Split
    file: GitFile

    @property
    def target(self) -> Path:
        """Its place in the cache."""
        return cached_copy(self.source, self.split)


@dataclass(frozen=True)
class Fetched:
    """What became of a file; ``error`` and ``remedy`` where it failed."""

    wanted: Wanted
    state: FetchState
    path: Path
    url: str = ""
    bytes: int = 0
    error: str = ""
    remedy: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "task": self.wanted.card.name,
            "split": self.wanted.split,
            "state": self.state,
            "path": str(self.path),
            "bytes": self.bytes,
            "blob": self.wanted.file.blob,
            "url": shown(self.url) if self.url else None,
            "error": self.error or None,
            "remedy": self.remedy or None,
        }


class FetchWatch(DownloadWatch):
    """Hears of the files as well; every event does nothing here."""

    def began(self, wanted: Wanted, number: int, of: int) -> None:
        """The ``number``-th of ``of`` files is looked at."""

    def ended(self, result: Fetched) -> None:
        """It is there, or it failed."""


def wanted_files(cards: Sequence[TaskCard]) -> tuple[list[Wanted], list[str]]:
    """The files of the git sources among ``cards``, and the names of the tasks that have another source."""
    wanted: list[Wanted] = []
    others: list[str] = []
    for card in cards:
        source = card.source
        if isinstance(source, GitSource):
            wanted += [Wanted(card, source, split, source.files[split]) for split in SPLITS if split in source.files]
        else:
            others.append(card.name)
    return wanted, others


def file_address(wanted: Wanted, mirror: str | None) -> str:
    """Where a file is downloaded from.

    ``mirror`` (or LIFEALIGN_BENCH_MIRROR) stands for ``https://raw.githubusercontent.com`` before
    ``/<owner>/<repository>/<commit>/<path>``; if it has ``{repo}``, ``{commit}`` or ``{path}`` in it, those are filled
    in and nothing is added.

    Raises:
        UsageError: the mirror is no HTTP address.
        BenchError: the repository is not one of GitHub, and no mirror with ``{path}`` is given.
    """
    mirror = mirror or os.environ.get(MIRROR_VARIABLE) or ""
    learn_address(mirror)
    where = urlsplit(wanted.source.repository)
    repo = where.path.strip("/").removesuffix(".git")
    values = (quote(repo), wanted.source.commit, quote(wanted.file.path))
    if mirror and not _is_address(mirror):
        raise UsageError(
            f"The mirror {'' if '@' in mirror else f'{mirror!r} '}is not an address.",
            f"Give one that begins with http:// or https:// with --mirror or {MIRROR_VARIABLE}.",
        )
    if any(blank in mirror for blank in _BLANKS):
        for blank, value in zip(_BLANKS, values, strict=True):
            mirror = mirror.replace(blank, value)
        return mirror
    if where.hostname != "github.com" or repo.count("/") != 1:
        raise BenchError(
            f"How {wanted.source.repository} serves single files is not known (task {wanted.card.name}).",
            "Give its address with --mirror, with {commit} and {path} where they belong.",
        )
    return "/".join((mirror.rstrip("/") or _RAW, *values))


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def fetch_files(wanted: Sequence[Wanted], options: FetchOptions, watch: FetchWatch) -> list[Fetched]:
    """Have every file in place, one after the other; what fails for one file does not keep the others.

    No network or no space left stops the rest, which is then "not tried".

    Raises:
        BenchError: an address cannot be made; nothing was done then.
    """
    addresses = [file_address(item, options.mirror) for item in wanted]
    results: list[Fetched] = []
    with open_client(options.patience) as client:
        for number, (item, url) in enumerate(zip(wanted, addresses, strict=True), start=1):
            watch.began(item, number, len(wanted))
            stop = False
            try:
                result = _fetch(client, item, url, options, watch)
            except BenchError as error:
                stop = isinstance(error, FetchStopped)
                result = Fetched(item, "failed", item.target, url, error=error.message, remedy=error.remedy)
            except OSError as error:
                stop = True
                what = f"{error.strerror or error}: {error.filename or item.target}."
                result = Fetched(item, "failed", item.target, url, error=what, remedy=_FOLDER)
            results.append(result)
            watch.ended(result)
            if stop:
                break
    return results + [Fetched(item, "not tried", item.target) for item in wanted[len(results) :]]


def _fetch(client: Client, wanted: Wanted, url: str, options: FetchOptions, watch: FetchWatch) -> Fetched:
    target = wanted.target
    copy = _copy_elsewhere(wanted, options)
    if copy is not None and not options.force:
        return Fetched(wanted, "available", copy, bytes=copy.stat().st_size)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _one_writer(target, watch):
        part = target.with_name(f"{target.name}.part")
        if target.is_file() and not options.force:
            if git_blob_file(target) == wanted.file.blob:
                return Fetched(wanted, "available", target, bytes=target.stat().st_size)
            watch.notice(f"{target} is damaged and is fetched again")
        if options.force:
            forget(part)
        _download_verified(client, wanted, url, part, options.patience, watch)
        _put_in_place(part, target)
    return Fetched(wanted, "fetched", target, url, target.stat().st_size)


def _copy_elsewhere(wanted: Wanted, options: FetchOptions) -> Path | None:
    """A copy that is read before the cache.

    Raises:
        BenchError: it is damaged, so that it would hide what is fetched.
    """
    places = git_places(wanted.source, wanted.split, options.data_dir)
    first = next((path for path in places if path.is_file()), wanted.target)
    if first == wanted.target:
        return None
    found = git_blob_file(first)
    if found != wanted.file.blob:
        raise BenchError(
            f"The data file {first} has the wrong hash: git:{found}, the card says git:{wanted.file.blob}. It would be "
            "read instead of a fetched one.",
            "Take it away, or leave out --data-dir and LIFEALIGN_BENCH_DATA.",
        )
    return first


def _download_verified(
    client: Client, wanted: Wanted, url: str, part: Path, patience: Patience, watch: FetchWatch
) -> None:
    """Download into ``part``; wrong bytes are thrown away and get one fresh try, as a resumed part may be at fault.

    Raises:
        BenchError: the bytes are wrong again; names both ids.
    """
    again = False
    while True:
        download(client, url, part, patience, watch)
        found, size = git_blob_file(part), part.stat().st_size
        if found == wanted.file.blob:
            return
        forget(part)
        if again:
            raise BenchError(
                f"{wanted.file.path} came with the wrong bytes ({size:,} of them): their id is git:{found}, the card "
                f"says git:{wanted.file.blob}. They were thrown away.",
                "The file changed upstream, or the mirror or a proxy gives something else: try another --mirror, or "
                f"take it from {wanted.source.repository} at commit {wanted.source.commit}.",
            )
        watch.notice(f"{wanted.file.path} came with the wrong bytes; trying once more from the start")
        again = True


def _put_in_place(part: Path, target: Path) -> None:
    # On disk before it has its name, or a power cut leaves a file of zeros that looks whole.
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(target)
    forget(part)


@contextmanager
def _one_writer(target: Path, watch: DownloadWatch) -> Iterator[None]:
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        watch.notice(f"another process fetches {target}; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
