"""The board of a budget, with the runs that the budget would not change.

Under ``--budget tokens`` every stage spends what plain training on its own pairs does. A method that spends just that
anyway gives the same numbers with the budget as without it, to the bit (docs/protocol.md; tested with A-GEM). Such runs
need not be made twice: on this board they stand beside those that were made with the budget.
"""

from __future__ import annotations

from benchmarks.board_text import MEND, BoardText
from lifealign_bench.errors import BenchError
from lifealign_bench.results.budgets import spent_by
from lifealign_bench.results.checks import config_hash
from lifealign_bench.results.leaderboard import make_boards
from lifealign_bench.results.view import RunView


def with_unchanged(bound: BoardText, free: BoardText, plain: str = "dpo") -> BoardText:
    """The board of a budget of tokens and what it would not change.

    Args:
        bound: runs with the budget.
        free: runs without one, of the same seeds at least; of those methods alone are taken that have no run with the
            budget, are no bound, and train in every stage on as many tokens, in as many steps, as ``plain``.

    Raises:
        BenchError: ``plain`` lacks a seed.
    """
    seeds = {view.seed for name in bound.with_at_least() for view in bound.runs_of(name)}
    spent = {view.seed: _stages(view) for view in free.runs_of(plain)}
    if not seeds <= spent.keys():
        raise BenchError(f"{free.board.name}: {plain} lacks a seed of the runs with a budget.", MEND)
    own = [view for name in bound.with_at_least() for view in bound.runs_of(name)]
    bounds = {entry.method for entry in free.board.entries if entry.bound}
    for name in free.with_at_least():
        runs = [view for view in free.runs_of(name) if view.seed in seeds]
        alike = {view.seed for view in runs} == seeds and all(_stages(view) == spent[view.seed] for view in runs)
        if alike and name not in bounds and name not in bound.with_at_least():
            own += [_under(view, bound.board.budget) for view in runs]
    (board,) = make_boards(own, bound.board.score, baselines=(plain, "replay"))
    if board.apart:
        one = board.apart[0]
        raise BenchError(f"{board.name}: {one.place} cannot stand beside the others: {one.reason}", MEND)
    return BoardText(board, own)


def _stages(view: RunView) -> list[tuple[float, float]]:
    """Steps and tokens of training, stage by stage."""
    alone = (spent_by(view.record.model_copy(update={"stages": [stage]})) for stage in view.record.stages)
    return [(spent.steps, spent.tokens) for spent in alone]


def _under(view: RunView, budget: str) -> RunView:
    """The run as if made with a budget."""
    config = {**view.record.config, "budget": budget}
    record = view.record.model_copy(update={"config": config, "config_hash": config_hash(config)})
    return RunView(record, view.directory, view.published)
