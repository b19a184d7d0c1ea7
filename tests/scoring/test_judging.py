"""Judges that answer in words: every way in which a server misbehaves, the store, the budget, the key."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lifealign_bench.config import JudgingConfig, RunConfig
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.pairs import Message
from lifealign_bench.scoring.judging import check_judge, judge_kind, make_judge
from lifealign_bench.scoring.judging.budget import Budget, BudgetSpent, Calls, Prices, read_prices
from lifealign_bench.scoring.judging.judge import Question
from lifealign_bench.scoring.judging.kinds.server import ServerJudge
from lifealign_bench.scoring.judging.openai import find_endpoint
from lifealign_bench.scoring.judging.store import CUT, Answer, AnswerStore, answer_key
from lifealign_bench.scoring.judging.worded import WordedJudge, in_words
from lifealign_bench.util.endpoint import Endpoint
from lifealign_bench.util.patience import RetryPolicy as Patience
from tests import judge_server
from tests.judge_server import Behaviour, Handler, JudgeServer, Messages, says, sends, serve, status

Make = Callable[..., RunConfig]
KEY = "sk-very-secret-0123456789"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeServer]:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with serve() as told:
        told.answer = repeat
        yield told


def repeat(messages: Messages) -> str:
    return f"You said: {messages[-1]['content']}"


def made(config: RunConfig) -> WordedJudge:
    """The judge of a run that has no reward model."""

    def none() -> Any:
        raise AssertionError("no reward model is asked for")

    return in_words(make_judge(config, none))


def ask_for(*texts: str, version: str = "v1") -> list[Question]:
    return [Question((Message("system", "s"), Message("user", text)), version) for text in texts]


def a_judge(
    server: JudgeServer, budget: int | None = None, calls: Calls | None = None, model: str = "judge", **settings: Any
) -> ServerJudge:
    """A judge without much patience; its key is the server's."""
    patience = Patience(first_wait=0.01, longest_wait=0.02, longest_asked=0.3, reach=1)
    judging = JudgingConfig(**{"judge_retries": 2, "judge_timeout": 5, **settings})
    endpoint = Endpoint(server.address)
    return ServerJudge(model, endpoint, judging, AnswerStore(), Budget(budget, calls or Calls()), None, patience)


