"""``new method`` writes what passes every check that the project makes; ``check method`` says what does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lifealign_bench.cli import main
from lifealign_bench.cli.authors import write_method
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.methods import load_method, method_files, method_summary
from tests.places import ROOT

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Run a command line in this process, in a folder of its own; gives exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    return run


def execute(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, cwd=cwd, env=environment, timeout=600
    )


def test_new_method_writes_two_files_and_says_what_next(call: Call, tmp_path: Path) -> None:
    code, out, _ = call("new", "method", "near_start")
    assert code == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["near_start.py", "test_near_start.py"]
    for command in ("check method near_start.py", "pytest test_near_start.py", "run --method near_start.py"):
        assert command in out
    cls = load_method(str(tmp_path / "near_start.py"))
    assert cls.__name__ == "NearStart" and cls.Config().model_dump() == {"strength": 0.1}


def test_new_method_overwrites_only_when_told(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("# my work\n")
    code, _, err = call("new", "method", "mine")
    assert code == 2 and "mine.py is there already" in err and "--force" in err
    assert (tmp_path / "mine.py").read_text() == "# my work\n" and not (tmp_path / "test_mine.py").exists()
    assert call("new", "method", "mine", "--force")[0] == 0
    assert "register_method" in (tmp_path / "mine.py").read_text()


@pytest.mark.parametrize("name", ["Mine", "my-method", "1st", "", "class", "my method", "../mine", "mine_", "ähm"])
def test_what_is_no_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="not a name for a method"):
        write_method(name, tmp_path)
    assert not list(tmp_path.rglob("*"))


def test_names_that_are_taken_or_mean_something_else(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a method called 'ewc' already"):
        write_method("ewc", tmp_path, force=True)
    for name in ("all", "test_mine"):
        with pytest.raises(UsageError, match="another meaning"):
            write_method(name, tmp_path)


def test_a_folder_that_is_not_there_or_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no folder"):
        write_method("mine", tmp_path / "nowhere")
    # Where every file is a method, a test beside it would be one too: it goes where the tests of methods are.
    folder = next(iter(method_files().values())).parent
    with pytest.raises(UsageError, match="already"):
        write_method("dpo", folder)


def test_among_the_built_in_methods_the_test_goes_to_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "dpo.py").write_text("")
    monkeypatch.setattr("lifealign_bench.methods._METHODS.folder", tmp_path / "methods")
    with pytest.raises(BenchError, match="installed package"):
        write_method("mine", tmp_path / "methods")
    (tmp_path / "tests" / "methods").mkdir(parents=True)
    file, test = write_method("mine", tmp_path / "methods")
    assert (file, test) == (tmp_path / "methods" / "mine.py", tmp_path / "tests" / "methods" / "test_mine.py")
    assert 'METHOD = "mine"' in test.read_text()
    assert method_summary("mine").startswith("Mine: DPO with a pull")


def test_what_new_method_writes_is_clean(tmp_path: Path) -> None:
    write_method("my_2nd_method", tmp_path)
    ours = ["--config", str(ROOT / "pyproject.toml"), "--config", 'lint.isort.known-first-party=["lifealign_bench"]']
    for words in (["check", *ours], ["format", "--check", *ours[:2]]):
        done = execute("ruff", *words, "--no-cache", str(tmp_path))
        assert done.returncode == 0, done.stdout


@pytest.mark.model
def test_what_new_method_writes_is_typed(tmp_path: Path) -> None:
    files = [str(path) for path in write_method("my_2nd_method", tmp_path)]
    done = execute("mypy", *files)
    assert done.returncode == 0, done.stdout


@pytest.mark.model
def test_the_test_that_new_method_writes_passes_and_can_fail(tmp_path: Path) -> None:
    write_method("near_start", tmp_path)
    wrong, _ = write_method("wrong", tmp_path)
    wrong.write_text(wrong.read_text().replace("strength / 2 *", "strength *"))
    # The folder's own conftest and configuration are all that counts.
    words = ["pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "-k", "near_start or by_hand"]
    done = execute(*words, str(tmp_path), cwd=tmp_path)
    assert "1 failed, 2 passed, 1 deselected" in done.stdout, done.stdout
    assert "FAILED test_wrong.py::test_the_pull_by_hand" in done.stdout


def test_check_says_what_a_file_lacks(call: Call, tmp_path: Path) -> None:
    (tmp_path / "half.py").write_text('"""Half."""\nimport nothing_of_the_kind\n')
    code, out, _ = call("check", "method", "half.py", "--no-processes")
    assert code == 2
    assert out.startswith("Verdict: half.py does not conform: ") and "1 failed" in out
    assert "No module named 'nothing_of_the_kind'" in out.replace("\n", " ")
    for word in ("expected:", "happened:", "remedy:"):
        assert out.count(word) == 1
    code, out, _ = call("check", "method", "half.py", "--no-processes", "--json")
    found = json.loads(out)
    assert code == 2 and found["passed"] is False and found["method"] == "half.py"
    assert [c["check"] for c in found["checks"] if c["result"] == "fail"] == ["loads"]
    assert all(c["result"] == "skip" for c in found["checks"][1:])
    assert {"check", "result", "expected", "found", "remedy"} == found["checks"][0].keys()


def test_check_refuses_what_is_no_method(call: Call) -> None:
    code, _, err = call("check", "method", "ewcc")
    assert code == 2 and "Did you mean 'ewc'" in err
    code, _, err = call("check", "method", "nowhere.py")
    assert code == 2 and "no method file nowhere.py" in err


def test_check_shows_markup_and_escapes_as_text(call: Call, tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text('raise ValueError("[red]odd[/red]\\x1b[31m")\n')
    code, out, _ = call("check", "method", "odd.py", "--no-processes")
    assert code == 2 and "[red]odd[/red]" in out and "\x1b" not in out


def test_a_method_that_passes_ends_in_0(call: Call) -> None:
    code, out, err = call("check", "method", "joint", "--no-processes")
    assert code == 0, out
    assert "0 failed" in out and "Traceback" not in err
