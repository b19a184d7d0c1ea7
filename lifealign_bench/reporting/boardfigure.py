"""The figure of a leaderboard's board: how far any two methods lie apart, and whether that is significant."""

from __future__ import annotations

import math

from lifealign_bench.leaderboard import ENOUGH_SEEDS, LEVEL, Board
from lifealign_bench.metrics import METRICS
from lifealign_bench.reporting.figure import Figure, Heatmap
from lifealign_bench.reporting.runfigures import slug
from lifealign_bench.runview import score_title

__all__ = ["difference_figure"]

_PALE = 20.0  # percentage points at the end of the colours, at least


def difference_figure(board: Board) -> Figure | None:
    """Methods against each other, best first, bounds left out; None for fewer than two."""
    ranked = [entry for entry in board.entries if not entry.bound]
    if len(ranked) < 2 or not board.differences:
        return None
    names = tuple(entry.method for entry in ranked)
    values, halves = _matrices(board, names)
    better = {(c.better, c.second if c.better == c.first else c.first) for c in board.differences if c.better}
    # Deep colours for differences that are nothing would be a claim of their own.
    least = _PALE if board.unit == "percent" else 0.0
    far = max((abs(value) for row in values for value in row if math.isfinite(value)), default=0.0)
    label = METRICS[board.metric].label
    won = {name: [loser for winner, loser in sorted(better) if winner == name] for name in names}
    said = "; ".join(f"{name} over {', '.join(losers)}" for name, losers in won.items() if losers)
    seeds = sorted({len(entry.seeds) for entry in ranked})
    return Figure(
        id=f"methods-differences-{slug(board.score)}",
        title=f"Differences between methods: {label} of {score_title(board.score)}",
        caption=f"Row minus column{', in ' + board.unit if board.unit else ''}, best method first. ±: half the "
        f"width of their 95 % interval, over the same {board.pairs} test pairs and, with several seeds, over "
        f"seeds ({' or '.join(map(str, seeds))} here). Outlined: the row's method is significantly better, as the "
        "ranks "
        f"count it: at {LEVEL:g} after Holm's correction for {len(board.differences)} comparisons, with {ENOUGH_SEEDS} "
        "seeds or more that both have.",
        alt=f"A table of {len(names)} by {len(names)} methods in colours. "
        + (f"Significantly better: {said}." if said else "No difference is significant."),
        drawing=Heatmap(
            row_head="method",
            rows=names,
            columns=names,
            values=values,
            errors=halves,
            counts=((board.pairs,) * len(names),) * len(names),
            current=frozenset((names.index(a), names.index(b)) for a, b in better),
            limits=(-max(far, least), max(far, least)) if far or least else (-1.0, 1.0),
            centre=0.0,
            unit=board.unit,
            digits=1 if board.unit == "percent" else 2,
            column_head="minus",
            error_head="half of the 95 % interval",
        ),
    )


def _matrices(
    board: Board, names: tuple[str, ...]
) -> tuple[tuple[tuple[float, ...], ...], tuple[tuple[float, ...], ...]]:
    """Differences and half widths of their intervals, (methods, methods); NaN on the diagonal."""
    found = {
        (a, b): (d.value, (d.high - d.low) / 2)
        for a, b, d in ((c.first, c.second, c.difference) for c in board.differences)
    }
    found |= {(b, a): (-value, half) for (a, b), (value, half) in found.items()}
    nothing = (math.nan, math.nan)
    values, halves = (tuple(tuple(found.get((a, b), nothing)[part] for b in names) for a in names) for part in (0, 1))
    return values, halves
