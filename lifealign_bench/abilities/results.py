"""Per-item values -> what the record says of an ability; and the alignment tax. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from lifealign_bench.abilities.ability import Ability
from lifealign_bench.results.record import AbilityRecord, AbilityStage
from lifealign_bench.results.statistics import mean_and_se

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Change", "ability_records", "alignment_tax", "interval_of"]

_Z = 1.959963984540054  # of a two-sided 95 % interval
_PERCENT = 100.0


class Change(NamedTuple):
    """A change in percentage points with its standard error and 95 % interval; NaN where unknown."""

    value: float
    standard_error: float
    low: float
    high: float


def ability_records(tests: Sequence[Ability], frames: Mapping[int, pd.DataFrame]) -> dict[str, AbilityRecord]:
    """What was measured.

    The change of an ability is the mean over its items of (value after the stage - value at stage 0), its standard
    error that of this mean: the items are the same ones, so their difficulty cancels.

    Args:
        frames: stage to its rows (ability, item, value).
    """
    records = {}
    for ability in tests:
        series = {k: f[f["ability"] == ability.name].set_index("item")["value"] for k, f in frames.items()}
        base = series.get(0)
        stages = {}
        for stage, values in sorted(series.items()):
            mean, error = mean_and_se(values.to_numpy(dtype=float))
            change, change_error = math.nan, math.nan
            if stage > 0 and base is not None:
                change, change_error = mean_and_se((values - base.reindex(values.index)).to_numpy(dtype=float))
            stages[str(stage)] = AbilityStage(
                value=_percent(mean),
                standard_error=_percent(error),
                change=_percent(change),
                change_error=_percent(change_error),
            )
        chance = None if ability.chance is None else _PERCENT * ability.chance
        records[ability.name] = AbilityRecord(
            metric=ability.metric, items=len(ability.ids), chance=chance, digest=ability.digest, stages=stages
        )
    return records


def alignment_tax(records: Mapping[str, AbilityRecord], stage: int) -> Change:
    """The mean over the abilities of their changes from stage 0 to ``stage``, in percentage points.

    Negative: ability was lost. Its error takes the abilities as fixed and as independent of each other:
    ``sqrt(sum of squared errors) / number``. NaN where an ability has no change.
    """
    found = [record.stages.get(str(stage)) for record in records.values()]
    if not found or any(f is None or f.change is None for f in found):
        return Change(*(math.nan,) * 4)
    changes = [f.change for f in found if f is not None and f.change is not None]
    errors = [math.nan if f is None or f.change_error is None else f.change_error for f in found]
    return interval_of(sum(changes) / len(changes), math.sqrt(sum(e * e for e in errors)) / len(errors))


def interval_of(value: float | None, error: float | None) -> Change:
    """With the normal 95 % interval."""
    mean = math.nan if value is None else value
    spread = math.nan if error is None else error
    return Change(mean, spread, mean - _Z * spread, mean + _Z * spread)


def _percent(share: float) -> float | None:
    return None if math.isnan(share) else _PERCENT * share
