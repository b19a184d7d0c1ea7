"""Scorers: (what the model said about a task) -> numbers per test pair. One file a scorer, called as it is.

Listing reads texts alone; no scorer's file imports torch.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.results.scores import ScoreInfo
from lifealign_bench.scoring.scorer import Need, Scored, Scorer, ScorerContext, TaskView
from lifealign_bench.util.extensions import ClassFinder, is_outside, own_code, own_name, refuse_equal_names

__all__ = [
    "SCORERS",
    "Need",
    "Scored",
    "Scorer",
    "ScorerContext",
    "TaskView",
    "check_scorers",
    "facts_of",
    "load_scorers",
    "possible_scorers",
    "score_infos",
    "score_task",
    "scorers_asked_by",
    "scorers_with",
]


class _Scorers(ClassFinder[Scorer]):
    """A scorer says what its scores are and what it needs."""

    def check(self, found: Any, place: str) -> type[Scorer]:
        """See :meth:`Finder.check`."""
        scorer = super().check(found, place)
        infos = scorer.scores
        names = [info.name for info in infos if isinstance(info, ScoreInfo)] if isinstance(infos, tuple) else []
        if not names or len(names) < len(infos) or not all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in names):
            raise BenchError(
                f"The scorer in {place} does not say what its scores are.",
                "Set scores to a tuple of ScoreInfo, named by lower-case letters, digits and underscores.",
            )
        if not set(scorer.needs) <= set(get_args(Need)):
            raise BenchError(
                f"The scorer in {place} needs {', '.join(sorted(set(scorer.needs) - set(get_args(Need))))}, which no "
                "model can be asked for.",
                f"There are: {', '.join(get_args(Need))}.",
            )
        return scorer


SCORERS: ClassFinder[Scorer] = _Scorers("scorer", Path(__file__).parent, __name__, Scorer)


def load_scorers(names: Sequence[str]) -> dict[str, Scorer]:
    """The scorers that are named, by what they are called and in their order; not yet prepared.

    Raises:
        UsageError: an unknown name; two of one name.
        BenchError: a user's file or an installed package cannot be used.
    """
    refuse_equal_names(SCORERS, tuple(names))
    found = {}
    for name in names:
        kind = SCORERS.load(name)
        with own_code(f"scorer {name}", kind):
            found[own_name(name)] = kind()
    return found


def check_scorers(config: RunConfig) -> None:
    """Refuse a run that cannot be scored as it is asked to, before anything is loaded.

    Raises:
        BenchError: says what is missing; two scorers, or two of their scores, have one name.
    """
    refuse_equal_names(SCORERS, config.scorers)
    owners: dict[str, str] = {}
    for name in config.scorers:
        kind = SCORERS.load(name)
        with own_code(f"scorer {name}", kind):
            kind.check(config)
            infos = kind.infos(config)
        for info in infos:
            if owners.setdefault(info.name, name) != name:
                raise UsageError(
                    f"The scorers {owners[info.name]} and {name} both have a score called {info.name!r}.",
                    "Rename that score, or leave one of them out.",
                )


def possible_scorers(config: RunConfig) -> tuple[str, ...]:
    """All scorers that have what they need: some need a judge or a model that the user names."""
    found = []
    for name in SCORERS.names():
        with contextlib.suppress(UsageError):
            SCORERS.load(name).check(config)
            found.append(name)
    return tuple(found)


def scorers_with(setting: str, names: Sequence[str]) -> tuple[str, ...]:
    """Those of the scorers called ``names`` whose numbers depend on a setting of the run."""
    return tuple(n for n in names if setting in (*SCORERS.load(n).depends, *SCORERS.load(n).grows))


def scorers_asked_by(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The scorers that come with settings which have a value: asking for a reward model is asking for its scores."""
    return tuple(n for n in SCORERS.names() if values.get(SCORERS.load(n).comes_with) is not None)


def score_infos(config: RunConfig) -> list[ScoreInfo]:
    """The scores of a run, in order; each knows its scorer."""
    return [info.of(own_name(name)) for name in config.scorers for info in SCORERS.load(name).infos(config)]


def score_task(name: str, scorer: Scorer, config: RunConfig, view: TaskView) -> Scored:
    """What a scorer says of a task; nothing where it does not apply.

    Raises:
        BenchError: it fails, says something else than a value for each pair, or leaves values out where it may not.
    """
    with own_code(f"scorer {name}", type(scorer)):
        said = scorer.score(view) if scorer.applies(view.card) else Scored({})
        infos = scorer.infos(config)
        json.dumps(getattr(said, "facts", {}), allow_nan=False)
    problem = next(_problems(said, infos, view, strict=is_outside(type(scorer))), None)
    if problem is not None:
        raise BenchError(
            f"The scorer {name}, task {view.card.name}, stage {view.stage}: {problem}.",
            "Its score has to return Scored with one array of a number for each pair under the name of each score.",
        )
    return said


def facts_of(name: str, scorer: Scorer) -> dict[str, Any]:
    """What a scorer says of itself in the whole run.

    Raises:
        BenchError: it fails, or says what JSON does not have.
    """
    with own_code(f"scorer {name}", type(scorer)):
        found = scorer.facts()
        json.dumps(found, allow_nan=False)
    return found


def _problems(said: Any, infos: Sequence[ScoreInfo], view: TaskView, *, strict: bool) -> Iterator[str]:
    """What is wrong with an answer; ``strict``: also numbers that are none, which may be a broken model's."""
    if not isinstance(said, Scored):
        yield f"it returns {type(said).__name__}, not Scored"
        return
    known = {info.name: info for info in infos}
    for name, values in said.values.items():
        if name not in known:
            yield f"it gives {name!r}, which is none of its scores ({', '.join(known)})"
            return
        try:
            array = np.asarray(values, dtype=float)
        except (TypeError, ValueError):
            yield f"{name} is no array of numbers"
            return
        if array.shape != (len(view.pairs),):
            yield f"{name} has the shape {array.shape}, not {(len(view.pairs),)}"
            return
        bad = np.isinf(array) if known[name].partial else ~np.isfinite(array)
        if strict and bad.any():
            place = view.pairs[int(np.flatnonzero(bad)[0])].id
            yield f"{name} is {array[bad][0]:g} for the pair {place}; only a partial score may have no value (NaN)"
