"""How a reward model reads a dialogue: through its own chat template, within its cut-off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from lifealign_bench.data.dialogue import shorten_prompt
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.models.chattemplate import TemplateRefusal, dialogue_ids, turns_of
from lifealign_bench.pairs import Message
from lifealign_bench.scoring.rewardmodel.model import Dialogue
from lifealign_bench.util.clock import Clock


@dataclass(frozen=True, slots=True)
class ReadText:
    """A dialogue as token ids; ``cut``: whether some of it had to be left out."""

    ids: tuple[int, ...]
    cut: bool


@dataclass(frozen=True)
class Reader:
    """Turns dialogues into the token ids that a reward model is given.

    The response is the assistant's last turn, an empty one an empty turn. Without a chat template the turns stand one
    after the other as ``User: ...`` and ``Assistant: ...``, each on a line of its own, with the tokens that the
    tokenizer puts around any text.

    Args:
        tokenizer: the reward model's own.
        cut_off: most tokens of a dialogue.
        name: the reward model's, for messages.
        clock: what its chat template takes for now; None: the present moment.
    """

    tokenizer: PreTrainedTokenizerBase
    cut_off: int
    name: str
    clock: Clock | None = None

    def read(self, dialogue: Dialogue) -> ReadText:
        """The token ids of a dialogue.

        What is too long loses the oldest exchanges of its prompt; then a leading system turn and the beginning of the
        last user turn; then the end of the response. The template is always whole.

        Raises:
            BenchError: the chat template refuses the dialogue; not even an empty one is within the cut-off.
        """
        prompt, response = dialogue
        ids = self._encode(prompt, response)
        if len(ids) <= self.cut_off:
            return ReadText(ids, False)
        return ReadText(self._encode(*self._shorten(prompt, response)), True)

    def _encode(self, prompt: Sequence[Message], response: str) -> tuple[int, ...]:
        turns = [*prompt, Message("assistant", response)]
        if self.tokenizer.chat_template is None:
            text = "\n".join(f"{turn.role.capitalize()}: {turn.content}" for turn in turns)
            return tuple(self.tokenizer(text)["input_ids"])
        try:
            return tuple(dialogue_ids(self.tokenizer, turns_of(turns), self.clock))
        except TemplateRefusal as error:
            raise BenchError(
                f"The chat template of the reward model {self.name!r} refuses a dialogue with the turns "
                f"{', '.join(t.role for t in turns)}: {error.reason}.",
                "Use another reward model, or a copy of it with a template that takes such dialogues.",
            ) from error

    def _shorten(self, prompt: tuple[Message, ...], response: str) -> Dialogue:
        def fits(turns: tuple[Message, ...], text: str) -> bool:
            return len(self._encode(turns, text)) <= self.cut_off

        turns = shorten_prompt(prompt, lambda turns: fits(turns, response))
        if turns is not None:
            return turns, response
        question = prompt[-1].content

        def end(count: int) -> tuple[Message, ...]:
            return (Message("user", question[len(question) - count :]),)

        count = _most(len(question), lambda count: fits(end(count), response))
        if count is not None:
            return end(count), response
        count = _most(len(response), lambda count: fits(end(0), response[:count]))
        if count is None:
            raise UsageError(
                f"The cut-off of the reward model {self.name!r} is {self.cut_off} tokens: less than an empty dialogue "
                "has in its chat template.",
                "Raise reward_max_length (--set reward_max_length=...).",
            )
        return end(0), response[:count]


def _most(limit: int, fits: Callable[[int], bool]) -> int | None:
    """The largest count up to ``limit`` that a bisection finds to fit; None where not even 0 does."""
    if not fits(0):
        return None
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return low


def cut_off_of(wanted: int, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> int:
    """The cut-off: as wanted, or less where the model's context or its tokenizer says so."""
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    known = [limit for limit in (context, tokenizer.model_max_length) if isinstance(limit, int) and limit > 0]
    return min([wanted, *known])
