"""The loop over stages is one: a run, scores that are added, and the conformance suite go through the same."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lifealign_bench.config import RunConfig
from lifealign_bench.conformance.trial import configuration, perform, prepared
from lifealign_bench.results.folder import RunFolder
from lifealign_bench.runs.rescoring import add_scores, extended
from lifealign_bench.runs.run import run
from lifealign_bench.util.progress import Progress

Make = Callable[..., RunConfig]


class Gone(Exception):
    """Raised where the loop was entered."""


def test_everything_that_goes_through_stages_uses_the_one_loop(
    fake_config: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = fake_config(tasks=("fake-upper",), scorers=("preference",), threads=1)
    run(config)
    entered: list[str] = []

    def scored(session: Any, ledger: Any, index: int, *others: Any) -> None:
        entered.append(f"{session.config.out.name} {index}")
        raise Gone

    monkeypatch.setattr("lifealign_bench.runs.run.score_one", scored)
    other = config.model_copy(update={"out": tmp_path / "run"})
    with pytest.raises(Gone):
        run(other)
    with pytest.raises(Gone):
        add_scores(config, extended(config, ["reward"], {}))
    with pytest.raises(Gone):
        perform(config.model_copy(update={"out": tmp_path / "check"}))
    assert entered == ["run 0", "runs 0", "check 0"]


def test_scores_are_told_without_being_read_back(fake_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    class Heard(Progress):
        def scored(self, stage: int, values: Any) -> None:
            told[stage] = values

    def unread(path: Path) -> Any:
        read.append(path)
        return whole(path)

    from lifealign_bench.results.pairtable import read_frame as whole

    told: dict[int, Any] = {}
    read: list[Path] = []
    monkeypatch.setattr("lifealign_bench.runs.stages.read_frame", unread)
    config = fake_config(tasks=("fake-upper",), scorers=("preference",), threads=1)
    record = run(config, Heard())
    folder = RunFolder(config.run_directory())
    assert read == [folder.stage(0).scores, folder.stage(1).scores]  # once, for the record
    values = record.scores["preference_margin"].value
    assert [told[i]["preference_margin"]["fake-upper"] for i in (0, 1)] == [row[0] for row in values]


def test_no_path_of_a_run_is_put_together_elsewhere() -> None:
    """A stage's folder and the files in it have their names in one module."""
    package = Path(__file__).resolve().parents[2] / "lifealign_bench"
    names = ("scores.parquet", "generations.jsonl", "trained.json", "scored.json", "places.json", "clock.json")
    for file in package.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        if file.name != "folder.py":
            assert [name for name in names if f'"{name}"' in text] == [], file
            assert '/ f"stage-' not in text, file


def test_what_was_loaded_since_the_last_session_is_spared_the_garbage_collector(tmp_path: Path) -> None:
    """Each phase has all that lives walked through several times, which would take longer than the phase."""
    config = configuration("dpo", tmp_path)
    prepared(config)
    loaded = [[number] for number in range(100_000)]
    assert len(gc.get_objects()) > 100_000
    prepared(config)
    assert len(gc.get_objects()) < 50_000
    assert len(loaded) == 100_000
