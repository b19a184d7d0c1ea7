"""A judge behind an OpenAI-compatible server, asked by several threads, with patience and within a budget."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from lifealign_bench.config import JudgingConfig, RunConfig
from lifealign_bench.errors import BenchError
from lifealign_bench.pairs import Message
from lifealign_bench.scoring.judging.budget import Budget, BudgetSpent, Prices, read_prices
from lifealign_bench.scoring.judging.judge import JudgeContext, Question, Reply
from lifealign_bench.scoring.judging.openai import complete, find_endpoint, list_models
from lifealign_bench.scoring.judging.store import Answer, AnswerStore, as_reply, ask_once
from lifealign_bench.scoring.judging.worded import WordedJudge
from lifealign_bench.util.endpoint import Endpoint, connect_to
from lifealign_bench.util.patience import MayPass, Refused, RetryPolicy, work_off


class ServerJudge(WordedJudge):
    """See the module. Use :meth:`reach` once, before anything else.

    Args:
        model: as the server calls it.
        budget: counts every call of ``/chat/completions``, repeated ones too.
        prices: of its tokens, where known.
    """

    takes = "MODEL"

    def __init__(
        self,
        model: str,
        endpoint: Endpoint,
        settings: JudgingConfig,
        store: AnswerStore,
        budget: Budget,
        prices: Prices | None = None,
        patience: RetryPolicy | None = None,
    ) -> None:
        self.model = model
        self.name = f"server:{model}"
        self.endpoint = endpoint
        self.settings = settings
        self.store = store
        self.budget = budget
        self.prices = prices
        self.patience = patience or RetryPolicy()
        self._client = connect_to(endpoint, settings.judge_concurrency)
        self._lock = threading.Lock()
        self._limit_name = "max_tokens"
        self._names: set[str] = set()
        self._calls = self._answered = self._kept = self._in_a_row = 0
        self._tokens = [0, 0]

    @classmethod
    def check(cls, config: RunConfig, model: str) -> None:
        """Its address and key can be right, and prices are prices.

        Raises:
            UsageError: they are missing or wrong.
        """
        find_endpoint(config)
        read_prices()

    @classmethod
    def make(cls, model: str, context: JudgeContext) -> ServerJudge:
        """Reached once; the settings are checked before."""
        config = context.config
        budget = Budget(config.judge_budget)
        judge = cls(model, find_endpoint(config), config.judging, AnswerStore(), budget, read_prices())
        judge.reach()
        return judge

    @classmethod
    def absent(cls, config: RunConfig, model: str) -> str:
        """A record does not hold its address."""
        return "" if config.judge_url is not None else f"the judge {config.judge} is not available (--judge-url)"

    def reach(self) -> None:
        """Make sure that the server is there, takes the key and has the model; no call of the budget.

        With a budget of 0 only kept answers will be used, and no server is needed.

        Raises:
            BenchError: says what is wrong.
        """
        if self.budget.limit == 0:
            return
        self.store.check()
        try:
            models = self.patience.retrying(self.patience.reach_tries, threading.Event())(self._list_models)
            if self.model not in models:
                # Some servers list nothing, and some take names that they do not list: only a question tells.
                question = [Message("user", "Answer with the word yes.")]
                self.patience.retrying(self.patience.reach_tries, threading.Event())(self._complete, question)
        except (MayPass, Refused) as trouble:
            raise BenchError(
                f"The judge {self.name!r} cannot be reached at {self.endpoint.url}: {trouble}.",
                "Start the server, or check its address (--judge-url) and the proxy (HTTPS_PROXY, NO_PROXY).",
            ) from trouble

    def ask(self, questions: Sequence[Question]) -> list[Reply]:
        """See :class:`WordedJudge`."""
        try:
            return ask_once(questions, self._asked_of(), self.store, self._found, self._ask)
        except BudgetSpent as error:
            raise BudgetSpent(f"{error.message.rstrip('.')}; {self._at_hand()}.", error.remedy) from error

    def facts(self) -> dict[str, Any]:
        """Model and settings; calls, tokens and cost are those of this process, without answers that were kept."""
        prompt, completion = self._tokens
        facts: dict[str, Any] = {
            "judge": self.name,
            "model": ", ".join(sorted(self._names)) or self.model,
            "host": self.endpoint.host,
            "max_tokens": self.settings.judge_max_tokens,
            "temperature": self.settings.judge_temperature,
            "calls": self._calls,
            "prompt_tokens": prompt,
            "completion_tokens": completion,
        }
        if self.prices is not None:
            facts["cost_usd"] = self.prices.cost(prompt, completion)
        if self.store.damaged:
            facts["damaged_answers"] = self.store.damaged
        return facts

    def _asked_of(self) -> dict[str, Any]:
        settings = self.settings
        return {
            "server": self.model,
            "max_tokens": settings.judge_max_tokens,
            "temperature": settings.judge_temperature,
        }

    def _found(self, answer: Answer) -> None:
        self._kept += 1
        self._names |= {answer.model} - {""}

    def _at_hand(self) -> str:
        count = self._answered + self._kept
        return "1 answer is kept" if count == 1 else f"{count} answers are kept"

    def _ask(self, questions: Mapping[str, Question]) -> dict[str, Reply]:
        replies: dict[str, Reply] = {}

        def one(item: tuple[str, Question], stop: threading.Event) -> None:
            key, question = item
            with self.store.claim(key, stop):
                kept = self.store.find(key)  # another run may have asked in the meantime
                replies[key] = as_reply(kept, kept=True) if kept is not None else self._reply(key, question, stop)

        work_off(one, list(questions.items()), self.settings.judge_concurrency)
        return replies

    def _reply(self, key: str, question: Question, stop: threading.Event) -> Reply:
        tries = self.settings.judge_retries + 1
        try:
            answer = self.patience.retrying(tries, stop)(self._call, question)
        except (MayPass, Refused) as trouble:
            self._lose(trouble)
            return Reply(None, str(trouble))
        self.store.keep(key, answer)
        with self._lock:
            self._answered += 1
            self._in_a_row = 0
            self._names |= {answer.model} - {""}
            self._tokens[0] += answer.prompt_tokens
            self._tokens[1] += answer.completion_tokens
        return as_reply(answer, kept=False)

    def _lose(self, trouble: MayPass | Refused) -> None:
        """A question got no answer: is that its own trouble, or that of all?"""
        with self._lock:
            self._in_a_row += 1
            lost, ever = self._in_a_row, self._answered > 0
        if isinstance(trouble, Refused):
            if not ever and lost >= self.patience.refused:
                raise BenchError(
                    f"The judge {self.name!r} at {self.endpoint.host} refused all of {lost} questions: {trouble}.",
                    "Check its model and the settings judge_max_tokens and judge_temperature (--set).",
                ) from trouble
        elif lost >= self.patience.lost or not self._is_there():
            raise BenchError(
                f"The judge {self.name!r} at {self.endpoint.host} answers no more: {trouble}; {self._at_hand()}.",
                "When it is back, the same command goes on and asks for none of them again.",
            ) from trouble

    def _is_there(self) -> bool:
        try:
            self._list_models()
        except MayPass:
            return False
        return True

    def _list_models(self) -> list[str]:
        return list_models(self._client, self.endpoint, min(self.patience.reach, self.settings.judge_timeout))

    def _call(self, question: Question) -> Answer:
        self.budget.spend()
        with self._lock:
            self._calls += 1
        return self._complete(question.messages)

    def _complete(self, messages: Sequence[Message]) -> Answer:
        limit_name = self._limit_name
        body = {
            "model": self.model,
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            limit_name: self.settings.judge_max_tokens,
            "temperature": self.settings.judge_temperature,
        }
        try:
            return complete(self._client, self.endpoint, body, self.settings.judge_timeout)
        except Refused as trouble:
            # Some hosted models know the limit by its newer name alone.
            if limit_name == "max_tokens" and "max_completion_tokens" in str(trouble):
                self._limit_name = "max_completion_tokens"
                raise MayPass(str(trouble)) from trouble
            raise
