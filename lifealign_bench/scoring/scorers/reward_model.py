"""What the model's responses are worth to a reward model, beside what the data's own responses are worth to it."""

from __future__ import annotations

from typing import Any, ClassVar

from lifealign_bench.config import RunConfig
from lifealign_bench.results.scores import ScoreInfo
from lifealign_bench.rewardmodel.sameness import require_same
from lifealign_bench.rewardmodel.yardsticks import measure
from lifealign_bench.scoring.rewardmodel import require_reward_model
from lifealign_bench.scoring.scorer import Need, Scored, Scorer, ScorerContext, TaskView

__all__ = ["RewardModelScorer"]


class RewardModelScorer(Scorer):
    """Raw rewards: their zero and their size are the reward model's own, so its yardsticks stand beside them.

    ``facts()`` holds them: for every task the reward model's accuracy on the test pairs, and its mean reward of their
    chosen and of their rejected responses; see :func:`lifealign_bench.rewardmodel.yardsticks.measure`.
    """

    summary = "rewards of greedy responses by the reward model of --reward, with its accuracy and yardsticks"
    needs: ClassVar[frozenset[Need]] = frozenset({"responses"})
    scores: ClassVar[tuple[ScoreInfo, ...]] = (
        ScoreInfo(
            "model_reward",
            False,
            "mean reward of the greedy response by the reward model of --reward, as it is: compare it with that "
            "model's mean reward of chosen and rejected responses, and look at its accuracy first",
            unit="points",
            judged_by="reward_model",
        ),
    )

    def __init__(self) -> None:
        self._context: ScorerContext | None = None
        self._facts: dict[str, Any] = {}

    @classmethod
    def check(cls, config: RunConfig) -> None:
        """Refuse a run without ``--reward``."""
        require_reward_model(config, "reward_model")

    def prepare(self, context: ScorerContext) -> None:
        """Load or train the reward model, and measure it on the test pairs of all tasks."""
        self._context = context
        model = context.reward_model
        require_same(context.config.run_directory(), model, context.progress.notice)
        tasks = {name: measure(model, task.test) for name, task in context.data.items()}
        self._facts = {"model": model.facts(), "tasks": tasks}

    def facts(self) -> dict[str, Any]:
        """Which reward model, and how good it is on each task."""
        return self._facts

    def score(self, view: TaskView) -> Scored:
        """See ``scores``."""
        if self._context is None or view.responses is None:
            raise ValueError(f"{view.card.name} has no responses, or the scorer is not prepared")
        model = self._context.reward_model
        self._context.progress.phase_started(view.stage, "reward", (view.card.name,), 0)
        dialogues = [(pair.prompt, text) for pair, text in zip(view.pairs, view.responses, strict=True)]
        cut = model.cut(dialogues)
        return Scored({"model_reward": model.rewards(dialogues)}, {"cut": cut} if cut else {})
