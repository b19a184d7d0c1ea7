"""The contract of a scorer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from lifealign_bench.config import RunConfig
from lifealign_bench.data.cards import TaskCard
from lifealign_bench.pairs import Pair
from lifealign_bench.results.scores import ScoreInfo
from lifealign_bench.results.statistics import Array
from lifealign_bench.scoring.judging import make_judge
from lifealign_bench.scoring.judging.judge import Judge
from lifealign_bench.scoring.rewardmodel import make_reward_model
from lifealign_bench.scoring.rewardmodel.model import RewardModel
from lifealign_bench.util.extensions import own_code
from lifealign_bench.util.progress import Progress

if TYPE_CHECKING:
    from lifealign_bench.data.tasks import TaskData
__all__ = ["Need", "ScoreInfo", "Scored", "Scorer", "ScorerContext", "TaskView", "needs_of"]

# What of the model a scorer wants to know: log-probabilities of the test pairs, greedy responses to their prompts,
# and how far the policy is from the base model on these responses.
Need = Literal["log_probs", "responses", "distance"]


@dataclass(frozen=True)
class TaskView:
    """What is known of a task's P test pairs after a stage.

    Args:
        card: the task.
        pairs: its test pairs.
        policy, base: (P, 2) summed log-probabilities of chosen and rejected, in nats, of the model after the stage and
            of the base model; NaN where no scorer needs ``log_probs``.
        lengths: (P, 2) tokens of the two completions, up to the end of turn.
        responses, base_responses: greedy responses of the two models; None where no scorer needs them.
        previous_responses: those after the stage before; None at stage 0 and where it gave none.
        distance: (P,) mean over a response's tokens of KL(policy || base) in nats; None where nobody needs it, and
            after a stage that is left out (``distance_stages``).
        stage: the stage that is scored.
        folder: where a scorer may leave files of this stage; None: nowhere.
        noise: (P,) standard deviation in nats of what rounding adds to a pair's margin; None where it is not known.
    """

    card: TaskCard
    pairs: tuple[Pair, ...]
    policy: Array
    base: Array
    lengths: Array
    responses: tuple[str, ...] | None = None
    base_responses: tuple[str, ...] | None = None
    previous_responses: tuple[str, ...] | None = None
    distance: Array | None = None
    stage: int = 0
    folder: Path | None = None
    noise: Array | None = None


@dataclass(frozen=True)
class Scored:
    """What a scorer says of a task after a stage.

    Args:
        values: one array of shape (P,) for each of its scores; NaN where a pair has none.
        facts: what a reader of the numbers must know of how they came about (counts of ties and of unusable answers,
            calls, tokens), as plain JSON values; they go into the record. No text of data, models or judges.
    """

    values: dict[str, Array]
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class ScorerContext:
    """What a scorer may know of the run before it starts; models that scorers share are made once, when asked for.

    Args:
        data: of all tasks, in the stream's order.
        stages: the tasks that are scored after each stage, the base model's first.
    """

    config: RunConfig
    data: Mapping[str, TaskData]
    stages: Sequence[Sequence[str]]
    progress: Progress

    @cached_property
    def judge(self) -> Judge:
        """That of ``--judge``.

        Raises:
            BenchError: there is none, or it cannot be had.
        """
        return make_judge(self.config, lambda: self.reward_model)

    @cached_property
    def reward_model(self) -> RewardModel:
        """That of ``--reward``.

        Raises:
            BenchError: there is none, or it cannot be had.
        """
        return make_reward_model(self.config, self.data, self.progress)


def needs_of(scorers: Mapping[str, Scorer], card: TaskCard) -> frozenset[Need]:
    """What the scorers that apply to a task want to know of the model.

    Raises:
        BenchError: one that is not part of this package fails.
    """
    found: set[Need] = set()
    for name, scorer in scorers.items():
        with own_code(f"scorer {name}", type(scorer)):
            found |= scorer.needs if scorer.applies(card) else frozenset()
    return frozenset(found)


class Scorer:
    """Base of all scorers; one object a run. It says of itself all that others have to know of it.

    Attributes:
        summary: what it measures, in one line.
        scores: what it gives, each with all that is said of it in records, tables and comparisons.
        needs: what of the model it wants to know, which is what it costs.
        depends: settings of the run that its numbers depend on: scores that are there stand for their values alone.
        grows: settings of the run to which more may be added later, and its numbers with them.
        comes_with: the setting that asks for it wherever it has a value; empty for none.
    """

    summary: ClassVar[str] = ""
    scores: ClassVar[tuple[ScoreInfo, ...]] = ()
    needs: ClassVar[frozenset[Need]] = frozenset()
    depends: ClassVar[tuple[str, ...]] = ()
    grows: ClassVar[tuple[str, ...]] = ()
    comes_with: ClassVar[str] = ""

    @classmethod
    def infos(cls, config: RunConfig) -> tuple[ScoreInfo, ...]:
        """The scores that it gives in a run with these settings."""
        return cls.scores

    @classmethod
    def check(cls, config: RunConfig) -> None:
        """Refuse a run that cannot be scored like this, before anything is loaded.

        Raises:
            BenchError: says what is missing.
        """

    @classmethod
    def models(cls, config: RunConfig) -> tuple[str, ...]:
        """The models that it loads beside the run's own, by name or folder."""
        return ()

    @classmethod
    def absent(cls, config: RunConfig) -> str:
        """Why it is not available for who repeats a run from its record; empty where it may be."""
        return ""

    def applies(self, card: TaskCard) -> bool:
        """Whether the task can be scored; where not, its cells stay empty (NaN)."""
        return True

    def prepare(self, context: ScorerContext) -> None:
        """Make ready what scoring needs (load a reward model, reach a judge), before the first stage is trained.

        Called once a process, on rank 0 only.

        Raises:
            BenchError: it cannot be had.
        """

    def facts(self) -> dict[str, Any]:
        """What the record says of this scorer in the whole run: which judge, how good it is. Plain JSON values."""
        return {}

    def score(self, view: TaskView) -> Scored:
        """One array of shape (P,) for each of its scores. Called on rank 0 only.

        Raises:
            BenchError: it cannot go on; what it learnt so far is kept, and the same command continues.
        """
        raise TypeError(f"{type(self).__name__} does not define score()")
