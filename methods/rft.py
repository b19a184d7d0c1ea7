"""RFT: supervised training on the best of several responses that the model itself gives.

Dong et al. 2023, "RAFT: Reward rAnked FineTuning for Generative Foundation Model Alignment" (arXiv 2304.06767), and the
rejection sampling of Touvron et al. 2023, "Llama 2" (arXiv 2307.09288, section 3.2.3). For every prompt x of a step the
policy gives n responses, and what is minimised is the mean negative log-likelihood of the tokens of the one with the
highest reward::

    y* = argmax_i r(x, y_i),   y_1 .. y_n ~ pi(. | x),   loss = -1 / |y*| sum_t log pi(y*_t | x, y*_<t)

Faithful: the policy that answers is the one that is trained, at every step (RAFT's iteration, with a batch of one
optimizer step), and every prompt gives one response.

Not faithful:
- RAFT samples for a larger batch of prompts and trains on it for several steps; here the model that answers is never a
  step old.
- Of equally good responses the first is taken. RAFT adds a share of the KL divergence from the first model to the
  reward in some experiments; here the reward is the task's alone.
- Yuan et al. 2023 (arXiv 2308.01825), who call this rejection sampling fine-tuning, keep every distinct response that
  is right: ``least`` 1 at least leaves out the prompts to which none is.

Nothing is remembered from task to task: what is tested is whether training on one's own responses forgets less.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from peft import PeftModel
from pydantic import Field

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.method import RATE, Group, Method, MethodConfig, Phase, Stage, Tuned, register_method
from lifealign_bench.pairs import Pair


class RFTConfig(MethodConfig):
    """Settings of ``rft``."""

    n: int = Field(8, ge=1, description="responses sampled to every prompt of a step")
    temperature: float = Field(1.0, ge=0, description="temperature that they are sampled at")
    top_p: float = Field(1.0, gt=0, le=1, description="share of the likeliest tokens that is sampled from")
    least: float = Field(0.0, ge=0, description="a prompt whose best response is worth less teaches nothing")


@register_method("rft")
class RFT(Method):
    """Best of n, supervised; see the module's docstring."""

    Config = RFTConfig
    config: RFTConfig
    tunes: ClassVar[tuple[Tuned, ...]] = (RATE,)  # n is a budget, and nothing is weighed against the reward
    rewarded: ClassVar[bool] = True

    def check(self, config: RunConfig) -> None:
        """Refuse settings under which there is nothing to choose from."""
        if self.config.n < 2:
            raise UsageError("rft takes the best of n responses, and n is 1.", "Set n to 2 at least (--set n=8).")
        if self.config.temperature == 0:
            raise UsageError(
                "rft needs responses that differ, and at temperature 0 all are the same.",
                "Set a temperature above 0 (--set temperature=1).",
            )

    def phases(self, chosen: tuple[Phase, ...]) -> tuple[Phase, ...]:
        """The on-policy phase in the place of the preference phase."""
        return tuple("on_policy" if phase == "preference" else phase for phase in chosen)

    def samples(self) -> int:
        """n."""
        return self.config.n

    def rollouts(self, stage: Stage, model: PeftModel, pairs: Sequence[Pair]) -> Sequence[Group]:
        """For every prompt the best of n responses, with weight 1; 0 where it is not worth ``least``."""
        said = stage.sample(model, pairs, self.config.n, self.config.temperature, self.config.top_p)
        groups = []
        for pair, responses, rewards in zip(pairs, said, stage.reward(pairs, said), strict=True):
            best = max(range(len(rewards)), key=lambda i: rewards[i])
            groups.append(Group(pair, (responses[best],), (float(rewards[best] >= self.config.least),)))
        return groups
