"""The contract between the harness and a continual-alignment method.

A method is one class with a handful of typed hooks that the harness calls directly. The order of calls in a run::

    prepare                         once, before stage 1
    for every stage, and in it for every phase (sft, preference, on_policy, or some of them):
        before_stage                the model is as the phase before left it
        training_pairs              replay mixes here
        for every optimizer step:
            rollouts                on-policy phase only: what the step's prompts are answered with
            demonstration_loss      supervised phase only: once a forward pass, on some of the step's pairs
            pair_loss               preference phase only: the same
            group_loss              on-policy phase only: the same, on some of the step's groups
            pass_penalty            once a forward pass, in all phases
            penalty                 once a step
            on_gradients            once a step, after accumulation and before clipping
        after_stage                 consolidation, Fisher information, buffers
        state_dict                  saved beside the adapter; load_state_dict on resume

What belongs to a finished task (a buffer, Fisher information) looks at ``stage.final``: the stage's last phase.

A run that is stopped in the middle of a phase calls ``load_state_dict`` with the state after the phase before, then
``before_stage`` again, then ``load_state_dict`` with the state at the last checkpoint: hooks must therefore depend only
on their arguments, the method's settings and its state, and draw random numbers from ``stage.generator`` alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from lifealign_bench.pairs import Message, Pair
from lifealign_bench.util.registry import Registry

if TYPE_CHECKING:
    import torch
    from peft import PeftModel

    from lifealign_bench.config import RunConfig

__all__ = [
    "METHODS",
    "RATE",
    "Asked",
    "DemonstrationBatch",
    "Group",
    "GroupBatch",
    "Method",
    "MethodConfig",
    "PairBatch",
    "Phase",
    "PlainValue",
    "Reference",
    "Response",
    "Stage",
    "Tuned",
    "register_method",
]

Phase = Literal["sft", "preference", "on_policy"]
# What a loss may ask for beside the policy's log-probabilities; one number a token of the responses, (N,). The
# reference is that of ``--set reference``; the start is the policy that the phase began with; the kept one is made of
# :meth:`Method.kept_policy`; the teacher is the policy itself after the dialogue of ``Group.teacher`` (a group that has
# one asks the others after it, too). ``*_log_probs`` are of the tokens. ``kl_to_*`` is KL(policy || other) and
# ``kl_from_*`` KL(other || policy) of the next token's distributions, over the whole vocabulary at
# :meth:`Method.temperature`, in nats, differentiable by the policy alone. Each policy costs one more forward pass.
Asked = Literal[
    "reference_log_probs",
    "start_log_probs",
    "kl_to_reference",
    "kl_to_start",
    "kl_to_kept",
    "kl_to_teacher",
    "kl_from_reference",
    "kl_from_start",
    "kl_from_kept",
    "kl_from_teacher",
]
PlainValue = str | int | float | bool | list[str] | list[int] | list[float]
# The base model, or the policy that a phase starts from.
Reference = Literal["base", "previous"]
MethodType = TypeVar("MethodType", bound="type[Method]")


class MethodConfig(BaseModel):
    """Base of a method's settings: frozen, and an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Tuned:
    """A setting that ``lifealign-bench tune`` varies: a positive number whose size, and not whose unit, matters.

    Args:
        setting: ``section.name`` of RunConfig, or ``method.name`` of the method's own.
        factors: what its value is multiplied with at first, two or more; empty: what the command says.
        within: it is looked for no further away than by this factor, up and down.
    """

    setting: str
    factors: tuple[float, ...] = ()
    within: float = 64.0


RATE = Tuned("training.learning_rate")


@dataclass(frozen=True)
class Response:
    """A response to a prompt, as the model gave it.

    Args:
        tokens: ids, with the token that ended it, if one did.
        log_probs: of each token by the model as it was, over the whole vocabulary at temperature 1, in nats; empty of a
            response that was not sampled.
        ended: False where it was cut at the run's longest.
        text: what a scorer would see of it.
        name: tells it from all others of the phase; empty of one that was not sampled.
    """

    tokens: tuple[int, ...]
    log_probs: tuple[float, ...] = ()
    ended: bool = True
    text: str = ""
    name: str = ""


