"""Real processes: two of one run, an installed plug-in, a wheel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lifealign_bench.config import RunConfig
from lifealign_bench.record import read_record

Make = Callable[..., RunConfig]
ROOT = Path(__file__).resolve().parents[1]


def execute(*words: str, timeout: float = 240, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(words), capture_output=True, text=True, timeout=timeout, env={**os.environ, **environment}, cwd=ROOT
    )


@pytest.mark.model
@pytest.mark.parametrize("method", ["lifealign", "olora"])
def test_two_processes_score_as_one(tmp_path: Path, method: str) -> None:
    words = ["run", "--method", method, "--model", "fake", "--stream", "fake", "--limit", "16", "--dtype", "float32"]
    words += ["--set", "token_budget=100", "--device", "cpu", "--quiet"]
    one = execute(sys.executable, "-m", "lifealign_bench", *words, "--out", str(tmp_path / "one"))
    assert one.returncode == 0, one.stderr
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    two = execute(*launch, "-m", "lifealign_bench", *words, "--out", str(tmp_path / "two"))
    assert two.returncode == 0, two.stderr
    assert "Traceback" not in two.stderr
    # Rank 0 alone speaks: one table of results, not two.
    assert two.stdout.count("Time and tokens") == one.stdout.count("Time and tokens")
    a, b = (read_record(next((tmp_path / name).rglob("record.json"))) for name in ("one", "two"))
    assert a.scores.keys() == b.scores.keys()
    for name, matrix in a.scores.items():
        # A percentage may jump where a margin crosses zero; margins may not.
        tolerance = 1e-4 if not matrix.percent else 100 / 11 + 1e-4
        assert np.allclose(matrix.array(), b.scores[name].array(), atol=tolerance, equal_nan=True), name
    assert np.allclose(a.scores["preference_accuracy"].array(), b.scores["preference_accuracy"].array(), atol=1e-4)


PLUGIN = '''
"""A plug-in for the test."""
from lifealign_bench.method import Method, register_method


@register_method("outside")
class Outside(Method):
    """DPO from elsewhere."""
'''


def test_an_installed_plug_in_is_a_method(tmp_path: Path) -> None:
    package = tmp_path / "source"
    package.mkdir()
    (package / "outside_method.py").write_text(PLUGIN)
    (package / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "outside-method"\nversion = "1.0"\n'
        '[project.entry-points."lifealign_bench.methods"]\noutside = "outside_method:Outside"\n'
        '[tool.setuptools]\npy-modules = ["outside_method"]\n'
    )
    target = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = execute(*pip, "--target", str(target), str(package))
    assert done.returncode == 0, done.stderr
    listed = execute(sys.executable, "-m", "lifealign_bench", "list", "methods", PYTHONPATH=str(target))
    assert "outside" in listed.stdout and "outside_method:Outside" in listed.stdout
    words = ["run", "--method", "outside", "--model", "fake", "--stream", "fake", "--limit", "4", "--json"]
    ran = execute(
        sys.executable, "-m", "lifealign_bench", *words, "--out", str(tmp_path / "runs"), PYTHONPATH=str(target)
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)
    record = read_record(next((tmp_path / "runs").rglob("record.json")))
    assert record.method.name == "outside" and record.status == "complete"
    missing = execute(sys.executable, "-m", "lifealign_bench", *words, "--out", str(tmp_path / "again"))
    assert missing.returncode == 2 and "no method called 'outside'" in missing.stderr
