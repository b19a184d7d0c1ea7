"""The table of general ability, and the same as plain values."""

from __future__ import annotations

import math
from typing import Any

from lifealign_bench.abilities.results import Change, alignment_tax, interval_of
from lifealign_bench.record import AbilityRecord, AbilityStage
from lifealign_bench.reporting.tables.grid import Cell, Grid
from lifealign_bench.runview import RunView
from lifealign_bench.util.text import DASH, number

__all__ = ["ability_grid", "ability_summary", "tax_note"]

_NOTHING = AbilityStage(value=None, standard_error=None, change=None, change_error=None)


def ability_grid(view: RunView) -> Grid | None:
    """Every ability at stage 0 and after the stages that it was measured after; None where none was asked for."""
    records, stages = view.record.abilities, _stages(view)
    if not records or not stages:
        return None
    last = stages[-1]
    heads = ["ability", "metric", "items", "chance"]
    heads += [f"stage {k}" for k in stages]
    heads += ["change", "95 % interval"]
    rows: list[tuple[Cell | str, ...]] = []
    for name, record in records.items():
        found = [record.stages.get(str(k), _NOTHING) for k in stages]
        change = interval_of(found[-1].change, found[-1].change_error)
        rows.append(
            (
                name,
                record.metric,
                number(record.items, 0),
                number(record.chance),
                *(_with_error(f.value, f.standard_error) for f in found),
                *_change_cells(change),
            )
        )
    if len(records) > 1:
        tax = alignment_tax(records, last)
        means = [number(_mean([r.stages.get(str(k), _NOTHING).value for r in records.values()])) for k in stages]
        items = number(sum(r.items for r in records.values()), 0)
        rows.append(("mean", DASH, items, DASH, *means, *_change_cells(tax)))
    return Grid("General ability (percent) and the alignment tax", tuple(heads), tuple(rows), tuple(_notes(view, last)))


def tax_note(view: RunView) -> str | None:
    """The alignment tax in one sentence; None where it is not known."""
    stages = _stages(view)
    tax = alignment_tax(view.record.abilities, stages[-1]) if stages else None
    if tax is None or math.isnan(tax.value):
        return None
    count, items = len(view.record.abilities), sum(r.items for r in view.record.abilities.values())
    low, high = number(tax.low), number(tax.high)
    of = f"{count} abilities" if count > 1 else next(iter(view.record.abilities))
    between = "" if math.isnan(tax.low) else f" [{low}, {high}]"
    return f"Alignment tax: general ability changed by {number(tax.value)}{between} points ({of}, {items} items)."


def ability_summary(view: RunView) -> dict[str, Any]:
    """Abilities, what was left out, and the tax, as plain JSON values."""
    stages = _stages(view)
    tax = alignment_tax(view.record.abilities, stages[-1]) if stages else interval_of(None, None)
    return {
        "abilities": {
            name: {
                "metric": record.metric,
                "items": record.items,
                "chance": record.chance,
                "chat_template": record.chat_template,
                "stages": {stage: _stage_summary(values) for stage, values in record.stages.items()},
            }
            for name, record in view.record.abilities.items()
        },
        "abilities_left_out": dict(view.record.abilities_left_out),
        "alignment_tax": None
        if math.isnan(tax.value)
        else {"stage": stages[-1], **{k: _plain(v) for k, v in tax._asdict().items()}},
    }


def _stage_summary(values: AbilityStage) -> dict[str, float | None]:
    change = interval_of(values.change, values.change_error)
    return {
        **{key: _plain(value) for key, value in values.model_dump().items()},
        "change_low": _plain(change.low),
        "change_high": _plain(change.high),
    }


def _stages(view: RunView) -> list[int]:
    """Those after which any ability was measured."""
    return sorted({int(stage) for record in view.record.abilities.values() for stage in record.stages})


def _notes(view: RunView, last: int) -> list[str]:
    records: dict[str, AbilityRecord] = view.record.abilities
    reasons: dict[str, list[str]] = {}
    for name, reason in view.record.abilities_left_out.items():
        reasons.setdefault(reason, []).append(name)
    notes = [f"Left out: {', '.join(names)} ({reason})." for reason, names in reasons.items()]
    if last == 0:
        return [*notes, "Only the base model was measured so far: there is no change yet."]
    notes.insert(
        0,
        "± is one standard error over the items. change: last stage - stage 0, with its error over the same items "
        "(paired) and the normal interval; negative: ability was lost.",
    )
    if len(records) > 1:
        notes.insert(1, "The mean change is the alignment tax; its error takes the abilities as independent.")
    still = [name for name, record in records.items() if record.stages.get(str(last), _NOTHING).change_error == 0]
    if still:
        few = min(records[name].items for name in still)
        notes.append(
            f"±0.0: no item changed; of {few} items that is compatible with up to {number(300 / few)} % changing."
        )
    return notes


def _change_cells(change: Change) -> tuple[str, str]:
    if math.isnan(change.value):
        return DASH, DASH
    if math.isnan(change.low):
        return number(change.value), DASH
    return f"{number(change.value)} ±{number(change.standard_error)}", f"[{number(change.low)}, {number(change.high)}]"


def _with_error(value: float | None, error: float | None) -> str:
    if value is None or error is None:
        return number(value)
    return f"{number(value)} ±{number(error)}"


def _mean(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _plain(value: float | None) -> float | None:
    """JSON has no NaN; twelve digits hide the order of summation."""
    return None if value is None or math.isnan(value) else float(f"{value:.12g}")