@dataclass(frozen=True)
class Group:
    """A prompt with responses to learn from; what the method puts into a step in place of a pair.

    Args:
        pair: whose prompt it is.
        responses: at least one.
        weights: one a response, which the method's loss finds again: an advantage, say.
        teacher: a dialogue after which other policies are asked, and for the ``teacher`` of :data:`Asked` the policy
            itself; empty: after the prompt.
    """

    pair: Pair
    responses: tuple[Response, ...]
    weights: tuple[float, ...]
    teacher: tuple[Message, ...] = ()


@dataclass(frozen=True)
class Stage:
    """What a hook may know of the stage it is called in.

    Args:
        index: 1-based number of the stage.
        count: number of stages of the run.
        phase: which loss is trained.
        final: whether this is the stage's last phase, after which its tasks are finished.
        tasks: names of the tasks trained in this stage (one, except for ``joint``).
        pairs: these tasks' own training pairs, in file order, before ``training_pairs`` mixes anything in.
        generator: a CPU generator seeded by the run's seed, the stage and the phase; fresh for every stage.
        find_pairs: training pairs of any task of the run by id, so that a buffer keeps ids and no text.
        log_probs: ``(model, pairs) -> (B, 2)`` differentiable summed log-probabilities of the chosen and the rejected
            responses by the model as it is, e.g. the policy that a phase starts from (without gradients:
            ``torch.no_grad()``). Pairs of any task of the run.
        response_log_probs: ``(model, pairs)`` to the same for each token: for each pair a tensor of the chosen
            response's tokens and one of the rejected one's.
        references: ``(pairs) -> (B, 2)`` the sums by the reference policy; preference phase only. Pairs of this and of
            earlier stages.
        margins: ``(model, pairs) -> (B,)`` differentiable DPO logits
            ``beta * [(log p(c) - log p_ref(c)) - (log p(r) - log p_ref(r))]``; preference phase only. Pairs of this
            and of earlier stages.
        losses: ``(model, pairs) -> (B,)`` differentiable plain losses of the phase, for gradients outside the training
            loop (Fisher information, gradient memories): ``-log sigmoid(margins)``, or in the supervised phase the
            mean negative log-likelihood of the chosen response's tokens. Pairs of this and of earlier stages.
        gradient: ``(model, pairs)`` to the gradient of the mean of these losses, by the trained parameters' names and
            in their shapes, float32 or wider; ``.grad`` is left alone. However many the pairs, it needs no more memory
            than a training pass. Several processes share the passes and all get the sum: call it on all of them.
        sample: ``(model, pairs, n, temperature, top_p)`` to n sampled responses to each pair's prompt, as long as the
            run's (``max_new_tokens``). What a response is depends on the generator, its pair and its number alone, not
            on the others beside it. At temperature 0 it is the greedy one. The method declares ``samples``. Pairs of
            any task of the run; call it on all processes.
        reward: ``(pairs, responses)`` to what each of a pair's responses is worth, in the shape of ``responses``: by
            the task's checking function, from 0 to 1, or where it has none by the run's reward model, in points of its
            own. The method declares ``rewarded``.
        demonstrations: ``(pairs)`` to the chosen responses as such.
        longest: tokens of a sampled response at most.
    """

    index: int
    count: int
    phase: Phase
    final: bool
    tasks: tuple[str, ...]
    pairs: tuple[Pair, ...]
    generator: torch.Generator
    find_pairs: Callable[[Sequence[str]], list[Pair]]
    log_probs: Callable[[PeftModel, Sequence[Pair]], torch.Tensor]
    response_log_probs: Callable[[PeftModel, Sequence[Pair]], list[tuple[torch.Tensor, torch.Tensor]]]
    references: Callable[[Sequence[Pair]], torch.Tensor]
    margins: Callable[[PeftModel, Sequence[Pair]], torch.Tensor]
    losses: Callable[[PeftModel, Sequence[Pair]], torch.Tensor]
    gradient: Callable[[PeftModel, Sequence[Pair]], dict[str, torch.Tensor]]
    sample: Callable[[PeftModel, Sequence[Pair], int, float, float], list[tuple[Response, ...]]]
    reward: Callable[[Sequence[Pair], Sequence[Sequence[Response]]], list[tuple[float, ...]]]
    demonstrations: Callable[[Sequence[Pair]], list[Response]]
    longest: int


