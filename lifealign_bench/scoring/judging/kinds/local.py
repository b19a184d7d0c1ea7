"""A judge on this machine: a chat model by its name or folder, answering greedily."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.pairs import Message
from lifealign_bench.scoring.judging.budget import Budget
from lifealign_bench.scoring.judging.judge import JudgeContext, Question, Reply
from lifealign_bench.scoring.judging.store import CUT, Answer, AnswerStore, answer_key, as_reply, ask_once
from lifealign_bench.scoring.judging.worded import WordedJudge
from lifealign_bench.util.clock import Clock
from lifealign_bench.util.launchenv import launched_processes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from lifealign_bench.models.steps import Arrangement

_BATCH = 8


class LocalJudge(WordedJudge):
    """Loads its model at once, onto the run's device and in its type.

    Args:
        model: a model's name or folder, as ``--model`` takes it.
        budget: every question without a kept answer is a call.

    Raises:
        BenchError: the model cannot be loaded, or the run has several processes.
    """

    takes = "MODEL"

    def __init__(self, model: str, config: RunConfig, store: AnswerStore, budget: Budget) -> None:
        if launched_processes() > 1:
            # Generating is shared among the processes, but only the first of them asks.
            raise UsageError(
                "A local judge works in a run of one process.",
                "Serve the judge's model (docs/judges.md) and use --judge server:MODEL.",
            )
        from lifealign_bench.models.load import load_base_model

        self.model = model
        self.name = f"local:{model}"
        self.store = store
        self.budget = budget
        self.settings = config.judging
        store.check()
        self._base = load_base_model(config.model_copy(update={"model": model}))
        self._clock = Clock.of(config.clock)
        self._device = config.device
        self._dtype = config.dtype
        self._arrangement: Arrangement | None = None
        self._calls = 0
        self._tokens = [0, 0]

    @classmethod
    def check(cls, config: RunConfig, model: str) -> None:
        """It is asked for what it can do.

        Raises:
            UsageError: it is not.
        """
        if config.judging.judge_temperature > 0:
            raise UsageError("A local judge answers greedily.", "Leave judge_temperature at 0.")

    @classmethod
    def make(cls, model: str, context: JudgeContext) -> LocalJudge:
        """Loaded."""
        return cls(model, context.config, AnswerStore(), Budget(context.config.judge_budget))

    @classmethod
    def models(cls, config: RunConfig, model: str) -> tuple[str, ...]:
        """The judge itself."""
        return (model,)

    def ask(self, questions: Sequence[Question]) -> list[Reply]:
        """See :class:`WordedJudge`; what is longer than the context has no answer."""
        asked_of = self._asked_of()
        everything = {answer_key(question, asked_of): question for question in questions}
        return ask_once(
            questions, asked_of, self.store, lambda answer: None, lambda wanted: self._ask(everything, wanted)
        )

    def facts(self) -> dict[str, Any]:
        """Model and settings; calls and tokens are those of this process, without answers that were kept."""
        facts: dict[str, Any] = {
            "judge": self.name,
            "model": self._base.name,
            "fingerprint": self._base.fingerprint,
            "max_tokens": self.settings.judge_max_tokens,
            "temperature": 0.0,
            "calls": self._calls,
            "prompt_tokens": self._tokens[0],
            "completion_tokens": self._tokens[1],
        }
        if self.store.damaged:
            facts["damaged_answers"] = self.store.damaged
        return facts

    def _asked_of(self) -> dict[str, Any]:
        from lifealign_bench.models.chattemplate import reads_clock

        # Asked on another day, a template that writes the date makes another question of it.
        dated = {"clock": self._clock.text()} if reads_clock(self._base.tokenizer) else {}
        return dated | {
            "local": self._base.fingerprint,
            "max_tokens": self.settings.judge_max_tokens,
            "device": self._device.partition(":")[0],
            "dtype": self._dtype,
        }

    def _ask(self, everything: Mapping[str, Question], wanted: Mapping[str, Question]) -> dict[str, Reply]:
        """The replies to the ``wanted`` questions.

        They are answered in the batches of ``everything``: the last bits of a batch depend on all that is in it, and a
        judging that is continued must say what one in one go says.
        """
        context = getattr(self._base.model.config.get_text_config(), "max_position_embeddings", None)
        replies: dict[str, Reply] = {}
        prompts: dict[str, list[int]] = {}
        for key, question in everything.items():
            ids = encode_question(self._base.tokenizer, question.messages, self._clock)
            if context is not None and len(ids) + self.settings.judge_max_tokens > context:
                replies[key] = Reply(None, f"the question has {len(ids)} tokens, the judge a context of {context}")
            else:
                prompts[key] = ids
        # Similar lengths together; an answer is kept as soon as its batch is done.
        keys = sorted(prompts, key=lambda key: (len(prompts[key]), key))
        for start in range(0, len(keys), _BATCH):
            batch = keys[start : start + _BATCH]
            asked = [key for key in batch if key in wanted]
            for _ in asked:
                self.budget.spend()
            answers = dict(zip(batch, self._generate([prompts[key] for key in batch]), strict=True)) if asked else {}
            for key in asked:
                self.store.keep(key, answers[key])
                replies[key] = as_reply(answers[key], kept=False)
                self._calls += 1
                self._tokens[0] += answers[key].prompt_tokens
                self._tokens[1] += answers[key].completion_tokens
        return {key: replies[key] for key in wanted}

    def _generate(self, prompts: Sequence[Sequence[int]]) -> list[Answer]:
        import torch

        from lifealign_bench.models.arrangement import choose_arrangement
        from lifealign_bench.models.chattemplate import stop_ids
        from lifealign_bench.models.generate import generate

        longest = self.settings.judge_max_tokens
        tokenizer = self._base.tokenizer
        pad_id = int(tokenizer.pad_token_id)
        device = torch.device(self._device)
        if self._arrangement is None:
            self._arrangement = choose_arrangement(
                self._base.model, prompts, most=longest, pad_id=pad_id, device=device
            )
        written = generate(
            self._base.model,
            prompts,
            max_new_tokens=longest,
            batch_size=_BATCH,
            stop=stop_ids(self._base.model, tokenizer),
            pad_id=pad_id,
            device=device,
            arrangement=self._arrangement,
        )
        answers = []
        for prompt, ids in zip(prompts, written, strict=True):
            text = str(tokenizer.decode(ids, skip_special_tokens=True)).strip()
            answers.append(Answer(text + (CUT if len(ids) >= longest else ""), self._base.name, len(prompt), len(ids)))
        return answers


def encode_question(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], clock: Clock | None = None
) -> list[int]:
    """Token ids; a template that takes no system message finds it at the beginning of the first turn."""
    from lifealign_bench.models.chattemplate import TemplateRefusal
    from lifealign_bench.models.encode import encode_prompt

    try:
        return encode_prompt(tokenizer, messages, clock)
    except TemplateRefusal:
        if len(messages) < 2 or messages[0].role != "system":
            raise
        first = Message(messages[1].role, f"{messages[0].content}\n\n{messages[1].content}")
        return encode_prompt(tokenizer, [first, *messages[2:]], clock)
