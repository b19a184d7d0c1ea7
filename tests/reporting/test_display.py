"""What a run shows while it works."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable

import pytest
from rich.console import Console

from lifealign_bench.config import RunConfig
from lifealign_bench.reporting.live import PlainProgress, QuietProgress, RichProgress, choose_progress
from lifealign_bench.util.process import stop_on_interrupt
from lifealign_bench.util.progress import Meter, Work


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


Make = Callable[..., RunConfig]


def test_the_meter_extrapolates_from_this_attempt_alone(fake_config: Make) -> None:
    clock = Clock()
    meter = Meter(clock)
    meter.start(fake_config(), Work(total=100.0, stages=2, done=40.0))
    assert meter.remaining is None and meter.share == pytest.approx(0.4)
    clock.now += 10
    meter.advance(20.0, None, None, 0)
    assert meter.remaining == pytest.approx(20.0)  # 40 units left at 2 a second
    assert meter.share == pytest.approx(0.6)


def test_the_meter_knows_step_loss_and_speed(fake_config: Make) -> None:
    clock = Clock()
    meter = Meter(clock)
    meter.start(fake_config(), Work(total=100.0, stages=2))
    meter.enter(1, "train", ("mini-facts",), 12)
    clock.now += 2
    meter.advance(3.0, 4, 0.51234, 3000)
    meter.advance(3.0, None, None, 1000)
    assert meter.heading() == "stage 1/2 train mini-facts"
    assert meter.details() == ["step 4/12", "loss 0.512", "2,000 tokens/s"]
    meter.advance(0.0, 5, float("nan"), 0)
    assert meter.details()[1] == "2,000 tokens/s"  # no loss is better than a NaN that lasts


def test_more_work_than_planned_is_no_crash(fake_config: Make) -> None:
    clock = Clock()
    meter = Meter(clock)
    meter.start(fake_config(), Work(total=10.0, stages=1))
    clock.now += 1
    meter.advance(50.0, None, None, 0)
    assert meter.share < 1 and meter.remaining == 0.0
    meter.start(fake_config(), Work(total=0.0, stages=0))
    assert meter.share == 0.0


def test_plain_lines_come_at_phases_and_now_and_then(fake_config: Make) -> None:
    clock, stream = Clock(), io.StringIO()
    progress = PlainProgress(Console(file=stream, width=40), clock=clock)
    progress.run_started(fake_config(), Work(total=60.0, stages=3))
    progress.phase_started(1, "train", ("a-task-with-quite-a-long-name",), 30)
    for step in range(1, 31):
        clock.now += 1
        progress.advanced(1.0, step=step, loss=1.0 / step, tokens=10)
    progress.notice("two [red]lines[/red]\nand \x1b[31mcolour")
    progress.run_finished()
    lines = stream.getvalue().splitlines()
    assert lines[0] == "dpo on fake, fake, seed 0: 3 stages"
    trained = [line for line in lines if "train" in line]
    assert len(trained) == 4
    assert trained[-1] == (
        "[ 50 %] stage 1/3 train a-task-with-quite-a-long-name, step 30/30, loss 0.033, 10 tokens/s, 30 s left"
    )
    assert lines[-2] == "note: two [red]lines[/red] and [31mcolour"
    assert lines[-1] == "dpo on fake, fake, seed 0: 30 s"


def test_a_continued_run_says_so(fake_config: Make) -> None:
    stream = io.StringIO()
    PlainProgress(Console(file=stream)).run_started(fake_config(), Work(total=60.0, stages=3, done=30.0))
    assert "continued at 50 %" in stream.getvalue()


def test_the_live_display_runs_and_leaves_stages_and_notices(fake_config: Make) -> None:
    clock, stream = Clock(), io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100)
    progress = RichProgress(console, clock=clock)
    progress.run_started(fake_config(), Work(total=60.0, stages=3))
    progress.phase_started(1, "train", ("[bold]odd\x1b[31m",), 30)
    clock.now += 5
    progress.advanced(30.0, step=30, loss=0.25, tokens=100)
    assert progress.live is not None
    progress.live.refresh()
    progress.notice("[red]text[/red]")
    progress.phase_started(1, "score", ("[bold]odd",), 0)
    progress.run_finished()
    progress.run_finished()
    shown = stream.getvalue()
    assert progress.live is None
    assert "stage 1/3 [bold]odd[31m: 30 steps, loss 0.250, 5.0 s" in shown
    assert "[red]text[/red]" in shown
    assert "50 %, 5.0 s left" in shown


def test_the_display_suits_the_console() -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "xterm"})
    pipe = Console(file=io.StringIO())
    assert isinstance(choose_progress(terminal, quiet=False), RichProgress)
    assert isinstance(choose_progress(pipe, quiet=False), PlainProgress)
    assert isinstance(choose_progress(terminal, quiet=True), QuietProgress)


def test_the_first_interrupt_asks_and_the_second_stops() -> None:
    told: list[str] = []
    before = signal.getsignal(signal.SIGINT)
    with stop_on_interrupt(lambda: told.append("once")) as stopped:
        assert not stopped()
        os.kill(os.getpid(), signal.SIGINT)
        assert stopped() and told == ["once"]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
