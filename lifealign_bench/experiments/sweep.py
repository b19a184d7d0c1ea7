"""Many runs: what state each is in, how long all of them still take, and a stream in several orders of its tasks.

Shows nothing, starts nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lifealign_bench.config import RunConfig
from lifealign_bench.data.cards import StreamCard, load_stream, stream_names
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.experiments.balanced import balanced_orders, latin_orders
from lifealign_bench.experiments.engines import Engine
from lifealign_bench.experiments.engines.events import Advanced, Began, Ended, Entered, Event, Planned, Prepared
from lifealign_bench.experiments.sharedclock import with_one_clock
from lifealign_bench.results.folder import RunFolder
from lifealign_bench.results.record import read_record
from lifealign_bench.results.runcheck import made_from_problems
from lifealign_bench.runs.directory import refuse_other_settings
from lifealign_bench.scoring.outside import extensions_of
from lifealign_bench.util.progress import Meter, Work

RunState = Literal["waiting", "running", "complete", "finished before", "failed", "interrupted"]

Standing = Literal["new", "to be continued", "finished", "other configuration"]


def standing(config: RunConfig) -> tuple[Standing, str]:
    """What a run's folder says of the run, and in what another run differs that is there instead.

    The data are compared only where a run goes on: that takes reading them.
    """
    folder = RunFolder(config.run_directory())
    if not folder.config.is_file():
        return "new", ""
    present = folder.began_with()
    wanted = config.identity()
    for key in ("device", "dtype"):
        if wanted[key] == "auto" and key in present:
            wanted[key] = present[key]
    try:
        refuse_other_settings(folder.path, present, json.loads(json.dumps(wanted)))
        _refuse_other_files(config, folder)
    except BenchError as error:
        return "other configuration", error.message
    try:
        record = read_record(folder.record)
        # One that its files contradict is made again by the run.
        complete = record.status == "complete" and not made_from_problems(record, folder.path)
    except BenchError:
        complete = False  # none yet, or damaged: the run makes it again
    return ("finished" if complete else "to be continued"), ""


def _refuse_other_files(config: RunConfig, folder: RunFolder) -> None:
    """What is from outside is part of the run; see ``recording.run_identity``."""
    fixed = folder.fixed()
    if not fixed:
        return
    file = Path(config.method)
    now: dict[str, Any] = {"extensions": extensions_of(config) or None}
    if config.method.endswith(".py") and file.is_file():
        now["method_file"] = hashlib.sha256(file.read_bytes()).hexdigest()
    refuse_other_settings(folder.path, {key: fixed.get(key) for key in now}, now)


@dataclass
class SweepRun:
    """One run of a sweep.

    Args:
        standing: what its folder said before.
        meter: how far it is.
        ended: its end, when it has come.
        host: where it is done.
        attempts: how often it began in this sweep.
    """

    number: int
    config: RunConfig
    standing: Standing
    meter: Meter
    state: RunState = "waiting"
    ended: Ended | None = None
    host: str = ""
    attempts: int = 0

    @property
    def title(self) -> str:
        """The run in a few words."""
        return self.config.title


@dataclass
class Sweep:
    """The runs of one command, by number from 1.

    Args:
        clock: gives seconds.
    """

    runs: list[SweepRun]
    clock: Callable[[], float] = time.monotonic
    _began: float | None = field(default=None)

    @classmethod
    def of(cls, configs: Sequence[RunConfig], clock: Callable[[], float] = time.monotonic) -> Sweep:
        """A sweep over ``configs``; the runs that are finished already, or cannot go on, have ended."""
        runs = []
        for position, config in enumerate(with_one_clock(configs), start=1):
            found, why = standing(config)
            run = SweepRun(position, config, found, Meter(clock))
            if found == "finished":
                run.state = "finished before"
            elif found == "other configuration":
                remedy = "Use that configuration to continue it, write elsewhere with --out, or delete the folder."
                run.state, run.ended = "failed", Ended(status="failed", message=why, remedy=remedy)
            runs.append(run)
        return cls(runs, clock)

    def told(self, number: int, event: Event) -> SweepRun:
        """Take in what run ``number`` said."""
        run = self.runs[number - 1]
        meter = run.meter
        if isinstance(event, Began):
            run.state, run.host, run.ended = "running", event.host, None
            run.attempts += 1
            meter.work, meter.done, meter.phase, meter.preparing = Work(0.0, 0), 0.0, None, "loading"
        elif isinstance(event, Planned):
            meter.start(run.config, Work(event.total, event.stages, event.done))
            self._began = self.clock() if self._began is None else self._began
        elif isinstance(event, Entered):
            meter.enter(event.stage, event.name, event.tasks, event.steps)
        elif isinstance(event, Advanced):
            meter.advance(event.work, event.step, event.loss, event.tokens)
        elif isinstance(event, Prepared):
            meter.preparing = event.text
        elif isinstance(event, Ended):
            run.state, run.ended = event.status, event
        return run

    def to_do(self) -> dict[int, RunConfig]:
        """The runs that wait, by number."""
        return {run.number: run.config for run in self.runs if run.state == "waiting"}

    def of_state(self, *states: RunState) -> list[SweepRun]:
        """The runs in any of ``states``."""
        return [run for run in self.runs if run.state in states]

    @property
    def remaining(self) -> float | None:
        """Seconds until all runs have ended, at the speed so far; None before there is one.

        A run whose size is not known yet counts as the mean of those whose size is.
        """
        elapsed = self.clock() - self._began if self._began is not None else 0.0
        done = sum(run.meter.done for run in self.runs)
        sizes = [run.meter.work.total for run in self.runs if run.meter.work.total > 0]
        if done <= 0 or elapsed <= 0 or not sizes:
            return None
        left = 0.0
        for run in self.of_state("waiting", "running"):
            work = run.meter.work
            known = work.total > 0
            left += max(0.0, work.total - work.done - run.meter.done) if known else sum(sizes) / len(sizes)
        return left * elapsed / done


def work(
    sweep: Sweep,
    engine: Engine,
    heard: Callable[[SweepRun, Event], None],
    stopped: Callable[[], bool],
    tick: Callable[[], None],
) -> None:
    """Do the runs of a sweep that wait.

    Args:
        heard: told every event after the sweep has taken it in.
        stopped, tick: see ``engines.Engine.work``, as for what is raised.
    """
    configs = sweep.to_do()

    def tell(number: int, event: Event) -> None:
        if isinstance(event, Ended) and event.status == "complete":
            event = _verified(configs[number], event)
        heard(sweep.told(number, event), event)

    engine.work(configs, tell, stopped, tick)


def _verified(config: RunConfig, event: Ended) -> Ended:
    """A run that is said to be complete has a record here; where not, its storage is not shared."""
    if (config.run_directory() / "record.json").is_file():
        return event
    return Ended(
        status="failed",
        message=f"The run was done, but {config.run_directory()} holds no record.",
        remedy="Give --out a folder that all machines share, at the same path.",
    )


REGISTERED = "registered"
# Those that are made of a stream's tasks, by name.
ORDER_SETS: Mapping[str, Callable[[Sequence[str]], list[tuple[str, ...]]]] = {
    "balanced": balanced_orders,
    "latin": latin_orders,
}


def permutations(tasks: Sequence[str], count: int, seed: int) -> list[tuple[str, ...]]:
    """``count`` different orders of ``tasks``, the given one first; all there are where these are fewer.

    The same seed gives the same orders, and a larger count begins with those of a smaller one.
    """
    generator = random.Random(seed)
    found = {tuple(tasks): None}
    wanted = min(count, math.factorial(len(tasks)))
    while len(found) < wanted:
        order = list(tasks)
        generator.shuffle(order)
        found.setdefault(tuple(order))
    return list(found)


def expand_orders(
    streams: Sequence[StreamCard], orders: str | None, seed: int
) -> tuple[list[StreamCard], tuple[str, ...]]:
    """Each stream in several orders.

    Args:
        orders: None for the streams as they are; a number for that many random orders, the stream's own among them;
            ``registered`` for every registered stream of the same tasks; ``balanced`` for a set of orders in which
            every task stands equally often at every position and behind every other one; ``latin`` for one in which
            it stands once at every position.

    Returns:
        The streams, and what the user should know. Another order is a stream as if its tasks had been listed, with the
        settings of the stream it comes from.

    Raises:
        UsageError: ``orders`` is none of these.
    """
    if orders is None:
        return list(streams), ()
    named = (*ORDER_SETS, REGISTERED)
    if orders not in named and not (orders.isdecimal() and int(orders) > 0):
        remedy = f"Give a number from 1, or one of: {', '.join(named)}."
        raise UsageError(f"--orders {orders!r} is not a number of orders.", remedy)
    found: dict[str, StreamCard] = {}
    notices: list[str] = []
    for stream in streams:
        if orders == REGISTERED:
            found |= {other.name: other for other in [stream, *_registered(stream)]}
            continue
        drawn = orders not in ORDER_SETS
        arranged = permutations(stream.tasks, int(orders), seed) if drawn else ORDER_SETS[orders](stream.tasks)
        if drawn and len(arranged) < int(orders):
            notices.append(f"Stream {stream.name} has {len(stream.tasks)} tasks and so {len(arranged)} orders.")
        found.setdefault(stream.name, stream)
        for tasks in arranged[1:]:
            card = stream.model_copy(update={"tasks": tasks, "path": None})
            name = ",".join(task.name for task in card.task_cards())
            # Two streams of the same tasks may come to the same order; the first one's settings hold.
            found.setdefault(name, card.model_copy(update={"name": name, "title": f"{stream.name}, another order"}))
    return list(found.values()), tuple(notices)


def _registered(stream: StreamCard) -> list[StreamCard]:
    cards = [load_stream(name) for name in stream_names()]
    return [card for card in cards if set(card.tasks) == set(stream.tasks)]