def with_key(server: JudgeServer, key: str, fake_config: Make, monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    return find_endpoint(fake_config(judge="server:judge", judge_url=server.address))


def test_replies_come_in_order_and_equal_questions_are_asked_once(server: JudgeServer) -> None:
    judge = a_judge(server)
    replies = judge.ask(ask_for("a", "b", "a", "c"))
    assert [r.text for r in replies] == [f"You said: {x}" for x in "abac"]
    assert [r.kept for r in replies] == [False, False, True, False]
    assert [r.prompt_tokens for r in replies] == [100, 100, 0, 100]  # told once
    assert sorted(call["messages"][-1]["content"] for call in server.calls) == ["a", "b", "c"]
    facts = judge.facts()
    assert (facts["calls"], facts["prompt_tokens"], facts["completion_tokens"]) == (3, 300, 30)
    assert facts["model"] == "judge-2026-01"


def test_what_is_sent(server: JudgeServer) -> None:
    a_judge(server, judge_max_tokens=33, judge_temperature=0.5).ask(ask_for("a"))
    assert server.calls == [
        {
            "model": "judge",
            "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}],
            "max_tokens": 33,
            "temperature": 0.5,
        }
    ]


def test_answers_are_kept_for_other_processes_wherever_the_server_is(server: JudgeServer) -> None:
    first = a_judge(server).ask(ask_for("a", "b"))
    with serve() as elsewhere:
        judge = a_judge(elsewhere, judge_timeout=9, judge_concurrency=1, judge_retries=0)
        again = judge.ask(ask_for("a", "b"))
        assert elsewhere.calls == []
    assert [r.text for r in again] == [r.text for r in first] and all(r.kept for r in again)
    assert [r.prompt_tokens for r in again] == [100, 100]  # what they cost when they were made
    assert judge.facts()["calls"] == judge.facts()["prompt_tokens"] == 0
    assert judge.facts()["model"] == "judge-2026-01"


def test_what_an_answer_depends_on(server: JudgeServer) -> None:
    server.models = ("judge", "other")
    a_judge(server).ask(ask_for("a"))
    a_judge(server, model="other").ask(ask_for("a"))
    a_judge(server, judge_max_tokens=9).ask(ask_for("a"))
    a_judge(server, judge_temperature=1).ask(ask_for("a"))
    a_judge(server).ask(ask_for("a", version="v2"))
    a_judge(server).ask([Question((Message("user", "s"), Message("user", "a")), "v1")])
    assert len(server.calls) == 6


def dribble(handler: Handler) -> None:
    """A byte from time to time, for ever."""
    handler.send(200, b"", length=10**6)
    while not handler.told.released.wait(0.03):
        handler.wfile.write(b" ")


PASSING: dict[str, Behaviour] = {
    "408": status(408),
    "409": status(409),
    "429": status(429, {"Retry-After": "0"}, "slow down"),
    "429, no date": status(429, {"Retry-After": "soon"}),
    "500": status(500),
    "503 in words": sends(b"<html>overloaded</html>", 503),
    "no word": judge_server.reset,
    "half a body": judge_server.drop,
    "half of the JSON": judge_server.truncated,
    "no JSON": sends(b"all is well"),
    "no text": sends(b"\xff\xfe"),
    "deep": sends(b"[" * 100_000),
    "nothing": sends(b""),
    "no choices": sends(b'{"error": {"message": "busy"}}'),
    "none of them": sends(b'{"choices": []}'),
    "a list": sends(b"[1]"),
    "a message of another type": sends(b'{"choices": [{"message": "Score: 7"}]}'),
    "a text of another type": sends(b'{"choices": [{"message": {"content": 7}}]}'),
    "parts of another type": sends(b'{"choices": [{"message": {"content": ["a"]}}]}'),
}


@pytest.mark.parametrize("name", PASSING)
def test_what_may_pass_is_tried_again(server: JudgeServer, name: str) -> None:
    server.plan = [PASSING[name], PASSING[name]]
    calls = Calls()
    (reply,) = a_judge(server, calls=calls).ask(ask_for("a"))
    assert reply.text == "You said: a" and reply.trouble == ""
    assert len(server.calls) == calls.count == 3


@pytest.mark.parametrize("behaviour", [judge_server.hang, dribble], ids=["silence", "drops"])
def test_a_call_ends_with_the_time_out(server: JudgeServer, behaviour: Behaviour) -> None:
    server.plan = [behaviour]
    began = time.monotonic()
    (reply,) = a_judge(server, judge_timeout=0.8).ask(ask_for("a"))
    assert reply.text == "You said: a" and len(server.calls) == 2
    assert 0.8 <= time.monotonic() - began < 20  # the server would say nothing for 30 s, or never end


def test_the_server_is_waited_for_as_it_asks_but_not_longer_than_a_minute(server: JudgeServer) -> None:
    assert Patience().longest_asked == 60
    server.plan = [status(429, {"Retry-After": "3600"})]
    began = time.monotonic()
    (reply,) = a_judge(server).ask(ask_for("a"))
    assert reply.text is not None
    assert 0.3 <= time.monotonic() - began < 30


def fail_on(text: str, behaviour: Behaviour) -> Callable[[Mapping[str, Any]], Behaviour | None]:
    return lambda body: behaviour if body["messages"][-1]["content"] == text else None


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_question_that_always_fails_costs_itself_alone_and_is_not_kept(server: JudgeServer, concurrency: int) -> None:
    server.behaviour = fail_on("b", status(500, message="boom"))
    replies = a_judge(server, judge_concurrency=concurrency).ask(ask_for("a", "b", "c"))
    assert [r.text for r in replies] == ["You said: a", None, "You said: c"]
    assert replies[1].trouble == "it answers 500 Internal Server Error: boom" and not replies[1].kept
    assert len(server.calls) == 2 + 3
    server.behaviour = lambda body: None
    assert a_judge(server).ask(ask_for("b"))[0].text == "You said: b"


def test_a_server_that_only_fails_stops_the_judging(server: JudgeServer) -> None:
    judge = a_judge(server, judge_concurrency=1, judge_retries=1)
    judge.ask(ask_for("a"))
    server.behaviour = lambda body: status(503)
    with pytest.raises(BenchError, match=r"answers no more: it answers 503 .*; 1 answer is kept") as caught:
        judge.ask(ask_for(*"bcdefgh"))
    assert "the same command goes on" in caught.value.remedy
    assert len(server.calls) == 1 + 3 * 2


def test_a_server_that_is_gone_stops_the_judging_at_once() -> None:
    with serve() as server:
        judge = a_judge(server, judge_concurrency=1)
        judge.reach()
        judge.ask(ask_for("a"))
    with pytest.raises(BenchError, match="no connection"):
        judge.ask(ask_for("b", "c"))
    assert judge.facts()["calls"] == 1 + 3  # the first question that got none


def test_what_is_wrong_is_known_before_the_first_question(server: JudgeServer) -> None:
    calls = Calls()
    a_judge(server, calls=calls).reach()
    assert server.listings == 1 and calls.count == 0 and server.calls == []
    with pytest.raises(BenchError, match=r"knows no model 'nobody', or no /chat/completions at .*does not exist"):
        a_judge(server, model="nobody", calls=calls).reach()
    server.listing = status(503, message="loading")
    with pytest.raises(BenchError, match=r"cannot be reached at .*503 Service Unavailable: loading"):
        a_judge(server).reach()
    assert calls.count == 0


def test_a_server_that_is_not_there(server: JudgeServer) -> None:
    with serve() as gone:
        judge = a_judge(gone)
    with pytest.raises(BenchError, match=r"cannot be reached at http://127.0.0.1:.*: no connection") as caught:
        judge.reach()
    assert "--judge-url" in caught.value.remedy


@pytest.mark.parametrize("listing", [status(404), sends(b'{"data": 7}'), sends(b"[]"), judge_server.huge])
def test_a_server_that_lists_no_models_is_asked_a_question(server: JudgeServer, listing: Behaviour) -> None:
    server.listing = listing
    calls = Calls()
    judge = a_judge(server, calls=calls)
    judge.reach()
    assert len(server.calls) == 1 and calls.count == judge.facts()["calls"] == 0


@pytest.mark.parametrize("code", [401, 403])
def test_a_refused_key_stops_at_once_and_is_not_repeated(
    server: JudgeServer, fake_config: Make, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    judge = a_judge(server)
    judge.endpoint = with_key(server, KEY, fake_config, monkeypatch)
    server.behaviour = lambda body: status(code, message=f"Incorrect API key provided: {KEY}.")
    with pytest.raises(BenchError, match=rf"refuses the key \({code} .*provided: \[key\]\)") as caught:
        judge.ask(ask_for("a"))
    assert KEY not in str(caught.value) and len(server.calls) == 1
    server.key = "another"
    with pytest.raises(BenchError, match="wants a key") as missing:
        a_judge(server).reach()
    assert "OPENAI_API_KEY" in missing.value.remedy


def test_no_redirect_is_followed(server: JudgeServer) -> None:
    with serve() as other:
        server.behaviour = lambda body: status(307, {"Location": f"{other.address}/chat/completions"})
        with pytest.raises(BenchError, match="sends us elsewhere"):
            a_judge(server).ask(ask_for("a"))
        server.listing = status(302, {"Location": f"{other.address}/models"})
        with pytest.raises(BenchError, match="sends us elsewhere"):
            a_judge(server).reach()
        assert other.headers == []


def test_ten_megabytes_are_not_read_and_not_asked_for_again(server: JudgeServer) -> None:
    server.behaviour = fail_on("b", judge_server.huge)
    replies = a_judge(server).ask(ask_for("a", "b"))
    assert [r.text for r in replies] == ["You said: a", None]
    assert replies[1].trouble == "its answer is longer than 1 MiB"
    assert len(server.calls) == 2


SAID: dict[str, tuple[Behaviour, str]] = {
    "nonsense": (says("colourless green ideas"), "colourless green ideas"),
    "empty": (says(""), ""),
    "null": (says(None), ""),
    "refusal": (says(None, refusal="I can't judge that."), "I can't judge that."),
    "parts": (
        says([{"type": "text", "text": "Sc"}, {"type": "image"}, {"type": "text", "text": "ore: 7"}]),
        "Score: 7",
    ),
    "cut": (says("Score: 7", "length"), "Score: 7" + CUT),
    "long": (says("x" * 100_000 + "\nScore: 3"), "x" * 19_991 + "\nScore: 3"),
    "half a character": (says("\ud83d"), "\ud83d"),
}


@pytest.mark.parametrize("name", SAID)
def test_whatever_is_said_is_kept_as_it_is(server: JudgeServer, name: str) -> None:
    behaviour, text = SAID[name]
    server.plan = [behaviour]
    assert a_judge(server).ask(ask_for("a"))[0].text == text
    (again,) = a_judge(server).ask(ask_for("a"))
    assert again.text == text and again.kept and len(server.calls) == 1


def test_odd_counts_and_names_do_no_harm(server: JudgeServer) -> None:
    body = {"model": ["x"], "choices": [{"message": {"content": "yes"}}], "usage": {"prompt_tokens": -4}}
    server.plan = [sends(json.dumps(body).encode()), sends(json.dumps({**body, "usage": 7}).encode())]
    replies = a_judge(server, judge_concurrency=1).ask(ask_for("a", "b"))
    assert [(r.text, r.prompt_tokens, r.completion_tokens) for r in replies] == [("yes", 0, 0)] * 2


def test_no_more_calls_at_a_time_than_asked_for(server: JudgeServer) -> None:
    lock = threading.Lock()
    running = most = 0

    def answer(messages: Messages) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.05)
        with lock:
            running -= 1
        return "yes"

    server.answer = answer
    a_judge(server, judge_concurrency=3).ask(ask_for(*"abcdefghi"))
    assert most == 3


def test_the_budget_stops_cleanly_and_nothing_is_paid_twice(server: JudgeServer) -> None:
    with pytest.raises(BudgetSpent, match=r"The budget of 3 calls of the judge is spent; 3 answers are kept\.") as stop:
        a_judge(server, budget=3).ask(ask_for(*"abcdefgh"))
    assert "--judge-budget" in stop.value.remedy and stop.value.exit_code == 2
    assert len(server.calls) == 3
    replies = a_judge(server, budget=5).ask(ask_for(*"abcdefgh"))
    assert [r.text for r in replies] == [f"You said: {x}" for x in "abcdefgh"]
    assert len(server.calls) == 8
    assert len({call["messages"][-1]["content"] for call in server.calls}) == 8


def test_repeated_calls_count(server: JudgeServer) -> None:
    server.behaviour = lambda body: status(500)
    with pytest.raises(BudgetSpent, match="0 answers are kept"):
        a_judge(server, budget=2, judge_retries=5).ask(ask_for("a"))
    assert len(server.calls) == 2


def test_the_runs_of_a_command_share_the_budget(
    server: JudgeServer, fake_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = fake_config(judge="server:judge", judge_url=server.address, judge_budget=3)
    made(config).ask(ask_for("a", "b"))
    with pytest.raises(BudgetSpent, match="2 answers"):
        made(config).ask(ask_for("a", "c", "d"))
    assert len(server.calls) == 3


def test_without_calls_kept_answers_need_no_server(fake_config: Make, server: JudgeServer) -> None:
    a_judge(server).ask(ask_for("a"))
    judge = made(fake_config(judge="server:judge", judge_url="http://127.0.0.1:9/v1", judge_budget=0))
    assert judge.ask(ask_for("a"))[0].text == "You said: a"
    with pytest.raises(BudgetSpent):
        judge.ask(ask_for("b"))


def test_what_a_server_takes_for_wrong_costs_one_call(server: JudgeServer) -> None:
    server.behaviour = fail_on("b", status(400, message="maximum context length is 4096 tokens."))
    replies = a_judge(server).ask(ask_for("a", "b"))
    assert [r.text for r in replies] == ["You said: a", None]
    assert replies[1].trouble == "it answers 400 Bad Request: maximum context length is 4096 tokens"
    assert len(server.calls) == 2


def test_settings_that_a_server_takes_for_wrong_stop_the_judging(server: JudgeServer) -> None:
    server.behaviour = lambda body: status(422, message="temperature must be 1")
    with pytest.raises(BenchError, match=r"refused all of 10 questions: .*temperature must be 1"):
        a_judge(server, judge_concurrency=1).ask(ask_for(*map(str, range(50))))
    assert len(server.calls) == 10


def test_the_newer_name_of_the_limit_is_learnt(server: JudgeServer) -> None:
    words = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    server.behaviour = lambda body: status(400, message=words) if "max_tokens" in body else None
    replies = a_judge(server, judge_concurrency=1).ask(ask_for("a", "b"))
    assert [r.text for r in replies] == ["You said: a", "You said: b"]
    assert ["max_tokens" in call for call in server.calls] == [True, False, False]


def test_an_interrupt_is_heard_at_once_and_loses_no_answer(server: JudgeServer) -> None:
    arrived = threading.Event()
    server.behaviour = fail_on("b", judge_server.hang)

    def interrupt() -> None:
        arrived.wait(10)
        os.kill(os.getpid(), signal.SIGINT)

    def answer(messages: Messages) -> str:
        if messages[-1]["content"] == "d":
            arrived.set()
        return repeat(messages)

    server.answer = answer
    thread = threading.Thread(target=interrupt)
    # Where tests run in several processes, each of them ignores the signal.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        thread.start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            a_judge(server, judge_concurrency=2, judge_timeout=30).ask(ask_for(*"abcd"))
        thread.join()
    finally:
        signal.signal(signal.SIGINT, handler)
    assert time.monotonic() - began < 20  # the server would say nothing for 30 s
    replies = a_judge(server, budget=1).ask(ask_for("a", "c"))
    assert all(r.kept for r in replies)


def test_a_damaged_answer_is_asked_for_again(server: JudgeServer, own_cache: Path) -> None:
    a_judge(server, judge_concurrency=1).ask(ask_for("a", "b"))
    first, second = sorted((own_cache / "judgements").rglob("*.json"))
    content = json.loads(first.read_text())
    content["answer"]["text"] = "Score: 10"
    first.write_text(json.dumps(content))
    second.write_bytes(b"")
    judge = a_judge(server)
    assert {r.text for r in judge.ask(ask_for("a", "b"))} == {"You said: a", "You said: b"}
    assert len(server.calls) == 4 and judge.facts()["damaged_answers"] == 2
    first.write_bytes(second.read_bytes())  # another question's answer
    assert {r.text for r in a_judge(server).ask(ask_for("a", "b"))} == {"You said: a", "You said: b"}
    assert len(server.calls) == 5


def test_threads_may_share_the_store(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        stores = [AnswerStore(tmp_path), AnswerStore(tmp_path)]
        keys = [answer_key(question, {}) for question in ask_for(*map(str, range(12)))]

        def work(store: AnswerStore) -> None:
            for key in keys:
                store.keep(key, Answer(key))

        threads = [threading.Thread(target=work, args=(stores[0],)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = [stores[1].find(key) for key in keys]
        assert [answer.text for answer in found if answer is not None] == keys
        assert {file.stat().st_mode & 0o777 for file in tmp_path.rglob("*.json")} == {0o640}
        assert not list(tmp_path.rglob("*.tmp"))
    finally:
        assert os.umask(before) == 0o027


def test_what_two_runs_ask_at_the_same_time_is_paid_for_once(server: JudgeServer) -> None:
    def answer(messages: Messages) -> str:
        time.sleep(0.03)
        return repeat(messages)

    server.answer = answer
    judges = [a_judge(server), a_judge(server)]
    texts: list[list[str | None]] = [[], []]

    def work(number: int) -> None:
        texts[number] = [r.text for r in judges[number].ask(ask_for(*"abcdefghij"))]

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts[0] == texts[1] == [f"You said: {x}" for x in "abcdefghij"]
    assert len(server.calls) == 10 == sum(judge.facts()["calls"] for judge in judges)


def test_a_store_that_cannot_be_written_is_known_at_once(server: JudgeServer, own_cache: Path) -> None:
    (own_cache / "judgements").write_text("a file, where a folder should be")
    with pytest.raises(BenchError, match="cannot be kept"):
        a_judge(server).reach()
    assert server.listings == 0


def test_the_key_is_sent_and_logged_nowhere(
    server: JudgeServer, fake_config: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("httpx2").setLevel(logging.DEBUG)
    endpoint = with_key(server, KEY, fake_config, monkeypatch)
    server.key = KEY
    server.plan = [status(500, message=f"not {KEY}"), says(f"the key is {KEY}")]
    judge = a_judge(server)
    judge = ServerJudge(
        "judge", endpoint, judge.settings, judge.store, judge.budget, None, Patience(first_wait=0.01, longest_wait=0.02)
    )
    judge.reach()
    (reply,) = judge.ask(ask_for("a"))
    assert reply.text == "the key is [key]"
    assert {h["Authorization"] for h in server.headers} == {f"Bearer {KEY}"}
    assert KEY not in caplog.text + repr(endpoint) + str(vars(judge)) + str(judge.facts())
    assert logging.getLogger("httpx2").level == logging.WARNING


@pytest.mark.parametrize(
    "url",
    [
        "http://me:hunter2@h/v1",
        "http://hunter2@h/v1",
        "https://h/v1?key=hunter2",
        "https://h/v1#hunter2",
        "hunter2:x:1",
    ],
)
def test_an_address_with_a_secret_is_refused_and_not_repeated(fake_config: Make, url: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_judge(fake_config(judge="server:m", judge_url=url))
    assert ("hunter2" not in str(caught.value)) == (url != "hunter2:x:1")


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://h/v1", "http://", "/v1", "http://[::1", "http://h:99999/"]
)
def test_what_is_no_address_is_refused(fake_config: Make, url: str) -> None:
    with pytest.raises(UsageError, match="address of"):
        check_judge(fake_config(judge="server:m", judge_url=url))


def test_where_the_server_is(fake_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    config = fake_config(judge="server:m")
    with pytest.raises(UsageError, match=r"api\.openai\.com, which needs a key"):
        check_judge(config)
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    endpoint = find_endpoint(config)
    assert endpoint.url == "https://api.openai.com/v1" and endpoint.host == "api.openai.com"
    assert endpoint.key is not None and endpoint.key.get_secret_value() == KEY
    monkeypatch.setenv("OPENAI_BASE_URL", "http://gpu:8000/v1/")
    assert find_endpoint(config).url == "http://gpu:8000/v1"
    own = fake_config(judge="server:m", judge_url="http://127.0.0.1:1/v1/chat/completions")
    assert find_endpoint(own).url == "http://127.0.0.1:1/v1"
    monkeypatch.setenv("OPENAI_API_KEY", "sk-\u00e9secret")
    with pytest.raises(UsageError) as caught:
        check_judge(config)
    assert "secret" not in str(caught.value)


def test_names_of_judges(fake_config: Make) -> None:
    assert judge_kind("server:meta-llama/Llama-3:8b")[1] == "meta-llama/Llama-3:8b"
    assert judge_kind("local:smollm2-135m")[0].in_words and not judge_kind("reward")[0].in_words
    for wrong in (None, "", "server", "server:", "local: ", "gpt-4", "reward:x", "Server:x"):
        with pytest.raises(UsageError, match="judge"):
            judge_kind(wrong)
    for kind in ("reward", "check"):
        with pytest.raises(UsageError, match="answers no question") as caught:
            check_judge(fake_config(judge=kind), in_words=True)
        assert "server:MODEL" in caught.value.remedy


def test_prices(server: JudgeServer, fake_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Prices(0.15, 0.6).cost(2_000_000, 500_000) == pytest.approx(0.6)
    config = fake_config(judge="server:judge", judge_url=server.address)
    assert read_prices() is None and "cost_usd" not in made(config).facts()
    monkeypatch.setenv("LIFEALIGN_BENCH_JUDGE_PRICES", "10, 40")
    judge = made(config)
    judge.ask(ask_for("a", "b", "a"))
    assert judge.facts()["cost_usd"] == pytest.approx((200 * 10 + 20 * 40) / 1e6)
    for wrong in ("10", "a,b", "1,2,3", "nan,1", "-1,2", "inf,1"):
        monkeypatch.setenv("LIFEALIGN_BENCH_JUDGE_PRICES", wrong)
        with pytest.raises(UsageError, match="not two prices"):
            check_judge(config)


def test_a_local_judge_says_the_same_when_it_is_continued(
    fake_config: Make, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = ask_for(*(f"question {i}" * (1 + i % 3) for i in range(12)))
    settings = JudgingConfig(judge_max_tokens=5)
    config = fake_config(judge="local:fake", judging=settings)
    whole = made(config).ask(questions)
    assert len({r.text for r in whole}) > 1
    monkeypatch.setenv("LIFEALIGN_BENCH_CACHE", str(own_cache / "other"))
    with pytest.raises(BudgetSpent):
        made(config.model_copy(update={"judge_budget": 12 + 8})).ask(questions)
    judge = made(config)
    again = judge.ask(questions)
    assert [r.text for r in again] == [r.text for r in whole]
    assert sum(r.kept for r in again) == 8 and judge.facts()["calls"] == 4
    assert judge.facts()["prompt_tokens"] == sum(r.prompt_tokens for r in again if not r.kept) > 0


def test_the_batches_of_a_local_judge_do_not_depend_on_what_is_kept(
    fake_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last bits of an answer depend on what is in its batch."""
    from lifealign_bench.scoring.judging.kinds.local import LocalJudge

    batches: list[int] = []
    generate = LocalJudge._generate

    def counted(self: LocalJudge, prompts: Any) -> list[Answer]:
        batches.append(len(prompts))
        return generate(self, prompts)

    monkeypatch.setattr(LocalJudge, "_generate", counted)
    judge = made(fake_config(judge="local:fake", judging=JudgingConfig(judge_max_tokens=3)))
    questions = ask_for(*(f"question {i}" for i in range(12)))
    judge.ask(questions[:3])
    replies = judge.ask(questions)
    assert batches == [3, 8, 4]
    assert sum(r.kept for r in replies) == 3 and judge.facts()["calls"] == 12


def test_a_local_judge_has_a_context(fake_config: Make) -> None:
    config = fake_config(judge="local:fake", judging=JudgingConfig(judge_max_tokens=5))
    short, long = made(config).ask(ask_for("short", "x" * 2000))
    assert short.text is not None and long.text is None and "context of 1024" in long.trouble
    assert short.text.endswith(CUT)  # it never ends


def test_what_a_local_judge_cannot_do(fake_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="greedily"):
        made(fake_config(judge="local:fake", judging=JudgingConfig(judge_temperature=1)))
    with pytest.raises(BenchError, match="nowhere"):
        made(fake_config(judge="local:./nowhere"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="one process"):
        made(fake_config(judge="local:fake"))


def test_a_template_without_system_messages_still_sees_the_instructions() -> None:
    from lifealign_bench.models.fake import fake_model
    from lifealign_bench.scoring.judging.kinds.local import encode_question

    _, tokenizer = fake_model()
    tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "{% for m in messages %}[{{ m['content'] }}]{% endfor %}"
    )
    ids = encode_question(tokenizer, [Message("system", "rules"), Message("user", "case")])
    assert tokenizer.decode(ids) == "[rules\n\ncase]"
