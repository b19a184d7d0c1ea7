"""The API of a server that completes token ids and holds LoRA adapters: vLLM's, and SGLang's where that differs.

Both take ``/v1/completions`` with a prompt of token ids and ``return_token_ids``. An adapter is loaded by its path:
vLLM at ``/v1/load_lora_adapter``, and asked for as a model of its own; SGLang at ``/load_lora_adapter``, and asked for
by ``lora_path``.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from httpx2 import Response

from lifealign_bench.errors import BenchError
from lifealign_bench.util.endpoint import (
    MOST_WORDS,
    Endpoint,
    ServerRole,
    check_status,
    connect_to,
    exchange,
    said_words,
)
from lifealign_bench.util.patience import MayPass, Refused, RetryPolicy
from lifealign_bench.util.text import clean

GENERATOR = ServerRole(
    "the generation server",
    "the generation server",
    "--generation-url",
    "LIFEALIGN_BENCH_SERVER_URL",
    "LIFEALIGN_BENCH_SERVER_KEY",
)

TRIES = 7  # of a call, with waits between them that double
TIMEOUT = 600.0  # seconds of a call: a server with a queue answers late

_LOADING = 300.0
_MISSING = (404, 405, 501)
# A load that fails has 500 at vLLM: another try mends only what is busy or on its way.
_BUSY = (408, 425, 429, 502, 503, 504)
_WITHOUT = "Start it so that adapters can be loaded while it runs: {vllm}; or {sglang}."
_VLLM = "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve ... --enable-lora --max-lora-rank {rank}"
_VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # those that it takes
_SGLANG = "python -m sglang.launch_server ... --enable-lora --max-lora-rank {rank} --lora-target-modules {modules}"


@dataclass(frozen=True)
class ServedModel:
    """What a server says of itself.

    Args:
        name: of its base model; ``root``: where it has that from, empty where it does not say.
        longest: tokens of a prompt with its response; None where it does not say.
        label: the software with its version, as far as it tells.
    """

    name: str
    root: str
    longest: int | None
    label: str


@dataclass(frozen=True)
class AdapterNeeds:
    """What an adapter asks of a server.

    Args:
        name: what it is loaded as.
        path: its folder.
        rank: of its matrices.
        modules: that it changes.
    """

    name: str
    path: str
    rank: int
    modules: tuple[str, ...]

    def remedy(self) -> str:
        """How servers are started that can hold it."""
        room = next((rank for rank in _VLLM_RANKS if rank >= self.rank), self.rank)
        sglang = _SGLANG.format(rank=self.rank, modules=" ".join(self.modules))
        return _WITHOUT.format(vllm=_VLLM.format(rank=room), sglang=sglang)


@dataclass(frozen=True)
class Completion:
    """An answer.

    Args:
        tokens: its ids, mostly with the token that ended it.
        cut: whether it ended at a longest length.
        log_probs: of each token in nats, where they were asked for.
    """

    tokens: tuple[int, ...]
    cut: bool
    log_probs: tuple[float, ...] | None = None


class CompletionServer:
    """One server; its calls may be made by several threads.

    Args:
        connections: at a time.
        patience: how long to wait between tries.
    """

    def __init__(self, endpoint: Endpoint, connections: int, patience: RetryPolicy) -> None:
        self.endpoint = endpoint
        self.patience = patience
        self._client = connect_to(endpoint, connections)
        self._root = endpoint.url.removesuffix("/v1")
        self._by_path = False  # adapters are asked for by lora_path

    def describe(self) -> ServedModel:
        """Its base model and what it is.

        Raises:
            BenchError: it is not there, refuses the key, or lists no model.
        """
        listed = self._reached("GET", f"{self.endpoint.url}/models")
        cards = [card for card in _list(listed, "data") if isinstance(card, dict) and isinstance(card.get("id"), str)]
        bases = [card for card in cards if not card.get("parent")]
        if not bases:
            raise BenchError(
                f"The generation server at {self.endpoint.url} lists no model.",
                "Check the address (--generation-url, mostly ending in /v1).",
            )
        base, longest = bases[0], bases[0].get("max_model_len")
        return ServedModel(
            name=base["id"],
            root=_words(base.get("root")),
            longest=longest if isinstance(longest, int) and longest > 0 else None,
            label=self._label(_words(base.get("owned_by")) or "openai"),
        )

    def _label(self, software: str) -> str:
        for path in ("version", "server_info", "get_server_info"):
            try:
                said = self._reached("GET", f"{self._root}/{path}")
            except BenchError:
                continue
            if isinstance(said, dict) and isinstance(said.get("version"), str):
                return f"{software} {_words(said['version'])}"
        return f"{software} of an unknown version"

    def _reached(self, method: str, url: str) -> Any:
        """What it answers to a question about itself.

        Raises:
            BenchError: it does not.
        """

        def ask() -> Any:
            response, content = exchange(self._client, method, url, self.patience.reach)
            check_status(response, self.endpoint, content, GENERATOR)
            return _parsed(content)

        try:
            return self.patience.retrying(self.patience.reach_tries, threading.Event())(ask)
        except (MayPass, Refused) as trouble:
            raise BenchError(
                f"The generation server cannot be reached at {self.endpoint.url}: {trouble}.",
                "Start it, or check its address (--generation-url, mostly ending in /v1) and the proxy (HTTPS_PROXY, "
                "NO_PROXY).",
            ) from trouble

    def load(self, adapter: AdapterNeeds) -> None:
        """Load an adapter by its path.

        Raises:
            BenchError: the server holds no adapters, or cannot read this one.
        """
        body = {"lora_name": adapter.name, "lora_path": adapter.path}
        response, content = self._post(f"{self.endpoint.url}/load_lora_adapter", body, adapter)
        self._by_path = False
        if response.status_code in _MISSING:
            response, content = self._post(f"{self._root}/load_lora_adapter", body, adapter)
            self._by_path = True
        words = said_words(self.endpoint, content)
        if response.status_code in _MISSING or _says_none(words):
            raise BenchError(
                f"The generation server at {self.endpoint.host} loads no LoRA adapters{words}.", adapter.remedy()
            )
        refused = response.status_code >= 400 or _is_failure(content)
        if refused and "already" not in words:
            raise BenchError(
                f"The generation server at {self.endpoint.host} cannot load the adapter in {adapter.path}"
                f"{words or f' ({response.status_code})'}.",
                "It reads that folder by itself: the same path has to be there on its machine, or in its container. "
                f"The rank is {adapter.rank} and the modules are {', '.join(adapter.modules)}. {adapter.remedy()}",
            )

    def unload(self, name: str) -> None:
        """Let an adapter go; where that fails it stays, which harms nobody but the server's memory."""
        home = self._root if self._by_path else self.endpoint.url
        try:
            exchange(self._client, "POST", f"{home}/unload_lora_adapter", self.patience.reach, {"lora_name": name})
        except (MayPass, Refused):
            return

    def _post(self, url: str, body: Mapping[str, Any], adapter: AdapterNeeds) -> tuple[Response, bytes]:
        def ask() -> tuple[Response, bytes]:
            response, content = exchange(self._client, "POST", url, _LOADING, body)
            if response.status_code in (*_BUSY, 401, 403) or 300 <= response.status_code < 400:
                check_status(response, self.endpoint, content, GENERATOR)
            return response, content

        try:
            return self.patience.retrying(TRIES, threading.Event())(ask)
        except (MayPass, Refused) as trouble:
            raise BenchError(
                f"The generation server at {self.endpoint.host} does not load the adapter in {adapter.path}: "
                f"{trouble}.",
                "When it is back, the same command goes on.",
            ) from trouble

    def complete(
        self,
        model: str,
        prompt: Sequence[int],
        *,
        adapter: str | None,
        most: int,
        stop: Sequence[int],
        stops: Sequence[str],
        log_probs: bool = False,
        halt: threading.Event | None = None,
    ) -> Completion:
        """The greedy answer to one prompt; a call has one prompt, so that no answer can be another's.

        Args:
            model: the base model's name.
            adapter: the name of a loaded one; None: the base model is asked.
            most: tokens at most.
            stop, stops: tokens and texts that end it; without tokens nothing does.
            halt: once it is set, nothing is tried again.

        Raises:
            MayPass: all tries failed.
            Refused: the server takes the call for wrong, or its answer is not one to it.
            BenchError: the key is refused, or the server is elsewhere.
        """
        body: dict[str, Any] = {
            "model": model,
            "prompt": list(prompt),
            "max_tokens": most,
            "temperature": 0.0,
            # Servers may take other defaults from the model's generation settings.
            **{"top_p": 1.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0},
            "n": 1,
            "stream": False,
            "return_token_ids": True,
            **({"stop_token_ids": list(stop)} if stop else {"ignore_eos": True}),
        }
        if stops:
            body["stop"] = list(stops)
        if log_probs:
            body["logprobs"] = 1
        if adapter is not None and self._by_path:
            body["lora_path"] = adapter
        elif adapter is not None:
            body["model"] = adapter

        def ask() -> Completion:
            response, content = exchange(self._client, "POST", f"{self.endpoint.url}/completions", TIMEOUT, body)
            check_status(response, self.endpoint, content, GENERATOR)
            return read_completion(_parsed(content), prompt, log_probs=log_probs)

        return self.patience.retrying(TRIES, halt or threading.Event())(ask)


