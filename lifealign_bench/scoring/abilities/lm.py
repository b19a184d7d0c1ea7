"""A model as lm-eval asks it: through the forward pass and the generation that scoring uses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lm_eval.api.model import TemplateLM

from lifealign_bench.errors import BenchError
from lifealign_bench.models.encode import EncodedPair
from lifealign_bench.models.generate import cut_at
from lifealign_bench.models.speaker import Speaker
from lifealign_bench.pairs import Pair

Ids = tuple[int, ...]
_LONGEST_ANSWER = 256  # tokens, where a task does not say; lm-eval's own number


class BenchLM(TemplateLM):  # type: ignore[misc]  # lm-eval has no types
    """lm-eval's model.

    Two choices that follow the same text go through the model together, the text once. Several processes share the
    work inside ``speaker``, so that each of them asks for everything and gets everything.

    Args:
        speaker: the model.
        greedy: whether the task wants to know if a continuation is what the model would say by itself; it costs a
            generation.
    """

    def __init__(self, speaker: Speaker, greedy: bool) -> None:
        super().__init__()
        self.speaker = speaker
        self.greedy = greedy
        self.tokenizer: Any = speaker.tokenizer
        self.tokens = 0  # that went through the model

    @property
    def eot_token_id(self) -> int:
        """The end-of-sequence token."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What a continuation without a context comes after."""
        first = self.tokenizer.bos_token_id
        return self.eot_token_id if first is None else int(first)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Token ids; with the special tokens that the tokenizer puts in front, unless the text brings them."""
        first = self.tokenizer.bos_token
        if add_special_tokens is None:
            add_special_tokens = not (first and string.startswith(first))
        return list(self.tokenizer(string, add_special_tokens=add_special_tokens)["input_ids"])

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """(sum of log-probabilities in nats, whether greedy) of every (context, continuation)."""
        found: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
        return found

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        asked = [self._fitted(context, continuation) for _, context, continuation in requests]
        sums = self._sums(asked)
        bad = [value for value in sums if not math.isfinite(value)]
        if bad:
            raise BenchError(
                "The model gives nan or infinity as log-probability of an answer to a test of general ability.",
                "Training left weights that are no numbers: a lower learning_rate or float32 (--dtype) may help.",
            )
        greedy = self._greedy(asked) if self.greedy else [False] * len(asked)
        return list(zip(sums, greedy, strict=True))

    def _fitted(self, context: Sequence[int], continuation: Sequence[int]) -> tuple[Ids, Ids]:
        """A context that is too long loses its beginning."""
        ending = tuple(continuation)[-(self.speaker.context - 1) :]
        return tuple(context)[-(self.speaker.context - len(ending)) :], ending

    def _sums(self, asked: Sequence[tuple[Ids, Ids]]) -> list[float]:
        unique = {key: i for i, key in enumerate(dict.fromkeys(asked))}
        endings: dict[Ids, list[Ids]] = {}
        for context, ending in unique:
            endings.setdefault(context, []).append(ending)
        pairs: list[EncodedPair] = []
        owners: list[tuple[tuple[Ids, Ids], int, int]] = []
        for context, found in endings.items():
            for start in range(0, len(found), 2):
                two = found[start : start + 2]
                for column, ending in enumerate(two):
                    owners.append(((context, ending), len(pairs), column))
                pairs.append(EncodedPair(_NOBODY, context, two[0], two[1] if len(two) == 2 else ()))
        self.tokens += sum(p.tokens for p in pairs)
        values = self.speaker.score(pairs).tolist()
        by_request = {key: float(values[row][column]) for key, row, column in owners}
        return [by_request[key] for key in asked]

    def _greedy(self, asked: Sequence[tuple[Ids, Ids]]) -> list[bool]:
        contexts = list(dict.fromkeys(context for context, _ in asked))
        most = max(len(ending) for _, ending in asked)
        said = dict(zip(contexts, self.speaker.answer(contexts, most, None), strict=True))
        self.tokens += sum(map(len, contexts)) + most * len(contexts)
        return [tuple(said[context][: len(ending)]) == ending for context, ending in asked]

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = True) -> list[float]:
        """Not asked for: perplexities are no shares of items."""
        raise NotImplementedError

    def generate_until(self, requests: list[Any], disable_tqdm: bool = True) -> list[str]:
        """Greedy answers, up to the first of a request's stop texts."""
        most = [int(settings.get("max_gen_toks") or _LONGEST_ANSWER) for _, settings in (r.args for r in requests)]
        stops = [_stops(settings) for _, settings in (r.args for r in requests)]
        texts = [""] * len(requests)
        for length in sorted(set(most)):
            rows = [i for i, m in enumerate(most) if m == length]
            room = max(1, self.speaker.context - length)
            prompts = [tuple(self.tok_encode(requests[i].args[0]) or [self.prefix_token_id])[-room:] for i in rows]
            said = self.speaker.answer(prompts, length, [stops[i] for i in rows])
            self.tokens += sum(map(len, prompts)) + sum(map(len, said))
            for i, ids in zip(rows, said, strict=True):
                texts[i] = cut_at(str(self.tokenizer.decode(ids, skip_special_tokens=True)), stops[i])
        return texts


_NOBODY = Pair("ability", "ability", (), "", "")


def _stops(settings: dict[str, Any]) -> tuple[str, ...]:
    until = settings.get("until") or ()
    return (until,) if isinstance(until, str) else tuple(str(text) for text in until if text)
