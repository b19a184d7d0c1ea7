"""What a model from a folder is called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.experiments.request import Words, build_configs
from lifealign_bench.models.naming import folder_label, with_label
from lifealign_bench.results.published import record_place
from lifealign_bench.results.record import read_record
from lifealign_bench.results.view import RunView
from tests.places import V1


def model_in(folder: Path, weights: bytes, name: str | None = "org/Base-1B") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({} if name is None else {"_name_or_path": name}))
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def config_of(model: str, **more: object) -> RunConfig:
    return RunConfig.model_validate(
        {"method": "dpo", "stream": "fake", "tasks": ("fake-upper",), "model": model} | more
    )


def test_two_peoples_folders_of_one_name_are_two_models(tmp_path: Path) -> None:
    mine, theirs = (model_in(tmp_path / who / "mymodel", who.encode()) for who in ("me", "you"))
    first, second = folder_label(mine), folder_label(theirs)
    assert first != second and first.startswith("Base-1B-") and len(first) == len("Base-1B-") + 8
    assert folder_label(model_in(tmp_path / "elsewhere" / "copy", b"me")) == first
    assert folder_label(model_in(tmp_path / "x" / "mymodel", b"me", None)).startswith("mymodel-")


def test_a_change_anywhere_in_a_large_file_is_seen(tmp_path: Path) -> None:
    """As a layer that was trained lies there: one part in two hundred of the file."""
    size = 40 << 20
    labels = set()
    for at in (None, 0, 17 << 20, size - (size // 200)):
        weights = bytearray(size)
        if at is not None:
            weights[at : at + size // 200] = b"\x01" * (size // 200)
        labels.add(folder_label(model_in(tmp_path / str(at), bytes(weights))))
    assert len(labels) == 4


def test_the_name_is_in_the_run_its_folder_and_its_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = model_in(tmp_path / "mymodel", b"weights")
    words: dict[str, Any] = {"model": "./mymodel", "stream": ["fake"], "method": ["dpo"]}
    (config,) = build_configs(Words(**words)).configs
    label = folder_label(folder)
    assert config.model == "./mymodel" and config.model_label == label
    assert config.run_directory() == Path("runs") / "fake" / label / "dpo" / "seed-0"
    assert config.identity()["model_label"] == label
    record = read_record(V1)
    record = record.model_copy(update={"config": {**record.config, "model": "./mymodel", "model_label": label}})
    assert RunView(record).group[1] == label and record_place(record).parts[1] == label
    (said,) = build_configs(Words(**words, model_label="lab/tuned-1B")).configs
    assert said.run_directory().parts[2] == "lab-tuned-1B"


def test_other_models_keep_the_names_they_have() -> None:
    assert with_label(config_of("fake")) == config_of("fake") and "model_label" not in config_of("fake").identity()
    with pytest.raises(UsageError, match="--model-name is for a model in a folder"):
        with_label(config_of("fake", model_label="mine"))
