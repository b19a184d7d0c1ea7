"""Which comparisons of a board are planned: those that a file beside its records names, or all with the baselines.

With every method that joins, the correction of the latter gets stricter for those that were there. ``planned.yaml`` in
a stream's folder of results (``results/<stream>/planned.yaml``) fixes the comparisons that its boards are there for, in
what and with which seeds. Their p-values know of these methods and seeds alone (until all are there: of the seeds that
all of them have) and are corrected for the whole list, whatever joins; one that was not run counts as a p-value of 1.
The history of the file says when it was written, and what was known by then. All other comparisons with a baseline are
a table of their own, corrected for its rows.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from lifealign_bench.errors import BenchError
from lifealign_bench.results.paired import Difference
from lifealign_bench.results.view import RunView
from lifealign_bench.util.files import read_regular

PLAN_FILE = "planned.yaml"
_MOST_BYTES = 100_000

Pair = tuple[str, str]
Differences = Mapping[Pair, Difference]


class ComparisonPlan(BaseModel):
    """A stream's planned comparisons.

    Args:
        fixed: the day on which they were written down.
        score, metric: what is compared; a board that is ranked by another has no plan.
        seeds: of every method.
        seen: those of these of which results were known when it was written down: on them it is exploratory.
        comparisons: pairs of methods, the one that is expected to be better first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fixed: datetime.date
    score: str
    metric: str
    seeds: tuple[int, ...]
    seen: tuple[int, ...] = ()
    comparisons: tuple[Pair, ...]

    @property
    def methods(self) -> tuple[str, ...]:
        """All that are compared."""
        return tuple(dict.fromkeys(name for pair in self.comparisons for name in pair))

    @property
    def unseen(self) -> tuple[int, ...]:
        """The seeds that were run after it was written down."""
        return tuple(seed for seed in self.seeds if seed not in self.seen)

    def shared(self, seeds: Mapping[str, set[int]]) -> tuple[int, ...]:
        """Its seeds that all of its methods have which are there: what it can be looked at with.

        Args:
            seeds: of each method that is there.
        """
        there = [seeds[name] for name in self.methods if name in seeds]
        return tuple(seed for seed in self.seeds if there and all(seed in own for own in there))

    @field_validator("comparisons")
    @classmethod
    def _each_once(cls, pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
        if not pairs:
            raise ValueError("it names no comparison")
        for first, second in pairs:
            if first == second:
                raise ValueError(f"{first} is compared with itself")
        if len({frozenset(pair) for pair in pairs}) < len(pairs):
            raise ValueError("a comparison is named twice")
        return pairs

    @model_validator(mode="after")
    def _seen_of_its_seeds(self) -> ComparisonPlan:
        if not set(self.seen) <= set(self.seeds):
            raise ValueError("seeds that had been seen are not among its seeds")
        return self


class Chosen(NamedTuple):
    """The comparisons of a board that are planned, and what else is of interest beforehand.

    Args:
        planned: first minus second; of a plan those that were run.
        screened: the other comparisons of a method with a baseline; none without a plan, whose place these take.
        notes: what a reader should know of the plan.
    """

    planned: dict[Pair, Difference]
    screened: dict[Pair, Difference]
    notes: tuple[str, ...] = ()


def plan_file(results: Path, stream: str) -> Path:
    """Where a stream's plan is in a folder of results."""
    return results / stream / PLAN_FILE


def read_plan(path: Path) -> ComparisonPlan:
    """The plan of a file.

    Raises:
        BenchError: it cannot be read, or is no plan.
    """
    mend = "It has the day (fixed: 2026-01-31), score, metric, seeds: [0, 1, 2] and comparisons: [[replay, dpo]]."
    try:
        return ComparisonPlan.model_validate(yaml.safe_load(read_regular(path, _MOST_BYTES).decode()))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise BenchError(f"{path} is no plan: {f'{place}: ' if place else ''}{first['msg']}.", mend) from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BenchError(f"{path} cannot be read: {error}", mend) from error


def plan_beside(views: Sequence[RunView]) -> ComparisonPlan | None:
    """The plan beside the published records of one stream; None where there is none.

    Raises:
        BenchError: one cannot be read; the records lie in folders with different plans.
    """
    places = {view.published.resolve().parent.parent.parent for view in views if view.published is not None}
    plans = {path: read_plan(path) for path in sorted(place / PLAN_FILE for place in places) if path.is_file()}
    if len(set(plans.values())) > 1:
        raise BenchError(
            f"The records of one stream have several plans: {', '.join(map(str, plans))}.",
            "Name one folder of results, or make the plans the same.",
        )
    return next(iter(plans.values()), None)


def choose(
    found: Differences, baselines: Sequence[str], plan: ComparisonPlan | None, seeds: Mapping[str, set[int]]
) -> Chosen:
    """The comparisons that are planned, of all that a board has.

    Args:
        found: of every two methods, in either order.
        baselines: what every method is compared with.
        seeds: that methods have.
    """
    against = _against(found, baselines)
    if plan is None:
        return Chosen(against, {})
    there = {pair: _turned(found, pair) for pair in plan.comparisons}
    planned = {pair: difference for pair, difference in there.items() if difference is not None}
    known = {frozenset(pair) for pair in planned}
    screened = {pair: difference for pair, difference in against.items() if frozenset(pair) not in known}
    missing = [f"{a} and {b}" for (a, b), difference in there.items() if difference is None]
    fewer = [name for name in plan.methods if name in seeds and not set(plan.seeds) <= seeds[name]]
    notes = (
        f"Planned, but not both run here: {'; '.join(missing)}." if missing else "",
        _interim(plan, fewer, plan.shared(seeds)) if fewer else "",
    )
    return Chosen(planned, screened, tuple(filter(None, notes)))


def _interim(plan: ComparisonPlan, fewer: Sequence[str], shared: Sequence[int]) -> str:
    """What a plan is looked at with before all of its seeds are there."""
    looked = f"compared on {', '.join(map(str, shared))}, which all have" if shared else "no seed is there of all"
    planned = ", ".join(map(str, plan.seeds))
    return f"Planned with seeds {planned}, not all of which are there: {', '.join(fewer)}. Until then: {looked}."


def _turned(found: Differences, pair: Pair) -> Difference | None:
    """First minus second, whichever way round it is there."""
    if pair in found:
        return found[pair]
    turned = found.get(pair[::-1])
    return None if turned is None else turned.turned()


def _against(found: Differences, baselines: Sequence[str]) -> dict[Pair, Difference]:
    """Those of a method and a baseline, the method first; of two baselines the later one is the method."""
    chosen: dict[Pair, Difference] = {}
    for baseline in baselines:
        for (a, b), difference in found.items():
            if baseline not in (a, b):
                continue
            method = b if a == baseline else a
            if (baseline, method) not in chosen:
                chosen[method, baseline] = difference if method == a else difference.turned()
    return chosen
