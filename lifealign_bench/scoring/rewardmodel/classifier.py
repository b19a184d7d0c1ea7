"""A loaded sequence classifier as a reward model: what it reads, its forward passes, and its rewards kept on disk."""

from __future__ import annotations

import functools
import hashlib
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
import transformers

from lifealign_bench.errors import BenchError
from lifealign_bench.models.device import processor_name
from lifealign_bench.results.statistics import Array
from lifealign_bench.rewardmodel.eta import Eta
from lifealign_bench.rewardmodel.forward import raw_rewards
from lifealign_bench.rewardmodel.store import RewardStore, digest_text
from lifealign_bench.scoring.rewardmodel.model import Dialogue
from lifealign_bench.scoring.rewardmodel.reader import Reader
from lifealign_bench.util.progress import Progress

__all__ = ["ClassifierRewardModel", "computed_on", "padding_id"]

# Tokens a forward pass where the run does not say: nothing is as wide as a vocabulary here, and no gradient is kept.
_BUDGET = {"cuda": 16384}
_CPU_BUDGET = 2048
# Seconds of computing after which rewards are written down, so that little is lost when the run is stopped.
_EVERY = 60.0


class ClassifierRewardModel:
    """See :class:`lifealign_bench.scoring.rewardmodel.RewardModel`.

    Args:
        name: as ``--reward`` names it.
        model: a sequence classifier with one label and a padding token in its configuration.
        reader: turns dialogues into its token ids.
        fingerprint: of weights, dtype, configuration, vocabulary and template.
        said: what the record says beside that.
        token_budget: tokens a forward pass at most; None: by the device.
        progress: told what takes long.
    """

    def __init__(
        self,
        name: str,
        model: Any,
        reader: Reader,
        fingerprint: str,
        said: dict[str, Any],
        token_budget: int | None,
        progress: Progress,
    ) -> None:
        self._name = name
        self.model = model
        self.reader = reader
        self.fingerprint = fingerprint
        self.said = said
        self.device = torch.device(model.device)
        self.token_budget = token_budget or _BUDGET.get(self.device.type, _CPU_BUDGET)
        self.progress = progress
        self.store = RewardStore({"model": fingerprint, **computed_on(self.device), "code": _code()}, progress.notice)

    @property
    def name(self) -> str:
        """As ``--reward`` names it."""
        return self._name

    def rewards(self, dialogues: Sequence[Dialogue]) -> Array:
        """(D,) raw scores; what any run has scored on this machine with this model is read from the cache.

        Raises:
            BenchError: a score is not finite, a dialogue cannot be read, no memory for a single one.
        """
        texts = [self.reader.read(dialogue).ids for dialogue in dialogues]
        names = [digest_text(ids) for ids in texts]
        unknown = self.store.unknown(names)
        # Each once, and in an order of their own: the batches do not depend on the order of the call.
        self._compute(dict(sorted((n, ids) for n, ids in zip(names, texts, strict=True) if n in unknown)))
        return np.array([self.store.known[name] for name in names], dtype=np.float64)

    def cut(self, dialogues: Sequence[Dialogue]) -> int:
        """How many of the dialogues are beyond its cut-off."""
        return sum(self.reader.read(dialogue).cut for dialogue in dialogues)

    def facts(self) -> dict[str, Any]:
        """For the record."""
        return {
            "name": self._name,
            "fingerprint": self.fingerprint,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "device": self.device.type,
            "cut_off": self.reader.cut_off,
            "chat_template": self.reader.tokenizer.chat_template is not None,
            **self.said,
        }

    def _compute(self, texts: dict[bytes, tuple[int, ...]]) -> None:
        names = list(texts)
        eta = Eta("Reward model: text", len(names), self.progress.notice)
        done = 0
        new: dict[bytes, float] = {}
        clock = time.monotonic()
        batches = raw_rewards(
            self.model,
            list(texts.values()),
            pad_id=int(self.model.config.get_text_config().pad_token_id),
            token_budget=self.token_budget,
            device=self.device,
            notice=self.progress.notice,
        )
        for batch in batches:
            if not all(math.isfinite(value) for value in batch.values()):
                raise BenchError(
                    f"The reward model {self._name!r} gives nan or infinity for a text.",
                    "Its weights may not be made for this type: try --set reward_dtype=float32.",
                )
            new |= {names[i]: value for i, value in batch.items()}
            done += len(batch)
            eta.at(done)
            if time.monotonic() - clock > _EVERY:
                self.store.add(new)
                new, clock = {}, time.monotonic()
        if new:
            self.store.add(new)


def padding_id(config: Any, tokenizer: Any) -> int:
    """A token to fill rows up with, where the model's configuration names none: never the end of sequence.

    transformers' decoders take the output of the last token that is not this one. With the end of sequence for
    padding that would be another token than the text's last.
    """
    ends = config.get_text_config().eos_token_id
    taken = {tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])}
    wanted = [tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id, *range(len(taken) + 1)]
    return next(int(i) for i in wanted if i is not None and i not in taken)


def computed_on(device: torch.device) -> dict[str, Any]:
    """What moves the last bits of a number beside weights and tokens: where and with which libraries it is computed."""
    return {
        "device": device.type,
        "processor": processor_name() if device.type == "cpu" else torch.cuda.get_device_name(device),
        "threads": torch.get_num_threads() if device.type == "cpu" else 0,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
    }


@functools.cache
def _code() -> str:
    """SHA-256 (hex) of the module that computes: after a change of it nothing old is believed."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
