"""One file over HTTP: gone on where it broke off, tried again while that may help, honest about what does not."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import IO

import httpx2
from httpx2 import URL, Client, Response

from lifealign_bench import __version__
from lifealign_bench.errors import BenchError
from lifealign_bench.util.http import content_range, encoded, retry_after, shown, status
from lifealign_bench.util.text import duration, file_size


@dataclass(frozen=True)
class DownloadPolicy:
    """When to try again.

    Args:
        retries: further tries in a row that bring nothing new; a try that gets beyond all earlier ones starts anew.
        first_wait: seconds before the first of them; each next one waits twice as long.
        longest_wait: seconds, the most that doubling comes to.
        longest_asked: seconds, the most that a server may ask for (Retry-After); beyond it the fetch stops.
        timeout: seconds without a connection or without a byte until a try counts as failed.
    """

    retries: int = 5
    first_wait: float = 1.0
    longest_wait: float = 60.0
    longest_asked: float = 300.0
    timeout: float = 30.0


class DownloadWatch:
    """Hears how a download goes; every event does nothing here."""

    def receiving(self, have: int, total: int | None) -> None:
        """An answer came: ``have`` bytes are there already, of ``total`` if that is known."""

    def received(self, count: int) -> None:
        """``count`` more bytes are on the disk."""

    def notice(self, text: str) -> None:
        """Something that the user should know."""


class FetchStopped(BenchError):
    """No network, no space, no patience left: what stops the other files of a fetch as well."""


class _TryAgain(Exception):
    """A failure that another try may mend; ``wait``: seconds that the server asked for."""

    def __init__(self, why: str, wait: float | None = None) -> None:
        super().__init__(why)
        self.wait = wait


@contextmanager
def open_client(patience: DownloadPolicy) -> Iterator[Client]:
    """A client that follows redirects and takes proxies and certificates from the environment.

    Raises:
        FetchStopped: the proxy named there cannot be used.
    """
    try:
        client = Client(
            follow_redirects=True,
            timeout=patience.timeout,
            headers={"User-Agent": f"lifealign-bench/{__version__}"},
        )
    except (ImportError, ValueError, httpx2.InvalidURL) as error:
        first = str(error).partition("\n")[0].rstrip(".")
        raise FetchStopped(f"The proxy of the environment cannot be used: {first}.", _PROXY) from error
    with client:
        yield client


def forget(part: Path) -> None:
    """Delete a half-written file and what is known of it."""
    part.unlink(missing_ok=True)
    _tag_file(part).unlink(missing_ok=True)


def download(client: Client, url: str, part: Path, patience: DownloadPolicy, watch: DownloadWatch) -> None:
    """Bring ``url`` into the file ``part``, from where that file ends if the server can do so.

    The entity tag of what ``part`` began with is kept beside it, so that bytes of two versions are never mixed.

    Raises:
        FetchStopped: no connection, a full disk, or no success within ``patience``; ``part`` stays for another time.
        BenchError: the server refuses this file.
    """
    furthest, tries = -1, 0
    while True:
        try:
            _receive(client, url, part, watch)
            return
        except _TryAgain as trouble:
            size = _size(part)
            tries = 1 if size > furthest else tries + 1
            furthest = max(furthest, size)
            if tries > patience.retries:
                raise FetchStopped(
                    f"{shown(url)} cannot be fetched: {trouble} (after {_times(tries)}).", _remedy(size)
                ) from trouble
            sleep(_wait(trouble, tries, url, patience, watch))


def _wait(trouble: _TryAgain, tries: int, url: str, patience: DownloadPolicy, watch: DownloadWatch) -> float:
    """Seconds until the next try, told to the user."""
    if trouble.wait is not None and trouble.wait > patience.longest_asked:
        raise FetchStopped(
            f"{shown(url)} cannot be fetched now: {trouble}, and the server asks to wait {duration(trouble.wait)}.",
            "Try again after that time; what is here already is kept. Or use --mirror.",
        )
    doubled = min(patience.first_wait * 2 ** (tries - 1), patience.longest_wait)
    wait = doubled if trouble.wait is None else trouble.wait
    watch.notice(f"{trouble}; trying again" + (f" in {duration(wait)}" if wait >= 0.1 else ""))
    return wait


def _receive(client: Client, url: str, part: Path, watch: DownloadWatch) -> None:
    """One try."""
    have, tag = _size(part), _read_tag(part)
    # Encoded answers could not be gone on with: their bytes are not the file's.
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if tag and not tag.startswith("W/"):
            headers["If-Range"] = tag
    try:
        with client.stream("GET", url, headers=headers) as response:
            start = _start(response, url, part, have, tag)
            if start is not None:
                _store(response, part, start, watch)
    except httpx2.RequestError as error:
        raise _explain(error, url) from error


def _start(response: Response, url: str, part: Path, have: int, tag: str) -> int | None:
    """The byte that an answer begins with; None if the file is complete already."""
    code = response.status_code
    if code == 200:
        return 0
    first, total = content_range(response)
    if code == 206 and have:
        same = response.headers.get("ETag", tag) == tag or not tag
        if first == have and same and not encoded(response):
            return have
        forget(part)
        raise _TryAgain("the file changed on the server", 0)
    if code == 416 and have:
        if total == have:
            return None
        forget(part)
        raise _TryAgain("the server has fewer bytes than are here already", 0)
    if code in (408, 425, 429) or code >= 500:
        raise _TryAgain(f"the server answers {status(response)}", retry_after(response))
    raise BenchError(f"{shown(url)} cannot be fetched: the server answers {status(response)}.", _REFUSED)


def _store(response: Response, part: Path, start: int, watch: DownloadWatch) -> None:
    length = response.headers.get("Content-Length", "")
    total = start + int(length) if length.isdecimal() and not encoded(response) else None
    watch.receiving(start, total)
    try:
        with part.open("ab" if start else "wb") as file:
            if not start:
                _write_tag(part, response.headers.get("ETag", ""))
            for piece in response.iter_bytes():
                _write(file, piece)
                watch.received(len(piece))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _full(part, total) from error
    if total is not None and _size(part) != total:
        raise _TryAgain("the connection ended early")


def _write(file: IO[bytes], piece: bytes) -> None:
    file.write(piece)


def _full(part: Path, total: int | None) -> FetchStopped:
    free = shutil.disk_usage(part.parent).free
    need = f", {file_size(max(0, total - _size(part)))} more are needed" if total is not None else ""
    return FetchStopped(
        f"The disk is full: {part} cannot grow ({file_size(free)} free{need}).",
        "Free some space there, or use another folder with LIFEALIGN_BENCH_CACHE; then the same command goes on.",
    )


def _explain(error: httpx2.RequestError, url: str) -> Exception:
    why = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    if isinstance(error, httpx2.ProxyError):
        return FetchStopped(f"The proxy does not let {shown(url)} through: {why}.", _PROXY)
    if isinstance(error, httpx2.TooManyRedirects | httpx2.UnsupportedProtocol):
        return BenchError(f"{shown(url)} cannot be fetched: {why}.", _REFUSED)
    if "CERTIFICATE_VERIFY_FAILED" in why:
        return FetchStopped(
            f"The certificate of {URL(url).host} cannot be verified: {why}.",
            "Behind a proxy that opens connections, name its certificates with SSL_CERT_FILE.",
        )
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return _TryAgain(f"no connection to {URL(url).host} ({why or 'time-out'})")
    if isinstance(error, httpx2.TimeoutException):
        return _TryAgain("no byte came within the time-out")
    return _TryAgain(f"the connection broke ({why})")


def _times(tries: int) -> str:
    return "one try" if tries == 1 else f"{tries} tries"


def _remedy(size: int) -> str:
    kept = f" {file_size(size)} are kept, and the same command goes on there." if size else ""
    return f"{_NETWORK}{kept}"


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _tag_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")


def _read_tag(part: Path) -> str:
    file = _tag_file(part)
    return file.read_text(encoding="latin-1") if file.is_file() else ""


def _write_tag(part: Path, tag: str) -> None:
    _tag_file(part).write_text(tag, encoding="latin-1")


_NETWORK = (
    "Check the network and the proxy (HTTPS_PROXY, NO_PROXY), use another address with --mirror, or give a copy of the "
    "repository's data folder with --data-dir or LIFEALIGN_BENCH_DATA."
)

_PROXY = "Check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY."

_REFUSED = "Check the address (--mirror, LIFEALIGN_BENCH_MIRROR) and repository, commit and path on the card."
