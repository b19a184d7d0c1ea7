"""What a budget costs methods, as a text speaks of it."""

from __future__ import annotations

from statistics import fmean

import pytest

from benchmarks.board_text import Boards
from benchmarks.budget_text import BudgetText
from lifealign_bench.errors import BenchError
from tests.published_records import publish

SEEDS = range(3)
# Method to its share of right answers without a budget and with one.
LEVELS = {"replay": (0.9, 0.7), "dpo": (0.6, 0.6), "other": (0.6, 0.7)}


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Boards:
    results = tmp_path_factory.mktemp("budgets")
    for method, (free, bound) in LEVELS.items():
        for seed in SEEDS:
            publish(results / "free", method, seed, level=free)
            publish(results / "bound", method, seed, level=bound, budget="tokens")
    return Boards(results)


@pytest.fixture
def text(boards: Boards) -> BudgetText:
    return BudgetText(boards("some", "small"), boards("some", "small", "tokens"), list(LEVELS))


def test_the_cost_is_paired_over_seeds(text: BudgetText, boards: Boards) -> None:
    for method in LEVELS:
        own = {(v.record.config.get("budget"), v.seed): v for v in boards.views if v.name == method}
        for metric in ("last", "forgetting"):
            ends = {key: view.metric("preference_accuracy", metric) for key, view in own.items()}
            value = fmean(ends[None, seed] - ends["tokens", seed] for seed in SEEDS)
            assert text.cost(method, metric).split()[0] == f"{value:.1f}".replace("-0.0", "0.0")


def test_methods_that_surely_end_lower_with_it_are_named(text: BudgetText) -> None:
    value, low, high = (float(part.strip("[],")) for part in text.cost("replay").split())
    assert 0 < low < value < high
    assert text.cost("dpo").startswith("0.0 [-")  # the same to the last pair
    assert text.lower() == "`replay`"


def test_what_was_not_run_with_a_budget_is_refused(boards: Boards) -> None:
    free, bound = boards("some", "small"), boards("some", "small", "tokens")
    with pytest.raises(BenchError, match="has no run of rft"):
        BudgetText(free, bound, ["replay", "rft"]).lower()
    with pytest.raises(BenchError, match="lwf is not among"):
        BudgetText(free, bound, ["replay"]).cost("lwf")
