"""Whether methods stand in the same order by two scores of one board, and on two models' boards of one stream.

    python benchmarks/rank_agreement.py results                 every board by itself, then the boards of each stream
    python benchmarks/rank_agreement.py results mine --score win_rate --by backward_transfer

Reads published records. Rank correlations with 95 % intervals over methods and, within them, seeds, as Markdown; it
takes four methods. Of two models they are those that both boards have, by --score.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

from lifealign_bench.errors import BenchError
from lifealign_bench.results.budgets import budget_of
from lifealign_bench.results.leaderboard import METRIC, SCORE, WIN_RATE, Board, make_boards, open_published
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.rankcorrelation import RankAgreement, model_agreement
from lifealign_bench.results.view import RunView, score_title


def runs_of(board: Board, views: Sequence[RunView]) -> Mapping[str, list[RunView]]:
    """The runs of a board's methods that learned their first task, without the bounds."""
    names = {e.method: set(e.seeds) for e in board.entries if e.learned and not e.bound}
    place = (board.stream, board.model, board.budget)
    own = [v for v in views if (*v.group, budget_of(v.record.config)) == place and v.seed in names.get(v.name, ())]
    return {name: [view for view in own if view.name == name] for name in names}


def between_models(
    boards: Sequence[Board], views: Sequence[RunView], score: str, metric: str
) -> list[tuple[str, RankAgreement]]:
    """Of every two boards of one stream and budget: what they are, and how far they agree."""
    found = []
    for first, second in combinations(boards, 2):
        if (first.stream, first.budget) == (second.stream, second.budget) and first.model != second.model:
            one, two = (runs_of(board, views) for board in (first, second))
            name = f"{first.stream}: {first.model} and {second.model}"
            found.append((name, model_agreement(one, two, score, metric)))
    return found


def table(found: Sequence[tuple[str, RankAgreement]]) -> str:
    """A row each, as Markdown."""
    rows = ["| orders | Kendall's tau | Spearman's rho | methods |", "| --- | ---: | ---: | ---: |"]
    for name, agreement in found:
        numbers = (agreement.kendall, agreement.spearman)
        cells = ["-" if agreement.why else correlation.said() for correlation in numbers]
        rows.append(f"| {name} | {' | '.join(cells)} | {len(agreement.methods)} |")
    return "\n".join([*rows, "", *(f"{name}: {a.why}." for name, a in found if a.why)]).rstrip("\n") + "\n"


def main() -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="folders of published records")
    parser.add_argument("--score", default=WIN_RATE, help="by which two models are compared (default: %(default)s)")
    parser.add_argument("--by", default=METRIC, choices=list(METRICS), help="metric (default: %(default)s)")
    words = parser.parse_args()
    try:
        views, _ = open_published(words.folders)
        boards = make_boards(views, metric=words.by)
        scores = f"{score_title(WIN_RATE)} and {score_title(SCORE)}"
        found = [(f"{board.name}: {scores}", board.agreement) for board in boards if board.agreement is not None]
        print(table([*found, *between_models(boards, views, words.score, words.by)]), end="")
    except BenchError as error:
        print(f"{error.message}\n{error.remedy}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
