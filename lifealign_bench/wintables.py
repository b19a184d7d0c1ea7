"""The table of judged win-rates: how often, how sure, and what to think of the judge."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from lifealign_bench.reporting.tables.grid import Grid
from lifealign_bench.runview import RunView
from lifealign_bench.util.text import DASH, number

__all__ = ["win_grid"]

_NOTES = (
    "In brackets: 95 % interval over the test pairs (bootstrap). length-controlled: at equal length of both responses.",
    "ties: judged equal in both orders, and identical texts. unusable: a pair without two usable answers of the judge; "
    "it has no value.",
)
_FLAT_NOTE = (
    "An interval without width: all pairs have one outcome, and drawing them again cannot show how sure that is."
)
_ABSENT_NOTE = (
    "No length-controlled win-rate: there are fewer than 5 pairs, all differ by the same length, or more than a tenth "
    "have no value."
)
_ORDER_NOTE = (
    "position bias: share of the pairs put to the judge whose outcome the order changed, and how often what was shown "
    "first gained by it."
)


class _Estimate(BaseModel):
    low: float | None
    high: float | None


class _Counts(BaseModel):
    """What the table needs of the facts of a task against one opponent; a record may come from anywhere."""

    pairs: int
    ties: int
    identical: int
    unusable: int
    disagreements: int
    first_favoured: int
    win_rate: _Estimate
    lc_win_rate: _Estimate


def win_grid(view: RunView) -> Grid | None:
    """Judged win-rates after the last stage, task by task; None where nothing was judged."""
    facts = view.record.facts.get("win")
    if facts is None:
        return None
    last = view.rows[-1]
    found = facts.stages.get(str(last.stage), {})
    ordered = bool(facts.run.get("sees_order"))
    judged = [(task, *entry) for task in view.tasks for entry in _opponents(found.get(task, {}))]
    rows = [(task, name, *_cells(view, last.row, task, name, counts, ordered)) for task, name, counts in judged]
    if not rows:
        return None
    notes = [f"Judge: {facts.run.get('judge', DASH)}.", *_NOTES]
    if any(c.win_rate.low is not None and c.win_rate.low == c.win_rate.high for *_, c in judged):
        notes.append(_FLAT_NOTE)
    if any(row[3] == DASH for row in rows):
        notes.append(_ABSENT_NOTE)
    if ordered:
        notes.append(_ORDER_NOTE)
    heads = ("task", "against", "win-rate", "length-controlled", "pairs", "ties", "unusable")
    return Grid(
        f"Judged win-rates (percent) after {'the last stage' if view.complete else f'stage {last.stage}'}",
        (*heads, "position bias") if ordered else heads,
        tuple(rows),
        tuple(notes),
        labels=2,
    )


def _opponents(found: Mapping[str, Any]) -> Iterator[tuple[str, _Counts]]:
    for name, counts in found.items():
        try:
            yield name, _Counts.model_validate(counts)
        except ValidationError:
            continue  # such as the word that a task was not judged


def _cells(view: RunView, row: int, task: str, opponent: str, counts: _Counts, ordered: bool) -> tuple[str, ...]:
    column = view.tasks.index(task)
    # The value is that of the matrix, which has none where too many pairs are missing.
    cells = (
        _rate(_value(view, f"judged_win_rate_{opponent}", row, column), counts.win_rate),
        _rate(_value(view, f"judged_lc_win_rate_{opponent}", row, column), counts.lc_win_rate),
        str(counts.pairs),
        str(counts.ties),
        str(counts.unusable),
    )
    return (*cells, _bias(counts)) if ordered else cells


def _value(view: RunView, score: str, row: int, column: int) -> float:
    matrix = view.record.scores.get(score)
    return math.nan if matrix is None else float(matrix.array()[row, column])


def _rate(value: float, estimate: _Estimate) -> str:
    if math.isnan(value) or estimate.low is None or estimate.high is None:
        return number(value)
    return f"{number(value)} [{number(estimate.low)}, {number(estimate.high)}]"


def _bias(counts: _Counts) -> str:
    judged = counts.pairs - counts.identical - counts.unusable
    if not judged:
        return DASH
    share = number(100 * counts.disagreements / judged)
    return f"{share} (first {counts.first_favoured} of {counts.disagreements})"
