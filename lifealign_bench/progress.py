"""What a run tells while it works; the command line shows it, a library user may ignore it."""

from __future__ import annotations

from dataclasses import dataclass

from lifealign_bench.config import RunConfig

__all__ = ["Progress", "Work"]


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


class Progress:
    """Receives the events of a run; every event does nothing here.

    The order is: ``run_started``, then for every part of the run ``phase_started`` and any number of ``advanced``, and
    at the end ``run_finished``. ``notice`` may come at any time.
    """

    def run_started(self, config: RunConfig, work: Work) -> None:
        """A run begins (or goes on, when ``work.done`` is not 0)."""

    def phase_started(self, stage: int, name: str, tasks: tuple[str, ...], steps: int) -> None:
        """A part of stage ``stage`` begins: ``name`` is reference, train, score or generate; ``steps`` 0 if unknown."""

    def advanced(self, work: float, *, step: int | None = None, loss: float | None = None, tokens: int = 0) -> None:
        """``work`` units were done; ``tokens`` went through the model; ``loss`` of the last optimizer step."""

    def notice(self, text: str) -> None:
        """Something that the user should know: a cleaned file, a corrupt checkpoint, an assumption."""

    def run_finished(self) -> None:
        """The run ended, well or not."""
