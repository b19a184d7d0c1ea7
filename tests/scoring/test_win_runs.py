"""Judged win-rates in whole runs on the fakes: opponents, tables, the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import BenchError
from lifealign_bench.experiments.request import Words, build_configs
from lifealign_bench.pairs import Message
from lifealign_bench.reporting.tables.run import record_grids
from lifealign_bench.reporting.tables.scores import win_grid
from lifealign_bench.results.record import Record, read_record
from lifealign_bench.results.view import RunView
from lifealign_bench.runs.rescoring import add_scores, extended, run_of
from lifealign_bench.runs.run import run
from lifealign_bench.scoring.judging.judge import Question
from lifealign_bench.scoring.judging.worded import VERSION
from lifealign_bench.scoring.scorers import SCORERS
from lifealign_bench.scoring.scorers.win import WinScorer
from tests.command import Call
from tests.judge_server import serve
from tests.winstubs import BASE, OURS, StubJudge, board, longer, prepared, shown, view_of


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """A finished run with the judge ``check`` against all of its own opponents."""
    config = fakes(tmp_path_factory.mktemp("runs"), opponents=("base", "previous", "chosen"))
    run(config)
    return config


def fakes(out: Path, **changes: Any) -> RunConfig:
    settings: dict[str, Any] = {
        "method": "dpo", "stream": "fake", "tasks": ("fake-upper", "fake-lower", "fake-digits"), "model": "fake",
        "dtype": "float32", "device": "cpu", "out": out, "train_limit": 4, "test_limit": 6,
        "training": {"learning_rate": 2e-2}, "generation": {"max_new_tokens": 6}, "scorers": ("win",), "judge": "check",
    }  # fmt: skip
    return RunConfig.model_validate(settings | changes)


def record_of(config: RunConfig) -> Record:
    return read_record(config.run_directory() / "record.json")


def test_a_run_is_judged_after_every_stage(finished: RunConfig) -> None:
    record = record_of(finished)
    base = record.scores["judged_win_rate_base"]
    assert base.percent and base.partial and base.array()[0].tolist() == [50.0] * 3
    assert not np.isnan(base.array()).any() and (np.array(base.n) == 6).all()
    previous = record.scores["judged_win_rate_previous"].array()
    assert np.isnan(previous[0]).all() and not np.isnan(previous[1:]).any()
    assert previous[1].tolist() == base.array()[1].tolist()  # the stage before is the base model
    facts = record.facts["win"]
    assert facts.run["judge"] == "check" and set(facts.stages) == {"0", "1", "2", "3"}
    first = facts.stages["0"]["fake-upper"]
    assert first["base"]["identical"] == 6 and "previous" not in first
    for stage in range(4):
        for task in finished.tasks:
            folder = finished.run_directory() / f"stage-{stage}" / "alpaca" / task
            names = {p.name for p in folder.iterdir()}
            assert names == ({"base", "chosen"} | ({"previous"} if stage else set()))
            value = float(next(iter(board(folder / "base" / "leaderboard.csv").values()))["win_rate"])
            assert value == pytest.approx(base.array()[stage][finished.tasks.index(task)], abs=1e-9)
    # The record has numbers and no text.
    text = (finished.run_directory() / "record.json").read_text()
    assert "CRAB" not in text and "a crab" not in text


def test_the_table_says_how_sure_it_is_and_who_judged(finished: RunConfig) -> None:
    view = RunView(record_of(finished), finished.run_directory())
    assert "judged_win_rate_base" in view.main_scores()
    grids = {grid.title: grid for grid in record_grids(view)}
    grid = grids["Judged win-rates (percent) after the last stage"]
    assert [str(row[1]) for row in grid.rows[:3]] == ["base", "previous", "chosen"] and len(grid.rows) == 9
    assert grid.heads == ("task", "against", "win-rate", "length-controlled", "pairs", "ties", "unusable")
    assert grid.notes[0] == "Judge: check." and "[" in str(grid.rows[0][2])


def test_the_table_of_a_judge_that_sees_both_shows_its_position_bias() -> None:
    config = fakes(Path("runs"))
    record = _record_with(config, _facts_of(StubJudge(lambda first, second: "Better: 1")))
    grid = win_grid(RunView(record))
    assert grid is not None and grid.heads[-1] == "position bias"
    assert grid.rows[0][-1] == "100.0 (first 5 of 5)"
    nothing = prepared(StubJudge(lambda first, second: None)).score(view_of(["a", "b"], ["x", "y"])).facts
    mute = win_grid(RunView(_record_with(config, nothing)))
    assert mute is not None and mute.rows[0][-2:] == ("2", "—")
    assert not any("without width" in note for note in mute.notes)
    # A record of somebody else's making is no reason to fall over.
    broken = _record_with(config, {"base": {"pairs": "many"}})
    assert win_grid(RunView(broken)) is None


def test_a_server_is_asked_every_question_once_and_a_spent_budget_loses_nothing(tmp_path: Path) -> None:
    def answer(messages: list[dict[str, str]]) -> str:
        return longer(*shown(Question(tuple(Message("user", m["content"]) for m in messages), VERSION)))

    with serve() as server:
        server.answer = answer
        settings = {"judge": "server:judge", "judge_url": server.address, "tasks": ("fake-upper", "fake-lower")}
        config = fakes(tmp_path / "one", opponents=("base", "chosen"), **settings)
        with pytest.raises(BenchError, match="budget"):
            run(config.model_copy(update={"judge_budget": 7}))
        assert len(server.calls) == 7
        record = run(config)
        asked = [json.dumps(call["messages"]) for call in server.calls]
        assert len(asked) == len(set(asked)) > 7
        again = run(fakes(tmp_path / "two", opponents=("base", "chosen"), **settings))
        assert len(server.calls) == len(asked)
    assert again.scores == record.scores
    facts = record.facts["win"]
    assert facts.run["judge"] == "server:judge" and facts.run["sees_order"]
    counts = [c for stage in facts.stages.values() for task in stage.values() for c in task.values()]
    questions = sum(2 * (c["pairs"] - c["identical"]) for c in counts)
    assert sum(c["calls"] + c["from_store"] for c in counts if "calls" in c) == questions > len(asked)
    assert "Better" not in (config.run_directory() / "record.json").read_text()
    assert "position bias" in [grid.heads for grid in record_grids(RunView(record)) if "Judged" in grid.title][-1]


def test_another_run_is_an_opponent(finished: RunConfig, tmp_path: Path) -> None:
    there = finished.run_directory()
    config = fakes(tmp_path, opponents=(str(there), "base"), method="replay")
    record = run(config)
    matrix = record.scores["judged_win_rate_dpo-seed-0"].array()
    assert matrix[0].tolist() == [50.0] * 3 and not np.isnan(matrix).any()
    # In the first stage replay has nothing to replay: both are the same model.
    assert matrix[1].tolist() == [50.0] * 3
    assert record.facts["win"].run["opponents"]["dpo-seed-0"] == {
        "method": "dpo", "seed": 0, "config_hash": record_of(finished).config_hash,
    }  # fmt: skip


def test_an_opponent_is_who_it_is_wherever_it_lies(finished: RunConfig, tmp_path: Path) -> None:
    """A record names no folder of this machine, and scores are added against the same run all the same."""
    there = finished.run_directory()
    config = fakes(tmp_path, opponents=(str(there),), method="replay")
    record = run(config)
    assert record.config["opponents"] == ["dpo-seed-0"]
    assert str(there.parents[3]) not in (config.run_directory() / "record.json").read_text()
    elsewhere = tmp_path / "elsewhere" / "fake" / "fake" / "dpo" / "seed-0"
    shutil.copytree(there, elsewhere)
    assert run(fakes(tmp_path, opponents=(str(elsewhere),), method="replay")) == record
    before = run_of(config.run_directory())
    assert before.opponents == (str(elsewhere),)
    more = add_scores(before, extended(before, ("win",), {"opponents": ("chosen",)}))
    assert more.config["opponents"] == ["dpo-seed-0", "chosen"]
    name = "judged_win_rate_dpo-seed-0"
    assert more.scores[name] == record.scores[name]
    assert run_of(config.run_directory()).opponents == (str(elsewhere), "chosen")


def test_a_pair_that_another_run_has_no_response_to_has_no_value(tmp_path: Path) -> None:
    there = fakes(tmp_path, tasks=("fake-upper",), test_limit=10)
    run(there)
    config = fakes(
        tmp_path, tasks=("fake-upper",), test_limit=11, method="replay", opponents=(str(there.run_directory()),)
    )
    record = run(config)
    assert record.scores["judged_win_rate_dpo-seed-0"].n == [[10], [10]]
    assert record.facts["win"].stages["1"]["fake-upper"]["dpo-seed-0"]["absent"] == 1
    folder = config.run_directory() / "stage-1"
    frame = pd.read_parquet(folder / "scores.parquet")
    assert frame["judged_win_rate_dpo-seed-0"].isna().tolist() == [False] * 10 + [True]
    assert len(json.loads((folder / "alpaca" / "fake-upper" / "dpo-seed-0" / "annotations.json").read_text())) == 10


def test_an_opponent_that_does_not_fit_is_refused_before_training(finished: RunConfig, tmp_path: Path) -> None:
    there = finished.run_directory()
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(BenchError, match=r"not the folder of a run"):
        WinScorer.check(fakes(tmp_path, opponents=(str(empty),)))
    with pytest.raises(BenchError, match="lacks the task 'mini-brief'"):
        WinScorer.check(fakes(tmp_path, opponents=(str(there),), tasks=("fake-upper", "mini-brief")))
    with pytest.raises(BenchError, match="this run itself"):
        WinScorer.check(finished.model_copy(update={"opponents": (str(there),)}))
    config = fakes(tmp_path / "more", opponents=(str(there),), test_limit=9)
    with pytest.raises(BenchError, match="lacks responses to 3 of 9 test pairs of fake-upper after stage 0"):
        run(config)
    assert not list(config.run_directory().glob("stage-*"))


def test_an_opponent_must_have_finished_every_stage(finished: RunConfig, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished.run_directory(), copy)
    (copy / "stage-2" / "generations.jsonl").write_text("{}\n")  # damaged: its hash is not the one written down
    with pytest.raises(BenchError, match="was damaged or edited"):
        run(fakes(tmp_path, opponents=(str(copy),)))
    (copy / "stage-2" / "scored.json").unlink()
    with pytest.raises(BenchError, match="no finished stage 2"):
        run(fakes(tmp_path, opponents=(str(copy),)))


def test_the_command_line_knows_what_is_missing(call: Call, tmp_path: Path) -> None:
    words = ("run", "--model", "fake", "--stream", "fake", "--method", "dpo", "--out", str(tmp_path / "o"))
    code, _, err = call(*words, "--scorer", "win")
    assert code == 2 and "needs a judge" in err and "--judge check" in err
    code, _, err = call(*words, "--scorer", "win", "--judge", "reward")
    assert code == 2 and "--reward" in err
    assert not (tmp_path / "o").exists()


def test_a_dry_run_asks_no_judge(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(config: RunConfig, reward_model: Any) -> Any:
        raise AssertionError("a dry run makes no judge")

    monkeypatch.setattr("lifealign_bench.scoring.scorer.make_judge", refuse)
    words = ("run", "--model", "fake", "--stream", "fake", "--method", "dpo", "--out", str(tmp_path / "o"), "--dry-run")
    code, out, err = call(*words, "--scorer", "win", "--judge", "server:nobody", "--judge-url", "http://127.0.0.1:9/v1")
    assert code == 0, err
    assert "fake-upper" in out


def test_all_scorers_leaves_out_those_without_what_they_need() -> None:
    (config,) = build_configs(Words(method=("dpo",), stream=("fake",), model="fake", scorers=("all",))).configs
    assert "win" not in config.scorers and "overlap" in config.scorers
    (config,) = build_configs(
        Words(method=("dpo",), stream=("fake",), model="fake", scorers=("all",), judge="check")
    ).configs
    assert "win" in config.scorers and "win" in SCORERS.names()


def _facts_of(judge: StubJudge) -> dict[str, Any]:
    return prepared(judge).score(view_of(OURS, BASE)).facts


def _record_with(config: RunConfig, facts: dict[str, Any]) -> Record:
    matrix = {
        "percent": True, "unit": "percent", "partial": True,
        "value": [[50.0] * 3] * 4, "standard_error": [[1.0] * 3] * 4, "n": [[6] * 3] * 4,
    }  # fmt: skip
    run = {"judge": "server:stub", "sees_order": True}
    return Record.model_validate(
        {
            "status": "complete", "created": "", "finished": "", "attempts": 1, "config": config.identity(),
            "config_hash": config.hash(), "method": {"name": "dpo", "settings": {}, "source_sha256": ""},
            "model": {
                "name": "fake", "revision": "", "fingerprint": "", "parameters": 1, "trainable_parameters": 1,
                "layout": "rows", "notices": [],
            },
            "stream": {}, "data": {},
            "stages": [
                {"index": i, "tasks": [t], "pairs": 1, "steps": 1, "final_loss": None, "seconds": {}, "tokens": {}}
                for i, t in enumerate(config.tasks, start=1)
            ],
            "scores": {"judged_win_rate_base": matrix, "judged_lc_win_rate_base": matrix}, "metrics": {},
            "facts": {"win": {"run": run, "stages": {"3": {"fake-upper": facts}}}},
            "versions": {}, "git": {}, "hardware": {}, "peak_memory_bytes": 0,
        }
    )  # fmt: skip


def test_score_adds_judged_win_rates_to_a_finished_run(call: Call, finished: RunConfig, tmp_path: Path) -> None:
    config = fakes(tmp_path, scorers=("preference",), judge=None)
    run(config)
    there = str(config.run_directory())
    code, out, err = call("score", there, "--scorer", "win", "--judge", "check", "--opponent", "base,previous,chosen")
    assert code == 0, err
    assert "Judged win-rates" in out
    asked_at_once = record_of(finished)
    for name, matrix in asked_at_once.scores.items():
        assert record_of(config).scores[name] == matrix
    assert record_of(config).facts["win"] == asked_at_once.facts["win"]
