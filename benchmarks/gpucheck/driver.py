"""Starts the worker, watches the clock, and writes the result after every part, so that nothing is lost."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.gpucheck.part import FAILED, LEFT_OUT, TIMED_OUT
from benchmarks.gpucheck.worker import FACTS, RUNNING

ROOT = Path(__file__).resolve().parents[2]
_POLL = 0.1
# A process that loads torch and opens a GPU takes this long at most before its first part begins.
_START = 90.0
ERRORS = "errors.txt"  # what the worker says
_LEAST = 5.0  # seconds that a part is begun with

Result = dict[str, Any]


@dataclass
class Watch:
    """The worker that runs, and what is known of the parts.

    Args:
        limits: part to its seconds.
        folder: where the worker writes.
        begin: starts a worker for these parts.
        until: of ``time.monotonic``, when all has to be done.
        told: called after every part.
    """

    limits: Mapping[str, float]
    folder: Path
    begin: Callable[[Sequence[str]], subprocess.Popen[bytes]]
    until: float
    told: Callable[[Mapping[str, Result]], None]
    found: dict[str, Result] = field(default_factory=dict)

    def run(self) -> dict[str, Result]:
        """Every part's result, in order."""
        left = list(self.limits)
        while left:
            if self.until - time.monotonic() < _LEAST:
                for name in left:
                    self._keep(name, {"status": LEFT_OUT, "reason": "no time was left.", "seconds": 0.0})
                break
            self._one_worker(left)
            left = [name for name in self.limits if name not in self.found]
        return {name: self.found[name] for name in self.limits}

    def _one_worker(self, left: Sequence[str]) -> None:
        """Follow a worker until it ends, by itself or because a part of it takes too long."""
        process = self.begin(left)
        try:
            for name in left:
                ended = self._await(process, name)
                if ended is None:  # the worker ends after a part that broke
                    return
                self._keep(name, ended)
                if ended["status"] == TIMED_OUT or (ended["status"] == FAILED and process.poll() is not None):
                    return
            process.wait(timeout=_START)
        except subprocess.TimeoutExpired:
            pass  # it has told all that it was asked
        finally:
            end(process)

    def _await(self, process: subprocess.Popen[bytes], name: str) -> Result | None:
        """A part's result; None where the worker ended in good order before it came to it."""
        clock = time.monotonic()
        begun: float | None = None
        while True:
            gone = process.poll() is not None  # looked at before the file: what it wrote last is there then
            content = self._read(name)
            if content is not None and content["status"] != RUNNING:
                return content
            now = time.monotonic()
            if content is not None and begun is None:
                begun = now
            if gone:
                if content is None and process.returncode == 0:
                    return None
                said = self._said()
                return {
                    **(content or {}),
                    "status": FAILED,
                    "reason": f"the process ended with code {process.returncode}. {said}".strip(),
                    "seconds": now - clock,
                }
            limit = _START if begun is None else self.limits[name]
            if now - (begun or clock) > limit or now > self.until:
                end(process)
                what = f"its limit of {limit:.0f} s" if now <= self.until else "the end of the time for all"
                found = self._read(name) or {}  # what it wrote last
                return {**found, "status": TIMED_OUT, "reason": f"it reached {what}.", "seconds": now - clock}
            time.sleep(_POLL)

    def _said(self) -> str:
        file = self.folder / ERRORS
        return file.read_text(encoding="utf-8", errors="replace").strip()[-500:] if file.is_file() else ""

    def _read(self, name: str) -> Result | None:
        file = self.folder / f"{name}.json"
        if not file.is_file():
            return None
        found: Result = json.loads(file.read_text(encoding="utf-8"))
        return found

    def _keep(self, name: str, result: Result) -> None:
        self.found[name] = result
        self.told(self.found)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a worker with all that it started: it is the first of a session of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def begin_worker(folder: Path, device: str, tiny: bool) -> Callable[[Sequence[str]], subprocess.Popen[bytes]]:
    """Starts this check's worker."""

    def begin(names: Sequence[str]) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "benchmarks.gpucheck.worker", "--device", device, "--folder", str(folder)]
        # Into a file: a pipe that nobody reads would stop a worker that says much.
        with (folder / ERRORS).open("w") as errors:
            return subprocess.Popen(
                [*words, *(["--tiny"] if tiny else []), *names],
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )

    return begin


def check(
    limits: Mapping[str, float],
    device: str,
    tiny: bool,
    minutes: float,
    save: Callable[[Result], None],
) -> Result:
    """Do the parts and save what is known after each.

    Args:
        limits: part to its seconds.
        minutes: for all.
        save: called with the whole result so far.
    """
    started = datetime.now(UTC).isoformat(timespec="seconds")
    clock = time.monotonic()

    def whole(found: Mapping[str, Result]) -> Result:
        facts = Path(folder) / f"{FACTS}.json"
        return {
            "started": started,
            "seconds": time.monotonic() - clock,
            "size": "tiny" if tiny else "full",
            "machine": json.loads(facts.read_text(encoding="utf-8")) if facts.is_file() else {"device": device},
            "git": commit_here(),
            "parts": dict(found),
        }

    with tempfile.TemporaryDirectory() as folder:
        watch = Watch(
            limits,
            Path(folder),
            begin_worker(Path(folder), device, tiny),
            clock + 60 * minutes,
            lambda found: save(whole(found)),
        )
        return whole(watch.run())


def commit_here() -> dict[str, Any]:
    """The commit, where there is a checkout with git."""
    try:
        words = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return {"commit": None}
    return {"commit": done.stdout.strip() or None}
