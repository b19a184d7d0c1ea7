"""One exchange with an OpenAI-compatible server: what it answers, or in which way it fails."""

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
from lifealign_bench.config import RunConfig
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.scoring.judging.store import CUT, Answer
from lifealign_bench.util.http import retry_after, status
from lifealign_bench.util.redaction import learn, redact
from lifealign_bench.util.text import clean

_MOST_BYTES = 1 << 20

_MOST_TEXT = 20_000

_MOST_WORDS = 200

_PASSING = (408, 409, 425, 429)


class MayPass(Exception):
    """A failure that another try may mend; ``wait``: seconds that the server asked for."""

    def __init__(self, why: str, wait: float = 0.0) -> None:
        super().__init__(why)
        self.wait = wait


class Refused(Exception):
    """This question gets no answer, however often it is asked."""


def open_judge_client(endpoint: Endpoint, connections: int) -> Client:
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


def complete(client: Client, endpoint: Endpoint, body: Mapping[str, Any], timeout: float) -> Answer:
    """The answer to one call of ``/chat/completions``.

    Args:
        timeout: seconds for the whole call.

    Raises:
        MayPass: it failed; another try may not.
        Refused: the server takes this call for wrong, or answers without end.
        BenchError: the key or the model is refused, or the server is elsewhere.
    """
    response, content = _exchange(client, endpoint, "POST", "chat/completions", timeout, body)
    if response.status_code == 404:
        raise BenchError(
            f"The judge's server at {endpoint.host} knows no model {body['model']!r}, or no /chat/completions at "
            f"{endpoint.url}{_words(endpoint, content)}.",
            "Check --judge server:MODEL and the address (--judge-url, mostly ending in /v1).",
        )
    _check(response, endpoint, content)
    return _answer(endpoint, content)


def list_models(client: Client, endpoint: Endpoint, timeout: float) -> list[str]:
    """The names of the server's models; empty where it does not tell.

    Raises:
        MayPass: it failed; another try may not.
        BenchError: the key is refused, or the server is elsewhere.
    """
    try:
        response, content = _exchange(client, endpoint, "GET", "models", timeout)
        _check(response, endpoint, content)
        return [clean(model["id"]) for model in json.loads(content)["data"] if isinstance(model["id"], str)]
    except (Refused, ValueError, KeyError, TypeError, RecursionError):
        return []


def _exchange(
    client: Client,
    endpoint: Endpoint,
    method: str,
    path: str,
    timeout: float,
    body: Mapping[str, Any] | None = None,
) -> tuple[Response, bytes]:
    began = time.monotonic()
    content = bytearray()
    try:
        with client.stream(method, f"{endpoint.url}/{path}", json=body, timeout=timeout) as response:
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


def _check(response: Response, endpoint: Endpoint, content: bytes) -> None:
    code, words = response.status_code, _words(endpoint, content)
    if code < 300:
        return
    if code < 400:
        raise BenchError(
            f"The judge's server at {endpoint.host} sends us elsewhere ({_status(response, endpoint)}).",
            "Give the address that it means with --judge-url: a key is not sent after a redirect.",
        )
    if code in (401, 403) and endpoint.key is None:
        raise BenchError(
            f"The judge's server at {endpoint.host} wants a key ({_status(response, endpoint)}).",
            f"Set {KEY_VARIABLE}.",
        )
    if code in (401, 403):
        raise BenchError(
            f"The judge's server at {endpoint.host} refuses the key ({_status(response, endpoint)}{words}).",
            f"Check {KEY_VARIABLE}, and what that key may do.",
        )
    if code in _PASSING or code >= 500:
        raise MayPass(f"it answers {_status(response, endpoint)}{words}", retry_after(response) or 0.0)
    raise Refused(f"it answers {_status(response, endpoint)}{words}")


def _status(response: Response, endpoint: Endpoint) -> str:
    """The words of a status are the server's, as those of its answer."""
    return endpoint.redact(status(response))


def _words(endpoint: Endpoint, content: bytes) -> str:
    """What the server says of an error, to be put after a status."""
    try:
        said = json.loads(content)
        error = said.get("error", said)
        text = error if isinstance(error, str) else error.get("message") or error.get("detail") or ""
    except (ValueError, AttributeError, RecursionError):
        return ""
    text = clean(endpoint.redact(str(text))).strip().rstrip(".")
    return f": {text[:_MOST_WORDS]}" if text else ""


def _answer(endpoint: Endpoint, content: bytes) -> Answer:
    try:
        said = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise MayPass("its answer is no JSON, or a part of one") from error
    try:
        choice = said["choices"][0]
        text = redact(_text(choice["message"]))
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise MayPass("its answer has no choices with a message") from error
    # The verdict comes last, so the end is what is kept of a long text.
    text = text[-_MOST_TEXT:] + (CUT if choice.get("finish_reason") == "length" else "")
    usage, model = said.get("usage"), said.get("model")
    usage = usage if isinstance(usage, dict) else {}
    return Answer(
        text=text,
        model=clean(endpoint.redact(model))[:_MOST_WORDS] if isinstance(model, str) else "",
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
    )


def _text(message: Mapping[str, Any]) -> str:
    """The words of a message: one text, parts, or those of a refusal; empty where there are none."""
    content = message["content"] if "content" in message else message["refusal"]
    if content is None:
        content = message.get("refusal") or ""
    if isinstance(content, list):
        content = "".join(part["text"] for part in content if part.get("type") == "text")
    if not isinstance(content, str):
        raise TypeError("no text")
    return content


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else 0


KEY_VARIABLE = "OPENAI_API_KEY"

URL_VARIABLE = "OPENAI_BASE_URL"

DEFAULT_URL = "https://api.openai.com/v1"

KEY_MARK = "[key]"

_WRITE = "Write it like http://127.0.0.1:8000/v1."


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


def find_endpoint(config: RunConfig) -> Endpoint:
    """The server of ``--judge-url``, of ``OPENAI_BASE_URL``, or OpenAI's; the key of ``OPENAI_API_KEY``.

    Raises:
        UsageError: no address, an address with a secret in it, OpenAI's server without a key.
    """
    source = "--judge-url" if config.judge_url is not None else URL_VARIABLE
    text = config.judge_url if config.judge_url is not None else os.environ.get(URL_VARIABLE) or DEFAULT_URL
    try:
        url = URL(text.strip())
    except (InvalidURL, ValueError) as error:
        raise UsageError(f"The address of the judge ({source}) cannot be read.", _WRITE) from error
    if url.userinfo or url.query or url.fragment:
        # Addresses are written down and logged. What is left out here may be a secret: it is not repeated.
        raise UsageError(
            f"The address of the judge ({source}) holds a user's name, a password or a query.",
            f"{_WRITE} A key belongs into the environment variable {KEY_VARIABLE}.",
        )
    if url.scheme not in ("http", "https") or not url.host or (url.port or 0) > 65535:
        raise UsageError(f"{text!r} is not the address of a server ({source}).", _WRITE)
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key and url.host == URL(DEFAULT_URL).host and config.judge_budget != 0:
        raise UsageError(
            f"The judge {config.judge!r} is asked at {url.host}, which needs a key.",
            f"Set {KEY_VARIABLE} in the environment, or name your own server with --judge-url.",
        )
    if any(not "!" <= character <= "~" for character in key):
        raise UsageError(f"{KEY_VARIABLE} holds characters that no key has.", "Copy the key again, as one line.")
    address = str(url).rstrip("/").removesuffix("/chat/completions")
    return Endpoint(address, SecretStr(key) if key else None)
