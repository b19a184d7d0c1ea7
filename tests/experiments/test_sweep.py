"""A sweep's states, its board and its engine, without a single run: workers are made up."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from rich.console import Console

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.experiments.engines import local
from lifealign_bench.experiments.engines.events import (
    Advanced,
    Began,
    Ended,
    Entered,
    Event,
    Noticed,
    Planned,
    Prepared,
    read_event,
)
from lifealign_bench.experiments.engines.job import ReportingProgress
from lifealign_bench.experiments.engines.local import LocalEngine, gpu_shares, threads_of_a_job
from lifealign_bench.experiments.engines.words import parse_size
from lifealign_bench.experiments.sweep import Sweep, standing
from lifealign_bench.reporting.live import PlainBoard, RichBoard
from lifealign_bench.runs.directory import RunDirectory
from lifealign_bench.util.progress import Work
from tests.places import V1

Make = Callable[..., RunConfig]


def leave(config: RunConfig, status: str | None, **fixed: str) -> None:
    """A run's folder as an earlier attempt left it; without a status it got nowhere."""
    with RunDirectory.open(config, fixed) as directory:
        if status is not None:
            content = json.loads(V1.read_text()) | {"status": status}
            (directory.path / "record.json").write_text(json.dumps(content))


def test_what_a_folder_says_of_its_run(fake_config: Make, tmp_path: Path) -> None:
    config = fake_config()
    assert standing(config) == ("new", "")
    leave(config, None)
    assert standing(config) == ("to be continued", "")
    leave(config, "failed")
    assert standing(config) == ("to be continued", "")
    leave(config, "complete")
    assert standing(config) == ("finished", "")
    assert standing(config.model_copy(update={"threads": 7}))[0] == "finished"
    # What auto means here is what it meant when the run began.
    assert standing(config.model_copy(update={"dtype": "auto", "device": "auto"}))[0] == "finished"
    found, why = standing(config.model_copy(update={"test_limit": 5}))
    assert found == "other configuration" and "test_limit is 6 there and 5 now" in why
    (config.run_directory() / "record.json").write_text("{")
    assert standing(config)[0] == "to be continued"
    (config.run_directory() / "config.json").write_text("[]")
    assert standing(config)[0] == "other configuration"


