"""``import lifealign_bench as lb``: what it offers, what it costs to import, what it gives back and how it fails."""

from __future__ import annotations

import ast
import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

import lifealign_bench as lb
from lifealign_bench.cli import run as run_command
from lifealign_bench.cli import sweep as sweep_command
from lifealign_bench.config import RunConfig
from lifealign_bench.experiments.engines.events import Began, Ended, Noticed
from lifealign_bench.experiments.request import Words, build_configs
from lifealign_bench.experiments.sweep import Sweep
from lifealign_bench.reporting.notebook.display import CellBar, NotebookBoard, NotebookProgress, cell_output
from lifealign_bench.results.published import publish_run
from lifealign_bench.results.statistics import cell_means
from lifealign_bench.results.view import RunView
from lifealign_bench.runs.run import run as do_run
from lifealign_bench.util.progress import Progress, Work
from tests.documented import blocks
from tests.places import ROOT

CALLS = "lifealign_bench.reporting.notebook.calls"
# Options of the command that say how it shows something.
SHOWING = {"dry_run", "slurm", "gpu", "dump_config", "full", "quiet", "as_json"}
FAKE: dict[str, Any] = {"method": "dpo", "stream": "fake", "model": "fake", "limit": 6, "progress": False}
SETTINGS: dict[str, Any] = {"max_new_tokens": 6, "checkpoint_steps": 1, "batch_size": 2}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lb.Runs]:
    """Two seeds of one method on the fakes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIFEALIGN_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield lb.run(**FAKE, seed=[0, 1], set=SETTINGS, out=tmp_path_factory.mktemp("runs"))


def imported(program: str) -> set[str]:
    """What of the heavy libraries ``program`` leaves imported."""
    heavy = "{'torch', 'pandas', 'pydantic', 'rich', 'numpy', 'typer'}"
    words = [sys.executable, "-c", f"import sys\n{program}\nprint(*sorted({heavy} & set(sys.modules)))"]
    return set(subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT).stdout.split())


def test_importing_it_imports_nothing() -> None:
    assert imported("import lifealign_bench as lb; dir(lb)") == set()
    assert imported("import lifealign_bench as lb; lb.BenchError") == set()


def test_all_that_is_promised_is_there_and_typed() -> None:
    tree = ast.parse(Path(lb.__file__).read_text(encoding="utf-8"))
    (typed,) = [node for node in tree.body if isinstance(node, ast.If)]
    names = {alias.name for node in typed.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert names == set(lb.__all__) == set(dir(lb)) - {"__version__"}
    for name in lb.__all__:
        found = getattr(lb, name)
        assert found.__name__ == name and found.__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = lb.nothing  # type: ignore[attr-defined]


def asked(monkeypatch: pytest.MonkeyPatch, **words: Any) -> tuple[RunConfig, ...]:
    """The runs that a call would do."""
    monkeypatch.setattr(f"{CALLS}._one", lambda config, progress: done.append(config))
    monkeypatch.setattr(f"{CALLS}.save_comparisons", lambda views, say: None)
    monkeypatch.setattr(f"{CALLS}.Run", lambda view: view)
    done: list[RunConfig] = []
    lb.run(**words)
    return tuple(done)


def test_options_have_the_names_of_the_command_line() -> None:
    options = set(inspect.signature(run_command.run).parameters) - SHOWING - {"assignment"} | {"set"}
    with pytest.raises(lb.BenchError) as refused:
        lb.run(nonsense=1)
    known = refused.value.remedy.partition("Known: ")[2].rstrip(".").split(", ")
    assert set(known) == options and len(known) == len(options)
    of_a_sweep = set(inspect.signature(sweep_command.sweep).parameters) - options - SHOWING - {"assignment"}
    assert of_a_sweep <= set(inspect.signature(lb.sweep).parameters)


def test_words_mean_what_they_mean_on_the_command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = asked(
        monkeypatch,
        method=["dpo", "replay"],
        stream="fake",
        model="fake",
        seed=range(2),
        set={"epochs": 2, "target_modules": ("q_proj", "k_proj"), "learning_rate": 5e-6, "replay_fraction": 0.5},
        train_limit=3,
        test_limit=0,
        scorer="preference",
        sft=True,
        out=str(tmp_path),
        progress=False,
    )
    assignments = ("epochs=2", "target_modules=q_proj,k_proj", "learning_rate=5e-6", "replay_fraction=0.5")
    options = {"method": ["dpo,replay"], "stream": ["fake"], "model": "fake", "seed": ["0,1"], "train_limit": 3}
    options |= {"test_limit": 0, "scorer": ["preference"], "sft": True, "out": tmp_path, "assignment": assignments}
    assert len({config.clock for config in found}) == 1, "runs that are started together have one clock"
    found = tuple(config.model_copy(update={"clock": None}) for config in found)
    assert found == build_configs(Words.of(options)).configs and len(found) == 4
    file = tmp_path / "runs.yaml"
    file.write_text("stream: fake\nmodel: fake\nseed: 3\n", encoding="utf-8")
    (config,) = asked(monkeypatch, config=file, method="dpo", progress=False)
    assert (config.seed, config.method) == (3, "dpo")


def test_several_seeds_give_several_runs_and_one_frame(runs: lb.Runs) -> None:
    assert [(run.method, run.stream, run.model, run.seed, run.status) for run in runs] == [
        ("dpo", "fake", "fake", seed, "complete") for seed in (0, 1)
    ]
    for frame in ("scores", "metrics", "per_task", "pairs", "responses"):
        both = getattr(runs, frame)
        assert list(both.columns[:4]) == ["method", "stream", "model", "seed"] and len(both)
        pd.testing.assert_frame_equal(both, pd.concat([getattr(r, frame) for r in runs], ignore_index=True))
    assert isinstance(runs[:1], lb.Runs) and runs[:1][0] is runs[0] and len(runs + runs[:1]) == 3
    assert runs[0].tasks == ("fake-upper", "fake-lower", "fake-digits")
    assert len(lb.Runs()) == 0 and list(lb.Runs().metrics.columns) == list(runs.metrics.columns)


def test_frames_hold_the_records_numbers(runs: lb.Runs) -> None:
    run, record = runs[0], runs[0].record
    cell = run.scores.query("score == 'preference_accuracy' and stage == 2 and task == 'fake-upper'")
    assert cell["value"].item() == record.scores["preference_accuracy"].value[2][0] and cell["n"].item() == 6
    metrics: Any = run.metrics.set_index(["score", "metric"])
    for score, values in record.metrics.items():
        for metric, value in values.items():
            if (score, metric) in metrics.index and value is not None:
                assert metrics.loc[(score, metric), "value"] == pytest.approx(value)
    last = metrics.loc[("preference_accuracy", "last")]
    assert last["low"] <= last["value"] <= last["high"] and last["standard_error"] >= 0
    pairs = run.pairs
    assert len(pairs) == 4 * 3 * 6 and {"preference_accuracy", "preference_margin", "reward"} <= set(pairs.columns)
    own = pairs.query("stage == 3 and task == 'fake-lower'")["preference_accuracy"].to_numpy(dtype=float)
    matrix = record.scores["preference_accuracy"]
    assert 100 * float(cell_means(own[None], matrix.partial)[0]) == pytest.approx(matrix.value[3][1])
    assert set(run.responses["stage"]) == {0, 1, 2, 3} and all(
        isinstance(text, str) for text in run.responses["response"]
    )
    for frame in (run.scores, run.metrics, run.pairs):
        numbers = frame.drop(
            columns=["method", "stream", "model", "score", "metric", "task", "pair_id"], errors="ignore"
        )
        assert all(np.issubdtype(kind, np.number) for kind in numbers.dtypes)


def test_a_run_is_read_as_it_was_given(runs: lb.Runs, tmp_path: Path) -> None:
    (again,) = lb.read(runs[0].path)
    pd.testing.assert_frame_equal(again.metrics, runs[0].metrics)
    above = runs[0].path.parents[3]
    assert [run.seed for run in lb.read(above)] == [0, 1]
    place = tmp_path / "dpo" / "seed-0.json"
    place.parent.mkdir()
    publish_run(runs[0].path, place)
    (published,) = lb.read(str(place))
    assert published.path == place and list(published.responses.columns) == list(runs.responses.columns)
    assert len(published.responses) == 0
    pd.testing.assert_frame_equal(published.pairs, runs[0].pairs)
    (place.parent / "seed-1.json").write_text("{}", encoding="utf-8")
    with pytest.warns(UserWarning, match="seed-1.json is left out"):
        assert len(lb.read(tmp_path)) == 1


def test_a_run_that_is_not_what_its_files_give_is_read_with_a_warning(runs: lb.Runs, tmp_path: Path) -> None:
    copy = tmp_path / "seed-0"
    shutil.copytree(runs[0].path, copy)
    record = json.loads((copy / "record.json").read_text(encoding="utf-8"))
    record["metrics"]["preference_accuracy"]["last"] += 1
    (copy / "record.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.warns(UserWarning, match="last") as warned:
        lb.read(copy)
    assert warned[0].filename == __file__
    with pytest.warns(UserWarning, match="last"):
        lb.report(copy, tmp_path / "report.html")


def test_a_finished_run_is_not_trained_again(runs: lb.Runs) -> None:
    files = {file: file.stat().st_mtime_ns for file in runs[0].path.rglob("*.safetensors")}
    (again,) = lb.run(**FAKE, seed=0, set=SETTINGS, out=runs[0].path.parents[3])
    assert again.record == runs[0].record
    assert files and files == {file: file.stat().st_mtime_ns for file in files}


class Interrupts(Progress):
    """Sends this process Ctrl-C once it has trained."""

    def __init__(self, times: int) -> None:
        self.left = times

    def advanced(self, work: float, *, step: int | None = None, loss: float | None = None, tokens: int = 0) -> None:
        while step is not None and self.left:
            self.left -= 1
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupted_run_is_continued_by_the_same_call(
    runs: lb.Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    words = {**FAKE, "seed": 0, "set": SETTINGS, "out": tmp_path}
    before = signal.getsignal(signal.SIGINT)  # a shell's background jobs ignore it
    with monkeypatch.context() as patch:
        patch.setattr(f"{CALLS}.progress_here", lambda *, quiet: Interrupts(times))
        with pytest.raises(KeyboardInterrupt):
            lb.run(**words)
    assert signal.getsignal(signal.SIGINT) is before
    (stopped,) = lb.read(tmp_path)
    assert stopped.status == "interrupted" and stopped.metrics["value"].isna().all() and stopped._repr_html_()
    (whole,) = lb.run(**words)
    assert whole.status == "complete" and whole.record.attempts == 2
    pd.testing.assert_frame_equal(whole.pairs, runs[0].pairs)


class InCell:
    """Stands for a method that is defined in a cell."""


@pytest.mark.parametrize(
    ("words", "says", "remedy"),
    [
        ({"method": "dpx"}, "no method called 'dpx'", "Did you mean 'dpo'"),
        ({"epochs": 2}, "'epochs' is a setting", 'set={"epochs": ...}'),
        ({"scorers": ["reward"]}, "no option of a run called 'scorers'", "Did you mean 'scorer'"),
        ({"set": {"epocs": 2}}, "no setting called 'epocs'", "'epochs'"),
        ({"set": {"epochs": "two"}}, "epochs must be an integer", "passes over"),
        ({"limit": "6"}, "limit is '6'", "a whole number"),
        ({"limit": True}, "limit is True", "a whole number"),
        ({"seed": 1.5}, "seed must be an integer", ""),
        ({"model": 7}, "model is 7", "a text"),
        ({"sft": 1}, "sft is 1", "True or False"),
        ({"data_dir": "nowhere"}, "no data folder", "exists"),
        ({"device": "tpu"}, "tpu", "cpu"),
        ({"method": InCell}, "InCell is a class", "%%writefile my_method.py"),
        ({"scorer": [InCell]}, "InCell is a class", "%%writefile my_scorer.py"),
        ({"method": InCell()}, "method is <", "a list of them"),
    ],
)
def test_errors_say_what_to_do(words: dict[str, Any], says: str, remedy: str, tmp_path: Path) -> None:
    for function in (lb.run, lb.sweep):
        with pytest.raises(lb.BenchError) as refused:
            function(**{**FAKE, "out": tmp_path, **words})
        assert says in str(refused.value) and remedy in str(refused.value)
        assert remedy in refused.value.remedy
        shown = refused.value._render_traceback_()  # what a notebook shows in place of a traceback
        assert shown[0] == f"error: {refused.value.message}" and shown[1:] == [refused.value.remedy][: len(shown) - 1]
    assert not list(tmp_path.iterdir())


def test_errors_of_reading_say_what_to_do(runs: lb.Runs, tmp_path: Path) -> None:
    calls: dict[str, Callable[[], object]] = {
        "none. Name the folder of a run": lambda: lb.read(tmp_path / "none"),
        "There is no run in": lambda: lb.read(tmp_path),
        "There is nothing to read": lb.read,
        "needs two runs": lambda: lb.compare(runs[0]),
        "no score of dpo seed 0 called 'worth'": lambda: lb.compare(runs, score="worth"),
        "There is no record": lambda: lb.leaderboard(tmp_path / "none"),
        "no stream of these records called 'mini'": lambda: lb.leaderboard(runs, stream="mini"),
        "no metric called 'lats'": lambda: lb.leaderboard(runs, by="lats"),
        "--jobs is 0": lambda: lb.sweep(**FAKE, jobs=0),
        "no engine called 'slurm'": lambda: lb.sweep(**FAKE, engine="slurm"),
        "'many' is not a number of orders": lambda: lb.sweep(**FAKE, orders="many"),
    }
    for says, call in calls.items():
        with pytest.raises(lb.BenchError) as refused:
            call()
        assert says in str(refused.value) and refused.value.remedy in str(refused.value) != "", says
        assert refused.value.remedy, says


def test_what_the_machine_refuses_is_a_bench_error(
    runs: lb.Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device", str(tmp_path))

    monkeypatch.setattr(f"{CALLS}.write_page", full)
    with pytest.raises(lb.BenchError, match="Free some space"):
        lb.report(runs, tmp_path / "report.html")


def test_a_run_that_fails_does_not_stop_the_others(runs: lb.Runs, tmp_path: Path) -> None:
    (first,) = lb.run(**FAKE, seed=0, set=SETTINGS, out=tmp_path)
    changed = {**SETTINGS, "batch_size": 3}
    with pytest.raises(lb.BenchError) as refused:
        lb.run(**FAKE, seed=[0, 1], set=changed, out=tmp_path)
    assert "1 of 2 runs failed. dpo on fake, fake, seed 0: " in str(refused.value) and "batch_size" in str(
        refused.value
    )
    assert [run.status for run in lb.read(tmp_path)] == ["complete", "complete"]
    with pytest.raises(lb.BenchError) as alone:
        lb.run(**FAKE, seed=0, set=changed, out=tmp_path)
    assert str(alone.value) in str(refused.value) and first.seed == 0


class Here:
    """An engine that does runs in this process; the last one is stopped where it is asked to."""

    def __init__(self, stops: bool = False) -> None:
        self.stops = stops

    def work(
        self, runs: Mapping[int, RunConfig], tell: Any, stopped: Callable[[], bool], tick: Callable[[], None]
    ) -> None:
        for number, config in runs.items():
            tell(number, Began(pid=1, host="here"))
            if self.stops and number == len(runs):
                tell(number, Ended(status="interrupted", message="Stopped."))
                continue
            if config.seed == 9:
                tell(number, Ended(status="failed", message="It broke.", remedy="Mend it."))
                continue
            do_run(config)
            tell(number, Ended(status="complete"))
            tick()


def test_a_sweep_gives_runs_and_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = {**FAKE, "seed": [0, 1], "set": SETTINGS, "out": tmp_path, "jobs": 2}
    monkeypatch.setattr(f"{CALLS}.make_engine", lambda configs, wanted, notice: (Here(stops=True), configs))
    with pytest.raises(KeyboardInterrupt, match="The same call continues it"):
        lb.sweep(**words)
    monkeypatch.setattr(f"{CALLS}.make_engine", lambda configs, wanted, notice: (Here(), configs))
    assert [(run.seed, run.status) for run in lb.sweep(**words)] == [(0, "complete"), (1, "complete")]
    assert (tmp_path / "fake" / "fake" / "comparison.md").is_file()
    with pytest.raises(lb.BenchError) as refused:
        lb.sweep(**{**words, "seed": [0, 1, 9]})
    assert "1 of 3 runs failed. dpo on fake, fake, seed 9: It broke. Mend it." in str(refused.value)
    with pytest.raises(lb.BenchError) as alone:
        lb.sweep(**{**words, "seed": 9})
    assert str(alone.value) == "It broke. Mend it."


def test_a_leaderboard_of_runs_is_that_of_their_records(runs: lb.Runs, tmp_path: Path) -> None:
    for run in runs:
        place = tmp_path / "dpo" / f"seed-{run.seed}.json"
        place.parent.mkdir(exist_ok=True)
        publish_run(run.path, place)
    board, published = lb.leaderboard(runs), lb.leaderboard(str(tmp_path), stream="fake", model=["fake"])
    pd.testing.assert_frame_equal(board.ranks, published.ranks)
    (row,) = board.ranks.to_dict("records")
    assert row["method"] == "dpo" and row["seeds"] == "0 1" and row["ranked_by"] == "last"
    assert row["status"] == "too few seeds" and pd.isna(row["rank_best"]) and pd.isna(row["rank_worst"])
    assert row["last_low"] <= row["last"] <= row["last_high"]
    values = runs.metrics.query("score == 'preference_accuracy' and metric == 'last'")["value"]
    assert row["last"] == pytest.approx(values.mean())
    columns = ["first", "second", "value", "low", "high", "standard_error", "p", "p_holm"]
    assert list(board.differences.columns[4:]) == list(board.planned.columns[4:]) == columns
    (place.parent / "seed-5.json").write_text("{}", encoding="utf-8")
    assert list(lb.leaderboard(tmp_path).not_ranked["record"]) == ["dpo/seed-5.json"]
    nothing = lb.Leaderboard([])
    assert {"rank_best", "method", "last", "last_low"} <= set(nothing.ranks.columns) and len(nothing.ranks) == 0
    assert len(nothing.differences) == len(nothing.not_ranked) == 0 and nothing._repr_html_()
    assert "1 methods" in repr(board) and "dpo" in board._repr_html_()


def test_a_comparison_is_in_frames(runs: lb.Runs) -> None:
    found = lb.compare(runs)
    metrics = found.metrics.set_index("metric").loc["last"]
    assert metrics["difference"] == pytest.approx(metrics["second_value"] - metrics["first_value"])
    assert (metrics["first"], metrics["second"]) == ("dpo seed 0", "dpo seed 1")
    assert metrics["low"] <= metrics["difference"] <= metrics["high"] and metrics["p"] <= metrics["p_holm"]
    assert set(found.tasks["what"]) == {"learned", "final", "forgetting"} and set(found.stages["stage"]) == {0, 1, 2, 3}
    assert set(found.pairs["task"]) <= set(runs[0].tasks)
    (seeds,) = found.settings.loc[["seed"]].to_dict("records")
    assert seeds == {"dpo seed 0": 0, "dpo seed 1": 1}
    pd.testing.assert_frame_equal(lb.compare(runs[0], runs[1].path).metrics, found.metrics)
    assert "dpo seed 1" in found._repr_html_() and "dpo seed 1" in repr(found)


def test_a_report_is_written_and_foreign_files_stay(runs: lb.Runs, tmp_path: Path) -> None:
    page = lb.report(runs[0], tmp_path / "report.html")
    assert page == tmp_path / "report.html" and "dpo" in page.read_text(encoding="utf-8")
    both = [runs[0].path, runs[1].path]
    with pytest.raises(lb.BenchError, match="a report of other runs"):
        lb.report(both, page)
    assert lb.report(both, str(page), title="Two seeds", force=True) == page
    assert "Two seeds" in page.read_text(encoding="utf-8")
    other = tmp_path / "mine.html"
    other.write_text("mine", encoding="utf-8")
    with pytest.raises(lb.BenchError):
        lb.report(runs, other)
    assert other.read_text(encoding="utf-8") == "mine"


def test_html_shows_names_and_does_nothing(runs: lb.Runs) -> None:
    record = runs[0].record
    hostile = "<img src=x onerror=alert(1)>"
    evil = record.model_copy(
        update={
            "config": {**record.config, "model": hostile},
            "method": record.method.model_copy(update={"name": hostile}),
        }
    )
    run = lb.Run(RunView(evil, runs[0].path))
    for thing in (run, lb.Runs([run, runs[1]]), lb.leaderboard([run]), lb.compare(run, runs[1])):
        shown = thing._repr_html_()
        assert "<img" not in shown and "<script" not in shown
    assert "&lt;img src=x" in lb.leaderboard([run])._repr_html_()
    one = runs[0]._repr_html_()
    assert "Preference accuracy" in one and "fake-digits" in one and "<table>" in one
    assert "Summary" not in runs._repr_html_() and "mean of 2" in runs._repr_html_()
    assert repr(runs).startswith("<2 runs>\n<Run dpo on fake, fake, seed 0: complete, ")


class Clock:
    """A clock that a test turns."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_bar_of_a_notebook(fake_config: Callable[..., RunConfig]) -> None:
    clock = Clock()
    drawn: list[Mapping[str, str]] = []
    progress = NotebookProgress(CellBar(drawn.append, clock))
    progress.run_started(fake_config(model="<b>"), Work(total=100.0, stages=3))
    progress.phase_started(1, "train", ("fake-upper",), 4)
    for _ in range(50):
        clock.now += 0.01
        progress.advanced(1.0, step=2, loss=0.5)
    assert 2 <= len(drawn) <= 4, "it is not drawn at every step"
    assert '<progress max="1" value="0.' in drawn[-1]["text/html"]
    assert "<b>" not in drawn[-1]["text/html"].replace("</b>", "") and "&lt;b&gt;" in drawn[-1]["text/html"]
    assert "stage 1/3 train fake-upper · step 2/4 · loss 0.500" in drawn[-1]["text/plain"]
    progress.notice("<i>note</i>")
    assert "&lt;i&gt;note" in drawn[-1]["text/html"] and "note: <i>note</i>" in drawn[-1]["text/plain"]
    clock.now += 1
    progress.run_finished()
    assert "seed 0: 1.5 s\nnote: <i>note</i>" in drawn[-1]["text/plain"] and "<progress" not in drawn[-1]["text/html"]


