"""A loaded sequence classifier as a reward model: what it reads, its forward passes, and its rewards kept on disk."""

from __future__ import annotations

import functools
import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
import transformers

from lifealign_bench.errors import BenchError, is_out_of_memory
from lifealign_bench.models.cache import Arrays, load_arrays, store_arrays
from lifealign_bench.models.device import processor_name
from lifealign_bench.results.statistics import Array
from lifealign_bench.scoring.rewardmodel.model import Dialogue
from lifealign_bench.scoring.rewardmodel.reader import Reader
from lifealign_bench.util.progress import Progress
from lifealign_bench.util.text import duration

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

    def rewards(self, dialogues: Sequence[Dialogue], tasks: Sequence[str] = ()) -> Array:
        """(D,) raw scores, whatever the tasks; what any run has scored on this machine with this model is read from the
        cache.

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


def buckets(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Indices of texts in batches of at most ``token_budget`` tokens, padding counted; a longer text goes alone.

    The longest come first: what does not fit into memory shows at once.
    """
    groups: list[list[int]] = []
    width = 0
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if groups and (len(groups[-1]) + 1) * width <= token_budget:
            groups[-1].append(i)
        else:
            groups.append([i])
            width = lengths[i]
    return groups


def raw_rewards(
    model: Any,
    texts: Sequence[Sequence[int]],
    *,
    pad_id: int,
    token_budget: int,
    device: torch.device,
    notice: Callable[[str], None],
) -> Iterator[dict[int, float]]:
    """Rewards of ``texts``, batch by batch: index of a text to the model's one output, unscaled.

    Out of memory, it goes on with half as many tokens a batch.

    Args:
        model: a sequence classifier with one label.
        texts: token ids, none empty.
        pad_id: what rows are filled up with; transformers' decoders take the output of the last other token.

    Raises:
        BenchError: no memory for a single text.
    """
    waiting = buckets([len(text) for text in texts], token_budget)
    while waiting:
        group = waiting[0]
        try:
            values = _batch(model, [texts[i] for i in group], pad_id, device)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            token_budget, waiting = _halved(texts, waiting, token_budget)
            if device.type == "cuda":
                torch.cuda.empty_cache()
            notice(f"The reward model is out of memory: it goes on with {token_budget} tokens a batch.")
            continue
        waiting = waiting[1:]
        yield dict(zip(group, values, strict=True))


@torch.no_grad()
def _batch(model: Any, texts: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> list[float]:
    width = max(len(text) for text in texts)
    ids = torch.tensor([[*text, *[pad_id] * (width - len(text))] for text in texts], device=device)
    mask = torch.tensor([[1] * len(text) + [0] * (width - len(text)) for text in texts], device=device)
    logits: torch.Tensor = model(input_ids=ids, attention_mask=mask).logits
    return [float(value) for value in logits.reshape(len(texts)).float().cpu()]


def _halved(
    texts: Sequence[Sequence[int]], waiting: Sequence[Sequence[int]], token_budget: int
) -> tuple[int, list[list[int]]]:
    """Half of the budget, and what is waiting in batches of that size."""
    group = waiting[0]
    longest = len(texts[group[0]])
    if len(group) == 1:
        raise BenchError(
            f"The reward model is out of memory with a single text of {longest} tokens.",
            "Lower reward_max_length, put it on another device (--set reward_device=cpu), or use a smaller one.",
        )
    budget = max(longest, min(token_budget, longest * len(group)) // 2)
    left = [i for bucket in waiting for i in bucket]
    return budget, [[left[i] for i in bucket] for bucket in buckets([len(texts[i]) for i in left], budget)]


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


class Eta:
    """Tells of work before a run begins, where the progress line knows nothing yet.

    Args:
        what: names the work: ``Reward model, training step``.
        total: how much there is.
        notice: told every ``every`` seconds.
        clock: gives seconds.
    """

    def __init__(
        self,
        what: str,
        total: int,
        notice: Callable[[str], None],
        every: float = 20.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.what = what
        self.total = total
        self.notice = notice
        self.every = every
        self.clock = clock
        self.began = self.last = clock()

    def at(self, done: int) -> None:
        """So much is done."""
        now = self.clock()
        if done <= 0 or done >= self.total or now - self.last < self.every:
            return
        self.last = now
        left = (now - self.began) * (self.total - done) / done
        self.notice(f"{self.what} {done} of {self.total}, {duration(left)} left.")
