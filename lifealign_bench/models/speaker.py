"""A model that can be asked: log-probabilities, responses, divergences. What no training changes is kept on disk.

The base model's answers are computed once. The key of an entry holds all that determines it: weights, dtype and
template (the model's fingerprint), layout, token budget, processor, threads, the token ids, the versions of the
libraries and the modules that compute. A cached result is therefore the result of the same computation, to the bit.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import transformers
from peft import PeftModel
from transformers import PreTrainedTokenizerBase

from lifealign_bench.config import GenerationConfig
from lifealign_bench.models.arrangement import choose_arrangement, told_by_layout
from lifealign_bench.models.blocked import blocked_products
from lifealign_bench.models.cache import load_arrays, store_arrays
from lifealign_bench.models.chattemplate import stop_ids
from lifealign_bench.models.device import processor_name
from lifealign_bench.models.divergence import divergences
from lifealign_bench.models.encode import EncodedPair, digest_encoded
from lifealign_bench.models.engines.batches import BatchesEngine
from lifealign_bench.models.engines.engine import GenerationEngine, Handover, Prompting
from lifealign_bench.models.generate import StopTexts
from lifealign_bench.models.load import LoadedModel
from lifealign_bench.models.logprobs import Layout, log_probs, response_log_probs, score_pairs
from lifealign_bench.models.sampling import Ask, Drawn, draw_responses
from lifealign_bench.models.steps import Arrangement, Steps
from lifealign_bench.util.distributed import broadcast, gather_shares, is_main, share, sharers
from lifealign_bench.util.progress import GENERATION_WORK, Progress

# The modules beside this one, and below it, that compute what is kept.
_COMPUTING = (
    *("arrangement", "attention", "blocked", "divergence", "encode", "flex", "generate", "layout", "logprobs", "masks"),
    *("sampling", "speaker", "steps", "visibility", "vocabulary", "window"),
    *("engines/batches", "engines/continuous", "engines/engine", "engines/server"),
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
        sha.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return sha.hexdigest()


T = TypeVar("T")

_CONTEXT = 2048  # tokens, of a model that does not say


@dataclass(frozen=True)
class Speaker:
    """A model, and all that decides how it is asked.

    Args:
        base: the base model as it was loaded.
        model: the base model with the adapter, whose weights change while it is trained.
        layout: of the rows of a forward pass.
        token_budget: tokens a forward pass at most.
        device: where the model is.
        generation: how long responses are, and how many are generated together.
        progress: told how far the asking is.
        added_tokens: how many the method puts into every sequence.
        asked: prompts that responses are asked for; how they stand in a batch is tried on them.
        engine: generates the responses that are scored.
    """

    base: LoadedModel
    model: PeftModel
    layout: Layout
    token_budget: int
    device: torch.device
    generation: GenerationConfig
    progress: Progress
    added_tokens: int = 0
    asked: tuple[tuple[int, ...], ...] = ()
    engine: GenerationEngine = field(default_factory=BatchesEngine)
    # What the base model said, by what it was asked; another budget or layout would have it say something else.
    _said: dict[str, Any] = field(default_factory=dict, init=False, repr=False)
    _arranged: list[Arrangement] = field(default_factory=list, init=False, repr=False)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's."""
        return self.base.tokenizer

    @property
    def pad_id(self) -> int:
        """The padding token."""
        return int(self.base.tokenizer.pad_token_id)

    @property
    def context(self) -> int:
        """Tokens of a text that the model can see."""
        most = getattr(self.base.model.config.get_text_config(), "max_position_embeddings", None) or _CONTEXT
        return int(most) - self.added_tokens

    @property
    def said(self) -> Mapping[str, Any]:
        """What the base model said so far, by what it was asked."""
        return self._said

    def log_probs(self, model: PeftModel, pairs: Sequence[EncodedPair]) -> torch.Tensor:
        """(P, 2) log-probabilities of chosen and rejected in nats, differentiable.

        Args:
            model: as a method's hook has it in hand.
        """
        return log_probs(
            model,
            pairs,
            pad_id=self.pad_id,
            layout=self.layout,
            token_budget=self.token_budget,
            device=self.device,
        )

    def response_log_probs(
        self, model: PeftModel, pairs: Sequence[EncodedPair]
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Like :meth:`log_probs`, for each pair the chosen response's tokens and the rejected one's."""
        return response_log_probs(
            model,
            pairs,
            pad_id=self.pad_id,
            layout=self.layout,
            token_budget=self.token_budget,
            device=self.device,
        )

    def score(self, pairs: Sequence[EncodedPair], *, precise: bool = True) -> torch.Tensor:
        """(P, 2) log-probabilities by the model as it is, on the CPU, without gradients.

        Args:
            precise: the vocabulary's logits and their softmax in float32, as scores are; False: as training has them,
                for what it refers to.
        """
        return score_pairs(
            self.model,
            pairs,
            pad_id=self.pad_id,
            layout=self.layout,
            token_budget=self.token_budget,
            device=self.device,
            precise=precise,
            advance=self._advance,
            notice=self.progress.notice,
        )

    def base_score(self, pairs: Sequence[EncodedPair], *, precise: bool = True) -> torch.Tensor:
        """:meth:`score` by the base model, computed at most once per (model, data) on this machine."""
        key = {**self.determined_by(), "precise": precise}

        def compute() -> torch.Tensor:
            with self.model.disable_adapter():
                return self.score(pairs, precise=precise)

        return self.once(
            f"{digest_encoded(pairs)} {precise}",
            lambda use: cached_log_probs(pairs, key, use, self.progress.notice),
            compute,
        )

    def divergences(self, responses: Sequence[EncodedPair]) -> torch.Tensor:
        """(P,) mean KL a token of the model as it is from the base model, see ``divergence``."""
        return divergences(
            self.model,
            self.model.disable_adapter,
            responses,
            pad_id=self.pad_id,
            layout=self.layout,
            token_budget=self.token_budget,
            device=self.device,
            advance=self._advance,
        )

    def arrangement(self) -> Arrangement:
        """How prompts stand side by side in a batch; found at the first call, by trying it on the base model.

        Raises:
            BenchError: the model cannot be generated from.
        """
        if not self._arranged:
            found = "shared" if told_by_layout(self.model, self.layout) else self._tried_arrangement()
            self._arranged.append(found)
            if found == "alone":
                self.progress.notice(
                    f"The model {self.base.name!r} generates one response at a time, since it says something else in a "
                    "batch; that is slow."
                )
        return self._arranged[0]

    def _tried_arrangement(self) -> Arrangement:
        with self.model.disable_adapter():
            return choose_arrangement(
                self.model,
                self.asked,
                most=self.generation.max_new_tokens,
                pad_id=self.pad_id,
                device=self.device,
                layout=self.layout,
            )

    def make_ready(self) -> None:
        """Make sure, before anything is trained, that responses can be had.

        Raises:
            BenchError: the engine cannot generate from this model, or its server has another.
        """
        self.engine.make_ready(self._prompting(self.asked, [()] * len(self.asked), self.generation.max_new_tokens))

    def respond(
        self,
        prompts: Sequence[tuple[int, ...]],
        stops: Sequence[tuple[str, ...]],
        handover: Handover | None = None,
    ) -> list[list[int]]:
        """Greedy responses (token ids) of the model as it is, as long as the run has them.

        Args:
            stops: for each prompt, the texts that end its response.
            handover: what an engine outside this process needs.
        """
        longest = self.generation.max_new_tokens
        asking = self._prompting(prompts, stops, longest)
        return self.engine.respond(
            replace(
                asking,
                advance=lambda done: self.progress.advanced(done * GENERATION_WORK * longest),
                handover=handover,
            )
        )

    def answer(
        self, prompts: Sequence[tuple[int, ...]], most: int, stops: Sequence[tuple[str, ...]] | None
    ) -> list[list[int]]:
        """Greedy answers of at most ``most`` tokens by the model as it is, always in batches; they are not counted as
        progress.

        Args:
            stops: for each prompt, the texts that end its answer; None: nothing ends it, not even the
                end-of-sequence token.
        """
        asking = self._prompting(prompts, [()] * len(prompts) if stops is None else stops, most)
        return BatchesEngine().respond(replace(asking, stop=frozenset()) if stops is None else asking)

    @torch.no_grad()
    def sample(
        self,
        model: PeftModel,
        asks: Sequence[Ask],
        temperature: float,
        top_p: float,
        known: Mapping[int, Drawn],
        drawn: Callable[[Mapping[int, Drawn]], None],
    ) -> list[Drawn]:
        """Sampled responses, as long as the run has them; several processes share the batches.

        Args:
            model: as a method's hook has it in hand.
            known: by their places, responses that are there already. A batch that lacks one is taken as a whole: which
                prompts are together moves the last bits.
            drawn: told of the responses of every batch, by their places.
        """
        size = 1 if self.arrangement() == "alone" else self.generation.generation_batch_size
        order = sorted(range(len(asks)), key=lambda i: (-len(asks[i].prompt), i))
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        missing = [batch for batch in batches if any(i not in known for i in batch)]
        found = dict(known)
        for start in range(0, len(missing), sharers()):
            turn = missing[start : start + sharers()]
            said = gather_shares([self._draw(model, [asks[i] for i in b], temperature, top_p) for b in share(turn)])
            new = {i: one for batch, ones in zip(turn, said, strict=True) for i, one in zip(batch, ones, strict=True)}
            drawn(new)
            found |= new
        return [found[i] for i in range(len(asks))]

    def base_responses(
        self,
        prompts: Mapping[str, Sequence[tuple[int, ...]]],
        stops: Mapping[str, tuple[str, ...]],
        handover: Handover | None = None,
    ) -> dict[str, list[list[int]]]:
        """Task to greedy responses of the base model to its prompts, computed at most once on this machine.

        All tasks' prompts are generated together, like those of every other stage, since a step of a large batch costs
        little more than that of a small one. Which prompts are together moves the last bits, so that they have to be
        always all of the run's, and are taken in an order that is not the stream's: what is kept serves every order of
        the same tasks.

        Args:
            prompts: of all tasks.
            stops: task to the texts that end a response.
            handover: what an engine outside this process needs; of no adapter.
        """
        names = sorted(prompts)
        together = [prompt for name in names for prompt in prompts[name]]
        ends = [stops[name] for name in names for _ in prompts[name]]

        def compute() -> list[list[int]]:
            with self.model.disable_adapter():
                return self.respond(together, ends, handover)

        key = self.determined_by() | self.generation.model_dump()
        key |= {"stops": [list(stop) for stop in ends], "arrangement": self.arrangement(), "engine": self.engine.label}
        said: list[list[int]] = self.once(
            "base responses", lambda use: cached_generations(together, key, use, self.progress.notice), compute
        )
        in_turn = iter(said)
        return {name: [next(in_turn) for _ in prompts[name]] for name in names}

    def determined_by(self) -> dict[str, Any]:
        """What beside the question decides what the base model says, to the last bit."""
        return {
            "model": self.base.fingerprint,
            "layout": self.layout,
            "token_budget": self.token_budget,
            "device": self.device.type,
            "processor": processor_name() if self.device.type == "cpu" else torch.cuda.get_device_name(self.device),
            "threads": torch.get_num_threads() if self.device.type == "cpu" else 0,
        }

    def once(self, key: str, look_up: Callable[[Callable[[], T]], T], compute: Callable[[], T]) -> T:
        """``look_up`` on rank 0; where that misses, all processes ``compute`` together, since they share the work.

        Args:
            key: names the question in this process.
            look_up: called with what it calls where it has no answer.
        """

        class Miss(Exception):
            pass

        def miss() -> T:
            raise Miss

        if key in self._said:
            return self._said[key]  # type: ignore[no-any-return]
        found: T | None = None
        if is_main():
            try:
                found = look_up(miss)
            except Miss:
                found = None
        found = broadcast(found)
        if found is None:
            result = found = compute()
            if is_main():
                look_up(lambda: result)
        self._said[key] = found
        return found

    def _draw(self, model: PeftModel, asks: Sequence[Ask], temperature: float, top_p: float) -> list[Drawn]:
        most, whole = self.generation.max_new_tokens, self.layout == "whole"
        prompts = list(dict.fromkeys(ask.prompt for ask in asks))
        arrangement = self.arrangement()
        with blocked_products(model):
            steps = Steps(model, prompts, arrangement, most=most, pad_id=self.pad_id, device=self.device, whole=whole)
            stops = StopTexts([ask.stops for ask in asks], self.tokenizer.decode)
            return draw_responses(
                steps,
                [prompts.index(ask.prompt) for ask in asks],
                [ask.seed for ask in asks],
                most=most,
                stop=stop_ids(self.base.model, self.tokenizer),
                finished=stops.finished,
                temperature=temperature,
                top_p=top_p,
            )

    def _prompting(self, prompts: Sequence[tuple[int, ...]], stops: Sequence[tuple[str, ...]], most: int) -> Prompting:
        return Prompting(
            base=self.base,
            model=self.model,
            prompts=prompts,
            stops=stops,
            most=most,
            batch_size=self.generation.generation_batch_size,
            stop=stop_ids(self.base.model, self.tokenizer),
            layout=self.layout,
            token_budget=self.token_budget,
            device=self.device,
            arrangement=self.arrangement,
            asked=self.asked,
            advance=lambda done: None,
            notice=self.progress.notice,
        )

    def _advance(self, tokens: int) -> None:
        self.progress.advanced(float(tokens), tokens=tokens)
