"""On-policy replay: old prompts are trained on again with what the model itself now answers to them.

Chen et al. 2026, "On-Policy Replay for Continual Supervised Fine-Tuning" (arXiv 2605.29495); published code
Yancey2024/OnPolicyReplay at 1384d88. Before a task, the model as it is answers the training prompts of all earlier
tasks, once each and at temperature 0.1; the answers are ordered by the tasks' rewards, and the best of each task are
mixed into the new task's demonstrations, which is all there is: the loss of every example is the mean negative
log-likelihood of its response's tokens. With a share ``fraction`` (rho) of replay and k earlier tasks, each of these
keeps ``fraction * n / k`` answers, one at least, n being the pairs of the new task.

Faithful: the newest model answers anew before every task; one answer a prompt; the reward orders and nothing else is
done with it; equal shares of the earlier tasks; there is no teacher, no penalty and no reference.

Not faithful:
- The reward is the task's checking function or a reward model. The code's measures by rules (its variant RU); ordering
  by the model's confidence in its answer (SC) is left out.
- Every response counts alike, whatever its length; the code's trainer takes the mean over all tokens of a batch.
- ``asked`` below 1 asks a sample of the earlier prompts only, since answering all of them is most of the cost. The
  paper asks all.

Training is supervised, in the on-policy phase alone. Where the run has a supervised phase this takes its place, with
its learning rate and passes, and there is no preference phase; else it has the learning rate of the preference phase.
What is kept from task to task are the ids of finished tasks' pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from peft import PeftModel
from pydantic import Field

from lifealign_bench.method import (
    RATE,
    Group,
    Method,
    MethodConfig,
    Phase,
    PlainValue,
    Response,
    Stage,
    Tuned,
    register_method,
)
from lifealign_bench.pairs import Pair


class OnPolicyReplayConfig(MethodConfig):
    """Settings of ``on_policy_replay``."""

    fraction: float = Field(
        0.1, ge=0, le=1, description="answers that are replayed, as a share of the new task's pairs"
    )
    asked: float = Field(1.0, gt=0, le=1, description="share of each earlier task's prompts that is answered")
    temperature: float = Field(0.1, ge=0, description="temperature that the answers are sampled at")
    top_p: float = Field(1.0, gt=0, le=1, description="share of the likeliest tokens that is sampled from")


@register_method("on_policy_replay")
class OnPolicyReplay(Method):
    """Supervised training with replay of the model's own answers; see the module's docstring."""

    Config = OnPolicyReplayConfig
    config: OnPolicyReplayConfig
    tunes: ClassVar[tuple[Tuned, ...]] = (RATE,)  # what is replayed is a budget, not a strength
    rewarded: ClassVar[bool] = True
    supervised: ClassVar[bool] = True

    def __init__(self, config: OnPolicyReplayConfig) -> None:
        super().__init__(config)
        self._finished: dict[str, list[str]] = {}
        self._answers: dict[str, Response] = {}

    def phases(self, chosen: tuple[Phase, ...]) -> tuple[Phase, ...]:
        """The on-policy phase alone, which is supervised here."""
        return ("on_policy",)

    def samples(self) -> int:
        """One."""
        return 1

    def before_stage(self, stage: Stage, model: PeftModel) -> None:
        """Have the model answer the earlier tasks' prompts, and keep the best answers of each."""
        self._answers = {}
        earlier = {task: ids for task, ids in self._finished.items() if task not in stage.tasks}
        if not earlier:
            return
        share = max(1, int(self.config.fraction * len(stage.pairs) / len(earlier))) if self.config.fraction else 0
        asked = {task: self._some(ids, stage.generator) for task, ids in earlier.items()}
        if not share:
            return
        pairs = stage.find_pairs([i for ids in asked.values() for i in ids])
        said = stage.sample(model, pairs, 1, self.config.temperature, self.config.top_p)
        rewards = stage.reward(pairs, said)
        worth = {pair.id: (one, reward) for pair, (one,), (reward,) in zip(pairs, said, rewards, strict=True)}
        for ids in asked.values():
            # The first of those that are worth the same.
            for i in sorted(ids, key=lambda i: -worth[i][1])[:share]:
                self._answers[i] = worth[i][0]

    def _some(self, ids: Sequence[str], generator: torch.Generator) -> list[str]:
        """A sample of the ids, in their order."""
        count = max(1, round(self.config.asked * len(ids)))
        taken = torch.randperm(len(ids), generator=generator)[:count].sort().values.tolist()
        return [ids[i] for i in taken]

    def training_pairs(self, stage: Stage, pairs: Sequence[Pair]) -> Sequence[Pair]:
        """The stage's own pairs, and those whose answers are replayed."""
        return [*pairs, *stage.find_pairs(list(self._answers))]

    def rollouts(self, stage: Stage, model: PeftModel, pairs: Sequence[Pair]) -> Sequence[Group]:
        """Each prompt with its one response: the model's own answer, or the demonstration."""
        shown = stage.demonstrations(pairs)
        return [Group(p, (self._answers.get(p.id, one),), (1.0,)) for p, one in zip(pairs, shown, strict=True)]

    def after_stage(self, stage: Stage, model: PeftModel) -> None:
        """Remember the finished tasks' pairs, by their ids."""
        self._answers = {}
        if stage.final:
            for task in stage.tasks:
                self._finished[task] = [pair.id for pair in stage.pairs if pair.task == task]

    def state_dict(self) -> dict[str, torch.Tensor | PlainValue]:
        """The finished tasks' ids."""
        return {f"finished/{task}": list(ids) for task, ids in self._finished.items()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor | PlainValue]) -> None:
        """Take them back."""
        self._finished = {}
        for key, value in state.items():
            if key.startswith("finished/") and isinstance(value, list):
                self._finished[key.removeprefix("finished/")] = [str(i) for i in value]
