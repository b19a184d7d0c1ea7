"""Responses that a server has finished, on disk until all are there: what was generated once is not asked for again."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lifealign_bench.util.redaction import redact


class KeptResponses:
    """A file of lines, one a response, to which several threads add. A line that a crash left half is no response.

    Args:
        determined_by: all that decides what is said to a prompt, as plain JSON values; what was said otherwise is not
            taken for it.
    """

    def __init__(self, path: Path, determined_by: Any) -> None:
        self.path = path
        self._head = hashlib.sha256(json.dumps(determined_by, sort_keys=True).encode()).hexdigest()
        self._lock = threading.Lock()
        self._found = dict(self._lines())

    def _lines(self) -> list[tuple[str, list[int]]]:
        try:
            text = self.path.read_text(encoding="utf-8")
        except OSError:
            return []
        found = []
        for line in text.split("\n"):
            try:
                said = json.loads(line)
                found.append((str(said["key"]), [int(token) for token in said["tokens"]]))
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def __len__(self) -> int:
        return len(self._found)

    def key(self, prompt: Sequence[int], stops: Sequence[str]) -> str:
        """Of a prompt with its stop texts."""
        return hashlib.sha256(json.dumps([self._head, list(prompt), list(stops)]).encode()).hexdigest()

    def find(self, key: str) -> list[int] | None:
        """The response, if it is there."""
        return self._found.get(key)

    def keep(self, key: str, tokens: Sequence[int]) -> None:
        """Add a response; it is on disk when this returns."""
        line = redact(json.dumps({"key": key, "tokens": list(tokens)}))
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                # Behind half a line of a process that was killed it would be lost.
                file.write(f"{line}\n" if self._whole() else f"\n{line}\n")
            self._found[key] = list(tokens)

    def _whole(self) -> bool:
        size = self.path.stat().st_size
        if not size:
            return True
        with self.path.open("rb") as file:
            file.seek(size - 1)
            return file.read(1) == b"\n"

    def forget(self) -> None:
        """Of responses that cannot be believed none is kept."""
        self.path.unlink(missing_ok=True)
        self._found = {}
