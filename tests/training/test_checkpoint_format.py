"""A checkpoint is what ``training/checkpoint.py`` says; file names stand there and in ``results/folder.py``."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from lifealign_bench.config import RunConfig, TrainingConfig
from lifealign_bench.errors import Interrupted
from lifealign_bench.method import Method
from lifealign_bench.results.folder import RunFolder
from lifealign_bench.runs.run import run
from lifealign_bench.training.checkpoint import Checkpoint
from lifealign_bench.util.progress import Progress
from tests.places import ROOT

Make = Callable[..., RunConfig]
NAMES = ("adapter_model.safetensors", "method.safetensors", "complete.json", "trainer_state.json", "checkpoint-")


class Told(Progress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notices: list[str] = []

    def notice(self, text: str) -> None:
        self.notices.append(text)


def test_a_file_more_is_written_read_and_watched(fake_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint that holds one more file needs nothing but another ``keep`` and ``restore``."""
    read: list[int] = []

    def keep(self: Checkpoint, method: Method) -> None:
        own_keep(self, method)
        (self.path / "more.json").write_text(json.dumps({"step": self.step}))

    def restore(self: Checkpoint, method: Method) -> None:
        own_restore(self, method)
        read.append(json.loads((self.path / "more.json").read_text())["step"])

    own_keep, own_restore = Checkpoint.keep, Checkpoint.restore
    monkeypatch.setattr(Checkpoint, "keep", keep)
    monkeypatch.setattr(Checkpoint, "restore", restore)
    training = TrainingConfig(learning_rate=5e-3, batch_size=2, checkpoint_steps=1)
    config = fake_config(tasks=("fake-upper",), scorers=("preference",), training=training)
    steps = iter(range(100))
    with pytest.raises(Interrupted, match="at step 3 of 4"):
        run(config, stopped=lambda: next(steps) > 2)
    newest = RunFolder(config.run_directory()).stage(1).checkpoints / "checkpoint-3"
    assert json.loads((newest / "complete.json").read_text())["files"]["more.json"]
    (newest / "more.json").write_text("{}")
    told = Told()
    assert run(config, told).status == "complete"
    assert read == [2] and any(f"{newest} is damaged" in notice for notice in told.notices)


def test_the_names_of_its_files_stand_in_two_modules() -> None:
    found = {
        file.relative_to(ROOT / "lifealign_bench").as_posix()
        for file in (ROOT / "lifealign_bench").rglob("*.py")
        for name in NAMES
        if f'"{name}' in (text := file.read_text(encoding="utf-8")) or f'/{name}"' in text
    }
    assert found == {"results/folder.py", "training/checkpoint.py"}
