"""An OpenAI-compatible server on 127.0.0.1 that behaves as it is told: well, slowly, wrongly, or not at all.

``with serve() as server:`` gives a server whose ``address`` is for ``--judge-url`` and whose only model is ``judge``.
It answers with ``server.answer(messages)``; ``server.plan`` holds what it does first, one behaviour a call.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = [
    "Behaviour",
    "Handler",
    "JudgeServer",
    "Messages",
    "drop",
    "hang",
    "huge",
    "reset",
    "says",
    "sends",
    "serve",
    "status",
    "truncated",
]

Messages = list[dict[str, str]]


class Handler(BaseHTTPRequestHandler):
    """The requests of one connection, which is kept open."""

    told: JudgeServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        told = self.told
        with told.lock:
            told.listings += 1
            told.headers.append(dict(self.headers.items()))
        if told.listing is not None:
            told.listing(self)
        elif not self.path.endswith("/models"):
            self.send(404, b"{}")
        elif self.allowed():
            self.send(200, json.dumps({"data": [{"id": name} for name in told.models]}).encode())

    def do_POST(self) -> None:
        told = self.told
        body: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with told.lock:
            told.calls.append(body)
            told.headers.append(dict(self.headers.items()))
            behaviour = told.plan.pop(0) if told.plan else told.behaviour(body)
        if behaviour is not None:
            behaviour(self)
        elif self.path != f"{told.path}/chat/completions":
            self.send(404, b"{}")
        elif self.allowed() and self.known(str(body["model"])):
            self.complete(told.answer(body["messages"]))

    def allowed(self) -> bool:
        """Whether the key is right; else the answer is sent."""
        key = self.told.key
        if key is None or self.headers.get("Authorization") == f"Bearer {key}":
            return True
        error = {"message": f"Incorrect API key provided: {self.headers.get('Authorization')}"}
        self.send(401, json.dumps({"error": error}).encode())
        return False

    def known(self, model: str) -> bool:
        """Whether there is such a model; else the answer is sent."""
        if model in self.told.models:
            return True
        self.send(404, json.dumps({"error": {"message": f"The model `{model}` does not exist."}}).encode())
        return False

    def complete(self, text: object, finish: str = "stop", **more: Any) -> None:
        """A whole answer."""
        content = {
            "model": self.told.model_name,
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": text, **more}, "finish_reason": finish}
            ],
            "usage": {"prompt_tokens": self.told.prompt_tokens, "completion_tokens": self.told.completion_tokens},
        }
        self.send(200, json.dumps(content).encode())

    def send(self, code: int, body: bytes, headers: Mapping[str, str] | None = None, length: int | None = None) -> None:
        """A status, headers and a body; ``length``: what is promised, if not its length."""
        self.send_response(code)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        # The client may have heard enough.
        try:
            self.wfile.write(body)
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


Behaviour = Callable[[Handler], None]


def _sevens(messages: Messages) -> str:
    return "It is fine.\nScore: 7"


def _well(body: Mapping[str, Any]) -> Behaviour | None:
    return None


@dataclass
class JudgeServer:
    """What it will do and what it was asked.

    Args:
        address: ``http://127.0.0.1:<port>/v1``.
        answer: what it says to the messages of a call, where it behaves well.
        plan: the behaviours of the next calls, one a call.
        behaviour: what to do with a call (its body) after them; None: behave well.
        listing: what to do when asked for its models; None: name them.
        key: the only key that it takes; None: any and none.
        models: those there are; ``model_name``: how it calls the one that answered.
        prompt_tokens, completion_tokens: what it counts for every call.
        calls: the bodies of the calls of /chat/completions, however they ended.
        headers: those of all requests.
        listings: how often it was asked for its models.
    """

    address: str = ""
    path: str = "/v1"
    answer: Callable[[Messages], str] = _sevens
    plan: list[Behaviour] = field(default_factory=list)
    behaviour: Callable[[Mapping[str, Any]], Behaviour | None] = _well
    listing: Behaviour | None = None
    key: str | None = None
    models: tuple[str, ...] = ("judge",)
    model_name: str = "judge-2026-01"
    prompt_tokens: int = 100
    completion_tokens: int = 10
    calls: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    listings: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    released: threading.Event = field(default_factory=threading.Event)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[Handler]) -> None:
        super().__init__(address, handler)
        self.connections: list[socket.socket] = []

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.append(request)
        super().process_request(request, client_address)

    def hang_up(self) -> None:
        """A server that is gone keeps no connection open."""
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients that hang up are part of the tests


@contextmanager
def serve(port: int = 0) -> Iterator[JudgeServer]:
    """A server in a thread, stopped at the end; calls that :func:`hang` are let go then."""
    told = JudgeServer()
    server = _Server(("127.0.0.1", port), type("Bound", (Handler,), {"told": told}))
    told.address = f"http://127.0.0.1:{server.server_address[1]}{told.path}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        told.released.set()
        server.shutdown()
        server.server_close()
        server.hang_up()
        thread.join()


def says(text: object, finish: str = "stop", **more: Any) -> Behaviour:
    """A whole answer with this text; ``more``: other fields of the message, such as ``refusal``."""
    return lambda handler: handler.complete(text, finish, **more)


def sends(body: bytes, code: int = 200) -> Behaviour:
    """A body as it is."""
    return lambda handler: handler.send(code, body)


def status(code: int, headers: Mapping[str, str] | None = None, message: str = "") -> Behaviour:
    """A status with an error message."""
    return lambda handler: handler.send(code, json.dumps({"error": {"message": message}}).encode(), headers)


def truncated(handler: Handler) -> None:
    """Half of a JSON document, and the promise that it is all."""
    handler.send(200, b'{"choices": [{"message": {"content": "Score:')


def drop(handler: Handler) -> None:
    """Half of what was promised, then hang up."""
    handler.send(200, b'{"choices": [{"mess', length=1000)
    handler.close_connection = True


def reset(handler: Handler) -> None:
    """Hang up without a word."""
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def hang(handler: Handler) -> None:
    """Say nothing until the server ends."""
    handler.told.released.wait(30)
    handler.close_connection = True


def huge(handler: Handler) -> None:
    """10 MB."""
    handler.complete("x" * 10_000_000)
