"""Responses from a server that holds LoRA adapters: asked many at a time, kept as they come, believed after proof.

Before anything is trained the server's base model is compared with the one here. After every stage its adapter is
handed over by its path, and has to be seen to be applied (``canary``). When all responses are there, some are read
again by the model here: answers that were mixed up or cut do not pass for its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lifealign_bench.errors import BenchError, Interrupted, UsageError
from lifealign_bench.models.engines.canary import (
    CANARIES,
    LENGTH,
    Answered,
    base_noise,
    changed_prompts,
    gap_of,
    plain_prompts,
    prove,
)
from lifealign_bench.models.engines.completions import (
    GENERATOR,
    AdapterNeeds,
    Completion,
    CompletionServer,
    ServedModel,
)
from lifealign_bench.models.engines.engine import Handover, Prompting
from lifealign_bench.models.engines.greedy import read_answers, spread_over
from lifealign_bench.models.engines.kept import KeptResponses
from lifealign_bench.util.distributed import from_main
from lifealign_bench.util.endpoint import Endpoint, read_endpoint
from lifealign_bench.util.patience import MayPass, Refused, RetryPolicy, work_off
from lifealign_bench.util.text import clean

PATIENCE = RetryPolicy()

_CHECKED = 32  # responses that are read again
_HEAD = 128  # tokens of each
_STRANGE = 1 / 16  # the share of them that a server's rounding may have made other than those here


def find_generation_endpoint(url: str | None) -> Endpoint:
    """The server of ``--generation-url`` or of the environment, which alone holds its key.

    Raises:
        UsageError: neither says an address, or it cannot be one.
    """
    if url is None and not os.environ.get(GENERATOR.url_variable):
        raise UsageError(
            f"--generation server needs the address of a server ({GENERATOR.option}).",
            "Give it like --generation-url http://127.0.0.1:8000/v1.",
        )
    return read_endpoint(url, GENERATOR, "", "/completions")


@dataclass
class ServerEngine:
    """See the module.

    Args:
        connections: questions at a time.
        patience: between tries.
    """

    endpoint: Endpoint
    connections: int
    patience: RetryPolicy = field(default_factory=lambda: PATIENCE)
    _server: CompletionServer | None = field(default=None, init=False, repr=False)
    _served: ServedModel | None = field(default=None, init=False, repr=False)
    _noise: float = field(default=0.0, init=False, repr=False)

    @property
    def server(self) -> CompletionServer:
        """The connection, made once."""
        if self._server is None:
            self._server = CompletionServer(self.endpoint, self.connections, self.patience)
        return self._server

    @property
    def served(self) -> ServedModel:
        """What the server says of itself, asked once; every process knows."""
        if self._served is None:
            self._served = from_main(self.server.describe)
        return self._served

    @property
    def label(self) -> str:
        """See :class:`~lifealign_bench.models.engines.engine.GenerationEngine`."""
        return f"server: {self.served.label}"

    def make_ready(self, asking: Prompting) -> None:
        """Make sure that the server is there and has the base model of the run.

        Raises:
            BenchError: it is not, it has not, or the method is more than an adapter.
        """
        if asking.layout == "whole":
            raise UsageError(
                "The method changes more than an adapter, which is all that a server can be given.",
                "Leave out --generation server for it.",
            )
        served = self.served
        longest = max((len(prompt) for prompt in asking.asked), default=0) + asking.most
        if served.longest is not None and served.longest < longest:
            raise BenchError(
                f"The generation server takes {served.longest} tokens, and a prompt with its response has up to "
                f"{longest}.",
                f"Start it with --max-model-len {longest} (SGLang: --context-length {longest}).",
            )
        self._noise = from_main(lambda: self._base_noise(asking))

    def _base_noise(self, asking: Prompting) -> float:
        with asking.model.disable_adapter():
            answers = [self._canary(prompt, None, asking) for prompt in plain_prompts(asking, CANARIES)]
            readings = read_answers(
                asking, [answer.prompt for answer in answers], [answer.tokens for answer in answers]
            )
        noise = base_noise(answers, readings)
        if noise is None:
            root = f", made from {clean(self.served.root)}" if self.served.root else ""
            raise BenchError(
                f"The generation server's model {clean(self.served.name)}{root} does not answer as the base model "
                f"{asking.base.name!r} does.",
                "Start it with the same model, not quantized, and without a generation config of its own (vLLM: "
                "--generation-config vllm).",
            )
        return noise

    def _canary(self, prompt: tuple[int, ...], adapter: str | None, asking: Prompting) -> Answered:
        said = self._ask(prompt, (), adapter, min(LENGTH, asking.most), frozenset(), log_probs=True)
        return Answered(prompt, said.tokens, said.log_probs or ())

    def _ask(
        self,
        prompt: Sequence[int],
        stops: Sequence[str],
        adapter: str | None,
        most: int,
        stop: frozenset[int],
        *,
        log_probs: bool = False,
        halt: threading.Event | None = None,
        kept: Callable[[], int] = lambda: 0,
    ) -> Completion:
        try:
            return self.server.complete(
                self.served.name,
                prompt,
                adapter=adapter,
                most=most,
                stop=sorted(stop),
                stops=stops,
                log_probs=log_probs,
                halt=halt,
            )
        except MayPass as trouble:
            raise BenchError(
                f"The generation server at {self.endpoint.host} answers no more: {trouble}; {_at_hand(kept())}.",
                "When it is back, the same command goes on and asks for none of them again.",
            ) from trouble
        except Refused as trouble:
            raise BenchError(
                f"The generation server at {self.endpoint.host} gives no answer that can be used: {trouble}.",
                "It has to take /v1/completions as vLLM and SGLang do; see the page on generation engines.",
            ) from trouble

    def respond(self, asking: Prompting) -> list[list[int]]:
        """See :class:`~lifealign_bench.models.engines.engine.GenerationEngine`.

        Rank 0 asks, and the others wait for what it hears.

        Raises:
            Interrupted: the user asked to stop; what is finished is kept.
        """
        handover = asking.handover
        if handover is None:
            raise ValueError("a server has to be told which adapter is on")
        label = self.label  # asked by all processes, before one alone goes on
        return from_main(lambda: self._responses(asking, handover, label))

    def _responses(self, asking: Prompting, handover: Handover, label: str) -> list[list[int]]:
        determined_by = {
            "engine": label,
            "base": asking.base.fingerprint,
            "weights": handover.weights,
            "most": asking.most,
            "stop": sorted(asking.stop),
        }
        kept = KeptResponses(handover.kept, determined_by)
        keys = [kept.key(prompt, stops) for prompt, stops in zip(asking.prompts, asking.stops, strict=True)]
        missing = [place for place, key in enumerate(keys) if kept.find(key) is None]
        asking.advance(len(keys) - len(missing))
        if missing:
            adapter = self._loaded(asking, handover) if handover.adapter is not None else None
            try:
                self._fill(asking, handover, adapter, kept, keys, missing)
            finally:
                if adapter is not None:
                    self.server.unload(adapter)
        responses = [kept.find(key) or [] for key in keys]
        self._check(asking, responses, kept)
        return responses

    def _loaded(self, asking: Prompting, handover: Handover) -> str:
        """The name of the stage's adapter at the server, where it is seen to be applied.

        Raises:
            BenchError: it cannot be loaded, or it is not applied.
        """
        adapter = _needs(handover)
        self.server.load(adapter)
        prompts = changed_prompts(asking, self._noise)
        if not prompts:
            asking.notice(
                "The stage's adapter changes no answer by more than rounding: whether the server applies it cannot be "
                "seen, and need not be."
            )
            return adapter.name
        answers = [self._canary(prompt, adapter.name, asking) for prompt in prompts]
        tokens = [answer.tokens for answer in answers]
        adapted = read_answers(asking, prompts, tokens)
        with asking.model.disable_adapter():
            base = read_answers(asking, prompts, tokens)
        proof = prove(answers, adapted, base, self._noise)
        if proof == "applied":
            return adapter.name
        self.server.unload(adapter.name)
        how = "as its base model does" if proof == "ignored" else "neither as its base model nor as the adapted one"
        raise BenchError(
            f"The generation server at {self.endpoint.host} does not apply the stage's adapter: asked with it, it "
            f"answers {how}. None of its responses is used.",
            f"The adapter in {adapter.path} changes {', '.join(adapter.modules)} at rank {adapter.rank}: the server "
            "must not be limited to other modules (--lora-target-modules). Another version of it, or --generation "
            "continuous, may help.",
        )

    def _fill(
        self,
        asking: Prompting,
        handover: Handover,
        adapter: str | None,
        kept: KeptResponses,
        keys: Sequence[str],
        missing: Sequence[int],
    ) -> None:
        lock = threading.Lock()

        def one(place: int, halt: threading.Event) -> None:
            if handover.stopped():
                raise Interrupted(f"Stopped while a server generates; {_at_hand(len(kept))}.")
            prompt, stops = asking.prompts[place], asking.stops[place]
            said = self._ask(prompt, stops, adapter, asking.most, asking.stop, halt=halt, kept=kept.__len__)
            kept.keep(keys[place], self._whole(asking, place, said))
            with lock:
                asking.advance(1)

        # Long prompts first: short ones fill the gaps at the end. Equal questions are asked once.
        order = sorted({keys[place]: place for place in missing}.values(), key=lambda i: (-len(asking.prompts[i]), i))
        work_off(one, order, self.connections)
        asking.advance(len(missing) - len(order))

    def _whole(self, asking: Prompting, place: int, said: Completion) -> list[int]:
        """The response without what ends it.

        Raises:
            BenchError: it was cut short of the longest, or ended by something else than the run's stop rules.
        """
        response = asking.trimmed(place, said.tokens)
        ended = len(response) < len(said.tokens) or len(response) == asking.most
        texts = asking.stop_texts()
        ended = ended or (texts is not None and texts.finished(place, response))
        if said.cut and not ended:
            raise BenchError(
                f"The generation server cut a response at {len(response)} of {asking.most} tokens.",
                "Start it with a longer context (vLLM: --max-model-len; SGLang: --context-length), or lower "
                "max_new_tokens.",
            )
        return response

    def _check(self, asking: Prompting, responses: Sequence[list[int]], kept: KeptResponses) -> None:
        """Read some responses again, with the token that would end them.

        Raises:
            BenchError: the model here would not say that.
        """
        places = spread_over(len(responses), _CHECKED)
        end = min(asking.stop, default=None)
        answers = []
        for place in places:
            response, texts = responses[place], asking.stop_texts()
            by_text = texts is not None and bool(response) and texts.finished(place, response)
            ends = end is not None and len(response) < asking.most and not by_text
            answers.append([*response, end][:_HEAD] if ends and end is not None else response[:_HEAD])
        readings = read_answers(asking, [asking.prompts[place] for place in places], answers)
        gap = gap_of(self._noise)
        strange = [place for place, reading in zip(places, readings, strict=True) if not reading.is_greedy(gap)]
        if len(strange) > len(places) * _STRANGE:
            kept.forget()
            raise BenchError(
                f"{len(strange)} of {len(places)} responses of the generation server that were read again are not what "
                "the model says to their prompts: it mixes answers up, cuts them, or lost the adapter. None is used.",
                "Run the same command again once the server is mended, or take --generation continuous.",
            )


def _needs(handover: Handover) -> AdapterNeeds:
    """What the stage's adapter asks of a server, by its own file."""
    assert handover.adapter is not None
    path = handover.adapter.resolve()
    content = json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))
    # Named by what it holds: what a server has under that name is the same adapter.
    name = f"lifealign-{hashlib.sha256(handover.weights.encode()).hexdigest()[:16]}"
    return AdapterNeeds(name, str(path), int(content["r"]), tuple(sorted(content["target_modules"])))


def _at_hand(count: int) -> str:
    return "1 response is kept" if count == 1 else f"{count} responses are kept"
