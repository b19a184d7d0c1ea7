"""Do two scores, or two models, put methods in the same order?"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from benchmarks.rank_agreement import between_models, table
from lifealign_bench.reporting.tables.leaderboard import board_json, rank_grid, short_rank_grid
from lifealign_bench.results.leaderboard import make_boards, open_published
from lifealign_bench.results.rankcorrelation import (
    RankAgreement,
    agreement_text,
    rank_agreement,
    rhos,
    score_agreement,
    taus,
)
from lifealign_bench.results.view import RunView
from tests.published_records import publish
from tests.reporting.test_tables import record_of


def single(*values: float) -> dict[str, list[float]]:
    return {name: [value] for name, value in zip("abcdefghijkl", values, strict=False)}


def test_by_hand() -> None:
    # Of six pairs of methods one (b, c) stands the other way round: (5 - 1) / 6; rho: 1 - 6 * (1 + 1) / (4 * 15).
    found = rank_agreement(single(1, 2, 3, 4), single(10, 30, 20, 40), same_runs=True)
    assert found.kendall.value == pytest.approx(4 / 6) and found.spearman.value == pytest.approx(0.8)
    opposite = rank_agreement(single(1, 2, 3, 4), single(9, 8, 7, 0), same_runs=True).kendall
    assert opposite.value == -1 and opposite.said() == "-1.00"  # whatever is drawn: that is no certainty
    # A tie on one side: of six pairs five are no tie there, all in the same order; 5 / sqrt(5 * 6).
    assert rank_agreement(single(1, 2, 2, 4), single(1, 2, 3, 4), same_runs=True).kendall.value == pytest.approx(
        5 / math.sqrt(30)
    )


def test_as_scipy_has_them_ties_included() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.integers(0, 5, size=(2, 20, 8)).astype(float)
    for row, (tau, rho) in enumerate(zip(taus(first, second), rhos(first, second), strict=True)):
        assert tau == pytest.approx(kendalltau(first[row], second[row]).statistic)
        assert rho == pytest.approx(spearmanr(first[row], second[row]).statistic)
    assert math.isnan(taus(np.ones((1, 4)), second[:1, :4])[0])


def test_fewer_than_four_methods_have_no_correlation() -> None:
    found = rank_agreement(single(1, 2, 3), single(1, 2, 3, 4), same_runs=False)
    assert math.isnan(found.kendall.value) and found.methods == ("a", "b", "c")
    assert agreement_text(found, "Order") == (
        "Order: no rank correlation, since only 3 methods have values on both sides, and it takes 4."
    )
    unknown = rank_agreement(single(1, 2, math.nan, 4), single(1, 2, 3, 4), same_runs=True)
    assert unknown.methods == ("a", "b", "d") and unknown.why
    assert "all methods are equal" in rank_agreement(single(1, 1, 1, 1), single(1, 2, 3, 4), same_runs=True).why


def test_the_interval_is_over_methods_and_over_the_seeds_within() -> None:
    order = rank_agreement(single(*range(12)), single(*range(12)), same_runs=True)
    assert order.kendall.value == 1 and math.isnan(order.kendall.low)  # methods drawn twice are ties and no evidence
    close = {name: [value - 3, value + 3] for name, (value,) in single(*range(12)).items()}
    # The same runs on both sides: whichever seeds are drawn, both sides have the same order.
    assert math.isnan(rank_agreement(close, close, same_runs=True).kendall.low)
    others = rank_agreement(close, close, same_runs=False).kendall
    assert others.value == 1 and others.low < 0.95
    few = rank_agreement(single(1, 2, 3, 4, 5), single(2, 1, 3, 5, 4), same_runs=True).kendall
    many = rank_agreement(single(*range(10)), single(1, 0, 2, 4, 3, 6, 5, 7, 9, 8), same_runs=True).kendall
    assert few.high - few.low > many.high - many.low
    with pytest.raises(ValueError, match="2 runs on one side"):
        rank_agreement(close, single(*range(12)), same_runs=True)


def test_two_scores_of_the_same_runs() -> None:
    def view(method: str, seed: int, last: float, other: float | None) -> RunView:
        values = {task: np.full((3, 4), last / 100) for task in "ab"}
        record = record_of(values, method=method, seed=seed)
        scores = dict(record.scores)
        if other is not None:
            matrix = scores["preference_accuracy"]
            scores["win_rate"] = matrix.model_copy(update={"value": [[other, other]] * 3})
        metrics = dict(record.metrics) | ({} if other is None else {"win_rate": {"last": other}})
        return RunView(record.model_copy(update={"scores": scores, "metrics": metrics}))

    methods = {
        name: [view(name, seed, last + seed, other) for seed in (0, 1)]
        for name, last, other in (("a", 50, 90), ("b", 60, 80), ("c", 70, 70), ("d", 80, 60), ("e", 90, None))
    }
    found = score_agreement(methods, "win_rate", "preference_accuracy", "last")
    assert found is not None and found.methods == ("a", "b", "c", "d") and found.kendall.value == -1
    assert score_agreement({"e": methods["e"]}, "win_rate", "preference_accuracy", "last") is None


def test_under_a_board_and_between_two(tmp_path: Path) -> None:
    for model, levels in (("small", (0.9, 0.8, 0.7, 0.6)), ("large", (0.6, 0.7, 0.8, 0.9))):
        for method, level in zip("abcd", levels, strict=True):
            publish(tmp_path / model, method, 0, level=level, model=model)
    views, _ = open_published([tmp_path / "small", tmp_path / "large"])
    boards = make_boards(views)
    ((name, found),) = between_models(boards, views, "preference_accuracy", "last")
    assert name == "some: large and small" and found.kendall.value == -1 and found.methods == tuple("abcd")
    assert table([(name, found)]).splitlines()[2].startswith("| some: large and small | -1.00 |")
    few = RankAgreement(("a",), why="too few")
    assert table([("x", few)]).splitlines()[2:] == ["| x | - | - | 1 |", "", "x: too few."]
    # These records have no win rate, so nothing is said; where there is one it stands below the board.
    assert boards[0].agreement is None and board_json(boards[0])["win_rate_and_preference_accuracy"] is None
    said = replace(boards[0], agreement=found)
    (note,) = set(rank_grid(said).notes) - set(rank_grid(boards[0]).notes)
    assert note == (
        "Order by win rate against order by preference accuracy, last: Kendall's tau -1.00, Spearman's "
        "rho -1.00, over 4 methods (95 % intervals over methods and seeds)."
    )
    assert short_rank_grid(said).notes == short_rank_grid(boards[0]).notes
    assert board_json(said)["win_rate_and_preference_accuracy"]["kendall_tau"] == {
        "value": -1,
        "low": None,
        "high": None,
    }
