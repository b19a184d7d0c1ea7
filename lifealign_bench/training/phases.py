"""The kinds of phases: each says all that is particular to it, and nothing else asks which one a phase is.

A further kind is a class here, its settings in ``config`` and its name in ``method.Phase``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch.nn.functional import logsigmoid

from lifealign_bench.config import RunConfig
from lifealign_bench.data.cards import TaskCard
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.method import Asked, DemonstrationBatch, Group, GroupBatch, Method, PairBatch, Phase, Stage
from lifealign_bench.models.encode import Encoded, EncodedGroup, EncodedPair
from lifealign_bench.models.passcost import Size
from lifealign_bench.models.speaker import Speaker
from lifealign_bench.pairs import Message
from lifealign_bench.util.registry import Registry


@dataclass(frozen=True)
class Sampling:
    """What a phase may use to make the pairs of a step.

    Args:
        cards: the run's tasks by name, with their reward functions.
        seed: fixed by the run's seed and the stage.
        step: of the phase, from 1; with ``seed`` it decides every draw, so that a resumed phase draws the same.
        stage: what hooks may know and ask in this step; its generator is the step's own.
        method: whose hooks these are.
        asked: a dialogue to the token ids of a prompt that asks for a response.
    """

    speaker: Speaker
    cards: Mapping[str, TaskCard]
    seed: int
    step: int
    stage: Stage
    method: Method
    asked: Callable[[Sequence[Message]], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class LearnedGroup(EncodedGroup):
    """A group's tokens, with what the method knows of it.

    Args:
        group: its own.
        teacher: the token ids of its teacher's prompt; empty: there is none.
    """

    group: Group
    teacher: tuple[int, ...] = ()


@dataclass(frozen=True)
class Learned:
    """What one forward pass says of B pairs.

    Args:
        policy, reference: (B, 2) log-probabilities in nats; the latter is empty in a phase that does not refer.
        beta: strength of DPO.
        tokens, owner: (N,) each token's log-probability, and whose it is, as in ``PairBatch``; empty where nobody asks.
        asked: (N,) each of what the method asks for beside.
    """

    pairs: Sequence[Encoded]
    policy: torch.Tensor
    reference: torch.Tensor
    beta: float
    tokens: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    owner: torch.Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    asked: Mapping[Asked, torch.Tensor] = field(default_factory=dict)

    @property
    def margins(self) -> torch.Tensor:
        """DPO's logits (B,)."""
        gained = self.policy - self.reference
        return self.beta * (gained[:, 0] - gained[:, 1])


class TrainedPhase(ABC):
    """One kind of phase, without state.

    Args:
        name: what methods and settings call it.
        title: what people call it.
        part: what its seconds and tokens are called in a record, and itself where a run is shown.
        refers: it needs the pairs' log-probabilities by the reference policy.
        samples: :meth:`sample` makes the pairs of every step.
        order: what beside seed and stage decides the order of its pairs.
    """

    name: ClassVar[Phase]
    title: ClassVar[str]
    part: ClassVar[str]
    refers: ClassVar[bool] = False
    samples: ClassVar[bool] = False
    order: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def asked(self, config: RunConfig) -> bool:
        """Whether a run has it, unless the method decides otherwise."""

    @abstractmethod
    def chosen_rate(self, config: RunConfig, method: Method) -> float:
        """The peak learning rate that the run asks for."""

    @abstractmethod
    def epochs(self, config: RunConfig, method: Method) -> int:
        """Passes over a stage's pairs."""

    def learning_rate(self, config: RunConfig, method: Method) -> float:
        """The peak learning rate, as the method has it."""
        return method.learning_rate(self.name, self.chosen_rate(config, method))

    def steps(self, config: RunConfig, method: Method, pairs: int) -> int:
        """Optimizer steps with ``pairs`` training pairs."""
        return self.epochs(config, method) * math.ceil(pairs / config.training.batch_size)

    def settings(self, config: RunConfig) -> str:
        """What a plan says of it beside learning rate and epochs; begins with a comma."""
        return ""

    def tokens(self, prompt: int, chosen: int, rejected: int) -> int:
        """Tokens that a pair of these lengths has in a forward pass."""
        return prompt + chosen + rejected

    def form(self, pair: EncodedPair) -> EncodedPair:
        """What of a pair is trained on."""
        return pair

    def formed(self, size: Size) -> Size:
        """The size of :meth:`form` of a pair of this size."""
        return size

    def sample(self, sampling: Sampling, pairs: Sequence[EncodedPair]) -> Sequence[Encoded]:
        """The pairs or groups of a step, made of what the model as it is responds to the pairs' prompts."""
        raise NotImplementedError

    def counted(self, pairs: Sequence[Encoded]) -> int:
        """What the loss of a step is a mean over."""
        return len(pairs)

    @abstractmethod
    def losses(self, learned: Learned, method: Method) -> torch.Tensor:
        """(B,): whose sum over a step, divided by :meth:`counted`, is minimised."""

    @abstractmethod
    def plain_losses(self, learned: Learned) -> torch.Tensor:
        """(B,): what ``Stage.losses`` gives a method, without anything of the method's own."""


