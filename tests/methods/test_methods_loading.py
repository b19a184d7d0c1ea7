"""Finding and loading methods: by name, by path, and every way in which a file can be broken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.method import METHODS, Method
from lifealign_bench.methods import load_method, method_files, method_names, method_summary

BUILT_IN = ("agem", "cppo", "dpo", "ewc", "gem", "joint", "lifealign", "olora", "repeat", "replay", "sft", "single")
MINE = '''"""A method of one's own."""
from lifealign_bench.method import Method, register_method

@register_method("{name}")
class Mine(Method):
    pass
'''


def write(folder: Path, text: str, name: str = "mine.py") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_methods(name: str) -> None:
    cls = load_method(name)
    assert issubclass(cls, Method)
    assert METHODS.get(name) is cls
    assert load_method(name) is cls
    assert cls.Config.model_config["frozen"]
    assert cls.Config.model_config["extra"] == "forbid"
    assert cls(cls.Config()).state_dict() in ({}, {"constant": 0.0}), "every setting has a default; no state at first"
    assert all(field.description for field in cls.Config.model_fields.values())


@pytest.mark.parametrize("name", BUILT_IN)
def test_summaries_are_one_short_line(name: str) -> None:
    summary = method_summary(name)
    assert 10 < len(summary) < 90
    assert summary.endswith(".")


def test_all_built_in_methods_are_found() -> None:
    assert set(BUILT_IN) <= set(method_files())
    assert set(BUILT_IN) <= set(method_names())
    assert method_names() == sorted(method_names())


def test_unknown_method_names_the_close_ones() -> None:
    for function in (load_method, method_summary):
        with pytest.raises(UsageError, match="no method called 'lifealing'") as error:
            function("lifealing")
        assert "Did you mean 'lifealign'?" in error.value.remedy
        assert "olora" in error.value.remedy


def test_a_name_that_is_close_to_nothing() -> None:
    with pytest.raises(UsageError) as error:
        load_method("zzzzzz")
    assert error.value.remedy.startswith("Known: ")


def test_a_path_works_and_twice_is_the_same(tmp_path: Path) -> None:
    path = write(tmp_path, MINE.format(name="own-by-path"))
    cls = load_method(path)
    assert cls.__name__ == "Mine"
    assert load_method(path) is cls
    assert METHODS.get("own-by-path") is cls


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no method file .*nowhere\.py"):
        load_method(str(tmp_path / "nowhere.py"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\ndef broken(:\n", "SyntaxError"),
        ("import a_module_that_does_not_exist\n", "a_module_that_does_not_exist"),
        ("x = 1\nraise RuntimeError('what a pity')\n", "what a pity"),
        ("x = 1 / 0\n", "ZeroDivisionError"),
        ("", "defines no method"),
        ("from lifealign_bench.method import Method\nclass Forgot(Method):\n    pass\n", "defines no method"),
        (MINE.format(name="own-a") + MINE.format(name="own-b"), "defines 2 methods (own-a, own-b)"),
        (MINE.format(name="own-c") + MINE.format(name="own-c"), "Two methods are called 'own-c'"),
    ],
)
def test_a_broken_file_is_one_clear_message(tmp_path: Path, text: str, says: str) -> None:
    path = write(tmp_path, text)
    known = set(METHODS.names())
    with pytest.raises(BenchError) as error:
        load_method(path)
    assert says in str(error.value)
    assert error.value.remedy
    assert "mine.py" in str(error.value), "the message names the file"
    if "defines" not in says:
        assert set(METHODS.names()) == known, "nothing half-loaded stays behind"


@pytest.mark.parametrize(("text", "line"), [("x = 1\ndef broken(:\n", 2), ("x = 1\ny = 2\nraise ValueError\n", 3)])
def test_a_broken_file_says_the_line(tmp_path: Path, text: str, line: int) -> None:
    with pytest.raises(BenchError, match=f"line {line}"):
        load_method(write(tmp_path, text))


def test_a_file_that_was_mended_loads(tmp_path: Path) -> None:
    path = write(tmp_path, MINE.format(name="own-mended") + "raise ValueError\n")
    with pytest.raises(BenchError):
        load_method(path)
    write(tmp_path, MINE.format(name="own-mended"))
    assert load_method(path).__name__ == "Mine"


def test_listing_imports_no_torch() -> None:
    code = (
        "import lifealign_bench.methods as m, sys;"
        "names = m.method_names(); [m.method_summary(n) for n in names];"
        "assert 'lifealign' in names; assert 'torch' not in sys.modules; assert 'peft' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_loading_one_method_imports_no_other() -> None:
    code = (
        "import sys; from lifealign_bench.methods import load_method; load_method('dpo');"
        "own = [n for n in sys.modules if n.startswith('lifealign_bench.methods.')];"
        "assert own == ['lifealign_bench.methods.dpo'], own"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