def test_the_board_of_a_notebook(fake_config: Callable[..., RunConfig]) -> None:
    drawn: list[Mapping[str, str]] = []
    sweep = Sweep.of([fake_config(seed=seed) for seed in (0, 1)])
    with NotebookBoard(sweep, CellBar(drawn.append)) as board:
        for event in (Began(pid=1, host="here"), Noticed(text="a note"), Ended(status="complete")):
            board.heard(sweep.told(1, event), event)
        board.tick()
    assert 'value="0.5000"' in drawn[-1]["text/html"] and "1 of 2 done" in drawn[-1]["text/plain"]
    assert "complete: dpo on fake" in drawn[-1]["text/plain"] and "note: a note" in drawn[-1]["text/plain"]


def test_a_bar_is_drawn_where_there_is_a_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[str, object]] = []

    class Handle:
        def update(self, output: object, raw: bool) -> None:
            shown.append(("update", output))

    def display(output: object, raw: bool, display_id: bool) -> Handle:
        shown.append(("display", output))
        return Handle()

    class Shell:
        kernel = object()

    ipython, outputs = ModuleType("IPython"), ModuleType("IPython.display")
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", outputs)
    monkeypatch.setattr(ipython, "get_ipython", lambda: None, raising=False)
    monkeypatch.setattr(outputs, "display", display, raising=False)
    assert cell_output() is None, "IPython on a terminal"
    monkeypatch.setattr(ipython, "get_ipython", Shell, raising=False)
    draw = cell_output()
    assert draw is not None
    draw({"text/plain": "a"})
    draw({"text/plain": "b"})
    assert shown == [("display", {"text/plain": "a"}), ("update", {"text/plain": "b"})]


