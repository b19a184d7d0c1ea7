"""``--report-to``: training curves and scores for experiment trackers, as they come.

A tracker is a guest: what it needs is checked before the run, and when it fails later the run goes on without it.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any, Protocol

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.util.levels import flat_levels
from lifealign_bench.util.progress import Progress, Work
from lifealign_bench.util.redaction import redact
from lifealign_bench.util.registry import unknown_name

PROJECT = "lifealign-bench"


class Tracker(Protocol):
    """Takes numbers under names."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers at an optimizer step, counted through the whole run."""
        ...

    def finish(self) -> None:
        """The run ended."""
        ...


class _TensorBoard:
    """Event files in the run's folder, ``tensorboard/``."""

    def __init__(self, config: RunConfig, name: str) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self.writer = SummaryWriter(str(config.run_directory() / "tensorboard"))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            self.writer.add_scalar(key, value, step)
        self.writer.flush()

    def finish(self) -> None:
        self.writer.close()


class _Wandb:
    """Weights & Biases; WANDB_MODE=offline keeps it on this machine."""

    def __init__(self, config: RunConfig, name: str) -> None:
        import wandb

        self.run: Any = wandb.init(project=PROJECT, name=name, config=_said(config), dir=str(config.run_directory()))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def finish(self) -> None:
        self.run.finish()


class _Trackio:
    """Trackio: a local dashboard of its own (``trackio show``), in TRACKIO_DIR or the user's cache."""

    def __init__(self, config: RunConfig, name: str) -> None:
        import trackio

        self.library: Any = trackio
        trackio.init(project=PROJECT, name=name, config=_flat(_said(config)))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.library.log(dict(values), step=step)

    def finish(self) -> None:
        self.library.finish()


class _Mlflow:
    """MLflow; MLFLOW_TRACKING_URI says where to (a folder only with MLFLOW_ALLOW_FILE_STORE=true)."""

    def __init__(self, config: RunConfig, name: str) -> None:
        import mlflow

        self.library: Any = mlflow
        mlflow.set_experiment(PROJECT)
        mlflow.start_run(run_name=name)
        # MLflow refuses values of more than 500 characters.
        mlflow.log_params({key: str(value)[:500] for key, value in _flat(_said(config)).items()})

    def log(self, step: int, values: Mapping[str, float]) -> None:
        # A slash groups there as well; other signs in a task's name are not allowed.
        self.library.log_metrics({_plain_name(key): value for key, value in values.items()}, step=step)

    def finish(self) -> None:
        self.library.end_run()


TRACKERS: dict[str, Callable[[RunConfig, str], Tracker]] = {
    "tensorboard": _TensorBoard,
    "wandb": _Wandb,
    "trackio": _Trackio,
    "mlflow": _Mlflow,
}


def check_trackers(names: Sequence[str]) -> None:
    """Refuse trackers that are unknown, not installed, or installed and broken.

    Raises:
        UsageError: names the remedy.
    """
    for name in names:
        if name not in TRACKERS:
            raise unknown_name("tracker", name, TRACKERS)
        if importlib.util.find_spec(name) is None:
            raise UsageError(f"The tracker {name} is not installed.", f"Install it: pip install {name}.")
        try:
            # A release that does not fit its own dependencies would otherwise be found out after the run has begun.
            with redirect_stdout(sys.stderr):
                importlib.import_module(name)
        except Exception as error:
            raise UsageError(
                f"The tracker {name} is installed and cannot be imported: {type(error).__name__}: {error}",
                f"Install a release of it that fits: pip install --upgrade {name}.",
            ) from error


class Tracking(Progress):
    """Passes what a run tells on to trackers.

    Steps are counted through all stages and phases. A run that goes on after a stop begins a new run of the tracker
    with the same name and group of steps, from the last checkpoint on.
    """

    def __init__(self, names: Sequence[str], notice: Callable[[str], None]) -> None:
        self.names = names
        self.tell = notice
        self.trackers: dict[str, Tracker] = {}
        self.before = 0  # optimizer steps of the phases before this one
        self.step = 0

    def run_started(self, config: RunConfig, work: Work) -> None:
        """Open the trackers."""
        name = redact(f"{config.method_name} {config.stream} {config.model} seed {config.seed}")
        for tracker in self.names:
            self._try(tracker, lambda tracker=tracker: self._open(tracker, config, name))  # type: ignore[misc]

    def _open(self, tracker: str, config: RunConfig, name: str) -> None:
        self.trackers[tracker] = TRACKERS[tracker](config, name)

    def phase_started(self, stage: int, name: str, tasks: tuple[str, ...], steps: int) -> None:
        """Count the steps of earlier phases; what takes no optimizer step trains nothing."""
        if steps:
            self.before = self.step

    def logged(self, stage: int, phase: str, step: int, values: Mapping[str, float]) -> None:
        """The curves of training."""
        self.step = self.before + step
        self._log({f"train/{phase}/{key}": value for key, value in values.items()} | {"train/stage": float(stage)})

    def scored(self, stage: int, values: Mapping[str, Mapping[str, float]]) -> None:
        """Every score of every task, and their means over the tasks."""
        found = {f"{score}/{task}": value for score, tasks in values.items() for task, value in tasks.items()}
        means = {f"{score}/mean": sum(tasks.values()) / len(tasks) for score, tasks in values.items() if tasks}
        self._log({**found, **means, "stage": float(stage)})

    def run_finished(self) -> None:
        """Close the trackers."""
        for name in list(self.trackers):
            self._try(name, self.trackers[name].finish)
        self.trackers = {}

    def _log(self, values: Mapping[str, float]) -> None:
        known = {key: value for key, value in values.items() if math.isfinite(value)}
        for name in list(self.trackers):
            self._try(name, lambda name=name: self.trackers[name].log(self.step, known))  # type: ignore[misc]

    def _try(self, name: str, action: Callable[[], None]) -> None:
        """A tracker that fails is told once and left; the numbers are in the run's folder all the same."""
        try:
            # What a tracker's library prints would spoil the tables and the JSON of standard output.
            with redirect_stdout(sys.stderr):
                action()
        except Exception as error:  # noqa: BLE001 - whatever a tracker's library raises must not stop a run of hours
            self.trackers.pop(name, None)
            self.tell(f"The tracker {name} failed and gets nothing more of this run: {type(error).__name__}: {error}")


def _said(config: RunConfig) -> dict[str, Any]:
    """The settings that a tracker is told, which may send them anywhere."""
    found: dict[str, Any] = json.loads(redact(json.dumps(config.identity())))
    return found


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    plain = str | int | float | bool | None
    return {key: value if isinstance(value, plain) else str(value) for key, value in flat_levels(values).items()}


def _plain_name(key: str) -> str:
    return "".join(c if c.isalnum() or c in "_-./ " else "_" for c in key)
