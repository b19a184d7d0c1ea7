"""How many pairs are right or wrong by no more than what rounding does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lifealign_bench.reporting.tables.grid import Grid
from lifealign_bench.results.record import value_of
from lifealign_bench.results.view import RunView
from lifealign_bench.util.text import number

_SCORER, _SCORE = "preference", "preference_accuracy"


def noise_note(view: RunView, score: str) -> tuple[str, ...]:
    """Below a table of preference accuracy: the pairs within rounding after the last stage; empty where not known."""
    within, pairs = close_pairs(view, score)
    if not pairs:
        return ()
    dtype = view.record.hardware.get("dtype", "its type")
    return (
        f"Rounding: after the last stage the margins of {number(within, 0)} of {number(pairs, 0)} pairs lie within two "
        f"standard deviations of what {dtype} adds to them (docs/protocol.md); on which side they are says little.",
    )


def close_pairs(view: RunView, score: str) -> tuple[float, float]:
    """The test pairs within rounding after the last stage, and of how many; zeros where it is not known."""
    told = _told(view, view.rows[-1].stage) if score == _SCORE else {}
    within, pairs = (sum(value_of(said, name) for said in told.values()) for name in ("within_noise", "pairs"))
    return within, pairs


def noise_grid(view: RunView) -> Grid | None:
    """Task by task after every stage the share of pairs within rounding; None in records of before it was counted."""
    rows = []
    for row in view.rows[1:]:
        told = _told(view, row.stage)
        if told:
            rows.append((row.label, *(_share(told.get(task, {})) for task in view.tasks)))
    if not rows:
        return None
    told = _told(view, view.rows[-1].stage)
    nats = [value for said in told.values() if (value := value_of(said, "noise_nats")) >= 0]
    mean = f"; a margin's noise is {number(sum(nats) / len(nats), 3)} nats on average" if nats else ""
    return Grid(
        "Pairs whose margin lies within rounding (percent)",
        ("after stage", *view.tasks),
        tuple(rows),
        (f"Within two standard deviations of what the type of the model adds to a margin (docs/protocol.md){mean}.",),
    )


def _told(view: RunView, stage: int) -> Mapping[str, Mapping[str, Any]]:
    """Task to what the record says of its pairs' noise after a stage."""
    facts = view.record.facts.get(_SCORER)
    found = {} if facts is None else facts.stages.get(str(stage), {})
    return {task: said for task, said in found.items() if value_of(said, "pairs") > 0 <= value_of(said, "within_noise")}


def _share(said: Mapping[str, Any]) -> str:
    return number(100 * value_of(said, "within_noise") / value_of(said, "pairs"))
