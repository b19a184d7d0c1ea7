"""What the base model says: log-probabilities and generations that no training changes, computed once and kept on disk.

The key of an entry holds all that determines it: weights, dtype and template (the model's fingerprint), layout, token
budget, processor, threads, the token ids, the versions of the libraries and the modules that compute. A cached result
is therefore the result of the same computation, to the bit.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from lifealign_bench.cache import load_arrays, store_arrays
from lifealign_bench.encode import EncodedPair, digest_encoded

__all__ = ["cached_generations", "cached_log_probs", "with_versions"]

# The modules beside this one that compute what is kept.
_COMPUTING = (
    *("arrangement", "attention", "decoding", "encode", "generate", "logprobs", "speaker", "steps", "vocabulary"),
    "window",
)


def cached_log_probs(
    pairs: Sequence[EncodedPair],
    determined_by: dict[str, Any],
    compute: Callable[[], torch.Tensor],
    notice: Callable[[str], None],
) -> torch.Tensor:
    """(P, 2) base-model log-probabilities of ``pairs``, from the cache or by ``compute``."""
    key = with_versions({**determined_by, "pairs": digest_encoded(pairs)})
    stored = load_arrays("logprobs", key, notice)
    if stored is not None and stored.get("logps", np.empty(0)).shape == (len(pairs), 2):
        return torch.from_numpy(stored["logps"])
    result = compute()
    store_arrays("logprobs", key, {"logps": result.numpy()}, notice)
    return result


def cached_generations(
    prompts: Sequence[Sequence[int]],
    determined_by: dict[str, Any],
    compute: Callable[[], list[list[int]]],
    notice: Callable[[str], None],
) -> list[list[int]]:
    """Base-model responses (token ids) to ``prompts``, from the cache or by ``compute``."""
    key = with_versions({**determined_by, "prompts": _prompts_digest(prompts)})
    stored = load_arrays("generations", key, notice)
    if stored is not None and len(stored.get("lengths", ())) == len(prompts):
        ends = np.cumsum(stored["lengths"])
        return [part.tolist() for part in np.split(stored["tokens"], ends[:-1])]
    result = compute()
    tokens = np.array([t for response in result for t in response], dtype=np.int64)
    lengths = np.array([len(r) for r in result], dtype=np.int64)
    store_arrays("generations", key, {"tokens": tokens, "lengths": lengths}, notice)
    return result


def _prompts_digest(prompts: Sequence[Sequence[int]]) -> str:
    """SHA-256 (hex) of token ids, prompt by prompt."""
    return hashlib.sha256(json.dumps([list(p) for p in prompts]).encode()).hexdigest()


def with_versions(key: Mapping[str, Any]) -> dict[str, Any]:
    """The key of an entry with the libraries and the code that compute it."""
    return {**key, "torch": torch.__version__, "transformers": transformers.__version__, "code": _code()}


@functools.cache
def _code() -> str:
    """SHA-256 (hex) of the modules that compute: after a change of theirs nothing old is believed."""
    sha = hashlib.sha256()
    for name in _COMPUTING:
        sha.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    return sha.hexdigest()
