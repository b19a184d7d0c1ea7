"""How far numbers may lie apart, by hand; and what is held against what."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lifealign_bench.experiments.reproduction.match import (
    Match,
    MatchedNumber,
    cell_errors,
    circumstance_differences,
    least_share_error,
    match_runs,
    of_record,
    share_error,
    tolerated,
    why_not_to_the_bit,
)
from lifealign_bench.experiments.reproduction.seedspread import published_seeds
from lifealign_bench.reporting.tables.experiments import beyond_seeds_text, match_json, metric_grid
from lifealign_bench.results.published import pair_scores_file
from lifealign_bench.results.record import Record
from lifealign_bench.results.view import RunView
from tests.published_records import content_of, frames_of, publish, rewrite


def test_one_cell_may_lie_two_errors_apart_and_many_more() -> None:
    assert cell_errors(1) == 2.0
    # Of the normal's two tails, beyond 2 lies 0.0455 and beyond 3.5 lies 0.000465, which is a 97.8th of it.
    assert cell_errors(97) < 3.5 < cell_errors(98)
    assert cell_errors(10) < cell_errors(100) < cell_errors(1000) < 4.2


def test_where_all_pairs_agree_a_share_has_an_error_all_the_same() -> None:
    # 24 of 24: (24 + 2) / (24 + 4) = 0.92857; sqrt(0.92857 * 0.07143 / 28) = 0.04867.
    assert share_error(100.0, 24) == pytest.approx(4.867, abs=0.001)
    assert share_error(0.0, 24) == pytest.approx(share_error(100.0, 24))
    assert least_share_error(24) == share_error(100.0, 24)
    # 12 of 24: 0.5; sqrt(0.25 / 28) = 0.0945.
    assert share_error(50.0, 24) == pytest.approx(9.449, abs=0.001)


def test_what_is_tolerated() -> None:
    assert tolerated(3.0, 2.0) == 6.0
    assert tolerated(0.0, 2.0, least=4.867) == pytest.approx(9.734)
    assert tolerated(6.0, 2.0, least=4.867) == 12.0
    assert tolerated(None, 2.0, least=1.0) == 2.0
    assert math.isnan(tolerated(None, 2.0))
    assert math.isnan(tolerated(math.nan, 2.0))


@pytest.mark.parametrize(
    ("there", "here", "tolerance", "state"),
    [
        (50.0, 50.0, 0.0, "same"),
        (math.nan, math.nan, math.nan, "same"),
        (50.0, 56.0, 6.0, "within"),
        (50.0, 43.9, 6.0, "outside"),
        (50.0, math.nan, 6.0, "outside"),
        (math.nan, 50.0, 6.0, "outside"),
        (1.0, 1.5, math.nan, "not judged"),
    ],
)
def test_states_of_a_number(there: float, here: float, tolerance: float, state: str) -> None:
    assert MatchedNumber("s", "n", there, here, tolerance).state == state


def _match(numbers: list[MatchedNumber], exact: bool = False, pairs_same: bool | None = False) -> Match:
    return Match(tuple(numbers), (), (), pairs_same, 2.0, exact, {})


def test_verdicts() -> None:
    same, within = MatchedNumber("s", "a", 1.0, 1.0, 0.5), MatchedNumber("s", "b", 1.0, 1.4, 0.5)
    outside, mute = MatchedNumber("s", "c", 1.0, 2.0, 0.5), MatchedNumber("s", "d", 1.0, 2.0, math.nan)
    assert _match([same], pairs_same=True).verdict == "to the bit"
    assert _match([same], pairs_same=None).verdict == "to the bit"
    # Equal means of other pairs are no equal bits.
    assert _match([same], pairs_same=False).verdict == "within the stated tolerance"
    assert _match([same], exact=True, pairs_same=False).verdict == "not reproduced"
    assert _match([same, within]).verdict == "within the stated tolerance"
    assert _match([same, within], exact=True).verdict == "not reproduced"
    assert _match([same, within, outside]).verdict == "not reproduced"
    assert _match([same, mute]).verdict == "within the stated tolerance"
    # What nothing can be said of is no reproduction.
    assert _match([mute]).verdict == "not reproduced"
    assert _match([], pairs_same=None).verdict == "not reproduced"


def _view(tmp_path: Path, level: float = 0.7, draw: int = 0, **more: Any) -> RunView:
    return RunView.open(publish(tmp_path, level=level, draw=draw, **more))


def test_a_record_matches_itself_to_the_bit(tmp_path: Path) -> None:
    view = _view(tmp_path)
    match = match_runs(view, view, exact=True, left_out={})
    assert match.verdict == "to the bit"
    # 4 rows of 3 tasks, of 2 scores.
    assert len(match.cells) == 24
    assert match.errors == cell_errors(24)
    assert [(a.same, a.pairs) for a in match.agreement] == [(40, 40)] * 9


def test_tolerances_are_those_of_the_record(tmp_path: Path) -> None:
    there, here = _view(tmp_path / "a"), _view(tmp_path / "b", level=0.6, draw=3)
    match = match_runs(there, here, exact=False, left_out={})
    matrix = there.record.scores["preference_accuracy"]
    cell = next(c for c in match.cells if c.score == "preference_accuracy" and c.name == "3 three: two")
    value, error = matrix.value[3][1], matrix.standard_error[3][1]
    assert value is not None and error is not None
    assert cell.there == value
    assert cell.tolerance == pytest.approx(cell_errors(24) * max(error, share_error(value, 40)))
    margin = there.record.scores["preference_margin"].standard_error[3][1]
    cell = next(c for c in match.cells if c.score == "preference_margin" and c.name == "3 three: two")
    assert cell.tolerance == pytest.approx(cell_errors(24) * float(margin or 0))
    metric = next(m for m in match.metrics if (m.score, m.name) == ("preference_accuracy", "last"))
    interval = there.interval("preference_accuracy", "last")
    assert interval is not None
    assert metric.tolerance == pytest.approx(2 * max(interval.standard_error, least_share_error(120)))
    # Pairs on one side by hand.
    old, new = (v.stage_scores(3, "two", "preference_accuracy") for v in (there, here))
    same = sum(old[pair] == new[pair] for pair in old)
    assert next(a for a in match.agreement if (a.stage, a.task) == ("3 three", "two")).same == same < 40


def test_another_level_is_not_reproduced(tmp_path: Path) -> None:
    match = match_runs(_view(tmp_path / "a", 0.9), _view(tmp_path / "b", 0.3), exact=False, left_out={})
    assert match.verdict == "not reproduced"
    assert "last" in [n.name for n in match.outside]


def test_without_pairs_metrics_are_not_judged_and_cells_are(tmp_path: Path) -> None:
    place = publish(tmp_path / "a")
    pair_scores_file(place).unlink()
    match = match_runs(RunView.open(place), _view(tmp_path / "b", draw=3), exact=False, left_out={})
    assert match.pairs_same is None and not match.agreement
    assert {m.state for m in match.metrics} <= {"same", "not judged"}
    assert {c.state for c in match.cells} <= {"same", "within", "outside"}


def test_scores_that_were_left_out_are_named_and_not_missed(tmp_path: Path) -> None:
    there, here = _view(tmp_path / "a"), _view(tmp_path / "b")
    kept = {k: v for k, v in here.record.scores.items() if k != "preference_margin"}
    less = RunView(here.record.model_copy(update={"scores": kept}), here.directory, here.published)
    match = match_runs(there, less, exact=False, left_out={"preference_margin": "no judge"})
    assert match.absent == {"preference_margin": "no judge"}
    assert match.verdict == "to the bit"


def test_a_task_with_other_pairs_is_not_the_same(tmp_path: Path) -> None:
    there, place = _view(tmp_path / "a"), publish(tmp_path / "b")
    frame = pd.read_parquet(pair_scores_file(place))
    frame.loc[3, "pair_id"] = "somebody else's"
    frame.to_parquet(pair_scores_file(place), index=False)
    assert match_runs(there, RunView.open(place), exact=False, left_out={}).pairs_same is False


def _record(**changes: Any) -> Record:
    content = content_of(frames_of(0.7, 0), dtype="float32", device="cpu")
    content["hardware"] |= {"dtype": "float32", "device": "cpu", "instructions": "AVX2", "threads": 1}
    content["git"] = {"commit": "a" * 40, "dirty": False}
    for key, value in changes.items():
        content[key] = content[key] | value if isinstance(value, dict) else value
    return Record.model_validate(json.loads(json.dumps(content)))


def test_where_all_is_the_same_every_bit_must_be() -> None:
    there = of_record(_record())
    assert circumstance_differences(there, there) == {}
    assert why_not_to_the_bit(there, there, {}) == []


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"hardware": {"threads": 2}}, "threads"),
        ({"hardware": {"processor": "another"}}, "processor"),
        ({"hardware": {"instructions": "AVX512"}}, "instructions"),
        ({"hardware": {"dtype": "bfloat16"}}, "dtype"),
        ({"hardware": {"device": "cuda", "gpu": "H100"}}, "device"),
        ({"hardware": {"processes": 2}}, "processes"),
        ({"versions": {"torch": "9.9"}}, "version of torch"),
        ({"git": {"commit": "b" * 40}}, "commit"),
        ({"git": {"dirty": True}}, "commit"),
        ({"method": {"source_sha256": "0" * 64}}, "method's file"),
        ({"model": {"fingerprint": "0" * 16}}, "model's weights"),
        ({"model": {"layout": "rows"}}, "layout of a pass"),
    ],
)
def test_what_moves_the_last_bits_is_named(change: dict[str, Any], what: str) -> None:
    there, now = of_record(_record()), of_record(_record(**change))
    assert what in circumstance_differences(there, now)
    assert why_not_to_the_bit(there, now, {})


def test_a_left_out_scorer_moves_the_last_bits() -> None:
    there = of_record(_record())
    assert why_not_to_the_bit(there, there, {"judge": "not available"})


def _seeds(folder: Path, levels: tuple[float, ...] = (0.7, 0.6, 0.9)) -> list[Path]:
    """Published records beside each other."""
    return [publish(folder, seed=seed, level=level) for seed, level in enumerate(levels)]


def test_what_seeds_do_stands_beside_and_changes_no_verdict(tmp_path: Path) -> None:
    there, *others = (RunView.open(place) for place in _seeds(tmp_path / "a"))
    here = _view(tmp_path / "b", 0.88)
    seeds, notes = published_seeds(there)
    assert [view.seed for view in seeds] == [0, 1, 2] and not notes
    match, plain = (match_runs(there, here, exact=False, left_out={}, seeds=given) for given in (seeds, ()))
    assert match.verdict == plain.verdict == "not reproduced" and (match.seeds, plain.seeds) == (3, 0)
    ends = [view.metric("preference_accuracy", "last") for view in (there, *others)]
    last = next(m for m in match.metrics_outside if (m.score, m.name) == ("preference_accuracy", "last"))
    assert last.between == pytest.approx(max(ends) - min(ends)) and abs(last.difference) < last.between
    grid = metric_grid(match)
    row = next(row for row in grid.rows if row[:2] == ("preference_accuracy", "last"))
    assert row[grid.heads.index("seeds")] == f"{last.between:.2f}" and "3 published seeds" in grid.notes[-1]
    assert not plain.metrics_outside and "seeds" not in metric_grid(plain).heads
    outside = match.metrics_outside
    farther = sum(abs(n.difference) > n.between for n in outside)
    said = beyond_seeds_text(match)
    assert said.startswith(f"Metrics outside of the tolerance: {len(outside)} of {len(match.metrics)};")
    assert f"of the 3 published seeds: {farther}." in said and not beyond_seeds_text(plain)
    assert match_json(match)["published_seeds"] == 3
    assert match_json(plain)["metrics"]["preference_accuracy"][0]["between_seeds"] is None


def test_seeds_are_of_one_kind_and_three_at_least(tmp_path: Path) -> None:
    first, second, third = _seeds(tmp_path)
    content = json.loads(third.read_text())
    rewrite(third, {**content, "numbers": content.get("numbers", 1) + 1})  # trained by other code
    assert published_seeds(RunView.open(first)) == ([], [])
    for other in ({"budget": "tokens"}, {"training": {**content["config"]["training"], "epochs": 7}}):
        rewrite(third, {**content, "config": content["config"] | other})
        assert published_seeds(RunView.open(first)) == ([], [])  # of other settings
    third.write_text("{")
    seeds, (note,) = published_seeds(RunView.open(second))
    assert not seeds and note.startswith("seed-2.json, beside the record, is left out")
    assert published_seeds(RunView(RunView.open(first).record, tmp_path)) == ([], [])  # a run's folder, not published
