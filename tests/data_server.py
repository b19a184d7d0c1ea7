"""A file server on 127.0.0.1 that behaves as it is told: slow, broken, wrong, or well."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

__all__ = ["Answer", "DataServer", "cut", "dribble", "ignore_range", "redirect", "serve", "stall", "status", "wrong"]


class Handler(BaseHTTPRequestHandler):
    """One request; the connection is closed after it."""

    told: DataServer

    def do_GET(self) -> None:
        self.told.seen.append((self.path, dict(self.headers.items())))
        plan = self.told.plan
        answer = plan.pop(0) if plan else well
        answer(self)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def body(self) -> bytes | None:
        return self.told.files.get(urlsplit(self.path).path)

    def head(self, code: int, **headers: object) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()


Answer = Callable[[Handler], None]


@dataclass
class DataServer:
    """What it holds, what it will do, what it was asked.

    Args:
        address: ``http://127.0.0.1:<port>``.
        files: path -> content.
        plan: the next answers, one a request; after them it serves well.
        seen: path and headers of every request.
        tag: the entity tag of all files; empty: none.
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    plan: list[Answer] = field(default_factory=list)
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    tag: str = '"one"'

    def ranges(self) -> list[str | None]:
        """The Range header of every request."""
        return [headers.get("Range") for _, headers in self.seen]


@contextmanager
def serve() -> Iterator[DataServer]:
    """A server in a thread, stopped at the end."""
    told = DataServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"told": told}))
    server.daemon_threads = True
    told.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def well(handler: Handler) -> None:
    """As a good server: ranges, conditions on the tag, 404 for what is not there, 416 for what is beyond the end."""
    content, tag = handler.body(), handler.told.tag
    tags = {"ETag": tag} if tag else {}
    if content is None:
        handler.head(404, Content_Length=0)
        return
    asked = handler.headers.get("Range")
    if asked is None or handler.headers.get("If-Range", tag) != tag:
        handler.head(200, Content_Length=len(content), **tags)
        handler.wfile.write(content)
        return
    start = int(asked.removeprefix("bytes=").rstrip("-"))
    if start >= len(content):
        handler.head(416, Content_Range=f"bytes */{len(content)}", Content_Length=0)
        return
    span = f"bytes {start}-{len(content) - 1}/{len(content)}"
    handler.head(206, Content_Range=span, Content_Length=len(content) - start, **tags)
    handler.wfile.write(content[start:])


def ignore_range(handler: Handler) -> None:
    """All of the file, whatever was asked."""
    del handler.headers["Range"]
    well(handler)


def cut(after: int) -> Answer:
    """Promise all of the file, send ``after`` bytes of it and hang up."""

    def answer(handler: Handler) -> None:
        content = handler.body() or b""
        handler.head(200, Content_Length=len(content), **({"ETag": handler.told.tag} if handler.told.tag else {}))
        handler.wfile.write(content[:after])

    return answer


def stall(after: int, event: threading.Event) -> Answer:
    """Send ``after`` bytes, then nothing until ``event`` is set."""

    def answer(handler: Handler) -> None:
        cut(after)(handler)
        handler.wfile.flush()
        event.wait(20)

    return answer


def dribble(pieces: int, pause: float) -> Answer:
    """Send the file in ``pieces`` with a ``pause`` in seconds before each."""

    def answer(handler: Handler) -> None:
        content = handler.body() or b""
        handler.head(200, Content_Length=len(content))
        step = len(content) // pieces + 1
        for start in range(0, len(content), step):
            time.sleep(pause)
            handler.wfile.write(content[start : start + step])
            handler.wfile.flush()

    return answer


def wrong(content: bytes) -> Answer:
    """Send something else, whole."""

    def answer(handler: Handler) -> None:
        handler.head(200, Content_Length=len(content))
        handler.wfile.write(content)

    return answer


def status(code: int, **headers: object) -> Answer:
    """Only a status."""
    return lambda handler: handler.head(code, **{"Content_Length": 0, **headers})


def redirect(to: str) -> Answer:
    """Go elsewhere."""
    return status(302, Location=to)
