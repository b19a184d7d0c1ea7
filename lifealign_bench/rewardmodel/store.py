"""Rewards on disk, text by text: one table a reward model, found again by all that determines its numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lifealign_bench.models.cache import Arrays, load_arrays, store_arrays

__all__ = ["RewardStore", "digest_text"]

_KIND = "rewards"
_DIGEST = 16  # bytes of a text's name


def digest_text(ids: Sequence[int]) -> bytes:
    """What a text is kept under: a hash of its token ids."""
    return hashlib.sha256(np.array(ids, dtype="<i8").tobytes()).digest()[:_DIGEST]


class RewardStore:
    """The rewards that a reward model has given so far, in this process and, as far as it is known, in others.

    A text has one reward: what was first written down stays, so that equal responses are equal to the bit.

    Args:
        key: what determines a reward beside the text.
        notice: told of a cache that cannot be read or written; the numbers are then kept in memory alone.
    """

    def __init__(self, key: Mapping[str, Any], notice: Callable[[str], None]) -> None:
        self.key = dict(key)
        self.notice = notice
        self.known: dict[bytes, float] = {}

    def unknown(self, texts: Sequence[bytes]) -> set[bytes]:
        """Those of ``texts`` that no process has written down yet."""
        if any(text not in self.known for text in texts):
            self._read()
        return {text for text in texts if text not in self.known}

    def add(self, rewards: Mapping[bytes, float]) -> None:
        """Write down new rewards beside those that other processes have written meanwhile."""
        self._read()
        self.known = {**rewards, **self.known}
        names = sorted(self.known)
        arrays: Arrays = {
            "texts": np.frombuffer(b"".join(names), dtype=np.uint8).reshape(-1, _DIGEST).copy(),
            "rewards": np.array([self.known[name] for name in names], dtype=np.float64),
        }
        store_arrays(_KIND, self.key, arrays, self.notice)

    def _read(self) -> None:
        stored = load_arrays(_KIND, self.key, self.notice)
        if stored is None:
            return
        texts, rewards = stored.get("texts", np.empty(0)), stored.get("rewards", np.empty(0))
        if texts.dtype != np.uint8 or texts.shape != (len(rewards), _DIGEST) or not np.isfinite(rewards).all():
            return
        found = {bytes(text): float(reward) for text, reward in zip(texts, rewards, strict=True)}
        # What was said in this run already is not taken back.
        self.known = found | self.known
