"""What is shown in a notebook while runs go on: a bar in the cell's output; elsewhere what suits the terminal."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType

from rich.console import Console

from lifealign_bench.config import RunConfig
from lifealign_bench.experiments.sweep import Sweep, SweepRun
from lifealign_bench.reporting.live import SweepScreen, choose_board, choose_progress
from lifealign_bench.util.progress import Meter, Progress, Stopwatch, Work
from lifealign_bench.util.text import clean, duration

# Shows an output, MIME type to text, in the place of the one before.
Draw = Callable[[Mapping[str, str]], None]


def cell_output() -> Draw | None:
    """A place in the output of the cell that is being executed; None where this is no notebook."""
    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython
    from IPython.display import display

    if not hasattr(get_ipython(), "kernel"):
        return None
    handle = None

    def draw(output: Mapping[str, str]) -> None:
        nonlocal handle
        if handle is None:
            handle = display(dict(output), raw=True, display_id=True)
        else:
            handle.update(dict(output), raw=True)

    return draw


class CellBar:
    """A bar with a line beside it, and the lasting lines below.

    Args:
        draw: see :func:`cell_output`.
        every: seconds between two drawings that nothing lasting is the reason of.
    """

    def __init__(self, draw: Draw, clock: Stopwatch = time.monotonic, every: float = 0.25) -> None:
        self.draw, self.clock, self.every = draw, clock, every
        self.title, self.detail = "", ""
        self.share: float | None = None
        self.lines: list[str] = []
        self._drawn = -every

    def show(self, title: str, share: float, detail: str, *, lasts: bool = False) -> None:
        """How far it is, 0 to 1; drawn now if it ``lasts``, else when the last drawing is old enough."""
        self.title, self.share, self.detail = clean(title), share, clean(detail)
        if lasts or self.clock() - self._drawn >= self.every:
            self._draw()

    def end(self, title: str, detail: str) -> None:
        """No bar any more; what lasts is a line."""
        self.title, self.share, self.detail = clean(title), None, clean(detail)
        self._draw()

    def line(self, text: str) -> None:
        """One more lasting line."""
        self.lines.append(clean(text))
        self._draw()

    def _draw(self) -> None:
        self._drawn = self.clock()
        done = f"{100 * self.share:.0f} %" if self.share is not None else ""
        words = " · ".join(part for part in (done, self.detail) if part)
        bar = f'<progress max="1" value="{self.share:.4f}"></progress> ' if self.share is not None else ""
        first = f"<div><strong>{html.escape(self.title)}</strong> {bar}{html.escape(words)}</div>" if self.title else ""
        self.draw(
            {
                "text/html": first + "".join(f"<div>{html.escape(line)}</div>" for line in self.lines),
                "text/plain": "\n".join([*([f"{self.title}: {words}"] if self.title else []), *self.lines]) + "\n",
            }
        )


class NotebookProgress(Progress):
    """A run in a :class:`CellBar`; see ``Progress`` for the events."""

    def __init__(self, bar: CellBar) -> None:
        self.bar = bar
        self.meter = Meter(bar.clock)

    def run_started(self, config: RunConfig, work: Work) -> None:
        self.meter.start(config, work)
        self._show(lasts=True)

    def phase_started(self, stage: int, name: str, tasks: tuple[str, ...], steps: int) -> None:
        self.meter.enter(stage, name, tasks, steps)
        self._show()

    def advanced(self, work: float, *, step: int | None = None, loss: float | None = None, tokens: int = 0) -> None:
        self.meter.advance(work, step, loss, tokens)
        self._show()

    def notice(self, text: str) -> None:
        self.bar.line(f"note: {text}")

    def prepared(self, text: str) -> None:
        self.bar.show(self.meter.title or "preparing", self.meter.share, text)

    def run_finished(self) -> None:
        """What lasts is how long it took; whether it ended well the call itself says."""
        self.bar.end(self.meter.title, duration(self.meter.clock() - self.meter.began))

    def _show(self, *, lasts: bool = False) -> None:
        left = self.meter.remaining
        parts = [self.meter.heading(), *self.meter.details(), *([f"{duration(left)} left"] if left is not None else [])]
        self.bar.show(self.meter.title, self.meter.share, " · ".join(parts), lasts=lasts)


class NotebookBoard(SweepScreen):
    """A sweep in a :class:`CellBar`: all its runs as one, and a line for every one that ends."""

    def __init__(self, sweep: Sweep, bar: CellBar) -> None:
        super().__init__(sweep)
        self.bar = bar

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._show(lasts=True)

    def tick(self) -> None:
        self._show()

    def line(self, text: str, style: str = "") -> None:
        self.bar.line(text)

    def _show(self, *, lasts: bool = False) -> None:
        runs = self.sweep.runs
        self.bar.show("sweep", sum(map(_share, runs)) / max(1, len(runs)), self.counts(), lasts=lasts)


def _share(run: SweepRun) -> float:
    return run.meter.share if run.state in ("waiting", "running", "interrupted") else 1.0


def progress_here(*, quiet: bool) -> Progress:
    """The progress of a run that suits where this is called: a notebook, a terminal, a file of a log."""
    draw = None if quiet else cell_output()
    return NotebookProgress(CellBar(draw)) if draw is not None else choose_progress(Console(stderr=True), quiet=quiet)


def board_here(sweep: Sweep, *, quiet: bool) -> SweepScreen:
    """The board of a sweep that suits where this is called."""
    draw = None if quiet else cell_output()
    return (
        NotebookBoard(sweep, CellBar(draw))
        if draw is not None
        else choose_board(sweep, Console(stderr=True), quiet=quiet)
    )
