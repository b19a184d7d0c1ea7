"""What the model after a stage gives the scorers to work with; kept in the stage's ``parts`` until it is scored."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lifealign_bench.config import RunConfig
from lifealign_bench.data.cards import TaskCard
from lifealign_bench.errors import BenchError
from lifealign_bench.models.encode import EncodedPair
from lifealign_bench.models.engines.engine import Handover
from lifealign_bench.models.speaker import Speaker
from lifealign_bench.results.folder import StageFolder
from lifealign_bench.scoring.parts import keep_part
from lifealign_bench.scoring.scorer import Need, Scorer, needs_of

Responses = Mapping[str, list[list[int]]]


@dataclass
class Spent:
    """Seconds and tokens by part: ``score`` (log-probabilities), ``generate``, ``distance``."""

    seconds: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)

    def add(self, part: str, seconds: float, tokens: int) -> None:
        """Count what one task cost."""
        self.seconds[part] = self.seconds.get(part, 0.0) + seconds
        self.tokens[part] = self.tokens.get(part, 0) + tokens


@dataclass(frozen=True)
class Exam:
    """What a model is asked after every stage, and who scores what it says.

    Args:
        speaker: the model.
        config: the run.
        cards: of all tasks, in the stream's order.
        pairs: their test pairs.
        scorers: by name.
        last: the number of training stages.
    """

    speaker: Speaker
    config: RunConfig
    cards: Mapping[str, TaskCard]
    pairs: Mapping[str, Sequence[EncodedPair]]
    scorers: Mapping[str, Scorer]
    last: int

    def needs(self, task: str) -> frozenset[Need]:
        """What the scorers that apply to a task want to know of the model."""
        card = self.cards[task]
        return needs_of(self.scorers, card)

    def needs_after(self, task: str, stage: int) -> frozenset[Need]:
        """What of it is asked after a stage: the distance, two passes of its own, may be wanted at the ends alone."""
        due = self.config.distance_stages == "all" or stage in (0, self.last)
        return self.needs(task) if due else self.needs(task) - {"distance"}

    def base_responses(self, handover: Handover | None = None) -> dict[str, list[list[int]]]:
        """Task to the base model's responses, of all tasks.

        Args:
            handover: what an engine outside this process needs.
        """
        prompts = {name: [p.prompt for p in pairs] for name, pairs in self.pairs.items()}
        stops = {name: card.stop for name, card in self.cards.items()}
        return self.speaker.base_responses(prompts, stops, handover)

    def responses(self, names: Sequence[str], handover: Handover | None = None) -> dict[str, list[list[int]]]:
        """Task to the responses of the model as it is; the prompts of all ``names`` are generated together.

        Args:
            handover: what an engine outside this process needs.
        """
        prompts = [p.prompt for name in names for p in self.pairs[name]]
        stops = [self.cards[name].stop for name in names for _ in self.pairs[name]]
        together = iter(self.speaker.respond(prompts, stops, handover))
        return {name: [next(together) for _ in self.pairs[name]] for name in names}


@dataclass(frozen=True)
class Evidence:
    """What is known of a task's P test pairs.

    Args:
        base, policy: P pairs of log-probabilities of chosen and rejected; None where no scorer needs them.
        responses: token ids, likewise.
        distance: P divergences, likewise.
    """

    base: list[list[float]] | None
    policy: list[list[float]] | None
    responses: list[list[int]] | None
    distance: list[float] | None


@dataclass
class Gathering:
    """The gathering of evidence after one stage; what is there is not computed again, and what is done is kept.

    Args:
        weights: names the weights that are asked; parts of other weights are not used.
        needs: task to what its scorers need; the tasks that are scored.
        known: responses of these weights that an earlier scoring left.
        cost: counts what was done.
        engine: what generated the responses, by its label; empty where none was asked for.
    """

    exam: Exam
    stage: int
    folder: Path
    weights: str
    stopped: Callable[[], bool]
    needs: Mapping[str, frozenset[Need]]
    known: Responses = field(default_factory=dict)
    cost: Spent = field(default_factory=Spent)
    engine: str = ""

    def responses(self) -> Responses:
        """Greedy responses to the test prompts of the tasks whose scorers need them.

        All tasks' prompts are generated together: while the long answers of one task go on, the others' are done. Which
        these are moves the last bits, so what an earlier scoring left is taken as a whole or not at all.
        """
        wanted = [name for name, needs in self.needs.items() if "responses" in needs]
        if not wanted:
            return {}
        if all(name in self.known for name in wanted):
            return self.known

        engine = self.exam.speaker.engine

        def generate() -> dict[str, Any]:
            self._started("generate", wanted)
            if self.stage == 0:
                base = self.base_responses()
                return {"responses": {name: base[name] for name in wanted}, "engine": engine.label}
            return {"responses": self.exam.responses(wanted, self._handover(base=False)), "engine": engine.label}

        kept = self._kept("responses", generate)
        found: Responses = kept["responses"]
        self.engine = kept.get("engine", "")
        self.cost.add("generate", kept["seconds"], sum(len(ids) for said in found.values() for ids in said))
        return found

    def base_responses(self) -> dict[str, list[list[int]]]:
        """Task to the base model's responses, of all tasks."""
        return self.exam.base_responses(self._handover(base=True))

    def _handover(self, *, base: bool) -> Handover:
        folder = StageFolder(self.folder)
        kept = folder.parts / f"{'base' if base else 'stage'}.jsonl"
        return Handover(None if base else folder.adapter, "base" if base else self.weights, kept, self.stopped)

    def of(self, name: str, responses: Responses) -> Evidence:
        """What is known of a task; ``responses`` are those of :meth:`responses`."""
        needs = self.needs[name]
        pairs = self.exam.pairs[name]
        base = policy = distance = None
        if "log_probs" in needs:
            kept = self._kept(_file(name), lambda: self._log_probs(name))
            base, policy = kept["base"], kept["policy"]
            self.cost.add("score", kept["seconds"], sum(p.tokens for p in pairs))
        if "distance" in needs:
            said = self._said(pairs, responses[name])
            kept = self._kept(f"{_file(name)}-distance", lambda: {"distance": self._distance(name, said)})
            distance = kept["distance"]
            if self.stage:
                self.cost.add("distance", kept["seconds"], 2 * sum(p.tokens for p in said))
        return Evidence(base, policy, responses.get(name), distance)

    def _kept(self, part: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        return keep_part(self.folder, part, self.weights, self.stage, self.stopped, compute)

    def _started(self, part: str, names: Sequence[str]) -> None:
        self.exam.speaker.progress.phase_started(self.stage, part, tuple(names), 0)

    def _log_probs(self, name: str) -> dict[str, Any]:
        speaker, pairs = self.exam.speaker, self.exam.pairs[name]
        self._started("score", [name])
        base = speaker.base_score(pairs)
        # Stage 0 is the untouched base model: nothing is computed twice for it.
        policy = base if self.stage == 0 else speaker.score(pairs)
        self._finite(policy, name, "log-probability of test pairs")
        return {"base": base.tolist(), "policy": policy.tolist()}

    def _distance(self, name: str, said: Sequence[EncodedPair]) -> list[float]:
        if self.stage == 0:
            return [0.0] * len(said)
        self._started("distance", [name])
        found = self.exam.speaker.divergences(said)
        self._finite(found, name, "divergence of responses")
        return [float(value) for value in found]

    def _said(self, pairs: Sequence[EncodedPair], responses: Sequence[Sequence[int]]) -> list[EncodedPair]:
        """Prompts with the model's own responses, and the token after them unless they were cut at the longest."""
        longest = self.exam.speaker.generation.max_new_tokens
        end = int(self.exam.speaker.tokenizer.eos_token_id)
        return [
            EncodedPair(p.pair, p.prompt, tuple(ids) + ((end,) if len(ids) < longest else ()), ())
            for p, ids in zip(pairs, responses, strict=True)
        ]

    def _finite(self, values: torch.Tensor, name: str, what: str) -> None:
        if not bool(torch.isfinite(values).all()):
            raise BenchError(
                f"After stage {self.stage} the model gives nan or infinity as {what} of {name}.",
                "Training left weights that are no numbers. A lower learning_rate or float32 (--dtype) may help; that "
                "is another run, so give it another --out.",
            )


def _file(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]
