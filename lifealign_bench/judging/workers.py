"""Several threads that wait for a server, so that a Ctrl-C in the main one is heard at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

__all__ = ["Stopping", "work_off"]

T = TypeVar("T")


class Stopping(Exception):
    """Another thread has failed: what is not under way need not begin."""


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
