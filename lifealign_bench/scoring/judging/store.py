"""The store of a judge's answers: what was paid for once is never asked again.

One small file an answer in the cache folder, found by what determines it: the messages, the prompt's version, the
model and its settings, not the address that it was asked at. A file appears under its name only when it is whole, so a
process may be killed at any moment and several may share the folder. Nothing is thrown away to save space; ``cache
clear judgements`` does that.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lifealign_bench.errors import BenchError
from lifealign_bench.scoring.judging.judge import Question, Reply
from lifealign_bench.util.files import atomic_path, cache_folder
from lifealign_bench.util.patience import Stopping

FOLDER = "judgements"

# Ends an answer that stopped at the longest length: its last line may be a quotation and is no verdict.
CUT = "\n[cut off at the longest answer]"

_VERSION = 1


@dataclass(frozen=True)
class Answer:
    """What is kept of an answer.

    Args:
        text: what the judge said.
        model: the judge's model as it names itself; empty where it does not.
        prompt_tokens, completion_tokens: as it counts them; 0 where it does not.
    """

    text: str
    model: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0


def answer_key(question: Question, asked_of: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of all that determines an answer; ``asked_of``: the judge's model and settings."""
    messages = [[m.role, m.content] for m in question.messages]
    text = json.dumps([_VERSION, messages, question.version, dict(asked_of)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


class AnswerStore:
    """The answers in a folder. Threads may share it."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder if folder is not None else cache_folder() / FOLDER
        self._damaged: set[str] = set()
        self._lock = threading.Lock()

    @property
    def damaged(self) -> int:
        """How many files could not be used."""
        return len(self._damaged)

    def check(self) -> None:
        """Make sure that answers can be kept, before one is paid for.

        Raises:
            BenchError: they cannot.
        """
        try:
            with atomic_path(self.folder / ".check") as temporary:
                temporary.write_bytes(b"")
            (self.folder / ".check").unlink(missing_ok=True)
        except OSError as error:
            raise BenchError(
                f"The judge's answers cannot be kept in {self.folder}: {error.strerror}.",
                "Free space or change the rights there, or use another folder with LIFEALIGN_BENCH_CACHE.",
            ) from error

    def find(self, key: str) -> Answer | None:
        """The answer kept under ``key``; a damaged file is counted and is none."""
        try:
            content = json.loads(self._path(key).read_bytes())
            answer = Answer(**content["answer"])
            whole = content["sha256"] == _digest(key, answer)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            whole = False
        if not whole:
            self._damaged.add(key)
            return None
        return answer

    @contextmanager
    def claim(self, key: str, stop: threading.Event) -> Iterator[None]:
        """Ask the question of ``key`` within the block: others, also in other processes, wait for its answer.

        Runs of a sweep ask the same of the base model's responses at the same time. The claim of a process that is
        killed ends with it.

        Raises:
            Stopping: ``stop`` was set meanwhile.
        """
        place = self._path(key).with_name(f"{key[2]}.lock")
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(place, thread_local=False)
        while True:
            if stop.is_set():
                raise Stopping
            try:
                lock.acquire(timeout=0.2, poll_interval=0.02)
            except Timeout:
                continue
            except (OSError, NotImplementedError):
                # A file system without locks: at worst something is asked twice.
                pass
            break
        try:
            yield
        finally:
            lock.release()

    def keep(self, key: str, answer: Answer) -> None:
        """Keep an answer under ``key``.

        Raises:
            OSError: the disk is full, or the like.
        """
        content = {"sha256": _digest(key, answer), "answer": asdict(answer)}
        # One at a time: writing a file sets and resets the process's file mode mask.
        with self._lock, atomic_path(self._path(key)) as temporary:
            # ASCII: half characters, which JSON can hold and UTF-8 cannot, survive.
            temporary.write_text(json.dumps(content), encoding="ascii")

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key[2:]}.json"


def _digest(key: str, answer: Answer) -> str:
    return hashlib.sha256(json.dumps([key, asdict(answer)], sort_keys=True).encode()).hexdigest()


def as_reply(answer: Answer, *, kept: bool) -> Reply:
    """An answer as judges give it."""
    return Reply(answer.text, "", answer.prompt_tokens, answer.completion_tokens, kept)


def ask_once(
    questions: Sequence[Question],
    asked_of: Mapping[str, Any],
    store: AnswerStore,
    found: Callable[[Answer], None],
    ask: Callable[[Mapping[str, Question]], Mapping[str, Reply]],
) -> list[Reply]:
    """Replies in the order of the questions.

    A question that is there twice has its tokens counted once: its second reply has none.

    Args:
        asked_of: the judge's model and settings, part of an answer's key.
        found: told of every answer that was kept.
        ask: gives the replies to questions without a kept answer, by key, and keeps them.
    """
    keys = [answer_key(question, asked_of) for question in questions]
    replies: dict[str, Reply] = {}
    open_questions: dict[str, Question] = {}
    for key, question in zip(keys, questions, strict=True):
        if key in replies or key in open_questions:
            continue
        answer = store.find(key)
        if answer is None:
            open_questions[key] = question
        else:
            found(answer)
            replies[key] = as_reply(answer, kept=True)
    if open_questions:
        replies |= ask(open_questions)
    given: set[str] = set()
    ordered = []
    for key in keys:
        again = key in given and replies[key].text is not None
        ordered.append(
            replace(replies[key], kept=True, prompt_tokens=0, completion_tokens=0) if again else replies[key]
        )
        given.add(key)
    return ordered
