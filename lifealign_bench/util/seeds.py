"""Seeds: one of its own for every use of randomness."""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, *what: int | str) -> int:
    """A seed of its own for every use of randomness, so that one more use somewhere does not move the others."""
    text = "/".join(str(part) for part in (seed, *what))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % (2**31)
