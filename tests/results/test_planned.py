"""A board's planned comparisons: a list beside its records, or every method against the baselines."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from scipy.stats import ttest_rel

from benchmarks.board_text import BoardText
from lifealign_bench import leaderboard
from lifealign_bench.errors import BenchError
from lifealign_bench.reporting.sharing.datarepo import results_push
from lifealign_bench.reporting.tables.leaderboard import board_grids
from lifealign_bench.results.leaderboard import Board, Compared, make_boards, open_published
from lifealign_bench.results.paired import holm
from lifealign_bench.results.planned import PLAN_FILE, plan_file, read_plan
from lifealign_bench.util.text import p_text
from tests.command import Call
from tests.published_records import publish

PLAN = "fixed: 2026-01-31\ncomparisons:\n  - [x, dpo]\n  - [replay, x]\n  - [x, y]\n"
LEVELS = {"dpo": 0.6, "replay": 0.75, "x": 0.66}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Records of three methods, and a plan that names one more."""
    for method, level in LEVELS.items():
        for seed in range(3):
            publish(tmp_path, method, seed, level=level)
    plan_file(tmp_path, "some").write_text(PLAN)
    return tmp_path


def board_of(*folders: Path, baselines: list[str] | None = None) -> Board:
    (board,) = make_boards(open_published(folders)[0], baselines=baselines)
    return board


def pairs(compared: tuple[Compared, ...]) -> list[tuple[str, str]]:
    return [(c.first, c.second) for c in compared]


def test_a_plan_fixes_what_is_corrected_for(results: Path) -> None:
    board = board_of(results)
    assert pairs(board.planned) == [("x", "dpo"), ("replay", "x")]
    assert pairs(board.screened) == [("replay", "dpo")]
    for table in (board.planned, board.screened):
        assert [c.corrected for c in table] == holm([c.difference.p for c in table])
    both = {frozenset((c.first, c.second)): c.difference for c in board.differences}
    for c in (*board.planned, *board.screened):
        assert c.difference.p == both[frozenset((c.first, c.second))].p
        assert c.difference.value == pytest.approx(100 * (LEVELS[c.first] - LEVELS[c.second]), abs=8)
    assert "Planned, but not both run here: x and y." in board.notes
    # A further method changes the screening, and nothing that was planned.
    for seed in range(3):
        publish(results, "z", seed, level=0.7)
    more = board_of(results)
    assert [c.difference.value for c in more.planned] == [c.difference.value for c in board.planned]
    assert pairs(more.planned) == pairs(board.planned) and len(more.screened) == 3
    assert [c.corrected for c in more.planned] == holm([c.difference.p for c in more.planned])


def test_without_a_plan_or_with_baselines_of_ones_own_these_are_compared(results: Path) -> None:
    own = board_of(results, baselines=["x"])
    assert {c.second for c in own.planned} == {"x"} and not own.screened and own.plan is None
    plan_file(results, "some").unlink()
    board = board_of(results)
    assert board.plan is None and not board.screened and {c.second for c in board.planned} == {"dpo", "replay"}


def test_tables_and_files_tell_them_apart(results: Path, call: Call) -> None:
    grids = {grid.title: grid for grid in board_grids(board_of(results))}
    name = "some on small, no supervised phase: last"
    planned, against = grids[f"{name}, planned comparisons"], grids[f"{name} against dpo"]
    assert len(planned.rows) == 2 and len(against.rows) == 1
    assert planned.notes[0].startswith(
        "Planned comparisons, written down on 2026-01-31, p corrected (Holm) for these 2"
    )
    assert against.notes[0].startswith("Not planned: every other method against dpo, p corrected (Holm) for these 1")
    code, out, _ = call("leaderboard", str(results), "--json")
    (board,) = json.loads(out)["boards"]
    assert code == 0 and board["planned_on"] == "2026-01-31"
    assert len(board["planned_comparisons"]) == 2 and len(board["screened_comparisons"]) == 1
    frames = leaderboard(results)
    assert list(frames.planned["first"]) == ["x", "replay"] and list(frames.screened["second"]) == ["dpo"]
    assert list(frames.planned.columns) == list(frames.screened.columns) == list(frames.differences.columns)
    code, out, _ = call("leaderboard", str(results), "--plan", "--json")
    (power,) = json.loads(out)
    assert code == 0 and "2 planned comparisons" in power["detectable"]


