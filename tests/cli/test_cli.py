"""The command line: what it prints, and how it ends."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lifealign_bench import __version__
from lifealign_bench.cli import main
from lifealign_bench.cli.catalog import KINDS
from lifealign_bench.config import RunConfig
from lifealign_bench.errors import BenchError, Interrupted
from lifealign_bench.results.record import Record, read_record
from lifealign_bench.util.progress import Progress, Work
from tests.places import V1

HEAVY = ("torch", "pandas", "transformers", "datasets", "trl", "peft", "scipy", "pyarrow")
FAKE = ["run", "--model", "fake", "--stream", "fake"]

Call = Callable[..., tuple[int, str, str]]
Runs = list[RunConfig]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Run a command line in this process; gives exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lifealign-bench", *words])
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    return run


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Every run gives the record of tests/records at once; collects what was asked for."""
    asked: Runs = []

    def run(config: RunConfig, progress: Progress, stopped: Callable[[], bool]) -> Record:
        asked.append(config.model_copy(update={"clock": None}))  # of runs that are started together it is now
        if config.method == "ewc":
            raise BenchError("The loss is [red]NaN[/red] at step 3.", "Lower the learning rate.")
        if config.method == "olora":
            raise OSError(errno.ENOSPC, "No space left on device", "/full/disk/x")
        progress.run_started(config, Work(10.0, 3))
        progress.phase_started(1, "train", ("fake-upper",), 3)
        progress.advanced(5.0, step=1, loss=0.5, tokens=100)
        progress.run_finished()
        record = read_record(V1)
        directory = config.run_directory()
        directory.mkdir(parents=True, exist_ok=True)
        content = record.to_json()
        content["method"]["name"] = config.method
        content["config"] |= {"method": config.method, "seed": config.seed}
        (directory / "record.json").write_text(json.dumps(content))
        return Record.model_validate(content)

    monkeypatch.setattr("lifealign_bench.runs.run.run", run)
    return asked


def test_light_commands_import_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from lifealign_bench.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit:\n"
        f"    print('loaded', [m for m in {HEAVY!r} if m in sys.modules])\n"
    )
    for words in (
        ["--help"],
        ["run", "--help"],
        ["sweep", "--help"],
        ["list"],
        ["--version"],
        ["run", "--method", "nope"],
        ["data", "verify"],
    ):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=300)
        assert done.stdout.splitlines()[-1] == "loaded []", (words, done.stdout, done.stderr)


def test_version(call: Call) -> None:
    assert call("--version") == (0, f"lifealign-bench {__version__}\n", "")


def test_help_names_every_command_and_gives_examples(call: Call) -> None:
    code, out, _ = call("--help")
    assert code == 0
    assert all(word in out for word in ("run", "list", "show", "doctor", "summary", "data", "Examples"))
    code, out, _ = call("run", "--help")
    flags = (
        "--method --stream --model --seed --limit --set --preset --evaluate --out --data-dir --device --dtype "
        "--dry-run --dump-config --config --gpu --quiet --json --scorer --trust-remote-code --train-limit --test-limit"
    )
    assert code == 0 and all(flag in out for flag in flags.split())


@pytest.mark.parametrize("what", ["methods", "streams", "tasks", "scorers", "metrics", "task", "all"])
def test_lists(call: Call, what: str) -> None:
    code, out, _ = call("list", what)
    expected = {"methods": "lifealign", "streams": "order1", "tasks": "HC3", "scorers": "win_rate", "metrics": "BWT"}
    assert code == 0 and expected.get(what, "HC3") in out


