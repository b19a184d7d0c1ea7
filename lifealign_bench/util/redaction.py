"""What must not leave this process: keys and passwords, cut out of everything that is said or written.

A key comes back in places that nobody thinks of: a server repeats it in a status line or an error, a library puts an
address with its password into a message, a traceback holds a header. So every secret that this process knows of is
learned once, here, and everything that leaves goes through :func:`redact`: what is shown (``grid.clean`` and the
process's streams, with tracebacks and the logs of libraries), the files (``files.write_text``) and the JSON output.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO, cast
from urllib.parse import quote, quote_plus, unquote, urlsplit

HIDDEN = "[hidden]"
# Shorter ones are words like "none" and "EMPTY", which stand for no key and all over in other texts.
_SHORTEST = 8
_SECRET_WORDS = frozenset(
    {"KEY", "APIKEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASS", "PWD", "CREDENTIAL", "CREDENTIALS", "AUTH"}
    | {"BEARER", "COOKIE", "PASSPHRASE", "PAT"}
)
# Also without a line between the words: PGPASSWORD, GITHUBTOKEN.
_SECRET_ENDS = ("APIKEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE")
# scheme://user:password@host, also with an @ in the password; the user of an address of git is none.
_USER = re.compile(r"(?<![A-Za-z0-9])([A-Za-z][A-Za-z0-9+.-]*://)(?!git@)[^\s/?#\"'<>\\]*@")

_PERCENT = re.compile("%[0-9A-F]{2}")
_AS_GO = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})  # as Go's library writes JSON

_known: dict[str, str] = {}


def learn(secret: str, mark: str = HIDDEN) -> None:
    """Never let ``secret`` out from now on, in any of the forms that it takes; what is too short for one is let be.

    Args:
        mark: what stands in its place.
    """
    global _known
    secret = secret.strip()
    if len(secret) < _SHORTEST or _known.get(secret) == mark:
        return
    # Longer ones first: a part of a secret that is replaced would leave the rest.
    found = _known | dict.fromkeys(_forms(secret), mark)
    _known = dict(sorted(found.items(), key=lambda item: -len(item[0])))


def _forms(secret: str) -> set[str]:
    """What a secret looks like in addresses, headers, JSON and HTML."""
    own = secret.encode("utf-8", "surrogateescape")
    quoted = {quote(secret, safe=safe, errors="replace") for safe in ("", "/")} | {quote_plus(secret, errors="replace")}
    quoted |= {_PERCENT.sub(lambda found: found[0].lower(), text) for text in quoted}
    quoted |= {quote(text, safe="") for text in quoted}
    written = {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]}
    written |= {text.replace("/", "\\/") for text in written} | {text.translate(_AS_GO) for text in written}
    written |= {html.escape(secret), html.escape(secret, quote=False)}
    based = {base64.b64encode(own).decode(), base64.b64encode(own).decode().rstrip("=")}
    # Behind something else ("Bearer ", "user:") base64 begins at another bit; what is left is a letter's part.
    based |= {
        base64.b64encode(b"\0" * ahead + own).decode()[begin : (ahead + len(own)) * 4 // 3]
        for ahead, begin in ((0, 0), (1, 2), (2, 3))
    }
    based |= {text.replace("+", "-").replace("/", "_") for text in based}
    return quoted | written | based | {own.hex(), own.hex().upper()}


def learn_address(address: str) -> None:
    """Learn the password and the values of the query of an address."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return
    user, _, _ = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    for text in (user, password or name, *(value.partition("=")[2] for value in parts.query.split("&"))):
        if "{" not in text:
            learn(text)
            learn(unquote(text))


def learn_environment(variables: Mapping[str, str] | None = None) -> None:
    """Learn what the variables hold whose names say that they hold a secret, and the passwords of addresses."""
    for name, value in (os.environ if variables is None else variables).items():
        words = set(re.split("[^A-Z0-9]+", name.upper()))
        secret = words & _SECRET_WORDS or any(word.endswith(_SECRET_ENDS) for word in words)
        if secret and not value.startswith(("/", "~", ".")):
            learn(value, "[key]" if name == "OPENAI_API_KEY" else HIDDEN)
        elif "://" in value and "@" in value:
            learn_address(value)


def redact(text: str) -> str:
    """``text`` without the secrets that were learned and without what stands before the host of an address."""
    for secret, mark in _known.items():
        if secret in text:
            text = text.replace(secret, mark)
    if "@" in text and "://" in text:
        text = _USER.sub(rf"\1{HIDDEN}@", text)
    return text


class _RedactedStream:
    """A text stream that lets no secret through; all but writing is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(redact(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def redacted_streams() -> Iterator[None]:
    """Within, what anything in this process writes to standard output and error is redacted."""
    learn_environment()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast("TextIO", _RedactedStream(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


learn_environment()
