"""Tables of what a mean hides: see ``movement``."""

from __future__ import annotations

import numpy as np

from lifealign_bench.movement import by_quartile, moved
from lifealign_bench.reporting.tables.grid import Grid
from lifealign_bench.runview import RunView
from lifealign_bench.util.text import DASH, number, with_error

__all__ = ["movement_grid", "quartile_grid"]


def movement_grid(view: RunView) -> Grid | None:
    """For each task the pairs that changed sides between its own stage and the last; None without per-pair scores."""
    margins = view.pair_scores("preference_margin") if "preference_margin" in view.record.scores else {}
    if not margins or not view.sequential or not view.complete:
        return None
    last = view.rows[-1].row
    rows = []
    for row in view.rows[1:]:
        (task,) = row.tasks
        before, after = margins[task][row.row], margins[task][last]
        if row.row == last or np.isnan(before).any() or np.isnan(after).any():
            continue
        m = moved(before, after)
        rows.append((task, str(m.pairs), str(m.right_before), str(m.lost), str(m.won), str(m.right_after)))
    if not rows:
        return None
    return Grid(
        "Pairs that changed sides after their own stage",
        ("task", "pairs", "right when learned", "lost since", "won since", "right at the end"),
        tuple(rows),
        ("right: the preference margin is above 0. A mean that stands still may hide both losses and wins.",),
    )


def quartile_grid(view: RunView) -> Grid | None:
    """Final accuracy of each task by quarter of the base model's margins; None without per-pair scores."""
    wanted = ("preference_accuracy", "policy_margin")
    if any(name not in view.record.scores for name in wanted) or not view.complete:
        return None
    accuracy, base = (view.pair_scores(name) for name in wanted)
    if not accuracy or not base:
        return None
    last = view.rows[-1].row
    rows = []
    for task in view.tasks:
        correct, margin = accuracy[task][last], base[task][0]
        if np.isnan(correct).any() or np.isnan(margin).any():
            continue
        shares = by_quartile(margin, correct)
        cells = [with_error(s.accuracy, s.standard_error) for s in shares] + [DASH] * (4 - len(shares))
        rows.append((task, *cells, f"{number(shares[0].low, 2)} to {number(shares[-1].high, 2)}"))
    if not rows:
        return None
    return Grid(
        "Preference accuracy (percent) at the end, by quarter of the pairs in the order of the base model's margin",
        ("task", "hardest", "second", "third", "easiest", "base margins"),
        tuple(rows),
        ("base margin: log-probability a token, chosen minus rejected, of the untouched model.",),
    )