def test_without_a_name_the_names_of_every_kind_are_one_screen(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = call("list")
    assert code == 0 and len(out.splitlines()) <= 25
    assert all(word in out for word in (*KINDS, "dpo", "order1", "HC3", "preference", "FWT", "more", "list methods"))
    _, everything, _ = call("list", "all")
    assert all(word in everything for word in ("lifealign", "order1", "HC3", "preference_margin", "FWT"))


def test_show_a_method_a_stream_and_a_task(call: Call) -> None:
    _, out, _ = call("show", "lifealign")
    assert "focal_gamma" in out and "2509.17183" in out
    _, out, _ = call("show", "mini")
    assert "mini-facts" in out and "train_limit" in out
    _, out, _ = call("show", "fake-upper")
    assert out.count("chosen:") == 3 and "kept" in out


def test_show_never_takes_data_for_markup(call: Call, tmp_path: Path) -> None:
    rows = [{"prompt": f"[bold]q{i}\x1b[31m", "chosen": f"[/red]c{i}", "rejected": f"[link=x]r{i}"} for i in range(4)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "odd.yaml").write_text(
        "name: odd\ntitle: '[red]odd'\nsource: {type: file, train: t.jsonl, test: t.jsonl}\n"
    )
    code, out, _ = call("show", str(tmp_path / "odd.yaml"))
    assert code == 0
    assert "[bold]q0" in out and "[/red]c0" in out and "[link=x]r0" in out and "[red]odd" in out
    assert "\x1b" not in out


def test_show_says_when_a_name_has_two_meanings(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lifealign_bench.cli.catalog.task_names", lambda fakes: ["mini"])
    _, out, _ = call("show", "mini")
    assert "mini is a stream and a task; this is the stream." in out


def test_doctor(call: Call) -> None:
    code, out, _ = call("doctor")
    assert code == 0
    assert all(word in out for word in ("torch", "--device auto", "embedded model", "disk of the cache", "HC3"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--method", "lifealin"], "Did you mean 'lifealign'?"),
        (["run", "--stream", "mni"], "Did you mean 'mini'?"),
        (["run", "--stream", "HC3,HC4"], "Did you mean 'HC3'?"),
        (["run", "--scorer", "rewrd"], "Did you mean 'reward' or"),
        (["run", "--set", "epcohs=3"], "Did you mean 'epochs' or"),
        (["run", "--set", "epochs=three"], "epochs must be an integer >= 1, got 'three'"),
        (["run", "--method", "lifealign", "--set", "energy=2"], "energy must be a number > 0 and <= 1, got '2'"),
        (["run", "--seed", "-1"], "seed must be an integer >= 0"),
        (["run", "--limit", "three"], "Invalid value for '--limit'"),
        (["run", "--dtype", "int8"], "dtype must be auto or float32 or bfloat16"),
        (["run", "--device", "cdua"], "'cdua' is not a device"),
        (["run", "--preset", "papr"], "Did you mean 'paper'?"),
        (["run", "--method", "nowhere.py"], "no method file nowhere.py"),
        (["run", "--mehtod", "dpo"], "--mehtod"),
        (["run", "--model", "fake", "--method", "dpo", "--stream", "fake", "--out", "{file}"], "not a dir"),
        (
            ["run", "--model", "no/such-model", "--method", "dpo", "--stream", "mini"],
            "'no/such-model' cannot be loaded",
        ),
        (["list", "methds"], "Did you mean 'methods'"),
        (["show", "mni"], "Did you mean 'mini'?"),
        (["show", "nowhere.yaml"], "nowhere.yaml"),
        (["summary", "nowhere"], "no record"),
        (["sumary"], "sumary"),
        (["sweep", "--method", "lifealin"], "Did you mean 'lifealign'?"),
        (["sweep", "--orders", "many"], "--orders 'many' is not a number of orders"),
        (["sweep", "--engine", "rya"], "Did you mean 'ray'?"),
        (["sweep", "--address", "auto"], "--address is for --engine ray"),
        (["sweep", "--engine", "ray", "--jobs", "2"], "--jobs is for --engine local"),
        (["sweep", "--memory-per-run", "big"], "'big' is not a size"),
        (["sweep", "--jobs", "0"], "'--jobs'"),
        (["sweep", "--device", "cdua", *FAKE[1:]], "'cdua' is not a device"),
        (["sweep", "--method", "nowhere.py", "--dry-run"], "no method file nowhere.py"),
        (["orders", "nowhere"], "no record"),
        (["orders", str(V1)], "no two orders"),
    ],
)
def test_bad_input_is_one_clear_message(call: Call, tmp_path: Path, words: list[str], message: str) -> None:
    (tmp_path / "file").write_text("")
    code, out, err = call(*(word.format(file=tmp_path / "file") for word in words))
    assert code == 2, (out, err)
    assert message.lower() in err.lower()
    assert "Traceback" not in out + err
    assert not (tmp_path / "runs" / "mini").exists() or "no/such-model" in words


def test_a_run_ends_in_one_screen_and_its_tables_are_files(
    call: Call, runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = call(*FAKE, "--method", "dpo", "--limit", "5", "--set", "epochs=2")
    assert code == 0
    assert len(out.splitlines()) <= 25 and "Time and tokens" not in out
    for word in ("learned", "forgotten", "win rate", "cost", "Next"):
        assert any(line.startswith(word) for line in out.splitlines()), word
    assert "stage 1/3 train fake-upper" in err and "tables as files" in err
    (config,) = runs
    assert (config.train_limit, config.training.epochs) == (5, 2)
    assert (tmp_path / "runs/fake/fake/dpo/seed-0/tables/summary.md").is_file()


def test_all_tables_are_shown_with_full(call: Call, runs: Runs) -> None:
    for words in (FAKE, ["summary", "runs/fake/fake/dpo/seed-0"]):
        options = ["--method", "dpo"] if words is FAKE else []
        code, out, _ = call(*words, *options, "--full")
        assert code == 0 and "Summary" in out and "Time and tokens" in out


def test_quiet_shows_results_only(call: Call, runs: Runs) -> None:
    code, out, err = call(*FAKE, "--method", "dpo,joint", "--quiet")
    assert (code, err) == (0, "")
    assert "fake on fake" in out and "joint" in out


def test_json_is_one_document_on_stdout(call: Call, runs: Runs) -> None:
    code, out, err = call(*FAKE, "--method", "dpo", "--seed", "0,1", "--json")
    assert code == 0
    first, second = json.loads(out)
    assert (first["seed"], second["seed"]) == (0, 1)
    assert first["directory"] == "runs/fake/fake/dpo/seed-0"
    assert first["metrics"]["preference_accuracy"]["last"]["value"] == pytest.approx(84.848, abs=1e-3)
    assert "stage 1/3" in err


def test_several_runs_are_compared(call: Call, runs: Runs, tmp_path: Path) -> None:
    code, out, err = call(*FAKE, "--method", "dpo,joint", "--seed", "0", "--seed", "1")
    assert code == 0 and len(runs) == 4
    assert "2 seeds" in out and "run 4 of 4" in err and len(out.splitlines()) <= 25
    assert (tmp_path / "runs/fake/fake/comparison.csv").is_file()


def test_a_failed_run_does_not_stop_the_others(call: Call, runs: Runs) -> None:
    code, out, err = call(*FAKE, "--method", "ewc,olora,dpo")
    assert code == 2
    assert [config.method for config in runs] == ["ewc", "olora", "dpo"]
    assert "The loss is [red]NaN[/red] at step 3." in err and "Lower the learning rate." in err
    assert "No space left on device: /full/disk/x" in err and "Free some space" in err
    assert "2 of 3 runs failed" in err
    assert "Time" not in out and "win rate" in out and "Traceback" not in err


def test_an_unforeseen_error_is_code_1_and_keeps_its_traceback(
    call: Call, monkeypatch: pytest.MonkeyPatch, runs: Runs
) -> None:
    def run(*_: Any) -> Record:
        raise ZeroDivisionError("in a hook")

    monkeypatch.setattr("lifealign_bench.runs.run.run", run)
    code, _, err = call(*FAKE, "--method", "dpo")
    assert code == 1
    assert "This should not happen: ZeroDivisionError: in a hook" in err and "Traceback" in err


@pytest.mark.parametrize("error", [Interrupted("Stopped in stage 1 at step 3 of 9."), KeyboardInterrupt()])
def test_an_interrupted_run_says_how_to_go_on(
    call: Call, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def run(*_: Any) -> Record:
        raise error

    monkeypatch.setattr("lifealign_bench.runs.run.run", run)
    code, _, err = call(*FAKE, "--method", "dpo,joint", "--set", "scheduler=linear", "--out", "a folder")
    assert code == 130
    assert (
        "lifealign-bench run --model fake --stream fake --method dpo,joint --set scheduler=linear --out 'a folder'"
        in err
    )
    assert "Traceback" not in err and "run 2 of 2" not in err


def test_only_the_first_process_of_a_launch_speaks(call: Call, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    place = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    assert call(*FAKE, "--method", "dpo") == (0, "", "")
    assert call(*FAKE, "--method", "dpo", "--json") == (0, "", "")
    assert call("run", "--method", "nope") == (2, "", "")


def test_summary_of_finished_runs(call: Call, runs: Runs) -> None:
    call(*FAKE, "--method", "dpo,joint")
    one, two = "runs/fake/fake/dpo/seed-0", "runs/fake/fake/joint/seed-0"
    code, out, _ = call("summary", one)
    assert code == 0 and f"lifealign-bench summary --full {one}" in out
    code, out, _ = call("summary", one, two)
    assert code == 0 and "fake on fake" in out and "joint" in out
    code, out, _ = call("summary", one, two, "--json")
    assert [run["method"] for run in json.loads(out)] == ["dpo", "joint"]


def test_a_dry_run_shows_the_plan_and_writes_nothing(call: Call, tmp_path: Path) -> None:
    code, out, err = call(*FAKE, "--method", "lifealign", "--dry-run", "--set", "focal_gamma=0")
    assert code == 0, err
    assert all(word in out for word in ("Plan", "focal_gamma 0", "runs/fake/fake/lifealign/seed-0", "Stages"))
    assert not (tmp_path / "runs").exists()


def test_tables_of_runs_before_that_of_single_are_made_again_with_intransigence(call: Call, tmp_path: Path) -> None:
    words = ["--method", "dpo,single", "--limit", "4", "--scorer", "preference", "--quiet"]
    code, _, err = call(*FAKE, *words)
    assert code == 0, err
    tables = tmp_path / "runs/fake/fake/dpo/seed-0/tables"
    assert "Intransigence is against fake/fake/single/seed-0." in (tables / "summary.md").read_text()
    found = json.loads((tables / "summary.json").read_text())["metrics"]["preference_accuracy"]["intransigence"]
    assert found["value"] is not None and found["low"] <= found["value"] <= found["high"]
    assert "intransigence" in (tmp_path / "runs/fake/fake/comparison.md").read_text()


def test_a_sweep_s_dry_run_shows_every_run_and_its_state(call: Call, runs: Runs, tmp_path: Path) -> None:
    call(*FAKE, "--method", "dpo", "--seed", "0")
    config = runs[0]
    content = {"schema_version": 1, "config": config.identity(), "fixed": {}}
    (config.run_directory() / "config.json").write_text(json.dumps(content))
    code, out, err = call("sweep", *FAKE[1:], "--method", "dpo,joint", "--orders", "2", "--dry-run")
    assert code == 0, err
    assert "1 finished" in out and "3 new" in out and "runs/fake/fake/joint/seed-0" in out
    assert not (tmp_path / "runs/fake/fake/joint").exists()
    code, out, _ = call("sweep", *FAKE[1:], "--method", "dpo", "--orders", "2", "--dry-run", "--json")
    assert [run["state"] for run in json.loads(out)] == ["finished", "new"]
    code, out, _ = call("sweep", *FAKE[1:], "--method", "dpo", "--limit", "3", "--dry-run")
    assert code == 0 and "other configuration" in out and "train_limit" in out


def test_a_sweep_of_finished_runs_starts_nothing_and_shows_their_tables(call: Call, runs: Runs, tmp_path: Path) -> None:
    call(*FAKE, "--method", "dpo,joint", "--device", "cpu", "--dtype", "float32")
    for config in runs:
        content = {"schema_version": 1, "config": config.identity(), "fixed": {}}
        (config.run_directory() / "config.json").write_text(json.dumps(content))
    words = ["sweep", *FAKE[1:], "--method", "dpo,joint", "--device", "cpu", "--dtype", "float32"]
    code, out, err = call(*words)
    assert code == 0 and "2 runs: 2 finished." in err and "fake on fake" in out
    code, out, _ = call(*words, "--json")
    content = json.loads(out)
    assert code == 0 and content["orders"] == []
    assert [run["state"] for run in content["runs"]] == ["finished before"] * 2
    assert content["runs"][0]["metrics"]["preference_accuracy"]["last"]["value"] == pytest.approx(84.848, abs=1e-3)
    # A run of another configuration is that run's failure; the other one is as before.
    code, out, err = call(*words, "--set", "checkpoint_steps=3", "--quiet")
    assert code == 2 and "2 of 2 runs failed" in err and "checkpoint_steps is 20 there and 3 now" in err


def test_a_sweep_is_not_to_be_launched_as_several_processes(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, _, err = call("sweep", *FAKE[1:])
    assert code == 2 and "without accelerate launch" in err


def test_without_ray_the_remedy_is_told(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, err = call("sweep", *FAKE[1:], "--engine", "ray")
    assert code == 2 and "lifealign-bench[cluster]" in err and "Traceback" not in err


def test_a_dry_run_names_the_commands_for_one_gpu_and_several(call: Call) -> None:
    code, out, err = call(*FAKE, "--method", "dpo", "--dry-run", "--gpu", "A100")
    assert code == 0, err
    assert "On A100 GPUs" in out
    assert "accelerate launch --multi_gpu --num_processes 8" in out
    assert "-m lifealign_bench run --model fake --stream fake --method dpo\n" in out
    code, out, err = call(*FAKE, "--method", "dpo", "--dry-run", "--json")
    assert code == 0 and [gpu["count"] for gpu in json.loads(out)[0]["gpus"]] == [1, 2, 8]


def test_a_gpu_is_for_planning_and_must_be_known(call: Call, runs: Runs) -> None:
    code, _, err = call(*FAKE, "--dry-run", "--gpu", "abacus")
    assert code == 2 and "no GPU called 'abacus'" in err and "H100" in err
    code, _, err = call(*FAKE, "--gpu", "H100")
    assert code == 2 and "--dry-run" in err and runs == []


def test_a_dumped_configuration_runs_the_same(call: Call, runs: Runs, tmp_path: Path) -> None:
    words = (*FAKE, "--method", "dpo,lifealign", "--set", "focal_gamma=0", "--seed", "4", "--sft")
    code, out, err = call(*words, "--dump-config", "run.yaml")
    assert code == 0 and out == "" and "run --config run.yaml" in err and runs == []
    call(*words)
    direct = list(runs)
    runs.clear()
    code, _, err = call("run", "--config", "run.yaml")
    assert code == 0, err
    assert runs == direct and len(direct) == 2
    code, out, _ = call("run", "--config", "run.yaml", "--dump-config", "-")
    assert code == 0 and out == (tmp_path / "run.yaml").read_text()
    code, _, err = call(*words, "--dump-config", "run.yaml")
    assert code == 2 and "already" in err


def test_a_mistake_in_a_config_file_is_one_message(call: Call, runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("model: fake\nmethd: dpo\n")
    code, out, err = call("run", "--config", "run.yaml")
    assert code == 2 and out == "" and runs == []
    assert "run.yaml, line 2: there is no key called 'methd'" in " ".join(err.split()) and "'method'" in err


def test_presets_are_listed_and_shown(call: Call) -> None:
    code, out, _ = call("list", "presets")
    assert code == 0 and "paper" in out and "small" in out
    code, out, _ = call("show", "paper")
    assert code == 0 and "Qwen/Qwen2.5-7B-Instruct" in out and "published" in out and "ours" in out