@dataclass(frozen=True)
class PairBatch:
    """The pairs of a micro-batch and their log-probabilities.

    Args:
        chosen, rejected, ref_chosen, ref_rejected: (B,), sums over a response's tokens.
        tokens: (N,), of every token of the chosen and rejected responses by the policy; a response's are in its order.
        owner: (N,), whose each is: twice the pair's place, and 1 more for a rejected response.
        beta: strength of DPO, as the run has it.
        asked: (N,) each of what :meth:`Method.asks` asks for, in the order of ``tokens``.
    """

    pairs: tuple[Pair, ...]
    chosen: torch.Tensor
    rejected: torch.Tensor
    ref_chosen: torch.Tensor
    ref_rejected: torch.Tensor
    tokens: torch.Tensor
    owner: torch.Tensor
    beta: float = math.nan
    asked: Mapping[Asked, torch.Tensor] = field(default_factory=dict)

    @property
    def lengths(self) -> torch.Tensor:
        """(B, 2): tokens of the chosen and the rejected response."""
        return self.owner.bincount(minlength=2 * len(self.pairs)).view(-1, 2)

    @property
    def means(self) -> torch.Tensor:
        """(B, 2): mean log-probability of a token of the chosen and the rejected response."""
        return self.sums(self.tokens) / self.lengths

    def sums(self, values: torch.Tensor) -> torch.Tensor:
        """(B, 2): the sums over a response's tokens of (N,) values."""
        return values.new_zeros(2 * len(self.pairs)).index_add(0, self.owner, values).view(-1, 2)


@dataclass(frozen=True)
class DemonstrationBatch:
    """The pairs of a micro-batch in the supervised phase, and the log-probabilities of their chosen responses.

    Args:
        tokens: (N,), of every token of the chosen responses by the policy; a response's are in its order.
        owner: (N,), whose each is: the pair's place.
        asked: (N,) each of what :meth:`Method.asks` asks for, in the order of ``tokens``.
    """

    pairs: tuple[Pair, ...]
    tokens: torch.Tensor
    owner: torch.Tensor
    asked: Mapping[Asked, torch.Tensor] = field(default_factory=dict)

    def sums(self, values: torch.Tensor) -> torch.Tensor:
        """(B,): the sums over a response's tokens of (N,) values."""
        return values.new_zeros(len(self.pairs)).index_add(0, self.owner, values)


@dataclass(frozen=True)
class GroupBatch:
    """The groups of a micro-batch and their log-probabilities; a group of fewer responses has empty places.

    Args:
        groups: B of them; W is the largest number of responses.
        tokens: (N,), of every response's tokens by the policy; a response's are in its order.
        owner: (N,), whose each is: W times the group's place, and the response's.
        asked: (N,) each of what :meth:`Method.asks` asks for, in the order of ``tokens``.
    """

    groups: tuple[Group, ...]
    tokens: torch.Tensor
    owner: torch.Tensor
    asked: Mapping[Asked, torch.Tensor] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """W."""
        return max(len(group.responses) for group in self.groups)

    @property
    def lengths(self) -> torch.Tensor:
        """(B, W): tokens of each response; 0 of an empty place."""
        return self.owner.bincount(minlength=len(self.groups) * self.width).view(-1, self.width)

    @property
    def weights(self) -> torch.Tensor:
        """(B, W): the groups' own; 0 of an empty place."""
        filled = [[*group.weights, *[0.0] * (self.width - len(group.weights))] for group in self.groups]
        return self.tokens.new_tensor(filled)

    def sums(self, values: torch.Tensor) -> torch.Tensor:
        """(B, W): the sums over a response's tokens of (N,) values."""
        return values.new_zeros(len(self.groups) * self.width).index_add(0, self.owner, values).view(-1, self.width)

    def means(self, values: torch.Tensor) -> torch.Tensor:
        """(B, W): the means over a response's tokens of (N,) values; 0 of an empty place."""
        return self.sums(values) / self.lengths.clamp(min=1)


