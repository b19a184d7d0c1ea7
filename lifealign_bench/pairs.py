"""A preference pair: what every part of the benchmark passes around."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Message", "Pair", "Split", "digest_pairs"]

Split = Literal["train", "test"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a dialogue."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt with a preferred and a dispreferred response.

    Args:
        id: unique in a run and stable: ``<task>/<split>/<row of the source file>``.
        task: name of the task it belongs to.
        prompt: the dialogue so far; its last turn is the user's.
        chosen: the preferred response.
        rejected: the other one.
        check: what the task's reward function needs to know of this pair.
        group: what it shares with pairs that are no independent answers (a topic, say); empty: its prompt.
    """

    id: str
    task: str
    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    check: Mapping[str, Any] = field(default_factory=dict, hash=False)
    group: str = ""

    @property
    def cluster(self) -> str:
        """A name of its cluster, which tells nothing of any text: pairs of one task with the same are one item."""
        said = self.group or json.dumps([[m.role, m.content] for m in self.prompt], ensure_ascii=False)
        return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def content(self) -> list[Any]:
        """What the pair says, without its name: plain values, for hashing."""
        turns = [[m.role, m.content] for m in self.prompt]
        return [turns, self.chosen, self.rejected, dict(self.check)]


def digest_pairs(pairs: Iterable[Pair]) -> str:
    """SHA-256 (hex) over the ids and contents of ``pairs`` in their order."""
    sha = hashlib.sha256()
    for pair in pairs:
        line = json.dumps([pair.id, *pair.content()], ensure_ascii=False, sort_keys=True)
        sha.update(line.encode("utf-8", "surrogatepass") + b"\n")
    return sha.hexdigest()
