"""What the model's responses are worth to a reward model, beside what the data's own responses are worth to it."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import BenchError
from lifealign_bench.pairs import Pair
from lifealign_bench.results.scores import ScoreInfo
from lifealign_bench.results.statistics import Array, half_at_zero, mean_and_se, wilson_interval
from lifealign_bench.scoring.rewardmodel import require_reward_model
from lifealign_bench.scoring.rewardmodel.accuracy import keep_accuracy
from lifealign_bench.scoring.rewardmodel.model import TRAINED, RewardModel, encoder_of, is_made_here
from lifealign_bench.scoring.scorer import Need, Scored, Scorer, ScorerContext, TaskView
from lifealign_bench.util.files import write_json


class RewardModelScorer(Scorer):
    """Raw rewards: their zero and their size are the reward model's own, so its yardsticks stand beside them.

    ``facts()`` holds them: for every task the reward model's accuracy on the test pairs, and its mean reward of their
    chosen and of their rejected responses; see :func:`lifealign_bench.scoring.scorers.reward_model.measure_pairs`.
    """

    summary = "rewards and win rates of greedy responses by the reward model of --reward, with its accuracy"
    needs: ClassVar[frozenset[Need]] = frozenset({"responses"})
    scores: ClassVar[tuple[ScoreInfo, ...]] = (
        ScoreInfo(
            "model_reward",
            False,
            "mean reward of the greedy response by the reward model of --reward, as it is: compare it with that "
            "model's mean reward of chosen and rejected responses, and look at its accuracy first",
            unit="points",
            judged_by="reward_model",
            main=30,
        ),
        ScoreInfo(
            "model_win_rate",
            True,
            "share of test prompts whose response has a higher reward by the reward model of --reward than the base "
            "model's; ties half",
            judged_by="reward_model",
            main=55,
        ),
    )

    depends: ClassVar[tuple[str, ...]] = ("reward_model", "reward_models")
    comes_with = "reward_model"

    def __init__(self) -> None:
        self._context: ScorerContext | None = None
        self._facts: dict[str, Any] = {}

    @classmethod
    def check(cls, config: RunConfig) -> None:
        """Refuse a run without ``--reward``."""
        require_reward_model(config, "reward_model")

    @classmethod
    def models(cls, config: RunConfig) -> tuple[str, ...]:
        """The reward model."""
        return (config.reward_model or TRAINED,)

    def prepare(self, context: ScorerContext) -> None:
        """Load or train the reward model, and measure it on the test pairs of all tasks."""
        self._context = context
        model = context.reward_model
        require_same(context.config.run_directory(), model, context.progress.notice)
        tasks = {name: measure_pairs(model, task.test) for name, task in context.data.items()}
        self._facts = {"model": model.facts(), "tasks": tasks}
        if encoder_of(model.name) is not None:
            keep_accuracy(context.config, **self._facts)

    def facts(self) -> dict[str, Any]:
        """Which reward model, and how good it is on each task."""
        return self._facts

    def score(self, view: TaskView) -> Scored:
        """See ``scores``."""
        if self._context is None or view.responses is None or view.base_responses is None:
            raise ValueError(f"{view.card.name} has no responses, or the scorer is not prepared")
        model = self._context.reward_model
        self._context.progress.phase_started(view.stage, "reward", (view.card.name,), 0)
        prompts = [pair.prompt for pair in view.pairs]
        dialogues = list(zip(prompts, view.responses, strict=True))
        both = [*dialogues, *zip(prompts, view.base_responses, strict=True)]
        rewards, cut = model.rewards(both, [view.card.name] * len(both)).reshape(2, -1), model.cut(dialogues)
        scores = {"model_reward": rewards[0], "model_win_rate": half_at_zero(rewards[0] - rewards[1])}
        return Scored(scores, {"cut": cut} if cut else {})


FILE = "reward-model.json"


def require_same(folder: Path, model: RewardModel, notice: Callable[[str], None]) -> None:
    """Write down which reward model a run has; where it goes on, compare.

    The configuration holds its name alone, and what is behind a name can change. A trained one is determined by the
    configuration and the data but for rounding (threads, processor, versions), so that another one is only told.

    Args:
        folder: the run's.

    Raises:
        BenchError: the run began with another one.
    """
    mark = model.facts().get("fingerprint")
    path = folder / FILE
    began: object = None
    with contextlib.suppress(OSError, ValueError):
        said = json.loads(path.read_text(encoding="utf-8"))
        began = said.get("fingerprint") if isinstance(said, dict) else None
    if began is None:
        write_json(path, {"name": model.name, "fingerprint": mark})
    elif began != mark and is_made_here(model.name):
        notice(
            "The run began with a reward model that was made on another processor, with other threads or by other "
            "versions of lifealign-bench and its libraries: the rewards of earlier stages are not quite comparable."
        )
    elif began != mark:
        raise BenchError(
            f"The run in {folder} began with another reward model {model.name!r}: its weights are not the same.",
            "Bring the old ones back, or use another --out.",
        )


def measure_pairs(model: RewardModel, pairs: Sequence[Pair]) -> dict[str, Any]:
    """The model's accuracy on ``pairs`` and its rewards of their responses, as plain JSON values.

    Returns:
        ``n`` pairs; ``accuracy`` (percent of them whose chosen response has the higher reward, a tie counts half) with
        ``accuracy_error`` and ``accuracy_interval`` (Wilson's of 95 %); ``by_length``: of the pairs whose chosen
        response is the ``shorter`` and the ``longer`` one in characters, ``n`` and ``accuracy``; ``ties``; ``chosen``
        and ``rejected`` (mean reward) with ``chosen_error`` and ``rejected_error``; ``cut``: of the 2 n responses with
        their prompts, how many are beyond the cut-off. Errors are standard errors, None of a single pair.
    """
    chosen = [(pair.prompt, pair.chosen) for pair in pairs]
    rejected = [(pair.prompt, pair.rejected) for pair in pairs]
    # One call: the two are then in the same batches.
    rewards = model.rewards([*chosen, *rejected], 2 * [pair.task for pair in pairs])
    difference = rewards[: len(pairs)] - rewards[len(pairs) :]
    right = half_at_zero(difference)
    return {
        "n": len(pairs),
        **_mean("accuracy", 100 * right),
        "accuracy_interval": [100 * end for end in wilson_interval(float(right.sum()), len(pairs))],
        "by_length": _by_length(right, pairs),
        "ties": int((difference == 0).sum()),
        **_mean("chosen", rewards[: len(pairs)]),
        **_mean("rejected", rewards[len(pairs) :]),
        "cut": model.cut([*chosen, *rejected]),
    }


def _by_length(right: Array, pairs: Sequence[Pair]) -> dict[str, Any]:
    longer = np.array([len(pair.chosen) - len(pair.rejected) for pair in pairs])
    kinds = {"shorter": right[longer < 0], "longer": right[longer > 0]}
    return {k: {"n": len(own), "accuracy": 100 * float(own.mean()) if len(own) else None} for k, own in kinds.items()}


def _mean(name: str, values: Array) -> dict[str, float | None]:
    mean, error = mean_and_se(values)
    return {name: mean, f"{name}_error": None if math.isnan(error) else error}
