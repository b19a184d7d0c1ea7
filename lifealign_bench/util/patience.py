"""Asking a server again: how long between two tries, and many questions at a time."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

T = TypeVar("T")


class MayPass(Exception):
    """A failure that another try may mend; ``wait``: seconds that the server asked for."""

    def __init__(self, why: str, wait: float = 0.0) -> None:
        super().__init__(why)
        self.wait = wait


class Refused(Exception):
    """This question gets no answer, however often it is asked."""


class Stopping(Exception):
    """Another thread has failed: what is not under way need not begin."""


@dataclass(frozen=True)
class RetryPolicy:
    """How long to wait for a server between two tries.

    Args:
        first_wait: seconds before the second try; each next one waits twice as long. A random part of up to a half is
            left out, so that several threads do not come back together.
        longest_wait: seconds, the most that doubling comes to.
        longest_asked: seconds, the most of what a server asks for (Retry-After) that is heeded.
        reach: seconds for the answer to the question whether it is there, and ``reach_tries`` how often that is asked.
        lost: so many questions in a row without an answer are the server's trouble and not theirs.
        refused: so many refused questions before the first answer are the settings' trouble.
    """

    first_wait: float = 1.0
    longest_wait: float = 30.0
    longest_asked: float = 60.0
    reach: float = 10.0
    reach_tries: int = 3
    lost: int = 3
    refused: int = 10
    # Its own: a run's random numbers stay as they are.
    _random: random.Random = field(default_factory=random.Random, init=False, repr=False, compare=False)

    def retrying(self, tries: int, stop: threading.Event) -> Retrying:
        """Calls what it is called with until it does not raise :class:`MayPass`, ``tries`` times at most.

        Args:
            stop: once it is set, no further wait begins or goes on: :class:`Stopping` is raised.
        """

        def sleep(seconds: float) -> None:
            if stop.wait(seconds):
                raise Stopping

        return Retrying(
            stop=stop_after_attempt(tries),
            wait=self._wait,
            retry=retry_if_exception_type(MayPass),
            sleep=sleep,
            reraise=True,
        )

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        asked = error.wait if isinstance(error, MayPass) else 0.0
        doubled = min(self.first_wait * 2.0 ** (state.attempt_number - 1), self.longest_wait)
        return max(min(asked, self.longest_asked), doubled * self._random.uniform(0.5, 1.0))


def work_off(work: Callable[[T, threading.Event], None], items: Sequence[T], threads: int) -> None:
    """Do ``work`` for every item, ``threads`` at a time.

    After the first failure nothing new begins, what is under way ends (it may be paid for), and the failure is raised.
    An interrupt of the calling thread waits for nothing.

    Args:
        work: is given an item, and the event that says that nothing new is to begin; where it sleeps, it should raise
            :class:`Stopping` then.
    """
    waiting = iter(items)
    lock = threading.Lock()
    stop = threading.Event()
    failures: list[BaseException] = []

    def one_after_the_other() -> None:
        while not stop.is_set():
            with lock:
                rest = next(waiting, None)
            if rest is None:
                return
            try:
                work(rest, stop)
            except Stopping:
                return
            except BaseException as error:  # noqa: BLE001 - raised in the calling thread
                failures.append(error)
                stop.set()

    # Daemons: a process that is asked to end need not wait for a server.
    pool = [threading.Thread(target=one_after_the_other, daemon=True) for _ in range(min(threads, len(items)))]
    try:
        for thread in pool:
            thread.start()
        for thread in pool:
            thread.join()
    finally:
        stop.set()
    if failures:
        raise failures[0]
