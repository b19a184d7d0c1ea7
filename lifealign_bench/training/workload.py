"""How much a run computes: steps and tokens of every phase of every stage, from the lengths of the pairs alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lifealign_bench.config import RunConfig
from lifealign_bench.method import Method, Phase
from lifealign_bench.models.encode import EncodedPair
from lifealign_bench.models.passcost import PassCost, Size
from lifealign_bench.training.budget import phase_budget
from lifealign_bench.training.course import Course, make_course
from lifealign_bench.training.foresight import Mixes, mixes_in
from lifealign_bench.training.others import policy_of
from lifealign_bench.training.phases import TrainedPhase, phases_of
from lifealign_bench.util.progress import GENERATION_WORK
from lifealign_bench.util.seeds import derive_seed


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
    """A phase of a stage: optimizer steps, and pairs and tokens forward and backward, each as often as trained on.

    Args:
        tokens: of sampled responses as many as there can be.
        flops: operations of these passes, and of those of other policies that a loss asks for; None where the model's
            shape is not known.
        sampled: tokens of responses that are sampled in its steps, when none ends early.
    """

    phase: Phase
    steps: int
    pairs: int
    tokens: int
    flops: int | None = None
    sampled: int = 0


@dataclass(frozen=True)
class StageWork:
    """A training stage.

    Args:
        pairs: of its own.
        reference_tokens: forward passes for the reference log-probabilities of its pairs.
        reference_flops: operations of these; None where the model's shape is not known.
    """

    index: int
    tasks: tuple[str, ...]
    pairs: int
    phases: tuple[PhaseWork, ...]
    reference_tokens: int
    reference_flops: int | None = None

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
        foreseen: whether the pairs that the method mixes in are counted; else they are known only when it runs.
        shortest: the pair with fewest tokens, on which layouts are tried; None: not known.
    """

    stages: tuple[StageWork, ...]
    scores: tuple[ScoreWork, ...]
    longest: Lengths
    longest_prompt: int
    foreseen: bool = True
    shortest: Lengths | None = None


def lengths_of(pairs: Sequence[EncodedPair]) -> list[Lengths]:
    """The lengths of encoded pairs."""
    return [Lengths(len(p.prompt), len(p.chosen), len(p.rejected)) for p in pairs]


def scored_tasks(config: RunConfig, method: Method, tasks: Sequence[str], stage: int) -> list[str]:
    """The tasks that are scored after ``stage``; of a method that restarts, those trained in it alone."""
    plan = method.plan(tasks)
    if method.restarts and stage > 0:
        return list(plan[stage - 1])
    if config.evaluate in ("ends", "last"):
        scored = stage == len(plan) or (stage == 0 and config.evaluate == "ends")
        return list(tasks) if scored else []
    if config.evaluate == "all":
        return list(tasks)
    return [task for trained in plan[:stage] for task in trained]


def workload_of(
    config: RunConfig,
    method: Method,
    train: Mapping[str, Sequence[Lengths]],
    test: Mapping[str, Sequence[Lengths]],
    generating: Sequence[str],
    cost: PassCost | None = None,
    mixes: Mixes | None = None,
) -> Workload:
    """The work of a run.

    Args:
        train, test: the pairs of every task, in the stream's order.
        generating: tasks whose test prompts get a response at every scoring.
        cost: of the model's passes, where its shape is known.
        mixes: the pairs that the method trains on, where they are foreseen; else its own.
    """
    plan = method.plan(list(train))
    stages = tuple(_stage(config, method, train, mixes, cost, index) for index in range(1, len(plan) + 1))
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
    longest_prompt = max((p.prompt for n in generating for p in test[n]), default=0)
    foreseen = mixes is not None or not mixes_in(method)
    shortest = min((p for split in (train, test) for pairs in split.values() for p in pairs), key=lambda p: p.tokens)
    return Workload(stages, tuple(scores), longest, longest_prompt, foreseen, shortest)


def _stage(
    config: RunConfig,
    method: Method,
    train: Mapping[str, Sequence[Lengths]],
    mixes: Mixes | None,
    cost: PassCost | None,
    index: int,
) -> StageWork:
    plan = method.plan(list(train))
    tasks = plan[index - 1]
    by_task = [train[name] for name in tasks]
    own = [p for pairs in by_task for p in pairs]
    phases = phases_of(config, method)
    works = []
    for phase in phases:
        mix = own if mixes is None else [train[task][i] for task, i in mixes[index, phase.name]]
        course = course_of(config, method, phase, index, by_task, mix)
        works.append(_phase(config, method, phase, [mix[i] for i in course.places], course.steps, cost))
    references: list[Lengths] = []
    if any(phase.refers for phase in phases):
        # By another policy than the base model they are taken again for all pairs that a method may mix in.
        again = plan[:index] if method.reference(config.training.reference) == "previous" else [tasks]
        references = [p for names in again for name in names for p in train[name]]
    return StageWork(
        index,
        tasks,
        len(own),
        tuple(works),
        sum(p.tokens for p in references),
        None if cost is None else sum(cost.forward(p) for p in references),
    )


def course_of(
    config: RunConfig,
    method: Method,
    phase: TrainedPhase,
    index: int,
    own: Sequence[Sequence[Size]],
    mix: Sequence[Size],
) -> Course:
    """The course of a phase of stage ``index``.

    Args:
        own: the sizes of the stage's own pairs, task by task.
        mix: those of the pairs that the method trains on.
    """
    return make_course(
        [phase.tokens(*size) for size in mix],
        config.training.batch_size,
        derive_seed(config.seed, "order", index, *phase.order),
        phase.epochs(config, method),
        phase_budget(config, method, phase, own),
    )


def _phase(
    config: RunConfig,
    method: Method,
    phase: TrainedPhase,
    seen: Sequence[Lengths],
    steps: int,
    cost: PassCost | None,
) -> PhaseWork:
    """The work of a phase; ``seen``: its pairs, each as often as it is trained on."""
    count = method.samples() if phase.samples else 0
    longest = config.generation.max_new_tokens
    tokens = sum(p.prompt + count * longest if count else phase.tokens(*p) for p in seen)
    flops = None
    if cost is not None:
        sizes = [(p.prompt, *[longest] * count) if count else phase.formed(p) for p in seen]
        # As a run counts them: what a loss asks of other policies is a forward pass of each.
        others = len({policy_of(what) for what in method.asks(phase.name)})
        flops = sum(cost.training(size) + others * cost.forward(size) for size in sizes)
    return PhaseWork(phase.name, steps, len(seen), tokens, flops, count * longest * len(seen))


def score_units(config: RunConfig, score: ScoreWork) -> float:
    """The work of one scoring in tokens of a forward pass, when no response ends early."""
    return score.tokens + sum(score.prompts) * GENERATION_WORK * config.generation.max_new_tokens
