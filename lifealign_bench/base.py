"""What the base model says: log-probabilities and generations that no training changes, computed once and kept on disk.

The key of an entry holds all that determines it: weights, dtype and template (the model's fingerprint), layout, batch
size, the token ids and the versions of the libraries that compute. A cached result is therefore the result of the same
computation, to the bit, on the same machine type.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from lifealign_bench.encode import EncodedPair, digest_encoded
from lifealign_bench.files import atomic_path, cache_folder

__all__ = ["cached_generations", "cached_log_probs", "prompts_digest"]

_VERSION = 1


def cached_log_probs(
    pairs: Sequence[EncodedPair],
    determined_by: dict[str, Any],
    compute: Callable[[], torch.Tensor],
    notice: Callable[[str], None],
) -> torch.Tensor:
    """(P, 2) base-model log-probabilities of ``pairs``, from the cache or by ``compute``."""
    path = _path("logprobs", {**determined_by, "pairs": digest_encoded(pairs)})
    stored = _read(path, notice)
    if stored is not None and stored.get("logps", np.empty(0)).shape == (len(pairs), 2):
        return torch.from_numpy(stored["logps"])
    result = compute()
    _write(path, {"logps": result.numpy()}, notice)
    return result


def cached_generations(
    prompts: Sequence[Sequence[int]],
    determined_by: dict[str, Any],
    compute: Callable[[], list[list[int]]],
    notice: Callable[[str], None],
) -> list[list[int]]:
    """Base-model responses (token ids) to ``prompts``, from the cache or by ``compute``."""
    path = _path("generations", {**determined_by, "prompts": prompts_digest(prompts)})
    stored = _read(path, notice)
    if stored is not None and len(stored.get("lengths", ())) == len(prompts):
        ends = np.cumsum(stored["lengths"])
        return [part.tolist() for part in np.split(stored["tokens"], ends[:-1])]
    result = compute()
    tokens = np.array([t for response in result for t in response], dtype=np.int64)
    _write(path, {"tokens": tokens, "lengths": np.array([len(r) for r in result], dtype=np.int64)}, notice)
    return result


def prompts_digest(prompts: Sequence[Sequence[int]]) -> str:
    """SHA-256 (hex) of token ids, prompt by prompt."""
    return hashlib.sha256(json.dumps([list(p) for p in prompts]).encode()).hexdigest()


def _path(kind: str, key: dict[str, Any]) -> Path:
    whole = {**key, "version": _VERSION, "torch": torch.__version__, "transformers": transformers.__version__}
    name = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:32]
    return cache_folder() / kind / f"{name}.safetensors"


def _read(path: Path, notice: Callable[[str], None]) -> dict[str, np.ndarray[Any, Any]] | None:
    if not path.is_file():
        return None
    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        notice(f"The cache file {path} cannot be read ({error}); its content is computed again.")
        return None


def _write(path: Path, arrays: dict[str, np.ndarray[Any, Any]], notice: Callable[[str], None]) -> None:
    try:
        with atomic_path(path) as temporary:
            save_file(arrays, temporary)
    except OSError as error:
        # The result is at hand: a full or read-only cache costs time in the next run, not this run's numbers.
        notice(f"The cache cannot be written ({error}); the run goes on without it.")
