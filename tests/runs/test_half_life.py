"""How long tasks last: measured on a toy run, and what is made of it."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.board_text import Boards, UnsupportedClaimError
from benchmarks.half_life import main
from benchmarks.halflife_text import HalfLifeText
from lifealign_bench.config import RunConfig
from lifealign_bench.errors import BenchError
from lifealign_bench.reporting.halflife import half_life_figures, half_life_json, half_life_text, median_half_life
from lifealign_bench.results.measuredruns import MeasuredRun, lost_tasks, open_measured, regained_tasks
from lifealign_bench.results.record import read_record
from lifealign_bench.runs.recording import git_state
from lifealign_bench.runs.run import run
from tests.published_records import publish

Make = Callable[..., RunConfig]


def command(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["half_life.py", *map(str, words)])
    return main()


def test_a_run_is_measured_once_and_told(
    fake_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(
        "benchmarks.half_life.write_figures", lambda made, *more, **kind: drawn.extend(f.id for f in made)
    )
    config = fake_config(tasks=("fake-upper", "fake-lower"), scorers=("preference",), threads=1)
    run(config)
    out = tmp_path / "out"
    words = ("--out", out, "--pairs", "6", "--dense", "2", "--every", "4", "--scorer", "preference", "--threads", "1")
    assert command(monkeypatch, config.run_directory(), *words) == 0
    (found,) = open_measured(out)
    assert (found.method, found.seed, found.exact) == ("dpo", 0, {2: True})
    about = json.loads(next(out.rglob("about.json")).read_text(encoding="utf-8"))
    assert about["config_hash"] == read_record(config.run_directory() / "record.json").config_hash
    (made,) = about["made"]
    assert made["git"] == git_state() and made["hardware"]["threads"] == 1 and "torch" in made["versions"]
    assert found.scores == ("preference_margin", "preference_accuracy")
    course = found.course("stage", 2, "fake-upper", "preference_margin")
    assert course is not None and course.steps[:3] == (0, 1, 2) and set(course.steps[3:]) <= {4, *range(3, 9)}
    assert course.values.shape == (len(course.steps), 6) and course.kept[0] == 1 and not course.base.any()
    (lost,) = lost_tasks([found], "preference_margin")
    assert lost.begun == pytest.approx(100)  # the stage before was its own
    (back,) = regained_tasks([found], "preference_margin")
    # Trained from where it began it is what the run's plain training was; 90 % comes no later than all of it.
    assert back.first_most is not None and back.first_most.value <= lost.half.last
    text = (out / "half-life.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out == text and "1 of 1 stages that were trained again ended with the run's own" in text
    (plain,) = json.loads((out / "half-life.json").read_text())["scores"]["preference_margin"]["lost"]
    assert plain["task"] == "fake-upper" and plain["had"] == pytest.approx(course.gained)
    assert drawn == ["half-life-preference-margin", "half-life-preference-accuracy"]
    # A part that is missing is measured again, and gives the same; what is there is not.
    (place,) = out.rglob("stage-2.parquet")
    kept, others = pd.read_parquet(place), {f: f.stat().st_mtime_ns for f in place.parent.glob("*once_more*")}
    place.unlink()
    assert command(monkeypatch, config.run_directory(), *words) == 0 and capsys.readouterr().out == text
    assert pd.read_parquet(place).equals(kept) and {f: f.stat().st_mtime_ns for f in others} == others != {}
    assert json.loads(next(out.rglob("about.json")).read_text(encoding="utf-8")) == about  # once for one machine
    monkeypatch.setattr("benchmarks.half_life.reopened", None)
    assert command(monkeypatch, config.run_directory(), *words) == 0 and capsys.readouterr().out == text
    assert command(monkeypatch, config.run_directory(), *words, "--pairs", "5") == 2
    assert "with other settings" in capsys.readouterr().err
    assert command(monkeypatch, config.run_directory(), *words, "--after", "4") == 2
    assert "has no stage 4" in capsys.readouterr().err
    record = config.run_directory() / "record.json"
    content = json.loads(record.read_text(encoding="utf-8"))
    record.write_text(json.dumps(content | {"stages": content["stages"][:2]}), encoding="utf-8")
    assert command(monkeypatch, config.run_directory(), *words) == 2
    assert "trains no task after another" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [("--pairs", "1"), ("--every", "0"), ("--stages", "1"), ("--stages", "2,x"), ("--threads", "none")]
)
def test_settings_that_say_nothing_are_refused(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command(monkeypatch, "--out", tmp_path, *words)
    assert ended.value.code == 2 and "is no number from" in capsys.readouterr().err


def test_nothing_measured_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "--out", tmp_path) == 2
    assert "Nothing was measured" in capsys.readouterr().err
    (tmp_path / "about.json").write_text("{", encoding="utf-8")
    assert command(monkeypatch, "--out", tmp_path) == 2
    assert "is damaged" in capsys.readouterr().err


def measured(margins: dict[tuple[str, int, str], dict[int, float]], method: str = "dpo") -> MeasuredRun:
    """A run on a, b, c: (kind, stage, task) to the margin of all its four pairs at each step."""
    rows = [
        {"kind": kind, "stage": stage, "step": step, "task": task, "pair_id": f"{task}{i}", "cluster": f"{task}{i}"}
        | {"preference_margin": value}
        for (kind, stage, task), steps in margins.items()
        for step, value in steps.items()
        for i in range(4)
    ]
    return MeasuredRun("s", "m", method, 0, ("a", "b", "c"), pd.DataFrame(rows).assign(exact=True))


def test_what_was_lost_before_does_not_count_for_how_long_tasks_last() -> None:
    own = {("base", 0, task): {0: 0.0} for task in "abc"} | {("had", 1, "a"): {0: 8.0}, ("had", 2, "b"): {0: 6.0}}
    run = measured(
        own
        | {
            ("stage", 2, "a"): {0: 8.0, 5: 2.0},
            ("stage", 3, "a"): {0: 2.0, 5: 1.8},
            ("stage", 3, "b"): {0: 6.0, 5: 5.0},
        }
    )
    first, second, third = lost_tasks([run], "preference_margin")
    assert (first.begun, second.begun, third.begun) == (100, 25, 100)
    assert first.half.value == pytest.approx(5 * 4 / 6) and math.isinf(second.half.value)
    assert (first.counts, second.counts, third.counts) == (True, False, True)
    found = median_half_life([first, second, third])
    assert found is not None and found.value == first.half.value  # half of two came; of three it would be open
    (figure,) = half_life_figures([run])
    assert [row["place"] for row in figure.data] == ["0", "5"]
    assert [row["value"] for row in figure.data] == pytest.approx([100, np.median([25, 500 / 6])])


def test_what_the_second_time_saves() -> None:
    own = {("base", 0, "a"): {0: 0.0}, ("had", 1, "a"): {0: 10.0}}
    again, first = ("again", 3, "a"), ("first", 0, "a")
    run = measured(own | {again: {0: 1.0, 1: 9.0}, first: {0: 0.0, 1: 4.5, 2: 9.0}})
    (back,) = regained_tasks([run], "preference_margin")
    assert (back.had, back.left) == pytest.approx((10, 10))
    assert back.half.value == 0.5 and back.most.value == 1
    assert back.first_half is not None and back.first_half.value == pytest.approx(1 + 1 / 9)
    assert back.saved == pytest.approx((50, 50, 50))
    (plain,) = half_life_json([run])["scores"]["preference_margin"]["trained_again"]
    assert plain["saved_percent"] == pytest.approx([50, 50, 50]) and plain["first_steps_back"]["value"] == 2
    (kept,) = regained_tasks([measured(own | {again: {0: 9.5}, first: {0: 0.0, 1: 9.0}})], "preference_margin")
    assert kept.most.value == 0 and math.isnan(kept.saved[0])  # nothing to bring back
    never = measured(own | {again: {0: 1.0, 1: 3.0}})
    (gone,) = regained_tasks([never], "preference_margin")
    assert math.isinf(gone.most.value) and gone.first_most is None and math.isnan(gone.saved[0])
    (told,) = half_life_json([never])["scores"]["preference_margin"]["trained_again"]
    assert told["steps_back"] == {"value": None, "low": None, "high": None, "last": 1}
    assert "| dpo | 0 | 3 | a | 10.0 | 10 | > 1 [> 1, > 1] | > 1 [> 1, > 1] | — | — | — |" in half_life_text([never])
    # Of pairs that are apart, some drawn test sets are not back when training stops.
    rows = never.rows.assign(preference_margin=[0, 0, 0, 0, 10, 10, 10, 10, 1, 1, 1, 1, 0, 12, 12, 12])
    first_time = rows[rows["kind"] == "again"].assign(kind="first", stage=0)
    both = pd.concat([rows, first_time], ignore_index=True)
    open_end = replace(never, rows=both)
    (row,) = half_life_json([open_end])["scores"]["preference_margin"]["trained_again"]
    assert row["steps_back"]["value"] == 1 and row["steps_back"]["high"] is None
    json.dumps(row, allow_nan=False)


def test_a_page_speaks_of_readings_of_published_runs_alone(tmp_path: Path) -> None:
    own = {("base", 0, t): {0: 0.0} for t in "abc"}
    own |= {("had", 1, "a"): {0: 10.0}, ("had", 2, "b"): {0: 10.0}, ("had", 3, "c"): {0: 10.0}}
    own |= {("stage", 2, "a"): {0: 10.0, 2: 4.0}, ("stage", 3, "a"): {0: 4.0, 2: 1.0}}
    own |= {("stage", 3, "b"): {0: 10.0, 2: 9.0}}
    own |= {("again", 3, "a"): {0: 1.0, 1: 9.0}, ("first", 0, "a"): {0: 0.0, 2: 9.0}}
    own |= {("again", 3, "b"): {0: 9.0}, ("first", 1, "b"): {0: 0.0, 4: 9.0}}
    folder = tmp_path / "half" / "run"
    folder.mkdir(parents=True)
    rows = measured(own).rows
    rows.to_parquet(folder / "all.parquet", index=False)
    board = Boards(publish(tmp_path / "results", "dpo", 0).parents[3])("some", "small")
    about = {"stream": "s", "model": "m", "method": "dpo", "seed": 0, "tasks": list("abc"), "config_hash": "other"}
    (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")
    with pytest.raises(BenchError, match="dpo, seed 0, is not the run that is published"):
        HalfLifeText(tmp_path / "half", board)
    about["config_hash"] = board.config_hash("dpo", 0)
    (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")
    found, score = HalfLifeText(tmp_path / "half", board), "preference_margin"
    assert found.exact() == "2" and found.methods() == ["dpo"]
    # a in stage 2 lost half after 10 / 6 steps, b none in stage 3; a in stage 3 was lost before.
    assert (found.counted("dpo", score), found.halved("dpo", score)) == (2, 1)
    assert found.half("dpo", score).startswith("1.7 [") and found.recovered("dpo", score) == 0
    # At the end a has 1 of 10 and b 9: a alone is lost. One step brings back what two had brought.
    assert found.away("dpo", score) == 0
    assert found.lost("dpo", score) == 1 and found.saved("dpo", score) == "50 to 50"
    assert found.back("dpo", score) == "1.0 [1.0, 1.0]" and found.first("dpo", score) == "2.0 [2.0, 2.0]"
    assert found.sooner("dpo", score) == "" and found.each("dpo", score) == "`a` 1.0 of 2.0"
    row = found.table(score).splitlines()[2]
    assert row.startswith("| preference margin | dpo | 2 | 1 | 1.7 [") and row.endswith(
        "| 1 | 1.0 [1.0, 1.0] | 2.0 [2.0, 2.0] |"
    )
    with pytest.raises(BenchError, match="Nothing was measured of replay"):
        found.half("replay", score)
    rows.assign(exact=rows["stage"] != 3).to_parquet(folder / "all.parquet", index=False)
    with pytest.raises(UnsupportedClaimError, match="1 of 2 stages"):
        HalfLifeText(tmp_path / "half", board).exact()
    dip = own | {("stage", 3, "b"): {0: 10.0, 1: 2.0, 2: 9.0}}
    measured(dip).rows.to_parquet(folder / "all.parquet", index=False)
    dipped = HalfLifeText(tmp_path / "half", board)
    assert (dipped.halved("dpo", score), dipped.recovered("dpo", score)) == (2, 1)
    never = own | {("again", 3, "a"): {0: 1.0, 2: 3.0}}
    measured(never).rows.to_parquet(folder / "all.parquet", index=False)
    assert HalfLifeText(tmp_path / "half", board).away("dpo", score) == 1
    later = own | {("again", 3, "a"): {0: 1.0, 2: 9.0}}
    measured(later).rows.to_parquet(folder / "all.parquet", index=False)
    with pytest.raises(UnsupportedClaimError, match="dpo: a came back no sooner"):
        HalfLifeText(tmp_path / "half", board).sooner("dpo", score)
