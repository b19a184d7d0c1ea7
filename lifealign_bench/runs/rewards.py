"""What sampled responses are worth in training: the task's checking function, or where it has none the reward model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lifealign_bench.config import RunConfig
from lifealign_bench.data.cards import TaskCard
from lifealign_bench.data.rewards import load_reward
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.method import Method
from lifealign_bench.pairs import Pair
from lifealign_bench.scoring.rewardmodel.model import TRAINED, RewardModel


def is_rewarded(config: RunConfig, method: type[Method], cards: Sequence[TaskCard]) -> bool:
    """Whether a method that learns from rewards has one for every task; any other has what it needs."""
    return not method.rewarded or bool(config.reward_model) or all(card.reward is not None for card in cards)


def check_rewards(config: RunConfig, method: Method, cards: Mapping[str, TaskCard]) -> None:
    """Refuse a method that learns from rewards where a task has none, before anything is trained.

    Raises:
        UsageError: names the tasks.
    """
    if not is_rewarded(config, type(method), list(cards.values())):
        without = _without(cards)
        raise UsageError(
            f"The method {config.method_name} learns from rewards, and {_tasks(without)} no checking function.",
            f"Give --reward {TRAINED} (a reward model made of the stream's training pairs) or another reward model, or "
            "name a function in the card (reward: ...).",
        )


def _without(cards: Mapping[str, TaskCard]) -> list[str]:
    return [name for name, card in cards.items() if card.reward is None]


def _tasks(names: Sequence[str]) -> str:
    return f"the task {names[0]} has" if len(names) == 1 else f"the tasks {', '.join(names)} have"


@dataclass(frozen=True)
class TaskRewards:
    """Called with pairs and the texts that answer each, see ``training.rollouts.Rewards``.

    Args:
        cards: the run's tasks by name.
        model: loads the run's reward model, if there is one.
    """

    cards: Mapping[str, TaskCard]
    model: Callable[[], RewardModel]

    def __call__(self, pairs: Sequence[Pair], texts: Sequence[Sequence[str]]) -> list[tuple[float, ...]]:
        """What each text is worth, in the shape of ``texts``.

        Raises:
            BenchError: the task's function fails; the reward model cannot be had, or says no number.
        """
        found: dict[int, tuple[float, ...]] = {}
        asked: list[int] = []
        for place, (pair, group) in enumerate(zip(pairs, texts, strict=True)):
            card = self.cards[pair.task]
            if card.reward is None:
                asked.append(place)
                continue
            found[place] = self._checked(card, pair, group)
        if asked:
            # One call: the reward model makes its batches of all that it is asked.
            dialogues = [(pairs[i].prompt, text) for i in asked for text in texts[i]]
            tasks = [pairs[i].task for i in asked for _ in texts[i]]
            worth = iter(self.model().rewards(dialogues, tasks).tolist())
            found |= {i: tuple(float(next(worth)) for _ in texts[i]) for i in asked}
        return [found[place] for place in range(len(pairs))]

    def _checked(self, card: TaskCard, pair: Pair, texts: Sequence[str]) -> tuple[float, ...]:
        function = load_reward(str(card.reward), card.home)
        try:
            return tuple(float(function(text, dict(pair.check))) for text in texts)
        except BenchError:
            raise
        except Exception as error:
            raise BenchError(
                f"The reward {card.reward} of task {card.name} fails for a response to {pair.id}: "
                f"{type(error).__name__}: {error}.",
                "Mend the function: it is asked about everything that the model says.",
            ) from error
