"""``--reward held-out``: a reward model that neither the policy nor the run's pairs have a part in.

A head for each task, over a frozen sentence encoder, learned from pairs of the task's training file that the run leaves
unused. It is the same for all methods, seeds and orders of the stream.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from lifealign_bench.config import RunConfig
from lifealign_bench.data.tasks import TaskData
from lifealign_bench.data.unused import unused_pairs
from lifealign_bench.errors import BenchError
from lifealign_bench.models import encoder as encoding
from lifealign_bench.models.cache import load_arrays, store_arrays
from lifealign_bench.models.encoder import ENCODER, LICENCES, SentenceEncoder, load_encoder
from lifealign_bench.pairs import Pair, digest_pairs
from lifealign_bench.results.statistics import Array
from lifealign_bench.scoring.rewardmodel import head
from lifealign_bench.scoring.rewardmodel.accuracy import FOLDER
from lifealign_bench.scoring.rewardmodel.classifier import Eta, RewardStore, computed_on
from lifealign_bench.scoring.rewardmodel.given import resolve_reward_device
from lifealign_bench.scoring.rewardmodel.head import LENGTH_STRENGTH, STRENGTH, features, fit_blind_head
from lifealign_bench.scoring.rewardmodel.model import HELD_OUT, Dialogue, encoder_of
from lifealign_bench.util.files import cache_folder
from lifealign_bench.util.progress import Progress

# Fewer pairs of a task say nothing of it, whatever the encoder; more than the most cost more than they are worth.
FEWEST, MOST = 50, 500


class HeldOutRewardModel:
    """See :class:`lifealign_bench.scoring.rewardmodel.RewardModel`.

    It reads a prompt's last turn and the response, each by itself.

    Args:
        name: as ``--reward`` names it.
        encoder: gives their vectors.
        heads: task to its (F,) weights.
        said: what the record says beside that.
        key: of its rewards in the cache.
        progress: told what takes long.
    """

    def __init__(
        self,
        name: str,
        encoder: SentenceEncoder,
        heads: Mapping[str, Array],
        said: dict[str, Any],
        key: Mapping[str, Any],
        progress: Progress,
    ) -> None:
        self._name, self._encoder, self._heads = name, encoder, dict(heads)
        self._said, self._progress = said, progress
        self.fingerprint = _digest([key, *(_digest_array(self._heads[name]) for name in sorted(self._heads))])
        self._store = RewardStore({**key, "heads": self.fingerprint}, progress.notice)

    @property
    def name(self) -> str:
        """As ``--reward`` names it."""
        return self._name

    def rewards(self, dialogues: Sequence[Dialogue], tasks: Sequence[str] = ()) -> Array:
        """(D,) what each response is worth by the head of its task, in nats of the odds that it is preferred.

        Raises:
            BenchError: a task has no head.
        """
        if len(tasks) != len(dialogues):
            raise ValueError(f"{len(dialogues)} dialogues, and the tasks of {len(tasks)}")
        unknown = sorted({task for task in tasks if task not in self._heads})
        if unknown:
            raise BenchError(
                f"The reward model {HELD_OUT} knows nothing of the task {unknown[0]}.", "Score it in a stream with it."
            )
        names = [_name_of(task, dialogue) for task, dialogue in zip(tasks, dialogues, strict=True)]
        new = self._store.unknown(names)
        asked = {n: (t, d) for n, t, d in zip(names, tasks, dialogues, strict=True) if n in new}
        if asked:
            rows = _features(self._encoder, [dialogue for _, dialogue in asked.values()], self._progress.notice)
            worth = [float(row @ self._heads[task]) for row, (task, _) in zip(rows, asked.values(), strict=True)]
            self._store.add(dict(zip(asked, worth, strict=True)))
        return np.array([self._store.known[name] for name in names], dtype=np.float64)

    def cut(self, dialogues: Sequence[Dialogue]) -> int:
        """How many of the dialogues have a last turn or a response beyond what the encoder reads."""
        return sum(self._encoder.is_cut(prompt[-1].content) or self._encoder.is_cut(text) for prompt, text in dialogues)

    def facts(self) -> dict[str, Any]:
        """For the record."""
        return {"name": self._name, "fingerprint": self.fingerprint, **self._said}


def held_out_reward_model(config: RunConfig, data: Mapping[str, TaskData], progress: Progress) -> HeldOutRewardModel:
    """The reward model of the pairs that a run leaves unused, its heads from the cache or fitted now.

    Args:
        data: of all tasks of the stream.

    Raises:
        BenchError: the encoder cannot be had; a task has too few unused pairs.
    """
    pairs = learned_from(config, data)
    device = resolve_reward_device(config)
    encoder = load_encoder(encoder_of(config.reward_model) or ENCODER, device)
    recipe = {
        "encoder": encoder.digest,
        "pairs": {name: digest_pairs(pairs[name]) for name in sorted(pairs)},
        "strengths": [STRENGTH, LENGTH_STRENGTH],
    }
    key = {**recipe, **computed_on(device), "numpy": np.__version__, "code": _code()}
    folder = cache_folder() / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{_digest(key)}.lock"):  # of several runs one fits them, the others wait
        heads = load_arrays(FOLDER, key, progress.notice)
        if heads is None:
            total = sum(map(len, pairs.values()))
            progress.notice(
                f"A reward model is fitted to {total} pairs of {len(pairs)} tasks that the run leaves unused."
            )
            heads = {name: _fit(encoder, pairs[name], progress.notice) for name in sorted(pairs)}
            store_arrays(FOLDER, key, heads, progress.notice)
    said = {
        "held_out": True,
        "encoder": encoder.name,
        "encoder_sha256": encoder.digest,
        "encoder_licence": LICENCES.get(encoder.name, ""),
        "recipe": _digest(recipe),
        "pairs": {name: len(pairs[name]) for name in sorted(pairs)},
        "strengths": recipe["strengths"],
        "cut_off": encoding.MAX_TOKENS,
        "device": device.type,
        "shared": "by all methods, seeds and orders of these tasks",
    }
    return HeldOutRewardModel(config.reward_model or HELD_OUT, encoder, heads, said, key, progress)


def learned_from(config: RunConfig, data: Mapping[str, TaskData]) -> dict[str, tuple[Pair, ...]]:
    """Task to the pairs that its head learns from: unused ones, the first of its training file.

    Raises:
        BenchError: a task has too few.
    """
    found = {name: ps[:MOST] for name, ps in unused_pairs(config, data).items()}
    for name, pairs in found.items():
        if len(pairs) < FEWEST:
            used = len(data[name].train)
            raise BenchError(
                f"The reward model {HELD_OUT} has {len(pairs)} pairs of the task {name} to learn from and needs "
                f"{FEWEST}: the run trains on {used} of its training file.",
                "Leave it more (a smaller --train-limit), or give another one: --reward trained, a folder, or none.",
            )
    return found


def _fit(encoder: SentenceEncoder, pairs: Sequence[Pair], notice: Callable[[str], None]) -> Array:
    dialogues = [(pair.prompt, pair.chosen) for pair in pairs] + [(pair.prompt, pair.rejected) for pair in pairs]
    rows = _features(encoder, dialogues, notice)
    lengths = np.log([len(pair.chosen) / len(pair.rejected) for pair in pairs])
    return fit_blind_head(rows[: len(pairs)] - rows[len(pairs) :], lengths)


def _features(encoder: SentenceEncoder, dialogues: Sequence[Dialogue], notice: Callable[[str], None]) -> Array:
    texts = sorted({text for prompt, response in dialogues for text in (prompt[-1].content, response)})
    eta = Eta("Reward model: text", len(texts), notice)
    vectors = dict(zip(texts, encoder.vectors(texts, eta.at), strict=True))
    prompts = np.array([vectors[prompt[-1].content] for prompt, _ in dialogues])
    return features(prompts, np.array([vectors[response] for _, response in dialogues]))


def _name_of(task: str, dialogue: Dialogue) -> bytes:
    prompt, response = dialogue
    return hashlib.sha256(json.dumps([task, prompt[-1].content, response]).encode()).digest()[:16]


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _digest_array(array: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(array, dtype="<f8").tobytes()).hexdigest()


@functools.cache
def _code() -> str:
    """SHA-256 (hex) of the modules that compute: after a change of them nothing old is believed."""
    sha = hashlib.sha256()
    for file in (__file__, head.__file__, encoding.__file__):
        sha.update(Path(str(file)).read_bytes())
    return sha.hexdigest()