def test_progress_is_plain_lines_without_a_display_and_can_be_off(
    runs: lb.Runs, capfd: pytest.CaptureFixture[str]
) -> None:
    words = {**FAKE, "seed": 0, "set": SETTINGS, "out": runs[0].path.parents[3]}
    lb.run(**words)
    assert capfd.readouterr() == ("", "")
    lb.run(**{**words, "progress": True})
    shown = capfd.readouterr()
    assert shown.out == "" and "finished already" in shown.err


def test_bars_of_the_user_stay(monkeypatch: pytest.MonkeyPatch, runs: lb.Runs) -> None:
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    lb.run(**FAKE, seed=0, set=SETTINGS, out=runs[0].path.parents[3])
    assert "TQDM_DISABLE" not in os.environ


def test_the_page_of_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").symlink_to(ROOT / "results")
    names: dict[str, Any] = {}
    for line, language, text in blocks(ROOT / "docs" / "python.md"):
        if language == "python":
            exec(compile("\n" * line + text, "docs/python.md", "exec"), names)
    assert isinstance(names["runs"], lb.Runs) and (tmp_path / "report.html").is_file()


def test_the_readme_shows_it() -> None:
    (text,) = [text for _, language, text in blocks(ROOT / "README.md") if "import lifealign_bench as lb" in text]
    tree = ast.parse(text)
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    used = {node.attr for node in attributes if isinstance(node.value, ast.Name) and node.value.id == "lb"}
    assert used and used <= set(lb.__all__)


def test_the_notebook_has_no_outputs_and_is_a_notebook() -> None:
    content = json.loads((ROOT / "docs" / "notebooks" / "first-run.ipynb").read_text(encoding="utf-8"))
    assert content["nbformat"] == 4 and all(not cell.get("outputs") for cell in content["cells"])
