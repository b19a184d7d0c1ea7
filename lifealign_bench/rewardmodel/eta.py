"""How far a long piece of work is, said now and then, and not at all where it is short."""

from __future__ import annotations

import time
from collections.abc import Callable

from lifealign_bench.util.text import duration

__all__ = ["Eta"]


class Eta:
    """Tells of work before a run begins, where the progress line knows nothing yet.

    Args:
        what: names the work: ``Reward model, training step``.
        total: how much there is.
        notice: told every ``every`` seconds.
        clock: gives seconds.
    """

    def __init__(
        self,
        what: str,
        total: int,
        notice: Callable[[str], None],
        every: float = 20.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.what = what
        self.total = total
        self.notice = notice
        self.every = every
        self.clock = clock
        self.began = self.last = clock()

    def at(self, done: int) -> None:
        """So much is done."""
        now = self.clock()
        if done <= 0 or done >= self.total or now - self.last < self.every:
            return
        self.last = now
        left = (now - self.began) * (self.total - done) / done
        self.notice(f"{self.what} {done} of {self.total}, {duration(left)} left.")