def read_completion(said: Any, prompt: Sequence[int], *, log_probs: bool) -> Completion:
    """An answer, read with care.

    Raises:
        Refused: it is not one answer to this prompt in token ids.
    """
    choices = _list(said, "choices")
    if len(choices) != 1 or not isinstance(choices[0], dict) or choices[0].get("index", 0) != 0:
        raise Refused(f"it gives {len(choices)} answers to one prompt, or not the first")
    choice = choices[0]
    tokens = _ids(choice.get("token_ids"))
    if tokens is None:
        raise Refused("its answer has no token ids: it does not know return_token_ids, which vLLM has since 0.10.2")
    asked = choice.get("prompt_token_ids")
    if asked is not None and list(asked) != list(prompt):
        raise Refused("its answer is to another prompt: it mixes them up")
    values = None
    if log_probs:
        known = choice.get("logprobs")
        values = known.get("token_logprobs") if isinstance(known, dict) else None
        if not isinstance(values, list) or len(values) != len(tokens) or not all(map(_is_number, values)):
            raise Refused("its answer has no log-probability for each token (logprobs)")
    ended = choice.get("finish_reason")
    if ended not in ("stop", "length"):
        raise Refused(f"its answer ended in the way {_words(ended) or 'none'!r}")
    return Completion(tokens, ended == "length", None if values is None else tuple(map(float, values)))


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise MayPass("its answer is no JSON, or a part of one") from error


def _list(said: Any, key: str) -> list[Any]:
    found = said.get(key) if isinstance(said, dict) else None
    return found if isinstance(found, list) else []


def _words(value: object) -> str:
    return clean(value)[:MOST_WORDS] if isinstance(value, str) else ""


def _ids(value: object) -> tuple[int, ...] | None:
    whole = isinstance(value, list) and all(type(i) is int and 0 <= i < 2**31 for i in value)
    return tuple(value) if isinstance(value, list) and whole else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _says_none(words: str) -> bool:
    """Whether an error says that the server holds no adapters at all."""
    said = words.lower()
    return "lora is not enabled" in said or "enable-lora" in said or "enable_lora" in said


def _is_failure(content: bytes) -> bool:
    """Whether an answer of success tells of a failure all the same, as SGLang's does."""
    try:
        said = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(said, dict) and said.get("success") is False
