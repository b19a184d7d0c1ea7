"""What an HTTP answer says: its words and numbers, read with care."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from httpx2 import URL, Response

from lifealign_bench.util.redaction import HIDDEN
from lifealign_bench.util.text import clean

_MOST_WORDS = 100


def shown(url: str) -> str:
    """``url`` for messages: without a user's name and password, and without what a query says."""
    address = URL(url)
    bare = str(address.copy_with(userinfo=b"", query=None))
    return f"{bare}?{HIDDEN}" if address.query else bare


def status(response: Response) -> str:
    """``404 Not Found``; the words are the server's, so no more than some of them."""
    return f"{response.status_code} {clean(response.reason_phrase)[:_MOST_WORDS]}".strip()


def encoded(response: Response) -> bool:
    """Whether the bytes on the wire are not the file's own."""
    return response.headers.get("Content-Encoding", "identity") != "identity"


def content_range(response: Response) -> tuple[int | None, int | None]:
    """First byte and total size of ``Content-Range: bytes 5-9/10`` or ``bytes */10``."""
    span, _, total = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
    first = span.partition("-")[0].strip()
    return (int(first) if first.isdecimal() else None), (int(total) if total.strip().isdecimal() else None)


def retry_after(response: Response) -> float | None:
    """Seconds that ``Retry-After`` asks for, as a number or as a date."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
