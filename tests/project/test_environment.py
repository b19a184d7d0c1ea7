"""The page of environment variables and exit codes lists what the code knows, and nothing else."""

from __future__ import annotations

import ast
import re

from rich.console import Console

from lifealign_bench.cli import leaderboard, results
from lifealign_bench.cli.output import INTERRUPTED, show_failure
from lifealign_bench.errors import BenchError, Interrupted, UsageError
from tests.places import ROOT

PAGE = (ROOT / "docs" / "environment.md").read_text(encoding="utf-8")
NAME = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+|RANK")
# Words in capitals that are no variables: of libraries' interfaces, and names of our own.
OTHERS = {
    *("CAUSAL_LM", "CERTIFICATE_VERIFY_FAILED", "O_BINARY", "O_NONBLOCK", "SEQ_CLS", "UNSAFE_CODE"),
    *("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC", "FORCE_USE_FLEX_ATTENTION", "MULTI_CPU", "MULTI_GPU"),
    *("ENOUGH_SEEDS", "HELD_OUT", "NOT_TRAINING", "WIN_RATE"),
}
# Read by the libraries below, and nowhere in our code.
BELOW = {"HF_TOKEN", "PIP_INDEX_URL", "PIP_NO_INDEX", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"}


def in_code() -> set[str]:
    found = set()
    for path in (ROOT / "lifealign_bench").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and NAME.fullmatch(node.value):
                found.add(node.value)
    return found - OTHERS


def test_every_environment_variable_is_on_the_page() -> None:
    shown = {name for name in re.findall(r"`([A-Z0-9_]+)`", PAGE) if NAME.fullmatch(name)}
    assert shown - BELOW == in_code()


def test_the_exit_codes_are_those_of_the_code() -> None:
    codes = dict(re.findall(r"^\| (\d+) \| (.*) \|$", PAGE, flags=re.MULTILINE))
    assert set(codes) == {"0", "1", "2", "130"}
    assert BenchError("m", "r").exit_code == UsageError("m", "r").exit_code == results.FAILED == 2
    assert Interrupted("m", "r").exit_code == INTERRUPTED == 130
    assert leaderboard.STALE == 1 and "`leaderboard --check` | 1:" in PAGE


def test_a_fault_of_the_program_ends_with_1() -> None:
    assert show_failure(Console(quiet=True), RuntimeError("broken")) == 1
    assert show_failure(Console(quiet=True), UsageError("m", "r")) == 2
