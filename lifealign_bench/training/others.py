"""What policies beside the trained one say of a training pass: log-probabilities and divergences, token by token."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch

from lifealign_bench.method import Asked
from lifealign_bench.models.divergence import differentiable_divergence
from lifealign_bench.models.encode import Encoded, EncodedGroup
from lifealign_bench.models.logprobs import lay_out, predictions, token_values
from lifealign_bench.models.speaker import Speaker
from lifealign_bench.models.vocabulary import Head
from lifealign_bench.training.phases import LearnedGroup

Policy = Literal["reference", "start", "kept", "teacher"]


@dataclass(frozen=True)
class Predicted:
    """What another policy predicts each of N tokens with: hidden states (N, H), or logits (N, V), without gradients."""

    found: torch.Tensor
    head: Head | None


class OtherPolicies:
    """Made when a phase begins, before its first step.

    Args:
        speaker: how models are asked.
        asked: what the method asks for.
        trained: the parameters that training changes.
        moving: whether the reference is the policy that the phase begins with.
        temperature: what logits are divided by in divergences.
        kept: the trained parameters of the kept policy by name, see ``Method.kept_policy``.
    """

    def __init__(
        self,
        speaker: Speaker,
        asked: Sequence[Asked],
        trained: Sequence[torch.nn.Parameter],
        moving: bool,
        temperature: float = 1.0,
        kept: Callable[[], Mapping[str, torch.Tensor]] = dict,
    ) -> None:
        self.speaker = speaker
        self.temperature = temperature
        self._kept = kept
        self.asked = tuple(asked)
        policies = {policy_of(what) for what in asked}
        self._moving = moving
        keeps = "start" in policies or (moving and "reference" in policies)
        self._start = [(parameter, parameter.detach().clone()) for parameter in trained] if keeps else []

    @torch.no_grad()
    def say(self, pairs: Sequence[Encoded]) -> dict[Policy, Predicted]:
        """What each policy that is needed says of the branches of ``pairs``; before the pass of the trained one."""
        found: dict[Policy, Predicted] = {}
        model = self.speaker.model
        training = model.training
        # No dropout in what is compared with, and none of the trained pass's marks on it.
        model.eval()
        rows = lay_out([_asked_after(p) for p in pairs], self.speaker.pad_id, self.speaker.layout)
        for policy in dict.fromkeys(map(policy_of, self.asked)):
            with self._as(policy):
                found[policy] = Predicted(*predictions(model, rows.to(self.speaker.device)))
        model.train(training)
        return found

    def values(
        self,
        said: Mapping[Policy, Predicted],
        policy: torch.Tensor,
        head: Head | None,
        targets: torch.Tensor,
    ) -> dict[Asked, torch.Tensor]:
        """(N,) of each that is asked for.

        Args:
            said: from :meth:`say`.
            policy, head: what the trained policy predicts the tokens with.
            targets: (N,) the tokens.
        """
        found: dict[Asked, torch.Tensor] = {}
        for what in self.asked:
            other = said[policy_of(what)]
            if what.endswith("_log_probs"):
                found[what] = token_values(other.found, other.head, targets)
            else:
                found[what] = differentiable_divergence(
                    policy,
                    other.found,
                    head,
                    from_other=what.startswith("kl_from"),
                    temperature=self.temperature,
                )
        return found

    @contextmanager
    def _as(self, policy: Policy) -> Iterator[None]:
        """The model as a policy, while the context is open."""
        if policy == "teacher":
            yield
        elif policy == "reference" and not self._moving:
            with self.speaker.model.disable_adapter():
                yield
        elif policy == "kept":
            model = self.speaker.model
            own = [(model.get_parameter(name), values) for name, values in self._kept().items()]
            # After a stop they come from a file.
            with _in_place([(parameter, values.to(parameter.device)) for parameter, values in own]):
                yield
        else:
            with _in_place(self._start):
                yield


@contextmanager
def _in_place(other: Sequence[tuple[torch.nn.Parameter, torch.Tensor]]) -> Iterator[None]:
    """Parameters with other values, while the context is open."""
    now = [(parameter, parameter.data) for parameter, _ in other]
    try:
        for parameter, values in other:
            parameter.data = values
        yield
    finally:
        for parameter, values in now:
            parameter.data = values


def policy_of(what: Asked) -> Policy:
    """Which policy something is asked of."""
    for policy in ("reference", "start", "kept", "teacher"):
        if policy in what:
            return policy
    raise ValueError(f"no policy in {what}")


def _asked_after(pair: Encoded) -> Encoded:
    """The same responses after the teacher's prompt, where there is one."""
    if isinstance(pair, LearnedGroup) and pair.teacher:
        return EncodedGroup(pair.pair, pair.teacher, pair.branches)
    return pair