class Method:
    """Base of all methods: every hook has a default that makes plain sequential training.

    Args:
        config: the method's settings, an instance of its ``Config``.
    """

    Config: ClassVar[type[MethodConfig]] = MethodConfig
    # Every stage starts from the fresh adapter, and only its own tasks are scored after it.
    restarts: ClassVar[bool] = False
    # Pairs may share a row of the forward pass. Where they may not (a method that looks at whole inputs), every
    # response is a row of its own behind its prompt, and the model is given ``prompt_lengths``, see ``logprobs``.
    packs: ClassVar[bool] = True
    # What ``lifealign-bench tune`` varies: first the setting that holds its peak learning rate, then its own strength,
    # if it has one. Every method gets the same number of trials. What buys a method more than others have (a memory's
    # size, more steps) is a budget and no strength.
    tunes: ClassVar[tuple[Tuned, ...]] = (RATE,)
    # Its on-policy phase is the supervised one with some responses of the model's own among the demonstrations: where
    # the run has a supervised phase this takes its place, with its learning rate and passes, and RATE is that rate.
    supervised: ClassVar[bool] = False
    # It calls stage.reward: every task of the run must have a reward.
    rewarded: ClassVar[bool] = False
    # Ablations with a name: "no-replay" of the method "mine" is the method "mine-no-replay" with these settings fixed.
    # Written out in the file, since listing reads them without importing it.
    variants: ClassVar[dict[str, dict[str, PlainValue]]] = {}

    def __init__(self, config: MethodConfig) -> None:
        self.config = config

    def check(self, config: RunConfig) -> None:
        """Refuse a run that this method cannot do, before anything is trained.

        Raises:
            BenchError: with the remedy.
        """

    def plan(self, tasks: Sequence[str]) -> list[tuple[str, ...]]:
        """The tasks of each stage. Default: one stage a task, in the stream's order."""
        return [(task,) for task in tasks]

    def phases(self, chosen: tuple[Phase, ...]) -> tuple[Phase, ...]:
        """The phases of every stage, in order; ``chosen``: what the run asks for. Default: these."""
        return chosen

    def added_tokens(self) -> int:
        """Tokens that the method puts into every sequence; they need room in the model's context."""
        return 0

    def samples(self) -> int:
        """Responses to a prompt that it asks :attr:`Stage.sample` for at most: they need room. Default: none."""
        return 0

    def asks(self, phase: Phase) -> tuple[Asked, ...]:
        """What the losses of ``phase`` need beside the policy's log-probabilities. Default: nothing."""
        return ()

    def kept_policy(self) -> Mapping[str, torch.Tensor]:
        """The trained parameters of the kept policy that :meth:`asks` names, by name; asked before every pass."""
        raise NotImplementedError(f"{type(self).__name__} asks what a kept policy says and keeps none")

    def temperature(self) -> float:
        """What all logits are divided by in the divergences that :meth:`asks` names. Default: 1."""
        return 1.0

    def reference(self, chosen: Reference) -> Reference:
        """The reference policy of every phase; ``chosen``: what the run asks for. Default: this."""
        return chosen

    def learning_rate(self, phase: Phase, chosen: float) -> float:
        """The peak learning rate of ``phase``; ``chosen``: what the run asks for. Default: this."""
        return chosen

    def trained(self, model: PeftModel) -> list[torch.nn.Parameter]:
        """The parameters that training changes. Default: the LoRA adapter's."""
        return [parameter for name, parameter in model.named_parameters() if "lora_" in name]

    def prepare(self, model: PeftModel, stages: int) -> PeftModel:
        """Change the model before stage 1, e.g. its adapter; new parameters are trained if :meth:`trained` has them.

        Args:
            model: in a plan (``--dry-run``) it has shapes and no weights, on torch's meta device.
            stages: how many will follow.
        """
        return model

    def before_stage(self, stage: Stage, model: PeftModel) -> None:
        """Called before every phase; the model is as the phase before left it (after consolidation)."""

    def training_pairs(self, stage: Stage, pairs: Sequence[Pair]) -> Sequence[Pair]:
        """The pairs to train on, shuffled by the harness and cut to the run's budget. Default: the stage's own."""
        return pairs

    def demonstration_loss(self, losses: torch.Tensor, batch: DemonstrationBatch) -> torch.Tensor:
        """Per-pair losses (B,) of the supervised phase, each a sum over its chosen response's tokens.

        Their sum over a step is divided by the tokens of all its chosen responses. Default: ``losses``.

        Args:
            losses: (B,), the negative log-likelihoods of the chosen responses.
        """
        return losses

    def pair_loss(self, logits: torch.Tensor, batch: PairBatch) -> torch.Tensor:
        """Per-pair losses (B,) from the DPO logits (B,), beta-scaled implicit-reward margins.

        Default: ``-log sigmoid(logits)``, direct preference optimisation (Rafailov et al. 2023, eq. 7).
        """
        from torch.nn.functional import logsigmoid

        return -logsigmoid(logits)

    def rollouts(self, stage: Stage, model: PeftModel, pairs: Sequence[Pair]) -> Sequence[Group]:
        """What an optimizer step of the on-policy phase trains on: groups made of its pairs' prompts, at least one.

        Args:
            stage: its generator is the step's own.
            model: as it is, in evaluation mode.
        """
        raise NotImplementedError(f"{type(self).__name__} has an on-policy phase and no rollouts")

    def group_loss(self, batch: GroupBatch) -> torch.Tensor:
        """Per-group losses (B,) of the on-policy phase; the step's loss is their mean over all groups.

        Default: the mean over the responses of the negative log-likelihood of a response's tokens, each weighted by the
        group's weight for it.
        """
        found = -(batch.weights * batch.means(batch.tokens)).sum(1)
        return found / found.new_tensor([len(group.responses) for group in batch.groups])

    def penalty(self, model: PeftModel) -> torch.Tensor | None:
        """A scalar added to the loss, once per optimizer step's worth whatever the accumulation."""
        return None

    def pass_penalty(self, model: PeftModel) -> torch.Tensor | None:
        """A scalar for the training pass just made: the mean over its pairs of a term added to each pair's loss.

        Passes count by their pairs, so that a step's passes and processes change nothing.
        """
        return None

    def on_gradients(self, model: PeftModel) -> None:
        """Change ``.grad`` after accumulation, before clipping and the optimizer's step.

        The gradient is on the scale of ``Stage.gradient``, whatever its norm is clipped to.
        """

    def after_stage(self, stage: Stage, model: PeftModel) -> None:
        """Change the trained adapter (consolidation) or remember something (Fisher information, buffers)."""

    def state_dict(self) -> dict[str, torch.Tensor | PlainValue]:
        """All that must survive a stop: tensors and plain values by name."""
        return {}

    def load_state_dict(self, state: Mapping[str, torch.Tensor | PlainValue]) -> None:
        """Take back what :meth:`state_dict` gave."""


METHODS: Registry[type[Method]] = Registry("method")


def register_method(name: str) -> Callable[[MethodType], MethodType]:
    """Enter a method under ``name``; in this repository the name is the file's stem."""

    def enter(cls: MethodType) -> MethodType:
        METHODS.add(name, cls)
        return cls

    return enter