def test_a_text_has_the_p_value_of_the_table_that_a_comparison_is_in(results: Path) -> None:
    views = open_published([results])[0]
    text = BoardText(board_of(results), views)
    planned, screened = text.board.planned, text.board.screened
    assert (text.planned(), text.screened(), text.planned_on()) == (2, 1, "2026-01-31")
    assert text.p("replay", "x") == p_text(planned[1].corrected) and text.p("dpo", "replay") == p_text(
        screened[0].corrected
    )
    assert text.alone_p("dpo", "replay") == p_text(screened[0].difference.p)
    last = {m: [v.metric("preference_accuracy", "last") for v in views if v.name == m] for m in LEVELS}
    alone = [ttest_rel(last[a], last[b]).pvalue for a, b in pairs(planned)]
    assert [text.seeds_p(*pair) for pair in pairs(planned)] == [p_text(p) for p in holm(alone)]
    assert text.seeds_p("replay", "dpo") == p_text(ttest_rel(last["replay"], last["dpo"]).pvalue)
    plan_file(results, "some").unlink()
    with pytest.raises(BenchError, match="no planned comparisons"):
        BoardText(board_of(results), views).planned_on()


def test_records_are_shared_with_their_plan_and_verified_beside_it(results: Path, call: Call) -> None:
    assert f"some/{PLAN_FILE}" in {file.path for file in results_push(results).files}
    assert call("verify", str(results))[0] == 0
    plan_file(results, "some").write_text("fixed: soon\n")
    code, out, _ = call("verify", str(results), "--json")
    (wrong,) = (state for state in json.loads(out) if not state["good"])
    assert code == 2 and wrong["place"] == f"some/{PLAN_FILE}" and "is no plan" in wrong["problems"][0]


def test_two_folders_may_have_one_plan_and_not_two(results: Path, tmp_path: Path) -> None:
    other = tmp_path.parent / f"{tmp_path.name}-other"
    for seed in range(3):
        publish(other, "y", seed, level=0.7)
    assert pairs(board_of(results, other).planned)[-1] == ("x", "y")
    shutil.copy(plan_file(results, "some"), plan_file(other, "some"))
    assert len(board_of(results, other).planned) == 3
    plan_file(other, "some").write_text(PLAN.replace("2026", "2025"))
    with pytest.raises(BenchError, match="several plans"):
        board_of(results, other)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("fixed: 2026-01-31\ncomparisons: []\n", "it names no comparison"),
        ("fixed: 2026-01-31\ncomparisons: [[x, x]]\n", "x is compared with itself"),
        ("fixed: 2026-01-31\ncomparisons: [[x, y], [y, x]]\n", "named twice"),
        ("fixed: 2026-01-31\ncomparisons: [[x, y, z]]\n", "comparisons.0"),
        ("comparisons: [[x, y]]\n", "fixed: Field required"),
        ("fixed: soon\ncomparisons: [[x, y]]\n", "fixed"),
        ("fixed: 2026-01-31\ncomparisons: [[x, y]]\nwhy: I like it\n", "why"),
        ("[1, 2", "cannot be read"),
        ("- x\n", "is no plan"),
        ("#" * 100_001, "100,000 are the most"),
    ],
)
def test_what_is_no_plan_is_refused(text: str, wrong: str, tmp_path: Path, call: Call) -> None:
    publish(tmp_path, "x", 0)
    plan_file(tmp_path, "some").write_text(text)
    with pytest.raises(BenchError, match=r"planned\.yaml") as refused:
        read_plan(plan_file(tmp_path, "some"))
    assert wrong in refused.value.message
    code, out, err = call("leaderboard", str(tmp_path))
    assert code == 2 and not out and "planned.yaml" in err and "Traceback" not in err