class Supervised(TrainedPhase):
    """On the chosen responses alone: the mean negative log-likelihood of their tokens, as in TRL's SFTTrainer."""

    name = "sft"
    part = "sft"
    title = "supervised"
    order = ("sft",)

    def asked(self, config: RunConfig) -> bool:
        return config.sft

    def chosen_rate(self, config: RunConfig, method: Method) -> float:
        return config.supervised.sft_learning_rate

    def epochs(self, config: RunConfig, method: Method) -> int:
        return config.supervised.sft_epochs

    def tokens(self, prompt: int, chosen: int, rejected: int) -> int:
        return prompt + chosen

    def form(self, pair: EncodedPair) -> EncodedPair:
        return pair.demonstration()

    def formed(self, size: Size) -> Size:
        return size[0], size[1], 0

    def counted(self, pairs: Sequence[Encoded]) -> int:
        return sum(len(p.branches[0]) for p in pairs)

    def losses(self, learned: Learned, method: Method) -> torch.Tensor:
        pairs = tuple(p.pair for p in learned.pairs)
        # Of a pair's two places the second is empty here.
        batch = DemonstrationBatch(pairs, learned.tokens, learned.owner // 2, learned.asked)
        return method.demonstration_loss(-learned.policy[:, 0], batch)

    def plain_losses(self, learned: Learned) -> torch.Tensor:
        lengths = [len(p.branches[0]) for p in learned.pairs]
        return -learned.policy[:, 0] / torch.tensor(lengths, device=learned.policy.device)


class Preference(TrainedPhase):
    """On both responses: DPO's loss, or what the method makes of it."""

    name = "preference"
    part = "train"
    title = "preference"
    refers = True

    def asked(self, config: RunConfig) -> bool:
        return True

    def chosen_rate(self, config: RunConfig, method: Method) -> float:
        return config.training.learning_rate

    def epochs(self, config: RunConfig, method: Method) -> int:
        return config.training.epochs

    def settings(self, config: RunConfig) -> str:
        return f", beta {config.training.beta:g}"

    def losses(self, learned: Learned, method: Method) -> torch.Tensor:
        policy, reference = learned.policy, learned.reference
        pairs = tuple(p.pair for p in learned.pairs)
        sums = policy[:, 0], policy[:, 1], reference[:, 0], reference[:, 1]
        batch = PairBatch(pairs, *sums, learned.tokens, learned.owner, learned.beta, learned.asked)
        return method.pair_loss(learned.margins, batch)

    def plain_losses(self, learned: Learned) -> torch.Tensor:
        return -logsigmoid(learned.margins)


class OnPolicy(TrainedPhase):
    """On what the model itself says: every step's prompts are answered by the model as it is, see ``Method.rollouts``.

    A method has it that asks for it in ``phases``; learning rate and epochs are those of the preference phase, or of
    the supervised one where that is what it takes the place of (``Method.supervised``).
    """

    name = "on_policy"
    part = "on_policy"
    title = "on-policy"
    samples = True
    order = ("on_policy",)

    def asked(self, config: RunConfig) -> bool:
        return False

    def chosen_rate(self, config: RunConfig, method: Method) -> float:
        return self._as(config, method).chosen_rate(config, method)

    def epochs(self, config: RunConfig, method: Method) -> int:
        return self._as(config, method).epochs(config, method)

    @staticmethod
    def _as(config: RunConfig, method: Method) -> TrainedPhase:
        """The phase whose place it takes."""
        return PHASES.get("sft" if method.supervised and config.sft else "preference")

    def sample(self, sampling: Sampling, pairs: Sequence[EncodedPair]) -> list[LearnedGroup]:
        groups = sampling.method.rollouts(sampling.stage, sampling.speaker.model, [p.pair for p in pairs])
        prompts = {p.pair.id: p.prompt for p in pairs}
        found = [_learned(sampling, group, prompts) for group in groups]
        if not found:
            raise BenchError(
                f"The method {type(sampling.method).__name__} has no group to train on in step {sampling.step}.",
                "Its rollouts must give one group at least; one that teaches nothing has weights 0.",
            )
        longest = max(group.tokens for group in found)
        if longest > sampling.speaker.token_budget:
            raise UsageError(
                f"A group of responses has {longest} tokens with its prompt, a forward pass at most "
                f"{sampling.speaker.token_budget}.",
                f"Allow more (--set token_budget={longest}), or ask for fewer or shorter responses (max_new_tokens).",
            )
        return found

    def losses(self, learned: Learned, method: Method) -> torch.Tensor:
        groups = tuple(p.group for p in learned.pairs if isinstance(p, LearnedGroup))
        return method.group_loss(GroupBatch(groups, learned.tokens, learned.owner, learned.asked))

    def plain_losses(self, learned: Learned) -> torch.Tensor:
        lengths = [len(p.branches[0]) for p in learned.pairs]
        return -learned.policy[:, 0] / torch.tensor(lengths, device=learned.policy.device)


def _learned(sampling: Sampling, group: Group, prompts: Mapping[str, tuple[int, ...]]) -> LearnedGroup:
    branches = tuple(one.tokens for one in group.responses)
    if not branches or not all(branches) or len(branches) != len(group.weights):
        raise BenchError(
            f"The method {type(sampling.method).__name__} made a group of {len(branches)} responses with "
            f"{len(group.weights)} weights, or of an empty response.",
            "A group has one response at least, none empty, and a weight for each.",
        )
    teacher = sampling.asked(group.teacher) if group.teacher else ()
    longest = len(teacher) + max(map(len, branches))
    if longest > sampling.speaker.context:
        raise UsageError(
            f"A teacher's prompt and a response have {longest} tokens, the model a context of "
            f"{sampling.speaker.context}.",
            "Shorten the prompts (--set max_length=...) or the responses (max_new_tokens).",
        )
    return LearnedGroup(group.pair, prompts[group.pair.id], branches, group, teacher)


# In the order in which a stage has them.
PHASES: Registry[TrainedPhase] = Registry("phase")
for _phase in (Supervised(), Preference(), OnPolicy()):
    PHASES.add(_phase.name, _phase)


def phases_of(config: RunConfig, method: Method) -> tuple[TrainedPhase, ...]:
    """The phases of every training stage, in order.

    Raises:
        UsageError: the method wants one that there is not.
    """
    chosen = tuple(phase.name for phase in PHASES.values() if phase.asked(config))
    return tuple(PHASES.get(name) for name in method.phases(chosen))
