"""What a method's hooks may have the model say in a phase: sampled responses and their rewards, kept as they come."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from peft import PeftModel

from lifealign_bench.data.cards import TaskCard
from lifealign_bench.errors import BenchError
from lifealign_bench.method import Method, Response
from lifealign_bench.models.encode import EncodedPair
from lifealign_bench.models.generate import cut_at
from lifealign_bench.models.sampling import Ask, Drawn, response_seed
from lifealign_bench.models.speaker import Speaker
from lifealign_bench.pairs import Pair
from lifealign_bench.results.rollouts import Rollout, RolloutFile
from lifealign_bench.util.distributed import broadcast, is_main
from lifealign_bench.util.progress import GENERATION_WORK

# What texts in answer to pairs are worth, in the shape of the texts.
Rewards = Callable[[Sequence[Pair], Sequence[Sequence[str]]], list[tuple[float, ...]]]

_SEED_BITS = 2**62


@dataclass
class Rollouts:
    """All that is sampled in one phase of a stage.

    Args:
        speaker: how the model is asked.
        encoded: training pairs by id.
        cards: the run's tasks by name.
        stage: its number, for messages.
        phase: its name.
        method: whose declarations are held to.
        rewards: what responses are worth.
        path: the file that keeps them; None: nowhere.
        spent: seconds that sampling took in this attempt.
        tokens: that were sampled in this attempt.
    """

    speaker: Speaker
    encoded: Mapping[str, EncodedPair]
    cards: Mapping[str, TaskCard]
    stage: int
    phase: str
    method: Method
    rewards: Rewards
    path: Path | None = None
    spent: float = 0.0
    tokens: int = 0
    _file: RolloutFile | None = field(default=None, repr=False)
    _told: set[str] = field(default_factory=set, repr=False)

    @property
    def file(self) -> RolloutFile:
        """What is kept; rank 0 reads and writes it, all processes know what is in it."""
        if self._file is None:
            self._file = RolloutFile(self.path if is_main() else None)
            self._file.known = broadcast(self._file.known)
        return self._file

    def asking(self, step: int, generator: torch.Generator) -> Asking:
        """What the hooks of a step may ask; step 0 is before the first."""
        return Asking(self, step, generator)

    def tell_once(self, kind: str, text: str) -> None:
        """A notice of which one a phase is enough."""
        if kind not in self._told:
            self._told.add(kind)
            self.speaker.progress.notice(f"Stage {self.stage}, {self.phase} phase: {text}")


@dataclass
class Asking:
    """What may be asked in one step of a phase.

    Args:
        step: of the phase; 0 before its first.
        generator: decides, with the order of the calls, what is sampled.
    """

    rollouts: Rollouts
    step: int
    generator: torch.Generator
    rewarded: dict[str, float] = field(default_factory=dict)
    sampled: int = 0
    _calls: int = 0

    def sample(
        self, model: PeftModel, pairs: Sequence[Pair], n: int, temperature: float, top_p: float
    ) -> list[tuple[Response, ...]]:
        """See ``Stage.sample``.

        Raises:
            BenchError: more are asked for than the method declares.
        """
        rollouts, speaker = self.rollouts, self.rollouts.speaker
        if not 1 <= n <= rollouts.method.samples():
            raise BenchError(
                f"The method {type(rollouts.method).__name__} asks for {n} responses to a prompt and declares "
                f"{rollouts.method.samples()}.",
                "Give the largest number that it asks for in samples(): room for them is looked at before a run.",
            )
        if not (temperature >= 0 and 0 < top_p <= 1):
            raise BenchError(
                f"Responses are asked for at temperature {temperature:g} and top_p {top_p:g}.",
                "A temperature is at least 0, top_p above 0 and at most 1.",
            )
        self._calls += 1
        seed = int(torch.randint(_SEED_BITS, (1,), generator=self.generator))
        seen: Counter[str] = Counter()
        names, asks, owners = [], [], []
        for place, pair in enumerate(pairs):
            prompt, stops = rollouts.encoded[pair.id].prompt, rollouts.cards[pair.task].stop
            for number in range(n):
                # A pair that is there twice has other responses the second time.
                asks.append(Ask(prompt, response_seed(seed, pair.id, seen[pair.id] * n + number), stops))
                names.append(f"{rollouts.phase}/{self.step}/{self._calls}/{place}/{number}")
                owners.append(pair)
            seen[pair.id] += 1
        key = _key(model, speaker, asks, temperature, top_p)
        file = rollouts.file
        there = {i: file.known[key, name] for i, name in enumerate(names) if (key, name) in file.known}
        known = {i: Drawn(r.tokens, r.log_probs, r.ended) for i, r in there.items()}
        clock = time.perf_counter()

        def drawn(new: Mapping[int, Drawn]) -> None:
            nonlocal clock
            now = time.perf_counter()
            rows = [
                _rollout(names[i], key, owners[i], one, self._text(owners[i], one), now - clock if not place else 0.0)
                for place, (i, one) in enumerate(new.items())
            ]
            rollouts.spent += now - clock
            clock = now
            file.add(rows)
            tokens = sum(len(one.tokens) for one in new.values())
            rollouts.tokens += tokens
            self.sampled += len(new)
            speaker.progress.advanced(GENERATION_WORK * tokens, tokens=tokens)
            speaker.progress.sampled(self.sampled + len(known), len(asks))

        training = model.training
        model.eval()
        try:
            found = speaker.sample(model, asks, temperature, top_p, known, drawn)
        finally:
            model.train(training)
        self._tell_endless(found)
        responses = [
            Response(one.tokens, one.log_probs, one.ended, self._text(pair, one), name)
            for name, pair, one in zip(names, owners, found, strict=True)
        ]
        return [tuple(responses[start : start + n]) for start in range(0, len(responses), n)]

    def reward(self, pairs: Sequence[Pair], responses: Sequence[Sequence[Response]]) -> list[tuple[float, ...]]:
        """See ``Stage.reward``.

        Raises:
            BenchError: the method does not declare it; a task has no reward; one is no finite number, or fails.
        """
        rollouts = self.rollouts
        if not rollouts.method.rewarded:
            raise BenchError(
                f"The method {type(rollouts.method).__name__} asks for rewards and does not say so.",
                "Set rewarded = True in its class: that every task has one is looked at before a run.",
            )
        texts = [[one.text for one in group] for group in responses]
        values = broadcast(rollouts.rewards(pairs, texts) if is_main() else [])
        for pair, group in zip(pairs, values, strict=True):
            if not all(math.isfinite(value) for value in group):
                raise BenchError(
                    f"The reward of task {pair.task} is {', '.join(f'{v:g}' for v in group)} for responses to "
                    f"{pair.id} in stage {rollouts.stage}: not a number that can be learned from.",
                    "Mend the reward function of the task's card, or take another reward model (--reward).",
                )
        named = {
            one.name: value
            for group, worth in zip(responses, values, strict=True)
            for one, value in zip(group, worth, strict=True)
            if one.name
        }
        self.rewarded |= named
        rollouts.file.reward(named)
        if any(len(group) > 1 and len(set(group)) == 1 for group in values):
            rollouts.tell_once(
                "constant",
                "all responses to a prompt have the same reward, so that they teach nothing by comparison; how often "
                "that is so, the record counts (rollouts: constant).",
            )
        return values

    def demonstrations(self, pairs: Sequence[Pair]) -> list[Response]:
        """See ``Stage.demonstrations``."""
        return [Response(self.rollouts.encoded[p.id].chosen, text=p.chosen) for p in pairs]

    def _text(self, pair: Pair, one: Drawn) -> str:
        text = self.rollouts.speaker.tokenizer.decode(list(one.tokens), skip_special_tokens=True)
        return cut_at(str(text), self.rollouts.cards[pair.task].stop).strip()

    def _tell_endless(self, found: Sequence[Drawn]) -> None:
        if found and not any(one.ended for one in found):
            most = self.rollouts.speaker.generation.max_new_tokens
            self.rollouts.tell_once(
                "endless",
                f"none of {len(found)} responses came to an end within max_new_tokens ({most}); they are trained on "
                "and rewarded as they were cut, and the record counts them (rollouts: cut). Give them more room (--set "
                "max_new_tokens=...) if they should end.",
            )


def _rollout(name: str, key: str, pair: Pair, one: Drawn, text: str, seconds: float) -> Rollout:
    return Rollout(name, key, pair.id, one.tokens, one.log_probs, one.ended, text, seconds)


def _key(model: PeftModel, speaker: Speaker, asks: Sequence[Ask], temperature: float, top_p: float) -> str:
    """Of all that decides what is sampled, as far as it can change between two attempts at a run."""
    sha = hashlib.sha256()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            sha.update(name.encode())
            sha.update(parameter.detach().contiguous().view(torch.uint8).cpu().numpy().tobytes())
    generation = speaker.generation.model_dump()
    asked = [[list(ask.prompt), ask.seed, list(ask.stops)] for ask in asks]
    sha.update(json.dumps([generation, speaker.arrangement(), temperature, top_p, asked]).encode())
    return sha.hexdigest()[:24]
