"""How far the orders by two scores agree, of all methods and without some, as a text speaks of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.agreement_text import AgreementText
from benchmarks.board_text import BoardText, UnsupportedClaimError
from lifealign_bench.errors import BenchError
from lifealign_bench.results.leaderboard import Board
from lifealign_bench.results.rankcorrelation import RankAgreement, RankCorrelation, score_agreement
from lifealign_bench.results.view import RunView
from tests.reporting.test_tables import record_of

# Method to its end by preference accuracy and by win rate: two far ahead by both, four below in opposite orders.
ENDS = {"x": (90, 95), "y": (91, 94), "a": (50, 64), "b": (52, 63), "c": (54, 62), "d": (56, 61)}


def run_of(method: str, accuracy: float, win_rate: float) -> RunView:
    record = record_of({task: np.full((3, 4), accuracy / 100) for task in "ab"}, method=method, seed=0)
    matrix = record.scores["preference_accuracy"].model_copy(update={"value": [[win_rate, win_rate]] * 3})
    scores = {**record.scores, "win_rate": matrix}
    metrics = {**record.metrics, "win_rate": {"last": win_rate}}
    return RunView(record.model_copy(update={"scores": scores, "metrics": metrics}))


@pytest.fixture
def text() -> BoardText:
    views = {name: [run_of(name, *ends)] for name, ends in ENDS.items()}
    found = score_agreement(views, "win_rate", "preference_accuracy", "last")
    board = Board("some", "small", "preference_accuracy", "last", "percent", (), (), agreement=found)
    return BoardText(board, [view for own in views.values() for view in own])


def test_two_groups_apart_make_a_tau_that_neither_of_them_has(text: BoardText) -> None:
    """Of 15 pairs of methods 8 are of the two groups and concordant, 7 discordant: (8 - 7) / 15."""
    whole, rest = AgreementText(text), AgreementText(text, ["x", "y"])
    assert whole.methods() == 6 and whole.tau().startswith("0.07 [")
    assert rest.methods() == 4 and rest.tau().startswith("-1.00")
    with pytest.raises(BenchError, match="no rank correlation"):
        AgreementText(text, ["x", "y", "a"])  # of three methods


@pytest.mark.parametrize(
    ("low", "high", "in_part", "unrelated"),
    [(0.1, 0.6, True, False), (-0.1, 0.6, False, True), (0.4, 1.0, False, False)],
)
def test_claims_go_by_the_interval(text: BoardText, low: float, high: float, in_part: bool, unrelated: bool) -> None:
    given = RankAgreement(("dpo", "replay"), kendall=RankCorrelation(0.5, low, high))
    found = AgreementText(BoardText(replace(text.board, agreement=given), []))
    for claim, holds, why in (
        (found.in_part, in_part, "not shown to agree in part"),
        (found.unrelated, unrelated, "the two orders agree"),
    ):
        if holds:
            assert claim() == ""
            continue
        with pytest.raises(UnsupportedClaimError, match=why):
            claim()


def test_a_board_without_two_scores_has_none(text: BoardText) -> None:
    with pytest.raises(BenchError, match="not two scores"):
        AgreementText(BoardText(replace(text.board, agreement=None), []))
