"""Methods against each other on the same test pairs, as tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

from lifealign_bench.metrics import METRICS
from lifealign_bench.paired import Difference, PairedRuns, holm
from lifealign_bench.record import Matrix
from lifealign_bench.reporting.tables.grid import Grid
from lifealign_bench.runview import RunView
from lifealign_bench.util.text import number

__all__ = ["difference_grids", "differences"]

SCORE, METRIC = "preference_accuracy", "last"


def differences(views: Sequence[RunView]) -> list[tuple[str, str, Difference]]:
    """Every two methods among complete runs of one stream and model, in their order; see ``paired``.

    Runs without per-pair scores, that were scored on other test pairs than the first, or for which the metric is not
    defined (``single``), are left out.
    """
    scores: dict[str, list[dict[str, Matrix]]] = {}
    digests = None
    for view in views:
        own = tuple((name, data.test_digest) for name, data in view.record.data.items())
        defined = not math.isnan(view.metric(SCORE, METRIC))
        found = view.pair_scores(SCORE) if defined and SCORE in view.record.scores else {}
        if found and digests in (None, own):
            digests = own
            scores.setdefault(view.name, []).append(found)
    runs = PairedRuns(scores, 100.0) if len(scores) > 1 else None
    return [
        (a, b, runs.difference(a, b, METRICS[METRIC].function)) for a, b in combinations(scores, 2) if runs is not None
    ]


def difference_grids(views: Sequence[RunView]) -> list[Grid]:
    """One table for each (stream, model) with at least two methods."""
    grids = []
    for group in dict.fromkeys(view.group for view in views):
        found = differences([view for view in views if view.group == group])
        if not found:
            continue
        corrected = holm([d.p for _, _, d in found])
        rows = [
            (a, b, f"{number(d.value)} [{number(d.low)}, {number(d.high)}]", _p(d.p), _p(p))
            for (a, b, d), p in zip(found, corrected, strict=True)
        ]
        notes = [
            f"Paired over {found[0][2].pairs} test pairs: 95 % interval by bootstrap, p by exchanging the methods' "
            f"scores; Holm: p corrected for these {len(rows)} comparisons. Where methods trade tasks, p is careful: "
            "the interval may exclude 0 and p be above 0.05.",
        ]
        if all(d.seeds == (1, 1) for _, _, d in found):
            notes.append("One seed each: what another seed of training would change is not in it.")
        else:
            notes.append("Several seeds: the interval counts them, the test does not.")
        stream, model = group
        title = f"{METRICS[METRIC].label} (preference accuracy, percent), method by method: {stream} on {model}"
        heads = ("first", "second", "first - second", "p", "p (Holm)")
        grids.append(Grid(title, heads, tuple(rows), tuple(notes), labels=2))
    return grids


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else number(value, 3)
