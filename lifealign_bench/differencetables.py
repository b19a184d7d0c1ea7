"""Methods against each other on the same test pairs, as tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

from lifealign_bench.estimates import paired_runs
from lifealign_bench.grid import Grid, number
from lifealign_bench.metrics import METRICS
from lifealign_bench.paired import Difference, holm
from lifealign_bench.runview import RunView

__all__ = ["difference_grids", "differences"]

SCORE, METRIC = "preference_accuracy", "last"


def differences(views: Sequence[RunView]) -> list[tuple[str, str, Difference]]:
    """Every two methods among complete runs of one stream and model, in their order; see ``paired``.

    Runs without per-pair scores, that were scored on other test pairs than the first, or for which the metric is not
    defined (``single``), are left out.
    """
    kept: dict[str, list[RunView]] = {}
    digests = None
    for view in views:
        own = tuple((name, data.test_digest) for name, data in view.record.data.items())
        defined = not math.isnan(view.metric(SCORE, METRIC))
        found = view.pair_scores(SCORE) if defined and SCORE in view.record.scores else {}
        if found and digests in (None, own):
            digests = own
            kept.setdefault(view.name, []).append(view)
    runs = paired_runs(kept, SCORE, METRIC) if len(kept) > 1 else None
    if runs is None:
        return []
    pairs = list(combinations(kept, 2))
    function = METRICS[METRIC].function
    if all(len(own) == 1 for own in kept.values()):
        return [(a, b, runs.difference(a, b, function)) for a, b in pairs]
    return [(a, b, d) for (a, b), d in zip(pairs, runs.differences(pairs, function), strict=True)]


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
            f"Paired over {found[0][2].pairs} test pairs, with 95 % intervals; Holm: p corrected for these {len(rows)} "
            "comparisons.",
        ]
        if all(d.seeds == (1, 1) for _, _, d in found):
            notes.append(
                "One seed each: what another seed of training would change is not in it; p is of these runs, by "
                "exchanging their scores. Where they trade tasks it is careful: the interval may exclude 0 and p "
                "be above "
                "0.05."
            )
        else:
            notes.append("Several seeds: interval and p count them, seed by seed.")
            notes += dict.fromkeys(f"No p-value: {d.why}." for _, _, d in found if d.why)
        stream, model = group
        title = f"{METRICS[METRIC].label} (preference accuracy, percent), method by method: {stream} on {model}"
        heads = ("first", "second", "first - second", "p", "p (Holm)")
        grids.append(Grid(title, heads, tuple(rows), tuple(notes), labels=2))
    return grids


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else number(value, 3)
