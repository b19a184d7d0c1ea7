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

from lifealign_bench.config import RunConfig, TrainingConfig
from lifealign_bench.results.record import Record, read_record
from lifealign_bench.runs.run import run
from tests.command import Call
from tests.places import ROOT

Make = Callable[..., RunConfig]


def execute(*words: str, timeout: float = 240, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(words), capture_output=True, text=True, timeout=timeout, env={**os.environ, **environment}, cwd=ROOT
    )


# One worker has the process that all are started from.
processes = pytest.mark.xdist_group("two processes")


def scored_alike(a: Record, b: Record) -> None:
    """The run in one process and the one in two."""
    assert (a.hardware["processes"], b.hardware["processes"]) == (1, 2)
    # 13 pairs a task and what is replayed: no whole number of steps, and no even number in the last one.
    assert [s.steps for s in a.stages] == [s.steps for s in b.stages]
    assert [s.tokens for s in a.stages] == [s.tokens for s in b.stages]
    assert a.scores.keys() == b.scores.keys()
    for name, matrix in a.scores.items():
        # A percentage may jump where a margin crosses zero; margins may not.
        tolerance = 1e-4 if not matrix.percent else 100 / 11 + 1e-4
        assert np.allclose(matrix.array(), b.scores[name].array(), atol=tolerance, equal_nan=True), name
    assert np.allclose(a.scores["preference_accuracy"].array(), b.scores["preference_accuracy"].array(), atol=1e-4)
    ability, other = a.abilities["builtin_arithmetic"], b.abilities["builtin_arithmetic"]
    assert ability.digest == other.digest and list(ability.stages) == list(other.stages) == ["0", "3"]
    for stage, found in ability.stages.items():
        # As above: an answer may win by less than rounding.
        assert found.value == pytest.approx(other.stages[stage].value, abs=2 * 100 / ability.items + 1e-6)


@pytest.mark.model
def test_two_processes_of_a_launch_score_as_one(tmp_path: Path, call: Call) -> None:
    words = ["run", "--method", "lifealign", "--model", "fake", "--stream", "fake", "--limit", "13"]
    words += ["--dtype", "float32", "--no-sft", "--set", "token_budget=100", "--device", "cpu", "--quiet"]
    words += ["--ability", "builtin_arithmetic"]
    code, said, errors = call(*words, "--out", str(tmp_path / "one"))
    assert code == 0, errors
    # accelerate launch --cpu starts one process only (accelerate 1.15); torchrun starts them where there is no GPU.
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    two = execute(*launch, "-m", "lifealign_bench", *words, "--out", str(tmp_path / "two"))
    assert two.returncode == 0, two.stderr
    assert "Traceback" not in two.stderr
    # Rank 0 alone speaks: one table of results, not two.
    assert two.stdout.count("seed 0") == said.count("seed 0") > 0
    scored_alike(*(read_record(next((tmp_path / name).rglob("record.json"))) for name in ("one", "two")))


@pytest.mark.model
@processes
@pytest.mark.parametrize(("method", "sft"), [("gem", True), ("l2p", False)])
def test_two_processes_score_as_one(
    fake_config: Make, tmp_path: Path, in_two_processes: Callable[[RunConfig], Path], method: str, sft: bool
) -> None:
    small: dict[str, object] = {"train_limit": 13, "test_limit": 13, "token_budget": 100}
    small |= {"training": TrainingConfig(), "abilities": ("builtin_arithmetic",)}
    one = fake_config(method=method, sft=sft, **small)
    two = one.model_copy(update={"out": tmp_path / "two"})
    in_two_processes(two)
    scored_alike(run(one), read_record(two.run_directory() / "record.json"))


DIVERGES = '''
"""Diverges on one process."""
import torch
from lifealign_bench.method import Method, register_method


@register_method("diverges")
class Diverges(Method):
    """DPO that breaks."""
    steps = 0

    def on_gradients(self, model):
        self.steps += 1

    def pair_loss(self, logits, batch):
        losses = super().pair_loss(logits, batch)
        broken = self.steps == 1 and torch.distributed.get_rank() == 1
        return losses * float("nan") if broken else losses
'''


@pytest.mark.model
def test_a_loss_that_breaks_on_one_process_stops_all_with_its_pairs(tmp_path: Path) -> None:
    (tmp_path / "diverges.py").write_text(DIVERGES)
    words = ["run", "--method", str(tmp_path / "diverges.py"), "--model", "fake", "--stream", "fake", "--quiet"]
    words += ["--limit", "16", "--dtype", "float32", "--device", "cpu", "--out", str(tmp_path / "runs")]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = execute(*launch, "-m", "lifealign_bench", *words)
    assert done.returncode != 0
    assert "not finite in stage 1 at step 2" in done.stderr and "This should not happen" not in done.stderr
    record = read_record(next((tmp_path / "runs").rglob("record.json")))
    assert record.status == "failed" and "fake-upper/train/" in (record.error or "")


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
