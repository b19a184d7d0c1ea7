"""How much a run computes: steps and tokens of every phase of every stage, from the lengths of the pairs alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lifealign_bench.config import RunConfig
from lifealign_bench.method import Method, Phase
from lifealign_bench.models.encode import EncodedPair
from lifealign_bench.training.phases import TrainedPhase, phases_of
from lifealign_bench.util.progress import GENERATION_WORK

__all__ = [
    "Lengths",
    "PhaseWork",
    "ScoreWork",
    "StageWork",
    "Workload",
    "lengths_of",
    "score_units",
    "scored_tasks",
    "workload_of",
]


class Lengths(NamedTuple):
    """Tokens of a pair's prompt and of its two completions."""

    prompt: int
    chosen: int
    rejected: int

    @property
    def tokens(self) -> int:
        """Tokens of the pair in a forward pass, its prompt once."""
        return self.prompt + self.chosen + self.rejected

    @property
    def longest(self) -> int:
        """Tokens of the prompt and its longer completion, which a context must hold."""
        return self.prompt + max(self.chosen, self.rejected)


@dataclass(frozen=True)
class PhaseWork:
    """A phase of a stage: optimizer steps, and tokens over all its epochs.

    Args:
        tokens: forward and backward; of sampled responses as many as there can be.
        sampled: tokens of responses that are sampled in its steps, when none ends early.
    """

    phase: Phase
    steps: int
    tokens: int
    sampled: int = 0


@dataclass(frozen=True)
class StageWork:
    """A training stage; what a method replays is known only when it runs and not counted.

    Args:
        reference_tokens: forward passes for the reference log-probabilities of its pairs.
    """

    index: int
    tasks: tuple[str, ...]
    pairs: int
    phases: tuple[PhaseWork, ...]
    reference_tokens: int

    @property
    def tokens(self) -> int:
        """Tokens forward and backward."""
        return sum(phase.tokens for phase in self.phases)

    @property
    def sampled(self) -> int:
        """Tokens that are sampled, when no response ends early."""
        return sum(phase.sampled for phase in self.phases)


@dataclass(frozen=True)
class ScoreWork:
    """Scoring after one stage.

    Args:
        tokens: of the test pairs, in forward passes.
        prompts: how many responses each task asks for; tasks without responses are not in it.
        prompt_tokens: tokens of these prompts.
    """

    stage: int
    tokens: int
    prompts: tuple[int, ...]
    prompt_tokens: int


@dataclass(frozen=True)
class Workload:
    """A whole run.

    Args:
        scores: one for each of the N + 1 stages, the base model's first.
        longest: the training pair with most tokens.
        longest_prompt: tokens of the longest prompt that gets a response; 0 where none does.
    """

    stages: tuple[StageWork, ...]
    scores: tuple[ScoreWork, ...]
    longest: Lengths
    longest_prompt: int


def lengths_of(pairs: Sequence[EncodedPair]) -> list[Lengths]:
    """The lengths of encoded pairs."""
    return [Lengths(len(p.prompt), len(p.chosen), len(p.rejected)) for p in pairs]


def scored_tasks(config: RunConfig, method: Method, tasks: Sequence[str], stage: int) -> list[str]:
    """The tasks that are scored after ``stage``; of a method that restarts, those trained in it alone."""
    plan = method.plan(tasks)
    if method.restarts and stage > 0:
        return list(plan[stage - 1])
    if config.evaluate == "last":
        return list(tasks) if stage == len(plan) else []
    if config.evaluate == "all":
        return list(tasks)
    return [task for trained in plan[:stage] for task in trained]


def workload_of(
    config: RunConfig,
    method: Method,
    train: Mapping[str, Sequence[Lengths]],
    test: Mapping[str, Sequence[Lengths]],
    generating: Sequence[str],
) -> Workload:
    """The work of a run.

    Args:
        train, test: the pairs of every task, in the stream's order.
        generating: tasks whose test prompts get a response at every scoring.
    """
    plan = method.plan(list(train))
    stages = tuple(_stage(config, method, train, plan, index) for index in range(1, len(plan) + 1))
    scores = []
    for stage in range(len(plan) + 1):
        names = scored_tasks(config, method, list(train), stage)
        prompted = [name for name in names if name in generating]
        scores.append(
            ScoreWork(
                stage=stage,
                tokens=sum(p.tokens for name in names for p in test[name]),
                prompts=tuple(len(test[name]) for name in prompted),
                prompt_tokens=sum(p.prompt for name in prompted for p in test[name]),
            )
        )
    longest = max((p for pairs in train.values() for p in pairs), key=lambda p: p.tokens)
    return Workload(stages, tuple(scores), longest, max((p.prompt for n in generating for p in test[n]), default=0))


def _stage(
    config: RunConfig, method: Method, train: Mapping[str, Sequence[Lengths]], plan: list[tuple[str, ...]], index: int
) -> StageWork:
    tasks = plan[index - 1]
    pairs = [p for name in tasks for p in train[name]]
    phases = phases_of(config, method)
    works = tuple(_phase(config, method, phase, pairs) for phase in phases)
    reference = 0
    if any(phase.refers for phase in phases):
        # By another policy than the base model they are taken again for all pairs that a method may mix in.
        again = plan[:index] if config.training.reference == "previous" else [tasks]
        reference = sum(p.tokens for names in again for name in names for p in train[name])
    return StageWork(index, tasks, len(pairs), works, reference)


def _phase(config: RunConfig, method: Method, phase: TrainedPhase, pairs: Sequence[Lengths]) -> PhaseWork:
    steps, epochs = phase.steps(config, len(pairs)), phase.epochs(config)
    said = method.samples() * config.generation.max_new_tokens if phase.samples else 0
    if said:
        return PhaseWork(phase.name, steps, sum(p.prompt + said for p in pairs) * epochs, said * len(pairs) * epochs)
    return PhaseWork(phase.name, steps, sum(phase.tokens(*p) for p in pairs) * epochs)


def score_units(config: RunConfig, score: ScoreWork) -> float:
    """The work of one scoring in tokens of a forward pass, when no response ends early."""
    return score.tokens + sum(score.prompts) * GENERATION_WORK * config.generation.max_new_tokens