def test_a_changed_method_file_is_another_run(fake_config: Make, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("a = 1\n")
    config = fake_config(method=str(file))
    leave(config, "complete", method_file="0" * 64)
    found, why = standing(config)
    assert found == "other configuration" and "method_file" in why


def test_events_survive_the_line_that_they_are_written_on() -> None:
    events: list[Event] = [
        Began(pid=3, host="h"),
        Planned(total=9.5, stages=3, done=0.0),
        Entered(stage=1, name="train", tasks=("a\nb",), steps=4),
        Advanced(work=2.0, step=1, loss=0.5, tokens=8),
        Noticed(text="é\x1b[31m"),
        Prepared(text="Task a: 3 of 9 pairs are tokenized"),
        Ended(status="failed", message="m", remedy="r", foreseen=False, trace="t\nt"),
    ]
    for event in events:
        line = event.model_dump_json()
        assert "\n" not in line and read_event(line) == event
    for rubbish in ("", "hello", "[1]", '{"kind": "began"}', b"\xff"):
        assert read_event(rubbish) is None


def test_a_worker_reports_a_few_times_a_second_and_loses_no_work() -> None:
    said: list[Event] = []
    now = [0.0]
    progress = ReportingProgress(said.append, lambda: now[0])
    progress.phase_started(1, "train", ("a",), 40)
    for step in range(1, 41):
        now[0] += 0.05
        progress.advanced(2.0, step=step, loss=float("nan"), tokens=3)
    progress.run_finished()
    reports = [event for event in said if isinstance(event, Advanced)]
    assert len(reports) < 10
    assert sum(r.work for r in reports) == 80.0 and sum(r.tokens for r in reports) == 120
    assert reports[-1].step == 40
    assert read_event(reports[-1].model_dump_json()) is not None  # a loss that JSON cannot hold


def test_a_worker_says_how_far_its_preparation_is(fake_config: Make) -> None:
    said: list[Event] = []
    ReportingProgress(said.append).prepared("Task a: 3 of 9 pairs are tokenized")
    made = Sweep.of([fake_config()])
    assert made.told(1, Began(pid=1, host="h")).meter.heading() == "loading"
    assert made.told(1, said[0]).meter.heading() == "Task a: 3 of 9 pairs are tokenized"
    made.told(1, Entered(stage=0, name="reference", tasks=("a",), steps=0))
    assert made.runs[0].meter.heading().startswith("stage 0")


@pytest.fixture
def sweep(fake_config: Make) -> tuple[Sweep, list[float]]:
    """Four runs, of which one is finished, and the clock."""
    configs = [fake_config(seed=seed) for seed in range(4)]
    leave(configs[0], "complete")
    now = [100.0]
    return Sweep.of(configs, lambda: now[0]), now


def test_states_and_remaining_time(sweep: tuple[Sweep, list[float]]) -> None:
    made, now = sweep
    assert [run.state for run in made.runs] == ["finished before", "waiting", "waiting", "waiting"]
    assert list(made.to_do()) == [2, 3, 4] and made.remaining is None
    made.told(2, Began(pid=1, host="h"))
    made.told(2, Planned(total=100.0, stages=3, done=20.0))
    made.told(2, Entered(stage=1, name="train", tasks=("fake-upper",), steps=9))
    now[0] += 10.0
    made.told(2, Advanced(work=40.0, step=4, loss=0.5))
    # 4 units a second; 40 of this run and 100 of each of the two others are left.
    assert made.remaining == pytest.approx(60.0)
    assert made.runs[1].meter.heading() == "stage 1/3 train fake-upper"
    made.told(2, Ended(status="complete"))
    made.told(3, Ended(status="failed", message="no"))
    assert made.remaining == pytest.approx(25.0)
    assert [run.state for run in made.runs] == ["finished before", "complete", "failed", "waiting"]


def test_a_run_that_begins_again_counts_its_work_anew(sweep: tuple[Sweep, list[float]]) -> None:
    made, now = sweep
    for done in (0.0, 50.0):
        made.told(2, Began(pid=1, host="h"))
        made.told(2, Planned(total=100.0, stages=3, done=done))
        now[0] += 1.0
        made.told(2, Advanced(work=10.0))
    assert made.runs[1].meter.share == pytest.approx(0.6)


def test_a_run_of_another_configuration_is_that_run_s_failure(fake_config: Make) -> None:
    leave(fake_config(test_limit=3), "complete")
    made = Sweep.of([fake_config(), fake_config(seed=1)])
    assert [run.state for run in made.runs] == ["failed", "waiting"]
    end = made.runs[0].ended
    assert end is not None and end.foreseen and "test_limit" in end.message and "--out" in end.remedy


def test_plain_lines(sweep: tuple[Sweep, list[float]]) -> None:
    made, now = sweep
    text = io.StringIO()
    board = PlainBoard(made, Console(file=text, width=40))
    said: list[tuple[int, Event]] = [
        (2, Began(pid=77, host="h")),
        (2, Noticed(text="Task a: 3 dropped.")),
        (3, Began(pid=78, host="h")),
        (3, Noticed(text="Task a: 3 dropped.")),
        (3, Ended(status="failed", message="The loss [red]is[/red] \x1b[31mNaN.")),
        (2, Ended(status="complete")),
    ]
    for number, event in said:
        board.heard(made.told(number, event), event)
        now[0] += 6.0
        board.tick()
    lines = text.getvalue().splitlines()
    assert lines[0] == "begun: dpo on fake, fake, seed 1 (process 77 on h)"
    assert sum("Task a: 3 dropped." in line for line in lines) == 1
    assert any(line.startswith("failed: dpo on fake, fake, seed 2: The loss [red]is[/red]") for line in lines)
    assert any(line.startswith("complete: dpo on fake, fake, seed 1") for line in lines)
    assert any("2 of 4 done, 1 failed" in line for line in lines)
    assert "\x1b" not in text.getvalue()


def test_the_live_board_fits_the_terminal(fake_config: Make) -> None:
    made = Sweep.of([fake_config(seed=seed) for seed in range(30)])
    console = Console(file=io.StringIO(), width=80, height=16, force_terminal=True)
    board = RichBoard(made, console)
    made.told(29, Began(pid=1, host="h"))
    made.told(28, Ended(status="failed", message="[red]broken"))
    with console.capture() as captured:
        console.print(board.render())
    lines = captured.get().splitlines()
    assert len(lines) <= 14
    assert "seed 28" in lines[0] and "seed 27" in lines[1] and "[red]broken" in lines[1]
    assert any("and 20 more" in line for line in lines) and "0 of 30 done, 1 failed, 1 running" in lines[-1]


def test_threads_are_divided_unless_said() -> None:
    config = RunConfig(method="dpo", stream="fake", tasks=("a",))
    assert threads_of_a_job(8, 3, config, {}) == 2
    assert threads_of_a_job(2, 4, config, {}) == 1
    assert threads_of_a_job(8, 1, config, {}) is None
    assert threads_of_a_job(8, 2, config, {"OMP_NUM_THREADS": "3"}) is None
    assert threads_of_a_job(8, 2, config.model_copy(update={"threads": 3}), {}) is None


def test_every_job_has_gpus_of_its_own() -> None:
    four = ["0", "1", "2", "5"]
    assert gpu_shares(four, 1, None) == [("0",), ("1",), ("2",), ("5",)]
    assert gpu_shares(four, 2, None) == [("0", "1"), ("2", "5")]
    assert gpu_shares(four, 2, 1) == [("0", "1")]
    assert gpu_shares(["3"], 1, 3) == [("3",)] * 3
    with pytest.raises(UsageError, match="2 GPUs, and this machine shows 1"):
        gpu_shares(["0"], 2, None)


@pytest.mark.parametrize(("text", "size"), [("16G", 2**34), ("1.5 GiB", 3 * 2**29), ("512m", 2**29), ("1TB", 2**40)])
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["16", "", "0G", "-1G", "much", "G"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a size"):
        parse_size(text)


class MadeUp:
    """A worker that ends after so many looks at it, as its seed says."""

    alive: ClassVar[list[MadeUp]] = []
    most = 0
    environments: ClassVar[dict[int, dict[str, str]]] = {}
    starts: ClassVar[list[int]] = []

    def __init__(
        self,
        config: RunConfig,
        tell: Any,
        *,
        environment: Mapping[str, str],
        processes: int,
        patience: float = 0.0,
        warm: Any = None,
    ) -> None:
        self.seed, self.looks, self.asked, self.killed = config.seed, 0, False, False
        MadeUp.alive.append(self)
        MadeUp.most = max(MadeUp.most, len(MadeUp.alive))
        MadeUp.environments[self.seed] = dict(environment)
        MadeUp.starts.append(self.seed)
        tell(Began(pid=self.seed, host="h"))

    def ended(self) -> Ended | None:
        self.looks += 1
        if self.looks < 3 and not self.asked:
            return None
        MadeUp.alive.remove(self)
        if self.asked:
            return Ended(status="interrupted")
        if self.seed == 1:
            return Ended(status="failed", message="It was killed.", died=True)
        return Ended(status="failed", message="no") if self.seed == 2 else Ended(status="complete")

    def stop(self) -> None:
        self.asked = True

    def kill(self) -> None:
        self.killed = True
        MadeUp.alive.remove(self)


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> type[MadeUp]:
    """The local engine starts these in the place of processes."""
    MadeUp.alive, MadeUp.most, MadeUp.environments, MadeUp.starts = [], 0, {}, []
    monkeypatch.setattr(local, "WorkerProcess", MadeUp)
    monkeypatch.setattr(local, "_WAIT_SECONDS", 0.0)
    monkeypatch.delenv("OMP_NUM_THREADS")
    return MadeUp


def test_so_many_at_a_time_and_the_killed_ones_again(fake_config: Make, made_up: type[MadeUp]) -> None:
    ends: dict[int, str] = {}

    def tell(number: int, event: Event) -> None:
        if isinstance(event, Ended):
            ends[number] = event.status

    runs = {seed: fake_config(seed=seed) for seed in range(5)}
    LocalEngine([("0",), ("1",)], cores=6, retries=2).work(runs, tell, lambda: False, lambda: None)
    assert made_up.most == 2 and not made_up.alive
    assert ends == {0: "complete", 1: "failed", 2: "failed", 3: "complete", 4: "complete"}
    assert made_up.starts.count(1) == 3 and made_up.starts.count(2) == 1
    assert {e["CUDA_VISIBLE_DEVICES"] for e in made_up.environments.values()} == {"0", "1"}
    assert {e["OMP_NUM_THREADS"] for e in made_up.environments.values()} == {"3"}


def test_stopping_begins_no_other(fake_config: Make, made_up: type[MadeUp]) -> None:
    ends: list[str] = []
    runs = {seed: fake_config(seed=seed) for seed in (0, 3, 4)}
    LocalEngine([(), ()], cores=2).work(
        runs,
        lambda number, event: ends.append(event.status) if isinstance(event, Ended) else None,
        lambda: bool(made_up.alive),
        lambda: None,
    )
    assert made_up.starts == [0, 3] and ends == ["interrupted"] * 2


def test_the_second_interrupt_leaves_no_process(fake_config: Make, made_up: type[MadeUp]) -> None:
    def tick() -> None:
        raise KeyboardInterrupt

    runs = {seed: fake_config(seed=seed) for seed in (0, 3)}
    with pytest.raises(KeyboardInterrupt):
        LocalEngine([(), ()], cores=2).work(runs, lambda number, event: None, lambda: False, tick)
    assert made_up.starts == [0, 3] and not made_up.alive


def test_work_is_of_the_run_s_plan() -> None:
    said: list[Event] = []
    ReportingProgress(said.append).run_started(RunConfig(method="dpo", stream="s", tasks=("a",)), Work(3.0, 2, 1.0))
    assert said == [Planned(total=3.0, stages=2, done=1.0)]


def test_no_key_is_handed_to_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray writes what it is given into its logs."""
    from lifealign_bench.experiments.engines.ray import passed_on

    monkeypatch.setenv("HF_HOME", "/shared/hf")
    monkeypatch.setenv("LIFEALIGN_BENCH_CACHE", "/shared/cache")
    monkeypatch.setenv("HF_TOKEN", "hf_secret1")
    monkeypatch.setenv("LIFEALIGN_BENCH_JUDGE_API_KEY", "secret2")
    monkeypatch.setenv("https_proxy", "http://user:secret3@proxy:3128")
    monkeypatch.setenv("no_proxy", "localhost")
    found = passed_on()
    assert found["HF_HOME"] == "/shared/hf" and found["LIFEALIGN_BENCH_CACHE"] == "/shared/cache"
    assert found["no_proxy"] == "localhost"
    assert "secret" not in "".join(found.values())
