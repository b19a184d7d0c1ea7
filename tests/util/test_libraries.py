"""Libraries hold their tongue, and their threads do not burn a core while they wait."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from lifealign_bench.util.process import quieten_libraries
from tests.places import ROOT

# Ends the process as soon as torch is about to be loaded, with what the environment says by then.
PROGRAM = """
import os, sys

class End:
    def find_spec(self, name, path, target=None):
        if name == "torch":
            print(os.environ.get("OMP_WAIT_POLICY"), os.environ.get("TRANSFORMERS_VERBOSITY"), flush=True)
            os._exit(0)

sys.meta_path.insert(0, End())
from lifealign_bench.cli import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    "words",
    [
        ("run", "--method", "dpo", "--model", "fake", "--stream", "fake"),
        ("sweep", "--method", "dpo", "--model", "fake", "--stream", "fake", "--quiet"),
        ("check", "method", "dpo"),
        ("doctor",),
    ],
    ids=lambda words: words[0],
)
def test_all_is_set_before_any_command_loads_torch(words: tuple[str, ...]) -> None:
    unset = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "TRANSFORMERS_VERBOSITY")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], env=environment, capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stdout) == (0, "PASSIVE error\n"), done.stderr


@pytest.mark.parametrize(
    ("said", "policy"),
    [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"), ({"GOMP_SPINCOUNT": "1000"}, None)],
)
def test_what_the_user_says_about_waiting_threads_stays(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, str], policy: str | None
) -> None:
    # Set first, so that all is as it was afterwards.
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, said.get(name, ""))
        if name not in said:
            monkeypatch.delenv(name)
    quieten_libraries()
    assert os.environ.get("OMP_WAIT_POLICY") == policy
