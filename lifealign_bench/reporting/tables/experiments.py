"""What many runs were made for, as tables: a reproduction, a stream in several orders."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lifealign_bench.experiments.reproduction.match import ERRORS, Match, MatchedNumber
from lifealign_bench.reporting.tables.grid import Grid, without_repeats
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.results.orders import OrderRow
from lifealign_bench.results.statistics import Spread, spread
from lifealign_bench.results.view import score_title
from lifealign_bench.util.text import DASH, known, number


def difference_grid(found: Mapping[str, tuple[str, str]]) -> Grid:
    """What is not as it was."""
    rows = tuple((name, there, here) for name, (there, here) in found.items()) or (("(nothing)", "", ""),)
    return Grid("What is not the same", ("what", "in the record", "here"), rows, prose=(1, 2))


def score_grid(match: Match) -> Grid:
    """One row a score: how many cells are the same, and the one that is furthest from its tolerance or its value."""
    rows = []
    for score in dict.fromkeys(cell.score for cell in match.cells):
        own = [cell for cell in match.cells if cell.score == score]
        worst = _worst(own)
        same = sum(cell.same for cell in own)
        outside = sum(cell in match.outside for cell in own)
        rows.append((score, str(len(own)), str(same), str(outside), *_numbers(worst, match.exact), worst.name))
    rows += [(score, "0", DASH, DASH, DASH, DASH, DASH, DASH, reason) for score, reason in match.absent.items()]
    heads = ("score", "cells", "same", "outside", "there", "here", "difference", "tolerance", "the largest is of")
    notes = (
        "The largest difference of each score matrix, in the score's unit."
        + ("" if match.exact else f" Tolerance of a cell: {match.errors:.2f} standard errors of the record's."),
    )
    return Grid("Score matrices", heads, tuple(rows), notes, prose=(8,))


def metric_grid(match: Match) -> Grid:
    """One row a score and metric."""
    with_seeds = match.seeds > 0 and not match.exact

    def row(m: MatchedNumber) -> tuple[str, ...]:
        between = (number(m.between, 2),) if with_seeds else ()
        state = "outside" if m in match.outside else m.state
        return (m.score, m.name, *_numbers(m, match.exact), *between, state)

    heads = ("score", "metric", "there", "here", "difference", "tolerance", *["seeds"] * with_seeds, "state")
    notes = [] if match.exact else [f"Tolerance of a metric: {ERRORS:g} standard errors of the record's."]
    if with_seeds:
        notes.append(f"seeds: the most that two of the {match.seeds} published seeds of the method differ by.")
    return Grid("Metrics", heads, tuple(map(row, match.metrics)), tuple(notes), labels=2)


def beyond_seeds_text(match: Match) -> str:
    """How many metrics are outside of the tolerance, and how many of these lie farther apart than published seeds do;
    empty where that is not known or there are none."""
    known_of = match.metrics_outside
    if match.exact or not known_of:
        return ""
    farther = sum(abs(n.difference) > n.between for n in known_of)
    return (
        f"Metrics outside of the tolerance: {len(known_of)} of {len(match.metrics)}; of these, farther apart than any "
        f"two of the {match.seeds} published seeds: {farther}. The tolerance is over test pairs alone, and other last "
        "bits may do to training what another seed does; the verdict does not allow for that."
    )


def agreement_grid(match: Match) -> Grid | None:
    """Share of test pairs on the same side in both runs; None where the pairs are not available."""
    if not match.agreement:
        return None
    tasks = list(dict.fromkeys(a.task for a in match.agreement))
    rows = []
    for stage in dict.fromkeys(a.stage for a in match.agreement):
        own = {a.task: a for a in match.agreement if a.stage == stage}
        cells = [number(100 * own[task].same / own[task].pairs) if task in own else DASH for task in tasks]
        rows.append((stage, *cells, number(agreeing_share(match, stage))))
    notes = ("Percent of test pairs whose preference is on the same side (right, wrong, tied) in both runs.",)
    return Grid("Pairs that agree", ("after stage", *tasks, "all"), tuple(rows), notes)


def agreeing_share(match: Match, stage: str | None = None) -> float:
    """Percent of pairs that agree, after one stage or after all together; NaN without pairs."""
    own = [a for a in match.agreement if stage in (None, a.stage)]
    return 100 * sum(a.same for a in own) / sum(a.pairs for a in own) if own else math.nan


def match_json(match: Match) -> dict[str, Any]:
    """As plain JSON values."""
    scores = dict.fromkeys(cell.score for cell in match.cells)
    return {
        "pairs_same_to_the_bit": match.pairs_same,
        "standard_errors_of_a_cell": match.errors,
        "published_seeds": match.seeds,
        "standard_errors_of_a_metric": ERRORS,
        "scores": {s: [_json(c, match) for c in match.cells if c.score == s] for s in scores},
        "largest_differences": {s: _json(_worst([c for c in match.cells if c.score == s]), match) for s in scores},
        "metrics": {s: [_json(m, match) for m in match.metrics if m.score == s] for s in scores},
        "agreement": {
            "percent": known(agreeing_share(match)),
            "stages": [{"stage": a.stage, "task": a.task, "same": a.same, "pairs": a.pairs} for a in match.agreement],
        },
        "not_compared": dict(match.absent),
    }


def _worst(numbers: Sequence[MatchedNumber]) -> MatchedNumber:
    """The largest difference; a value on one side alone counts as larger than any."""
    return max(numbers, key=lambda n: math.inf if math.isnan(n.difference) else abs(n.difference))


def _numbers(found: MatchedNumber, exact: bool) -> tuple[str, str, str, str]:
    tolerance = "0" if exact else number(found.tolerance, 2)
    return number(found.there, 2), number(found.here, 2), _small(found.difference), tolerance


def _small(value: float) -> str:
    """Differences of the last bits must not look like 0."""
    if math.isnan(value):
        return DASH
    return "0" if value == 0 else f"{value:.1e}" if abs(value) < 0.01 else number(value, 2)


def _json(found: MatchedNumber, match: Match) -> dict[str, Any]:
    return {
        "name": found.name,
        "there": known(found.there),
        "here": known(found.here),
        "difference": known(found.difference),
        "tolerance": 0.0 if match.exact else known(found.tolerance),
        "between_seeds": known(found.between),
        "state": "outside" if found in match.outside else found.state,
    }


def order_grids(rows: Sequence[OrderRow]) -> list[Grid]:
    """One table for each set of tasks, model and main score; :func:`order_summary` has all scores."""
    grids = []
    for model, tasks in dict.fromkeys((row.model, row.tasks) for row in rows):
        own = [row for row in rows if (row.model, row.tasks) == (model, tasks)]
        grids += [_order_grid(own, score) for score in dict.fromkeys(score for row in own for score in row.main)]
    return without_repeats(grids)


def _order_grid(rows: Sequence[OrderRow], score: str) -> Grid:
    used = [m for m in METRICS if any((score, m) in row.spreads for row in rows)]
    nothing = spread([])
    digits = 2 if score == "reward" else 1
    lines = []
    for row in rows:
        cells = [_order_cell(row.spreads.get((score, metric), nothing), digits) for metric in used]
        lines.append((row.method, str(len(row.orders)), *cells))
    notes = [
        "Mean ± standard deviation over the orders (not over seeds: these are averaged within an order first), and "
        "[lowest, highest].",
        f"Tasks: {', '.join(rows[0].tasks)}.",
    ]
    notes += [f"{row.method}: orders {'; '.join(row.orders)}." for row in rows if row.orders != rows[0].orders]
    notes.insert(2, f"Orders: {'; '.join(rows[0].orders)}.")
    for row in rows:
        if len(set(row.seeds)) > 1:
            notes.append(f"{row.method}: not every order has as many seeds: {', '.join(map(str, row.seeds))}.")
        if row.incomplete:
            notes.append(f"{row.method}: {row.incomplete} runs are not complete and left out.")
    if len({row.method for row in rows}) < len(rows):
        notes.append("A method that is there twice was run with different settings.")
    title = f"{score_title(score).capitalize()} over orders, {rows[0].model}"
    return Grid(title, ("method", "orders", *(METRICS[m].label for m in used)), tuple(lines), tuple(notes), labels=2)


def _order_cell(value: Spread, digits: int) -> str:
    if math.isnan(value.mean):
        return DASH
    mean, deviation, low, high = (number(v, digits) for v in (value.mean, value.deviation, value.low, value.high))
    return f"{mean} ±{deviation} [{low}, {high}]"
