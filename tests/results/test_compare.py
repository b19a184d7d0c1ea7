"""Comparing runs: differences by hand, what is not the same, the pairs on which they disagree, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.results.comparison import compare_runs
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.paired import holm
from lifealign_bench.results.published import pair_scores_file
from lifealign_bench.results.record import Record
from lifealign_bench.results.sameness import differing_settings, settings_rows
from lifealign_bench.results.view import RunView
from tests.command import Call
from tests.places import ROOT
from tests.published_records import TASKS, config_hash, content_of, frames_of, publish, rewrite

SCORE = "preference_accuracy"


def pair_of(tmp_path: Path, **more: Any) -> tuple[RunView, RunView]:
    first = publish(tmp_path, "dpo", level=0.4, **more)
    return RunView.open(first), RunView.open(publish(tmp_path, "replay", level=0.8, **more))


def test_differences_are_those_of_the_two_records(tmp_path: Path) -> None:
    first, second = pair_of(tmp_path)
    found = compare_runs(first, second, SCORE)
    for name in METRICS:
        if name in found.metrics:
            expected = second.metric(SCORE, name) - first.metric(SCORE, name)
            assert found.metrics[name].difference.value == pytest.approx(expected)
    assert set(found.metrics) == {name for name, info in METRICS.items() if not info.needs_single}
    a, b = (view.record.scores[SCORE].array() for view in (first, second))
    for j, task in enumerate(TASKS):
        assert found.tasks[task]["final"].difference.value == pytest.approx(b[3, j] - a[3, j])
        assert found.tasks[task]["learned"].difference.value == pytest.approx(b[j + 1, j] - a[j + 1, j])
        for row in range(4):
            assert found.stages[row][task].difference.value == pytest.approx(b[row, j] - a[row, j])
    assert "forgetting" not in found.tasks["three"]  # undefined for the last task
    for table in (found.metrics.values(), [c for cells in found.stages.values() for c in cells.values()]):
        compared = list(table)
        assert [c.p for c in compared] == pytest.approx(holm([c.difference.p for c in compared]))
    last = found.metrics["last"]
    assert last.p < 0.05 and last.difference.low > 0 and last.difference.low < last.difference.value


def test_the_other_way_round_the_signs_turn(tmp_path: Path) -> None:
    first, second = pair_of(tmp_path)
    there, back = compare_runs(first, second, SCORE), compare_runs(second, first, SCORE)
    for name, found in there.metrics.items():
        assert found.difference.value == pytest.approx(-back.metrics[name].difference.value)
        assert found.difference.p == back.metrics[name].difference.p


def test_pairs_on_which_they_disagree(tmp_path: Path) -> None:
    first, second = pair_of(tmp_path)
    found = compare_runs(first, second, SCORE).pairs
    frames = [pd.read_parquet(pair_scores_file(view.published)) for view in (first, second) if view.published]
    scores = [frame[frame["stage"] == 3].set_index("pair_id")[SCORE] for frame in frames]
    assert {p.pair_id for p in found} == set(scores[0].index[scores[0] != scores[1]]) and len(found) > 20
    sizes = [abs(p.second - p.first) for p in found]
    assert sizes == sorted(sizes, reverse=True)
    assert all((p.first, p.second) == (scores[0][p.pair_id], scores[1][p.pair_id]) for p in found)


def test_a_run_does_not_differ_from_itself(tmp_path: Path) -> None:
    view = RunView.open(publish(tmp_path))
    found = compare_runs(view, view, SCORE)
    assert not found.pairs and all(c.difference.value == 0 and c.p == 1 for c in found.metrics.values())
    assert not settings_rows([view.record, view.record])


def test_all_tasks_in_one_stage_have_an_end_and_nothing_else(tmp_path: Path) -> None:
    first = RunView.open(publish(tmp_path, "dpo", level=0.5))
    joint = RunView.open(publish(tmp_path, "joint", level=0.9, plan=[TASKS]))
    for one, other in ((first, joint), (joint, first)):
        found = compare_runs(one, other, SCORE)
        assert set(found.metrics) == {"last", "gain"} and set(found.stages) == {0, 3}
        assert all(set(cells) == {"final"} for cells in found.tasks.values())


def test_what_is_not_the_same_is_told(tmp_path: Path) -> None:
    first = publish(tmp_path, "dpo")
    second = publish(tmp_path, "ewc")
    content = json.loads(second.read_text())
    content["config"]["training"]["epochs"] = 7
    content["method"]["settings"] = {"strength": 3.0}
    content["versions"]["torch"] = "9.9"
    content["config_hash"] = config_hash(content["config"])
    rewrite(second, content)
    rows = settings_rows([RunView.open(first).record, RunView.open(second).record])
    assert set(rows) == {"method", "method.file", "training.epochs", "method.strength", "version.torch"}
    assert rows["training.epochs"][1] == 7 and rows["method.strength"] == [None, 3.0]


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    view = RunView.open(publish(tmp_path / "a"))
    with pytest.raises(BenchError, match="not scored on the same test pairs"):
        compare_runs(view, RunView.open(publish(tmp_path / "b", pairs=30)), SCORE)
    with pytest.raises(UsageError, match="score"):
        compare_runs(view, view, "rewards")
    bare = publish(tmp_path / "c")
    pair_scores_file(bare).unlink()
    with pytest.raises(BenchError, match="missing or not those of its record"):
        compare_runs(view, RunView.open(bare), SCORE)
    broken = publish(tmp_path / "d")
    rewrite(broken, json.loads(broken.read_text()) | {"status": "failed"})
    with pytest.raises(BenchError, match="is failed"):
        compare_runs(view, RunView.open(broken), SCORE)
    other = publish(tmp_path / "e")
    content = json.loads(other.read_text())
    content["data"] = dict(reversed(content["data"].items()))
    rewrite(other, content)
    with pytest.raises(BenchError, match="other tasks, or other orders"):
        compare_runs(view, RunView.open(other), SCORE)


def test_the_command(tmp_path: Path, call: Call) -> None:
    paths = [str(publish(tmp_path, name, level=level)) for name, level in (("dpo", 0.4), ("ewc", 0.5), ("replay", 0.8))]
    code, out, err = call("compare", *paths, "--limit", "3", "--full")
    assert code == 0, err
    assert "ewc seed 0 against dpo seed 0" in out and "replay seed 0 against dpo seed 0" in out
    assert "Where they disagree most" in out and "method" in out
    code, out, _ = call("compare", *paths, "--json", "--limit", "0", "--task", "two")
    content = json.loads(out)
    assert code == 0 and [c["second"]["method"] for c in content["comparisons"]] == ["ewc", "replay"]
    assert {p["task"] for p in content["comparisons"][1]["disagreements"]} == {"two"}
    assert content["settings"]["method"] == ["dpo", "ewc", "replay"]
    # Texts of data that is not available are not shown, and that is said.
    code, out, _ = call("compare", *paths[:2], "--task", "two")
    assert code == 0 and "not available" in out
    assert call("compare", paths[0])[0] == 2
    assert call("compare", *paths, "--task", "nothing")[0] == 2
    assert call("compare", *paths, "--score", "nothing")[0] == 2


def test_texts_are_shown_where_the_data_is_at_hand(call: Call) -> None:
    records = ROOT / "results" / "mini" / "smollm2-135m"
    words = [str(records / name / "seed-0.json") for name in ("dpo", "replay")]
    code, out, err = call("compare", *words, "--task", "mini-facts", "--limit", "1")
    assert code == 0, err
    assert "prompt: user: " in out and "chosen: " in out and out.count("rejected: ") == 1


def test_hostile_names_do_nothing(tmp_path: Path, call: Call) -> None:
    places = [publish(tmp_path, name) for name in ("dpo", "ewc")]
    content = json.loads(places[1].read_text())
    content["method"] |= {"name": "x\x1b[2J\u202e", "settings": {"a\x1b]0;t\x07": "v\x1b[31m"}}
    rewrite(places[1], content)
    code, out, err = call("compare", *map(str, places))
    assert code == 0 and not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e]", out + err)


def test_runs_whose_pairs_were_other_tokens_are_said_to_be_unlike() -> None:
    """A chat template that writes the date does that, from one day to the next."""

    def of(method: str, digit: str | None) -> Record:
        content = content_of(frames_of(0.7, 0), method)
        encoded = None if digit is None else {"train": "0" * 64, "test": digit * 64}
        data = {task: facts | {"encoded": encoded} for task, facts in content["data"].items()}
        return Record.model_validate(content | {"data": data})

    assert not differing_settings([of("dpo", "1"), of("ewc", "1"), of("replay", None)])
    (note,) = differing_settings([of("dpo", "1"), of("ewc", "2")])
    assert "the tokens of the test pairs" in note
