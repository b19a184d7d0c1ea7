"""The trials that the checks look at; each is made when a check first asks for it, and then kept."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from lifealign_bench.conformance.memory import Memory, memory_of
from lifealign_bench.conformance.stream import LONG, ROOMY_BUDGET, configuration
from lifealign_bench.conformance.trial import Trial, perform
from lifealign_bench.conformance.watch import Watch
from lifealign_bench.errors import BenchError
from lifealign_bench.method import Method, Phase
from lifealign_bench.methods import load_method
from lifealign_bench.runs.session import Session

__all__ = ["MEASURED", "Bench", "TrialFailed", "in_one_line"]

T = TypeVar("T")

# Stages of the long trial after which memory is compared: by the first all buffers are full and all lists begun.
MEASURED = (4, 10)


class TrialFailed(Exception):
    """A trial broke.

    Args:
        trial: what it was.
        reason: the error in one line, with its place.
    """

    def __init__(self, trial: str, reason: str) -> None:
        super().__init__(reason)
        self.trial = trial
        self.reason = reason
        self.told = False


class Bench:
    """One method under examination.

    Args:
        method: a name or the path of a file.
        folder: an empty folder for the trials' runs.
    """

    def __init__(self, method: str, folder: Path) -> None:
        self.method = method
        self.folder = folder
        self.watch = Watch()
        self.memory: dict[int, Memory] = {}
        self._failed: dict[str, TrialFailed] = {}

    @cached_property
    def cls(self) -> type[Method]:
        """The method's class.

        Raises:
            TrialFailed: it cannot be loaded.
        """
        return self._try("loading", lambda: load_method(self.method))

    @cached_property
    def whole(self) -> Trial:
        """Three tasks, both phases, one after the other; watched and scored."""
        config = configuration(self.method, self.folder / "whole")
        return self._run("the run with both phases", lambda: perform(config, watch=self.watch))

    def seen(self, what: Callable[[Watch], list[str]]) -> list[str]:
        """What was seen of the whole trial, also where it broke: it may have broken over just that.

        Raises:
            TrialFailed: it broke, and nothing of the kind was seen.
        """
        try:
            _ = self.whole
        except TrialFailed:
            if not what(self.watch):
                raise
        return what(self.watch)

    @cached_property
    def regrouped(self) -> Trial:
        """The same with all pairs of a step in one pass, to the second stage."""
        config = configuration(self.method, self.folder / "regrouped", token_budget=ROOMY_BUDGET)
        return self._run("the run with larger passes", lambda: perform(config, last=2, scored=lambda stage: stage > 0))

    @cached_property
    def long(self) -> Trial:
        """Ten tasks, the preference phase alone; memory is measured, the first stage and the last are scored."""
        config = configuration(self.method, self.folder / "long", tasks=LONG, sft=False, train_limit=4)

        def measure(stage: int, session: Session) -> None:
            if stage in MEASURED:
                self.memory[stage] = memory_of(session)

        return self._run(
            "the run of ten stages in the preference phase",
            # A method may have one stage for all tasks.
            lambda: perform(config, scored=lambda stage: stage in (1, len(LONG)), after=measure),
        )

    def resumed(self, stage: int, phase: Phase) -> Trial:
        """The whole trial again from what it left before ``stage``, stopped in ``phase`` of it and continued.

        Both attempts have a new instance of the method, which knows what was saved and nothing else. The supervised
        phase's ends with the stage.

        Raises:
            TrialFailed: it breaks, or does not stop.
        """
        whole = self.whole
        config = configuration(self.method, self.folder / f"resumed-{phase}")
        target = config.run_directory()
        target.mkdir(parents=True)
        shutil.copy(whole.config.run_directory() / "config.json", target)
        for done in range(stage):
            shutil.copytree(whole.folder(done), target / f"stage-{done}")

        def attempts() -> Trial:
            if perform(config, stop_in=(stage, phase)).finished:
                raise BenchError(f"the {phase} phase of stage {stage} had a single step and could not be stopped")
            return perform(config, last=stage if phase == "sft" else None)

        return self._run(f"the run that is stopped in its {phase} phase and continued", attempts)

    def _run(self, trial: str, make: Callable[[], T]) -> T:
        _ = self.cls  # what does not load cannot run, and is told once
        return self._try(trial, make)

    def _try(self, trial: str, make: Callable[[], T]) -> T:
        if trial in self._failed:
            raise self._failed[trial]
        try:
            return make()
        except TrialFailed:
            raise
        except Exception as error:
            self._failed[trial] = TrialFailed(trial, f"{trial}: {in_one_line(error)}")
            raise self._failed[trial] from error


def in_one_line(error: Exception) -> str:
    """An error with the place that raised it; of the project's own errors what they say."""
    if isinstance(error, BenchError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno}, in {frames[-1].name})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"
