"""Where a judge's server is, and the key for it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from httpx2 import URL, InvalidURL
from pydantic import SecretStr

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.redaction import learn, redact

__all__ = ["DEFAULT_URL", "KEY_VARIABLE", "URL_VARIABLE", "Endpoint", "find_endpoint"]

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
