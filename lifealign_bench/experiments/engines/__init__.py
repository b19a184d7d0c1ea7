"""Where the runs of a sweep happen: processes of this machine (``local``), or a Ray cluster (``ray``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from lifealign_bench.config import RunConfig
from lifealign_bench.experiments.engines.events import Event

ENGINES = ("local", "ray")
TellRun = Callable[[int, Event], None]


class Engine(Protocol):
    """Does runs. The last event of each one that was begun is an ``Ended``."""

    def work(
        self,
        runs: Mapping[int, RunConfig],
        tell: TellRun,
        stopped: Callable[[], bool],
        tick: Callable[[], None],
    ) -> None:
        """Do ``runs``, in their order as far as possible; returns when none is left.

        Args:
            runs: by their number in the sweep.
            tell: takes a run's events, always in this thread.
            stopped: asked all the time; True makes the runs stop at their next checkpoint, and begins no other.
            tick: called several times a second.

        Raises:
            BenchError: the engine cannot be used.
            KeyboardInterrupt: the user asked a second time; no process of the sweep is left.
        """
        ...
