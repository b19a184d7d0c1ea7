"""A run that another version began is continued to the same numbers or refused, and nothing of it is lost."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lifealign_bench.config import RunConfig, TrainingConfig
from lifealign_bench.errors import BenchError, Interrupted
from lifealign_bench.results.folder import RunFolder
from lifealign_bench.runs.resuming import NUMBERS
from lifealign_bench.runs.run import run
from tests.command import Call

Make = Callable[..., RunConfig]
WORDS = ("run", "--method", "dpo", "--model", "fake", "--stream", "fake", "--limit", "8", "--device", "cpu", "--quiet")

# Of a run by each version of the numbers: the mean size of the adapter's weights and the last loss after each stage.
KNOWN = {1: [(0.00545242, 0.689037), (0.00396547, 0.702511), (0.00661914, 0.689753)]}


def stopped_in_a_stage(config: RunConfig, questions: int) -> RunFolder:
    """A run that was stopped after so many steps and scored tasks."""
    left = [questions]

    def stopped() -> bool:
        left[0] -= 1
        return left[0] < 0

    with pytest.raises(Interrupted):
        run(config, stopped=stopped)
    return RunFolder(config.run_directory())


def fixed_without(folder: RunFolder, *names: str, **others: Any) -> None:
    """Rewrite what the run must keep."""
    content = json.loads(folder.config.read_text())
    kept = {key: value for key, value in content["fixed"].items() if key not in names}
    folder.config.write_text(json.dumps({**content, "fixed": {**kept, **others}}))


def files_of(folder: RunFolder) -> dict[str, str]:
    """Every file but the lock to its hash."""
    found = (file for file in folder.path.rglob("*") if file.is_file() and file != folder.lock)
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in found}


def as_it_was(folder: RunFolder) -> None:
    """The folder as before runs wrote down their clock, their tokens and how they are trained."""
    folder.clock_file.unlink()
    folder.record.unlink()  # a process that was killed left none
    fixed_without(folder, "encoded", "trained_by")


def test_a_run_of_before_that_still_has_to_be_trained_is_refused(call: Call, tmp_path: Path) -> None:
    training = TrainingConfig(learning_rate=5e-3, batch_size=8, checkpoint_steps=1)
    config = RunConfig.model_validate(
        {"method": "dpo", "stream": "fake", "model": "fake", "device": "cpu", "dtype": "float32"}
        | {"tasks": ("fake-upper", "fake-lower", "fake-digits"), "train_limit": 8, "test_limit": 8}
        | {"out": tmp_path / "runs", "training": training, "generation": {"max_new_tokens": 8}}
    )
    folder = stopped_in_a_stage(config, 4)
    as_it_was(folder)
    before = files_of(folder)
    words = (*WORDS, "--dtype", "float32", "--set", "checkpoint_steps=1")
    code, out, err = call(*words)
    assert code == 2 and out == "" and "Traceback" not in err
    said = " ".join(err.split())
    assert "was begun by another version of lifealign-bench, which trains to other numbers." in said
    assert "Continue it with the version that began it, write elsewhere with --out, or delete the folder." in said
    assert files_of(folder) == before


def test_a_run_of_before_in_which_nothing_is_left_to_train_goes_on(fake_config: Make) -> None:
    whole = run(config := fake_config(tasks=("fake-upper",), scorers=("preference",)))
    folder = RunFolder(config.run_directory())
    fixed_without(folder, "encoded", "trained_by")
    assert run(config) == whole, "a finished one is shown"
    folder.stage(1).scored.unlink()
    as_it_was(folder)
    assert run(config).scores == whole.scores


def test_other_numbers_and_other_methods_are_refused_where_something_was_trained(fake_config: Make) -> None:
    folder = stopped_in_a_stage(config := fake_config(tasks=("fake-upper",), scorers=("preference",)), 1)
    began = folder.fixed()["trained_by"]
    for change, said in (
        ({"numbers": NUMBERS + 1}, "another version of lifealign-bench"),
        ({"method": "0" * 64}, "another version of the method dpo"),
    ):
        fixed_without(folder, trained_by=began | change)
        with pytest.raises(BenchError, match=said):
            run(config)
    for stage in folder.stages():
        stage.path.rename(folder.path.parent / stage.path.name)
    assert run(config).status == "complete" and folder.fixed()["trained_by"] == began


def test_the_numbers_of_a_run_are_those_of_their_version(fake_config: Make) -> None:
    """Where this fails for a change that is meant: raise NUMBERS, and write down what they are now."""
    config = fake_config(sft=True, scorers=("preference",), evaluate="last")
    record, folder = run(config), RunFolder(config.run_directory())
    found = []
    for stage in record.stages[1:]:
        weights = load_file(folder.stage(stage.index).weights)
        size = torch.cat([tensor.flatten() for name, tensor in weights.items() if "lora_B" in name]).abs().mean()
        found.append((float(size), stage.final_loss))
    assert found == [pytest.approx(values, rel=1e-3) for values in KNOWN[NUMBERS]]
