"""A board's planned comparisons: a list beside its records, or every method against the baselines."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
from scipy.stats import ttest_rel

from benchmarks.board_text import BoardText, UnsupportedClaimError
from benchmarks.plan_text import PlanText
from lifealign_bench import leaderboard
from lifealign_bench.errors import BenchError
from lifealign_bench.reporting.figures.several import board_figures
from lifealign_bench.reporting.sharing.datarepo import results_push
from lifealign_bench.reporting.tables.comparison import OVER_SHARED, difference_grids
from lifealign_bench.reporting.tables.leaderboard import board_grids, rank_grid, short_rank_grid
from lifealign_bench.results.comparison import metric_function, paired_runs
from lifealign_bench.results.leaderboard import Board, Compared, make_boards, open_published
from lifealign_bench.results.paired import holm
from lifealign_bench.results.planned import PLAN_FILE, plan_file, read_plan
from lifealign_bench.results.power import Design, power
from lifealign_bench.util.text import p_text
from tests.command import Call
from tests.published_records import publish

HEAD = "fixed: 2026-01-31\nscore: preference_accuracy\nmetric: last\nseeds: [0, 1, 2]\n"
PLAN = f"{HEAD}comparisons:\n  - [x, dpo]\n  - [replay, x]\n  - [x, y]\n"
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
    # What was not run counts as well.
    assert [c.corrected for c in board.planned] == holm([*(c.difference.p for c in board.planned), 1.0])[:2]
    assert [c.corrected for c in board.screened] == holm([c.difference.p for c in board.screened])
    assert board.corrected_planned == 3
    for c in (*board.planned, *board.screened):
        assert c.difference.value == pytest.approx(100 * (LEVELS[c.first] - LEVELS[c.second]), abs=8)
    assert "Planned, but not both run here: x and y." in board.notes
    assert not any(note.startswith("Planned with seeds") for note in board.notes)


def test_what_joins_moves_nothing_that_is_planned(results: Path) -> None:
    board = board_of(results)
    for method, level in (("z", 0.7), ("zz", 0.3)):
        for seed in range(3):
            publish(results, method, seed, level=level)
    more = board_of(results)
    assert more.planned == board.planned and len(more.screened) == len(board.screened) + 4
    either = {frozenset((c.first, c.second)): c.difference.p for c in more.differences}
    assert [either[frozenset((c.first, c.second))] for c in board.planned] != [c.difference.p for c in board.planned]


def test_a_plan_is_of_one_score_and_metric_and_says_which_seeds_are_missing(results: Path) -> None:
    file = plan_file(results, "some")
    file.write_text(PLAN.replace("[0, 1, 2]", "[0, 1, 2, 3]"))
    board = board_of(results)
    wanted = (
        "Planned with seeds 0, 1, 2, 3, not all of which are there: x, dpo, replay. Until then: compared on 0, 1, 2, "
        "which all have."
    )
    assert wanted in board.notes and board.planned
    views = open_published([results])[0]
    (other,) = make_boards(views, metric="forgetting")
    assert other.plan is None and {c.second for c in other.planned} == {"dpo", "replay"}
    file.write_text(PLAN.replace("preference_accuracy", "win_rate"))
    assert board_of(results).plan is None


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
    assert planned.notes[0] == (
        "Planned comparisons, written down on 2026-01-31, p corrected (Holm) for the 3 of the list. The intervals are "
        "95 % each."
    )
    assert against.notes[0].startswith("Not planned: all others with dpo, p corrected (Holm) for these 1")
    code, out, _ = call("leaderboard", str(results), "--json")
    (board,) = json.loads(out)["boards"]
    assert code == 0 and board["planned_on"] == "2026-01-31"
    assert len(board["planned_comparisons"]) == 2 and len(board["screened_comparisons"]) == 1
    frames = leaderboard(results)
    assert list(frames.planned["first"]) == ["x", "replay"] and list(frames.screened["second"]) == ["dpo"]
    assert list(frames.planned.columns) == list(frames.screened.columns) == list(frames.differences.columns)
    code, out, _ = call("leaderboard", str(results), "--plan", "--json")
    (power,) = json.loads(out)
    assert code == 0 and "3 planned comparisons" in power["detectable"]


def test_a_text_has_the_p_value_of_the_table_that_a_comparison_is_in(results: Path) -> None:
    views = open_published([results])[0]
    text = BoardText(board_of(results), views)
    planned, screened = text.board.planned, text.board.screened
    assert (PlanText(text).corrected_for(), text.screened(), PlanText(text).plan.fixed.isoformat()) == (
        3,
        1,
        "2026-01-31",
    )
    assert text.p("replay", "x") == p_text(planned[1].corrected) and text.p("dpo", "replay") == p_text(
        screened[0].corrected
    )
    assert text.alone_p("dpo", "replay") == p_text(screened[0].difference.p)
    last = {m: [v.metric("preference_accuracy", "last") for v in views if v.name == m] for m in LEVELS}
    alone = [ttest_rel(last[a], last[b]).pvalue for a, b in pairs(planned)]
    assert [text.seeds_p(*pair) for pair in pairs(planned)] == [p_text(p) for p in holm([*alone, 1.0])[:2]]
    assert text.seeds_p("replay", "dpo") == p_text(ttest_rel(last["replay"], last["dpo"]).pvalue)
    plan_file(results, "some").unlink()
    with pytest.raises(BenchError, match="no planned comparisons"):
        PlanText(BoardText(board_of(results), views)).table()


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
        (f"{HEAD}comparisons: []\n", "it names no comparison"),
        (f"{HEAD}comparisons: [[x, x]]\n", "x is compared with itself"),
        (f"{HEAD}comparisons: [[x, y], [y, x]]\n", "named twice"),
        (f"{HEAD}comparisons: [[x, y, z]]\n", "comparisons.0"),
        (PLAN.replace("fixed: 2026-01-31\n", ""), "fixed: Field required"),
        (PLAN.replace("2026-01-31", "soon"), "fixed"),
        (PLAN.replace("seeds: [0, 1, 2]\n", ""), "seeds: Field required"),
        (f"{PLAN}why: I like it\n", "why"),
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


def last_of(results: Path) -> dict[str, list[float]]:
    """Method to what its runs end at, in the order of their seeds."""
    views = sorted(open_published([results])[0], key=lambda view: view.seed)
    return {m: [v.metric("preference_accuracy", "last") for v in views if v.name == m] for m in {v.name for v in views}}


def chance(results: Path, pair: tuple[str, str], difference: str, design: Design) -> float:
    """That a difference is found, by the spread of these two methods alone."""
    views = open_published([results])[0]
    runs = paired_runs({m: [v for v in views if v.name == m] for m in pair}, "preference_accuracy", "last")
    assert runs is not None
    variances = runs.variances([pair], metric_function("last"))
    assert variances is not None
    return power(float(difference), variances, design)


def test_a_text_tells_the_seeds_that_were_seen_before_a_plan_from_the_others(results: Path) -> None:
    plan_file(results, "some").write_text(PLAN.replace("[0, 1, 2]", "[0, 1, 2, 3, 4]\nseen: [0, 1, 2]"))
    lacking = BoardText(board_of(results), open_published([results])[0])
    with pytest.raises(UnsupportedClaimError, match="x or dpo lacks a seed of the plan"):
        PlanText(lacking).table()
    for method in LEVELS:
        for seed in (3, 4):
            publish(results, method, seed, level=LEVELS[method])
    board = board_of(results)
    text = PlanText(BoardText(board, open_published([results])[0]))
    last = last_of(results)
    seen, unseen = (
        [fmean(last[a][part]) - fmean(last[b][part]) for a, b in pairs(board.planned)]
        for part in (slice(3), slice(3, None))
    )
    lines = [line.strip("| ").split(" | ") for line in text.table().splitlines()]
    assert lines[0] == ["first minus second", "5 seeds", "p", "p, seeds alone", "detects", "seen", "unseen"]
    assert [line[0] for line in lines[2:]] == ["`x` minus `dpo`", "`replay` minus `x`"]
    assert board.planned_precision is not None and board.precision is not None
    for line, pair in zip(lines[2:], pairs(board.planned), strict=True):
        assert chance(results, pair, line[4], board.planned_precision.design) == pytest.approx(0.8, abs=0.02)
    detected = sorted(float(line[4]) for line in lines[2:])
    assert text.detects_range() == f"{detected[0]:.1f} to {detected[-1]:.1f}"
    screened = pairs(board.screened)[0]
    shared = len(text.text.shared(*screened))
    design = replace(board.precision.design, seeds=shared, comparisons=text.text.screened())
    assert chance(results, screened, text.screened_detects(*screened), design) == pytest.approx(0.8, abs=0.02)
    assert [line[5:] for line in lines[2:]] == [[f"{a:.1f}", f"{b:.1f}"] for a, b in zip(seen, unseen, strict=True)]
    assert [line[2] for line in lines[2:]] == [p_text(c.corrected) for c in board.planned]
    assert text.unseen("x", "dpo") == f"{unseen[0]:.1f}" and text.seen("x", "dpo") == f"{seen[0]:.1f}"
    for (first, second), a, b in zip(pairs(board.planned), seen, unseen, strict=True):
        larger, smaller = ((first, second), (second, first)) if b < a else ((second, first), (first, second))
        assert text.shrinks(*larger) == ""
        with pytest.raises(UnsupportedClaimError, match="on the seen seeds"):
            text.shrinks(*smaller)
    publish(results, "y", 3, level=0.7)
    with pytest.raises(UnsupportedClaimError, match="x or y lacks a seed of the plan"):
        PlanText(BoardText(board_of(results), open_published([results])[0])).unseen("x", "y")
    (grid,) = (grid for grid in board_grids(board) if grid.title.endswith("planned comparisons"))
    assert grid.notes[0].startswith("Planned comparisons, written down on 2026-01-31 when seeds 0, 1, 2 had been seen,")
    plan_file(results, "some").write_text(PLAN)
    assert "unseen" not in PlanText(BoardText(board_of(results), open_published([results])[0])).table()
    plan_file(results, "some").write_text(PLAN.replace("[0, 1, 2]", "[0, 1, 2]\nseen: [7]"))
    with pytest.raises(BenchError, match=r"is no plan: Value error, seeds that had been seen are not among its seeds"):
        board_of(results)


def test_methods_of_a_plan_may_have_more_seeds_than_others(results: Path) -> None:
    plan_file(results, "some").write_text(PLAN.replace("[0, 1, 2]", "[0, 1, 2, 3, 4]\nseen: [0, 1, 2]"))
    for seed in range(3):
        publish(results, "z", seed, level=0.7)
    for method in LEVELS:
        for seed in (3, 4):
            publish(results, method, seed, level=LEVELS[method])
    board = board_of(results)
    text = BoardText(board, open_published([results])[0])
    # The plan's methods are compared on all their seeds, with others on those that both have.
    assert {c.difference.shared for c in board.planned} == {5}
    assert {(c.first, c.difference.shared) for c in board.screened} == {("replay", 5), ("z", 3)}
    assert board.precision is not None and board.precision.design.seeds == 3
    plan = board.planned_precision
    assert plan is not None and (plan.design.seeds, plan.design.methods, plan.design.comparisons) == (5, 3, 3)
    last = last_of(results)
    # By the mean of the seeds that both have, and not by the means that the board shows.
    assert next(c.difference.value for c in board.differences if {c.first, c.second} == {"x", "z"}) == pytest.approx(
        abs(fmean(last["x"][:3]) - fmean(last["z"]))
    )
    # A difference that a text has computed is the board's own.
    for c in board.differences:
        again = text._compared(c.first, c.second, metric_function("last"), "")
        assert (again.value, again.low, again.p) == pytest.approx(
            (c.difference.value, c.difference.low, c.difference.p)
        )
    assert text.with_seeds(3, planned=5) == ""
    with pytest.raises(UnsupportedClaimError, match="has 5 seeds, and the page speaks of 3"):
        text.with_seeds(3)
    with pytest.raises(UnsupportedClaimError, match="z has 3 seeds, and the page speaks of 5"):
        text.with_seeds(5)
    assert PlanText(text).detectable() != text.detectable()
    # Readers of differences see over how many seeds each is, and that it is not that of the means.
    grids = {grid.title.rpartition(": ")[2]: grid for grid in board_grids(board)}
    assert [str(row[-1]) for row in grids["last, planned comparisons"].rows] == ["5", "5"]
    against = grids["last against dpo and replay"]
    assert against.heads[-1] == "seeds" and {(str(row[0]), str(row[-1])) for row in against.rows} == {
        ("replay", "5"),
        ("z", "3"),
    }
    assert OVER_SHARED in against.notes and OVER_SHARED in difference_grids(open_published([results])[0])[0].notes
    assert "by the means of the rows" in "\n".join(rank_grid(board).notes)
    ranking, differences = board_figures(board)
    assert "over seeds (3 or 5 here)" in ranking.caption and "that both have (3 or 5 here)" in differences.caption
    # A reader of the short table sees who has more.
    grid = short_rank_grid(board, most=None)
    assert grid.heads[-1] == "seeds" and "Methods are compared on seeds that both have." in grid.notes
    assert {str(row[1]): str(row[-1]) for row in grid.rows if row[0] != "computed"} == dict.fromkeys(LEVELS, "5") | {
        "z": "3"
    }
    assert any("each on its own, over seeds and" in note for note in grid.notes)


def test_a_plan_is_looked_at_with_its_own_seeds_and_those_that_all_of_its_methods_have(results: Path) -> None:
    before = board_of(results).planned
    # More seeds than were planned change nothing.
    for method in ("x", "dpo"):
        publish(results, method, 3, level=LEVELS[method])
    assert board_of(results).planned == before
    # Before all are there, all of its comparisons are of the same runs.
    plan_file(results, "some").write_text(PLAN.replace("[0, 1, 2]", "[0, 1, 2, 3]"))
    board = board_of(results)
    assert [c.difference.p for c in board.planned] == [c.difference.p for c in before]
    assert {c.difference.shared for c in board.planned} == {3}
    assert any(note.endswith("replay. Until then: compared on 0, 1, 2, which all have.") for note in board.notes)
    plan_file(results, "some").write_text(PLAN.replace("[0, 1, 2]", "[7, 8]"))
    board = board_of(results)
    assert not board.planned and board.planned_precision is None
    assert any(note.endswith("Until then: no seed is there of all.") for note in board.notes)


def test_who_has_the_highest_mean_is_claimed_on_shared_seeds_as_well(results: Path) -> None:
    # With all of its seeds x is above y, on those that both have it is below.
    for seed in range(3):
        publish(results, "y", seed, level=0.68)
    for seed in (3, 4):
        publish(results, "x", seed, level=0.9)
    last = last_of(results)
    assert fmean(last["x"]) > fmean(last["y"]) > fmean(last["x"][:3])
    text = BoardText(board_of(results), open_published([results])[0])
    with pytest.raises(UnsupportedClaimError, match="the mean of y is higher than that of x"):
        text.highest("x", "y")
    with pytest.raises(UnsupportedClaimError, match="y is not below x"):
        text.leading("preference_accuracy", "x", "replay")
    with pytest.raises(UnsupportedClaimError, match="the mean of x is higher than that of y"):
        text.highest("y", "x")
    assert text.highest("replay", "dpo") == text.leading("preference_accuracy", "replay", "x", "y") == ""


def test_where_all_methods_have_as_many_seeds_a_short_table_says_it_once(results: Path) -> None:
    grid = short_rank_grid(board_of(results))
    assert "seeds" not in grid.heads and "Methods are compared on seeds that both have." not in grid.notes
    assert any("each on its own, over 3 seeds and" in note for note in grid.notes)
