"""What a run tells while it works; the command line shows it, a library user may ignore it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lifealign_bench.config import RunConfig
from lifealign_bench.util.text import clean

# Told what the user should know, a sentence at a time.
Notice = Callable[[str], None]

# Work of a token in units of a scoring pass: forward and backward; one step of generation.
TRAIN_WORK = 2.3

GENERATION_WORK = 3.0

SECONDS_BETWEEN = 5.0


@dataclass(frozen=True)
class Work:
    """How much there is to do, in units of one token's forward pass; the basis of the run-wide ETA.

    Args:
        total: of the whole run.
        stages: number of training stages.
        done: finished by an earlier attempt at the same run.
    """

    total: float
    stages: int
    done: float = 0.0


@dataclass(frozen=True)
class ShownAnswer:
    """What a model answers to a test prompt: as the base model, and now."""

    prompt: str
    before: str
    now: str


class Progress:
    """Receives the events of a run; every event does nothing here.

    The order is: ``run_started``, then for every part of the run ``phase_started`` and any number of ``advanced``, and
    at the end ``run_finished``. ``notice`` may come at any time.
    """

    def run_started(self, config: RunConfig, work: Work) -> None:
        """A run begins (or goes on, when ``work.done`` is not 0)."""

    def phase_started(self, stage: int, name: str, tasks: tuple[str, ...], steps: int) -> None:
        """A part of stage ``stage`` begins: ``name`` is reference, rollout, train, score, generate or reward;
        ``steps`` 0 if unknown."""

    def advanced(self, work: float, *, step: int | None = None, loss: float | None = None, tokens: int = 0) -> None:
        """``work`` units were done; ``tokens`` went through the model; ``loss`` of the last optimizer step."""

    def sampled(self, count: int, of: int) -> None:
        """So many of the responses that are being sampled are there."""

    def logged(self, stage: int, phase: str, step: int, values: Mapping[str, float]) -> None:
        """An optimizer step of a phase was taken: its loss, gradient norm and learning rate, and where it sampled, the
        mean reward of what it sampled. The weights are those after it."""

    def answered(self, stage: int, answers: Mapping[str, ShownAnswer]) -> None:
        """Task to one of its responses after a stage that is scored; ``scored`` of the same stage follows."""

    def scored(self, stage: int, values: Mapping[str, Mapping[str, float]]) -> None:
        """A stage was scored: score to task to its mean, in the unit of the score matrix; what is NaN is left out."""

    def notice(self, text: str) -> None:
        """Something that the user should know: a cleaned file, a corrupt checkpoint, an assumption."""

    def prepared(self, text: str) -> None:
        """How far the work is that comes before the first step, where it takes long: some words every few seconds."""

    def run_finished(self) -> None:
        """The run ended, well or not."""


def far(
    progress: Progress, what: str, total: int, clock: Callable[[], float] = time.monotonic
) -> Callable[[int], None]:
    """A function that takes how many of ``total`` pairs are tokenized and says so every few seconds."""
    last = clock()

    def reached(count: int) -> None:
        nonlocal last
        now = clock()
        if now - last >= SECONDS_BETWEEN:
            last = now
            progress.prepared(f"{what}: {count:,} of {total:,} pairs are tokenized")

    return reached


class Several(Progress):
    """Passes every event on to several listeners."""

    def __init__(self, listeners: Sequence[Progress]) -> None:
        self.listeners = tuple(listeners)

    def run_started(self, config: RunConfig, work: Work) -> None:
        """See :class:`Progress`, as for all events."""
        for listener in self.listeners:
            listener.run_started(config, work)

    def phase_started(self, stage: int, name: str, tasks: tuple[str, ...], steps: int) -> None:
        for listener in self.listeners:
            listener.phase_started(stage, name, tasks, steps)

    def advanced(self, work: float, *, step: int | None = None, loss: float | None = None, tokens: int = 0) -> None:
        for listener in self.listeners:
            listener.advanced(work, step=step, loss=loss, tokens=tokens)

    def sampled(self, count: int, of: int) -> None:
        for listener in self.listeners:
            listener.sampled(count, of)

    def logged(self, stage: int, phase: str, step: int, values: Mapping[str, float]) -> None:
        for listener in self.listeners:
            listener.logged(stage, phase, step, values)

    def answered(self, stage: int, answers: Mapping[str, ShownAnswer]) -> None:
        for listener in self.listeners:
            listener.answered(stage, answers)

    def scored(self, stage: int, values: Mapping[str, Mapping[str, float]]) -> None:
        for listener in self.listeners:
            listener.scored(stage, values)

    def notice(self, text: str) -> None:
        for listener in self.listeners:
            listener.notice(text)

    def prepared(self, text: str) -> None:
        for listener in self.listeners:
            listener.prepared(text)

    def run_finished(self) -> None:
        for listener in self.listeners:
            listener.run_finished()


Stopwatch = Callable[[], float]


@dataclass
class CurrentPart:
    """The part of a stage that is going on."""

    stage: int
    name: str
    tasks: tuple[str, ...]
    steps: int
    began: float
    step: int | None = None
    loss: float | None = None
    tokens: int = 0
    sampled: str = ""


class Meter:
    """Adds up a run's events: how far it is, how fast, how long still. Shows nothing.

    Args:
        clock: gives seconds.
    """

    def __init__(self, clock: Stopwatch = time.monotonic) -> None:
        self.clock = clock
        self.title = ""
        self.work = Work(0.0, 0)
        self.done = 0.0
        self.began = clock()
        self.phase: CurrentPart | None = None
        self.preparing = "loading"  # what goes on before the first phase
        self.trained: dict[int, tuple[str, ...]] = {}

    def start(self, config: RunConfig, work: Work) -> None:
        """A run begins."""
        self.title = clean(f"{config.method} on {config.stream}, {config.model}, seed {config.seed}")
        self.work, self.done, self.began, self.phase = work, 0.0, self.clock(), None

    def enter(self, stage: int, name: str, tasks: tuple[str, ...], steps: int) -> CurrentPart | None:
        """A phase begins; gives the one that ended."""
        ended, self.phase = self.phase, CurrentPart(stage, name, tasks, steps, self.clock())
        if steps:  # nothing but training has any
            self.trained[stage] = tasks
        return ended

    def advance(self, work: float, step: int | None, loss: float | None, tokens: int) -> None:
        """Work was done."""
        self.done += work
        if self.phase is not None:
            self.phase.step = step if step is not None else self.phase.step
            self.phase.loss = loss if loss is not None else self.phase.loss
            self.phase.tokens += tokens

    def sample(self, count: int, of: int) -> None:
        """So many of the responses that are being sampled are there."""
        if self.phase is not None:
            self.phase.sampled = f"{count}/{of} responses" if count < of else ""

    @property
    def share(self) -> float:
        """Of the whole run, 0 to 1; never quite 1 before the end, since the total is an estimate."""
        if self.work.total <= 0:
            return 0.0
        return min(0.999, (self.work.done + self.done) / self.work.total)

    @property
    def remaining(self) -> float | None:
        """Seconds until the end of the run at the speed of this attempt; None before there is one."""
        elapsed = self.clock() - self.began
        if self.done <= 0 or elapsed <= 0:
            return None
        return max(0.0, self.work.total - self.work.done - self.done) * elapsed / self.done

    @property
    def speed(self) -> float | None:
        """Tokens a second in this phase."""
        if self.phase is None or not self.phase.tokens:
            return None
        elapsed = self.clock() - self.phase.began
        return self.phase.tokens / elapsed if elapsed > 0 else None

    def heading(self) -> str:
        """``stage 2/5 train mini-brief``."""
        if self.phase is None:
            return clean(self.preparing)
        tasks = self.phase.tasks
        what = clean(tasks[0]) if len(tasks) == 1 else f"{len(tasks)} tasks"
        return f"stage {self.phase.stage}/{self.work.stages} {clean(self.phase.name)} {what}"

    def details(self) -> list[str]:
        """Step, loss and speed, as far as they are known."""
        if self.phase is None:
            return []
        parts = []
        if self.phase.steps:
            parts.append(f"step {self.phase.step or 0}/{self.phase.steps}")
        if self.phase.loss is not None and math.isfinite(self.phase.loss):
            parts.append(f"loss {self.phase.loss:.3f}")
        if self.phase.sampled:
            parts.append(self.phase.sampled)
        if self.speed is not None:
            parts.append(f"{self.speed:,.0f} tokens/s")
        return parts
