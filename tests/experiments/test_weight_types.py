"""Runs that would stand apart on a leaderboard by the type of their weights are told of before they begin."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lifealign_bench.config import RunConfig
from lifealign_bench.experiments import weighttypes
from lifealign_bench.experiments.engines.words import SweepWords, make_engine
from lifealign_bench.experiments.weighttypes import settled, told_of_other_types
from lifealign_bench.results.folder import RunFolder
from tests.command import Call

Make = Callable[..., RunConfig]


def begin(config: RunConfig, dtype: str) -> None:
    """The folder of a run that began with weights of this type."""
    folder = RunFolder(config.run_directory())
    folder.path.mkdir(parents=True)
    folder.config.write_text(json.dumps({"config": {"dtype": dtype}}), encoding="utf-8")


@pytest.fixture
def meant(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which ``auto`` is float32."""
    monkeypatch.setattr(weighttypes, "_resolve", lambda device, dtype: ("cpu", "float32" if dtype == "auto" else dtype))


@pytest.mark.usefixtures("meant")
def test_what_a_leaderboard_would_set_apart_is_told(fake_config: Make) -> None:
    begin(fake_config(method="ewc"), "bfloat16")
    asked = [fake_config(dtype="auto", seed=seed) for seed in (0, 1)]
    (told,) = told_of_other_types(asked, settled(asked))
    folder = asked[0].run_directory().parents[1]
    assert f"The runs in {folder} have weights in bfloat16; --dtype auto takes float32" in told
    assert told.endswith("--dtype bfloat16.")


@pytest.mark.usefixtures("meant")
def test_nothing_is_told_where_the_types_agree_or_were_chosen(fake_config: Make) -> None:
    alone = [fake_config(dtype="auto")]
    assert told_of_other_types(alone, settled(alone)) == []
    begin(fake_config(method="ewc"), "bfloat16")
    chosen = [fake_config(dtype="float32")]
    assert told_of_other_types(chosen, settled(chosen)) == []
    elsewhere = [fake_config(dtype="auto", stream="fake-reversed")]
    assert told_of_other_types(elsewhere, settled(elsewhere)) == []
    # A run that goes on keeps the type that it began with.
    begun = [fake_config(dtype="auto")]
    begin(begun[0], "bfloat16")
    assert [config.dtype for config in settled(begun)] == ["bfloat16"]
    assert told_of_other_types(begun, settled(begun)) == []
    begin(fake_config(method="l2"), "float32")
    both = [fake_config(dtype="auto", seed=1)]
    assert told_of_other_types(both, settled(both)) == []


@pytest.mark.usefixtures("meant")
def test_a_sweep_tells_it(fake_config: Make) -> None:
    begin(fake_config(method="ewc"), "bfloat16")
    notes: list[str] = []
    _, configs = make_engine([fake_config(dtype="auto")], SweepWords(), notes.append)
    assert [config.dtype for config in configs] == ["float32"]
    assert len(notes) == 1 and "--dtype bfloat16" in notes[0]


@pytest.mark.usefixtures("meant")
@pytest.mark.parametrize("command", [["run", "--dry-run"], ["run"]])
def test_run_tells_it(
    call: Call, fake_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    # A test runs no run for this: what comes after the note is another test's.
    monkeypatch.setattr("lifealign_bench.cli.run._one", lambda *words: None)
    begin(fake_config(method="ewc"), "bfloat16")
    words = ["--method", "dpo", "--model", "fake", "--stream", "fake", "--out", str(tmp_path / "runs")]
    code, _, err = call(*command, *words)
    assert code == 0 and "note: The runs in" in err and "--dtype bfloat16" in err
