"""An OpenAI-compatible server: its address and key, and one exchange with it, or the way in which that fails."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
from httpx2 import URL, Client, InvalidURL, Response
from pydantic import SecretStr

from lifealign_bench import __version__
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.util.http import retry_after, status
from lifealign_bench.util.patience import MayPass, Refused
from lifealign_bench.util.redaction import learn, redact
from lifealign_bench.util.text import clean

MOST_WORDS = 200

KEY_MARK = "[key]"

_MOST_BYTES = 1 << 20

_PASSING = (408, 409, 425, 429)

_WRITE = "Write it like http://127.0.0.1:8000/v1."


@dataclass(frozen=True)
class ServerRole:
    """What a server is there for, as messages say it.

    Args:
        name: ``the judge's server``.
        owner: ``the judge``, whose address it is.
        option: says its address, e.g. ``--judge-url``.
        url_variable: the environment variable that says it too.
        key_variable: the one that holds the key; nothing else does.
    """

    name: str
    owner: str
    option: str
    url_variable: str
    key_variable: str


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible server.

    Args:
        url: its address without a slash at the end, mostly ending in ``/v1``. It holds no secret.
        key: what it knows us by; shown and written nowhere.
    """

    url: str
    key: SecretStr | None = None

    def __post_init__(self) -> None:
        if self.key is not None:
            learn(self.key.get_secret_value(), KEY_MARK)

    @property
    def host(self) -> str:
        """For people and records."""
        return URL(self.url).host

    def redact(self, text: str) -> str:
        """``text`` without the key, for what a server says: some repeat the key that they refuse.

        A key too short to be cut out of everything (``redaction``) goes where it stands as a word.
        """
        if self.key is None:
            return redact(text)
        word = re.escape(self.key.get_secret_value())
        return re.sub(rf"(?<![A-Za-z0-9]){word}(?![A-Za-z0-9])", KEY_MARK, redact(text))


def read_endpoint(said: str | None, role: ServerRole, default: str, path: str) -> Endpoint:
    """The server at an address, with the key of the environment.

    Args:
        said: the address; None: that of the environment.
        default: the address where neither says one.
        path: of the calls; an address that ends in it is taken without it.

    Raises:
        UsageError: no address, or one with a secret in it; a key that is none.
    """
    source = role.option if said is not None else role.url_variable
    text = said if said is not None else os.environ.get(role.url_variable) or default
    try:
        url = URL(text.strip())
    except (InvalidURL, ValueError) as error:
        raise UsageError(f"The address of {role.owner} ({source}) cannot be read.", _WRITE) from error
    if url.userinfo or url.query or url.fragment:
        # Addresses are written down and logged. What is left out here may be a secret: it is not repeated.
        raise UsageError(
            f"The address of {role.owner} ({source}) holds a user's name, a password or a query.",
            f"{_WRITE} A key belongs into the environment variable {role.key_variable}.",
        )
    if url.scheme not in ("http", "https") or not url.host or (url.port or 0) > 65535:
        raise UsageError(f"{text!r} is not the address of a server ({source}).", _WRITE)
    key = os.environ.get(role.key_variable, "").strip()
    if any(not "!" <= character <= "~" for character in key):
        raise UsageError(f"{role.key_variable} holds characters that no key has.", "Copy the key again, as one line.")
    return Endpoint(str(url).rstrip("/").removesuffix(path), SecretStr(key) if key else None)


def connect_to(endpoint: Endpoint, connections: int) -> Client:
    """A client for several threads; it follows no redirect, so that the key goes to no other host.

    Raises:
        BenchError: the proxy named in the environment cannot be used.
    """
    # A line for every call would bury the progress where a library has made all loggers talk.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    # Compressed answers could be far larger than what comes over the wire.
    headers = {"User-Agent": f"lifealign-bench/{__version__}", "Accept-Encoding": "identity"}
    if endpoint.key is not None:
        headers["Authorization"] = f"Bearer {endpoint.key.get_secret_value()}"
    limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
    try:
        return Client(follow_redirects=False, headers=headers, limits=limits)
    except (ImportError, ValueError, httpx2.InvalidURL) as error:
        first = str(error).partition("\n")[0].rstrip(".")
        raise BenchError(
            f"The proxy of the environment cannot be used: {first}.",
            "Check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY.",
        ) from error


def exchange(
    client: Client, method: str, url: str, timeout: float, body: Mapping[str, Any] | None = None
) -> tuple[Response, bytes]:
    """A server's answer to one request, whatever its status, and its body.

    Args:
        timeout: seconds for all of it.

    Raises:
        MayPass: there is none.
        Refused: it has no end.
    """
    began = time.monotonic()
    content = bytearray()
    try:
        with client.stream(method, url, json=body, timeout=timeout) as response:
            for piece in response.iter_raw():
                content += piece
                if len(content) > _MOST_BYTES:
                    raise Refused("its answer is longer than 1 MiB")
                # The client's own time-out begins anew with every piece.
                if time.monotonic() - began > timeout:
                    raise MayPass("its answer did not end within the time-out")
    except httpx2.RequestError as error:
        raise MayPass(_why(error)) from error
    return response, bytes(content)


def _why(error: httpx2.RequestError) -> str:
    if isinstance(error, httpx2.ConnectTimeout):
        return "no connection within the time-out"
    if isinstance(error, httpx2.TimeoutException):
        return "no answer within the time-out"
    what = clean((str(error).strip().splitlines() or [type(error).__name__])[0].rstrip("."))
    return f"no connection ({what})" if isinstance(error, httpx2.ConnectError) else f"the connection broke ({what})"


def check_status(response: Response, endpoint: Endpoint, content: bytes, role: ServerRole) -> None:
    """Nothing where the status is one of success.

    Raises:
        MayPass: it failed; another try may not.
        Refused: the server takes this call for wrong.
        BenchError: the key is refused or missing, or the server is elsewhere.
    """
    code, words = response.status_code, said_words(endpoint, content)
    server = f"{role.name[:1].upper()}{role.name[1:]} at {endpoint.host}"
    if code < 300:
        return
    if code < 400:
        raise BenchError(
            f"{server} sends us elsewhere ({_status(response, endpoint)}).",
            f"Give the address that it means with {role.option}: a key is not sent after a redirect.",
        )
    if code in (401, 403) and endpoint.key is None:
        raise BenchError(f"{server} wants a key ({_status(response, endpoint)}).", f"Set {role.key_variable}.")
    if code in (401, 403):
        raise BenchError(
            f"{server} refuses the key ({_status(response, endpoint)}{words}).",
            f"Check {role.key_variable}, and what that key may do.",
        )
    if code in _PASSING or code >= 500:
        raise MayPass(f"it answers {_status(response, endpoint)}{words}", retry_after(response) or 0.0)
    raise Refused(f"it answers {_status(response, endpoint)}{words}")


def _status(response: Response, endpoint: Endpoint) -> str:
    """The words of a status are the server's, as those of its answer."""
    return endpoint.redact(status(response))


def said_words(endpoint: Endpoint, content: bytes) -> str:
    """What the server says of an error, to be put after a status; empty where it says nothing."""
    try:
        said = json.loads(content)
        error = said.get("error", said)
        if isinstance(error, str):
            text = error
        else:
            text = error.get("message") or error.get("detail") or error.get("error_message") or ""
    except (ValueError, AttributeError, RecursionError):
        return ""
    text = clean(endpoint.redact(str(text))).strip().rstrip(".")
    return f": {text[:MOST_WORDS]}" if text else ""
