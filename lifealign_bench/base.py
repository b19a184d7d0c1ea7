"""What the base model says: log-probabilities and generations that no training changes, computed once and kept on disk.

The key of an entry holds all that determines it: weights, dtype and template (the model's fingerprint), layout, token
budget, processor, threads, the token ids, the versions of the libraries and the modules that compute. A cached result
is therefore the result of the same computation, to the bit.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from lifealign_bench import abilities, attention, decoding, encode, generate, logprobs, steps, vocabulary, window
from lifealign_bench.abilities.ability import Ability
from lifealign_bench.cache import load_arrays, store_arrays
from lifealign_bench.encode import EncodedPair, digest_encoded
from lifealign_bench.scorers.array import Array

__all__ = ["cached_abilities", "cached_generations", "cached_log_probs"]


def cached_log_probs(
    pairs: Sequence[EncodedPair],
    determined_by: dict[str, Any],
    compute: Callable[[], torch.Tensor],
    notice: Callable[[str], None],
) -> torch.Tensor:
    """(P, 2) base-model log-probabilities of ``pairs``, from the cache or by ``compute``."""
    key = _with_versions({**determined_by, "pairs": digest_encoded(pairs)})
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
    key = _with_versions({**determined_by, "prompts": _prompts_digest(prompts)})
    stored = load_arrays("generations", key, notice)
    if stored is not None and len(stored.get("lengths", ())) == len(prompts):
        ends = np.cumsum(stored["lengths"])
        return [part.tolist() for part in np.split(stored["tokens"], ends[:-1])]
    result = compute()
    tokens = np.array([t for response in result for t in response], dtype=np.int64)
    lengths = np.array([len(r) for r in result], dtype=np.int64)
    store_arrays("generations", key, {"tokens": tokens, "lengths": lengths}, notice)
    return result


def cached_abilities(
    ability: Ability,
    determined_by: dict[str, Any],
    compute: Callable[[], tuple[Array, int]],
    notice: Callable[[str], None],
) -> tuple[Array, int]:
    """The base model's value of every item of an ability, and the tokens that this takes, from the cache or by
    ``compute``."""
    code = hashlib.sha256()
    for file in sorted(Path(abilities.__file__ or "").parent.glob("*.py")):
        code.update(file.read_bytes())
    asked = {"ability": ability.digest, "asking": code.hexdigest(), "lm_eval": importlib.metadata.version("lm_eval")}
    key = _with_versions({**determined_by, **asked})
    stored = load_arrays("abilities", key, notice)
    if stored is not None and "tokens" in stored and stored.get("values", np.empty(0)).shape == (len(ability.ids),):
        return stored["values"], int(stored["tokens"][0])
    values, tokens = compute()
    store_arrays("abilities", key, {"values": values, "tokens": np.array([tokens])}, notice)
    return values, tokens


def _prompts_digest(prompts: Sequence[Sequence[int]]) -> str:
    """SHA-256 (hex) of token ids, prompt by prompt."""
    return hashlib.sha256(json.dumps([list(p) for p in prompts]).encode()).hexdigest()


def _with_versions(key: Mapping[str, Any]) -> dict[str, Any]:
    return {**key, "torch": torch.__version__, "transformers": transformers.__version__, "code": _code()}


@functools.cache
def _code() -> str:
    """SHA-256 (hex) of the modules that compute: after a change of theirs nothing old is believed."""
    sha = hashlib.sha256()
    for module in (attention, decoding, encode, generate, logprobs, steps, vocabulary, window):
        sha.update(Path(module.__file__ or "").read_bytes())
    return sha.hexdigest()
