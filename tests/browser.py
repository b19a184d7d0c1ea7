"""A headless Chromium for tests: pages are opened, asked and photographed over its debugging pipe (no extra package).

Debian's package is ``chromium``. The environment variable ``CHROMIUM`` names another binary.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Browser", "Tab", "find_chromium", "open_browser"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Seconds for a browser to start and a page to load: on a machine with other work that took one and a half minutes.
_PATIENCE = 180.0
# Chromium reads commands from file descriptor 3 and answers on 4; first out of the way, so that neither overwrites the
# other.
_WRAPPER = (
    "import fcntl, os, sys; r, w = (fcntl.fcntl(int(n), fcntl.F_DUPFD, 10) for n in sys.argv[1:3]); "
    "os.dup2(r, 3); os.dup2(w, 4); os.execv(sys.argv[3], sys.argv[3:])"
)


def find_chromium() -> str | None:
    """The binary, or None."""
    named = os.environ.get("CHROMIUM")
    return named or next((found for name in _NAMES if (found := shutil.which(name))), None)


@contextmanager
def open_browser(binary: str) -> Iterator[Browser]:
    """A browser with a profile of its own, which is gone afterwards."""
    commands, answers = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        flags += ["--remote-debugging-pipe", f"--user-data-dir={profile}", "--hide-scrollbars", "about:blank"]
        ends = (commands[0], answers[1])
        process = subprocess.Popen(
            [sys.executable, "-c", _WRAPPER, *map(str, ends), binary, *flags],
            pass_fds=ends,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in ends:
            os.close(end)
        browser = Browser(commands[1], answers[0])
        try:
            yield browser
        finally:
            os.close(commands[1])  # Chromium ends when nobody can give it commands
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            os.close(answers[0])


class Browser:
    """Commands of the DevTools protocol over two file descriptors, each message ended by a zero byte."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read = write, read
        self._number = 0
        self._rest = b""
        self.events: list[dict[str, Any]] = []

    def ask(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; events on the way are kept.

        Raises:
            RuntimeError: the browser refused it.
            TimeoutError: there was no answer in three minutes.
        """
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next(_PATIENCE)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])
            self.events.append(answer)

    def _next(self, seconds: float) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            part = os.read(self._read, 1 << 20) if ready else b""
            if not part:
                raise TimeoutError("the browser does not answer")
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))

    def open(self, page: Path, width: int = 1200, height: int = 900, dark: bool = False, anchor: str = "") -> Tab:
        """A file in a tab of its own, at an ``anchor`` of it, when it has been loaded."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, str(session))
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.ask(f"{domain}.enable")
        tab.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        tab.ask("Emulation.setEmulatedMedia", features=[scheme])
        tab.ask("Page.navigate", url=page.resolve().as_uri() + (f"#{anchor}" if anchor else ""))
        tab.wait("document.readyState === 'complete' && location.href !== 'about:blank'", _PATIENCE)
        return tab


class Tab:
    """One page."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command to this page."""
        return self._browser.ask(method, self._session, **parameters)

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for.

        Raises:
            RuntimeError: it threw.
        """
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def wait(self, expression: str, seconds: float = 60) -> None:
        """Until an expression is true.

        Raises:
            TimeoutError: it does not become true.
        """
        end = time.monotonic() + seconds
        while not self.run(expression):
            if time.monotonic() > end:
                raise TimeoutError(f"never true: {expression}")
            time.sleep(0.02)

    def errors(self) -> list[str]:
        """What scripts threw and the console complained about, refusals of the content policy included."""
        self.run("1")
        return [json.dumps(e["params"]) for e in self._events("Runtime.exceptionThrown")] + [
            entry["text"]
            for event in self._events("Log.entryAdded")
            if (entry := event["params"]["entry"])["level"] in ("error", "warning")
        ]

    def requests(self) -> list[str]:
        """Every address that the page asked for."""
        self.run("1")
        return [event["params"]["request"]["url"] for event in self._events("Network.requestWillBeSent")]

    def _events(self, name: str) -> list[dict[str, Any]]:
        return [e for e in self._browser.events if e.get("method") == name and e.get("sessionId") == self._session]

    def picture(self, file: Path, whole: bool = True) -> None:
        """A screenshot as PNG, of the whole page or of the window."""
        shot = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(shot["data"]))
