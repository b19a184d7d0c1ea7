"""One call of a judge at an OpenAI-compatible server: what it answers, or in which way it fails."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from httpx2 import URL, Client

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.scoring.judging.store import CUT, Answer
from lifealign_bench.util.endpoint import (
    MOST_WORDS,
    Endpoint,
    ServerRole,
    check_status,
    exchange,
    read_endpoint,
    said_words,
)
from lifealign_bench.util.patience import MayPass, Refused
from lifealign_bench.util.redaction import redact
from lifealign_bench.util.text import clean

_MOST_TEXT = 20_000

_PATH = "/chat/completions"

DEFAULT_URL = "https://api.openai.com/v1"

JUDGE = ServerRole("the judge's server", "the judge", "--judge-url", "OPENAI_BASE_URL", "OPENAI_API_KEY")


def complete(client: Client, endpoint: Endpoint, body: Mapping[str, Any], timeout: float) -> Answer:
    """The answer to one call of ``/chat/completions``.

    Args:
        timeout: seconds for the whole call.

    Raises:
        MayPass: it failed; another try may not.
        Refused: the server takes this call for wrong, or answers without end.
        BenchError: the key or the model is refused, or the server is elsewhere.
    """
    response, content = exchange(client, "POST", f"{endpoint.url}{_PATH}", timeout, body)
    if response.status_code == 404:
        raise BenchError(
            f"The judge's server at {endpoint.host} knows no model {body['model']!r}, or no /chat/completions at "
            f"{endpoint.url}{said_words(endpoint, content)}.",
            "Check --judge server:MODEL and the address (--judge-url, mostly ending in /v1).",
        )
    check_status(response, endpoint, content, JUDGE)
    return _answer(endpoint, content)


def list_models(client: Client, endpoint: Endpoint, timeout: float) -> list[str]:
    """The names of the server's models; empty where it does not tell.

    Raises:
        MayPass: it failed; another try may not.
        BenchError: the key is refused, or the server is elsewhere.
    """
    try:
        response, content = exchange(client, "GET", f"{endpoint.url}/models", timeout)
        check_status(response, endpoint, content, JUDGE)
        return [clean(model["id"]) for model in json.loads(content)["data"] if isinstance(model["id"], str)]
    except (Refused, ValueError, KeyError, TypeError, RecursionError):
        return []


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
        model=clean(endpoint.redact(model))[:MOST_WORDS] if isinstance(model, str) else "",
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


def find_endpoint(config: RunConfig) -> Endpoint:
    """The server of ``--judge-url``, of ``OPENAI_BASE_URL``, or OpenAI's; the key of ``OPENAI_API_KEY``.

    Raises:
        UsageError: no address, an address with a secret in it, OpenAI's server without a key.
    """
    endpoint = read_endpoint(config.judge_url, JUDGE, DEFAULT_URL, _PATH)
    if endpoint.key is None and endpoint.host == URL(DEFAULT_URL).host and config.judge_budget != 0:
        raise UsageError(
            f"The judge {config.judge!r} is asked at {endpoint.host}, which needs a key.",
            f"Set {JUDGE.key_variable} in the environment, or name your own server with {JUDGE.option}.",
        )
    return endpoint
