"""The record of the method ``single`` that a run's intransigence is measured against, found beside the run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lifealign_bench.config import RunConfig, setting_at, settings_of
from lifealign_bench.errors import BenchError
from lifealign_bench.results.record import Record, read_record
from lifealign_bench.results.sameness import unlike
from lifealign_bench.util.levels import flat_levels

SINGLE = "single"

# What a run is trained on and from is asked for by digests.
_DIGESTED = {"stream", "tasks", "model", "validation"}


@dataclass(frozen=True)
class Single:
    """What was found for a run.

    Args:
        path: the record, or None where none is comparable.
        record: its content.
        name: the record's place below the folder of results, for people; empty where there is none at all.
        refused: why the record at ``name`` is not comparable; empty where it is.
        rates: learning rates that are not the run's, as ``learning_rate 0.0014, here 0.0007``.
    """

    path: Path | None = None
    record: Record | None = None
    name: str = ""
    refused: str = ""
    rates: str = ""

    def scores(self, score: str, tasks: tuple[str, ...]) -> list[float]:
        """S: for each task the score after its own stage; NaN where it has none."""
        if self.record is None or score not in self.record.scores:
            return [math.nan] * len(tasks)
        matrix = self.record.scores[score].array()
        own = {task: j for j, task in enumerate(self.record.data)}
        return [float(matrix[own[task] + 1, own[task]]) for task in tasks]

    @property
    def note(self) -> str:
        """A sentence for below a table; empty where there is nothing to say."""
        if self.refused:
            return f"No intransigence: {self.name} is not comparable ({self.refused})."
        if self.rates:
            return (
                f"Intransigence is against {self.name}, which has another rate ({self.rates}): each was chosen, and "
                "what the rate does is part of the number."
            )
        return f"Intransigence is against {self.name}." if self.name else ""


class Neighbours:
    """Where records of ``single`` lie, looked up once for all runs that share this: a leaderboard's thousand records
    would each look into every stream's folder."""

    def __init__(self) -> None:
        self._found: dict[tuple[Path, tuple[str, ...]], tuple[Path, ...]] = {}

    def holding(self, parent: Path, ending: tuple[str, ...]) -> tuple[Path, ...]:
        """The folders in ``parent``, by name, that hold a file at ``ending``."""
        key = (parent, ending)
        if key not in self._found:
            self._found[key] = tuple(p for p in sorted(parent.glob("*")) if p.joinpath(*ending).is_file())
        return self._found[key]


def find_single(record: Record, file: Path, neighbours: Neighbours | None = None) -> Single:
    """The comparable run of ``single`` beside a run.

    It is looked for with the run's model and seed, in the same stream and then in all others of the same folder (a
    task's score alone does not depend on the order), as ``<stream>/<model>/single/seed-<n>/record.json`` or, among
    published records, ``<stream>/<model>/single/seed-<n>.json``.

    Args:
        record: the run.
        file: its record's place.
        neighbours: shared by the runs of which this is one.
    """
    if record.method.name == SINGLE:
        return Single()
    refused = Single()
    for path, name in _candidates(record, file, neighbours or Neighbours()):
        try:
            state = path.stat()
            found = _read(path, (state.st_mtime_ns, state.st_size, state.st_ino))  # rsync and tar keep the time
        except BenchError as error:
            reason = error.message.replace(str(path), name).rstrip(".")
        else:
            reason = _difference(record, found)
            if not reason:
                return Single(path, found, name, rates=_other_rates(record.config, found.config))
        # The same stream's comes first: that is the one of which the user wants to know.
        refused = refused if refused.name else Single(name=name, refused=reason)
    return refused


@lru_cache(maxsize=64)
def _read(path: Path, state: tuple[int, ...]) -> Record:
    """One run of ``single`` serves all methods; ``state`` is another when its file is."""
    return read_record(path)


def _candidates(record: Record, file: Path, neighbours: Neighbours) -> Iterator[tuple[Path, str]]:
    """Records of ``single`` with their names below the folder of results."""
    file = file.absolute()
    seed = f"seed-{record.config['seed']}"
    in_folder = file.name == "record.json"
    method = file.parent.parent if in_folder else file.parent
    model, stream = method.parent, method.parent.parent
    ending = (SINGLE, seed, "record.json") if in_folder else (SINGLE, f"{seed}.json")
    below = (model.name, *ending)
    others = [p for p in neighbours.holding(stream.parent, below) if p.name != stream.name] if stream.name else []
    for folder in ([stream] if stream.joinpath(*below).is_file() else []) + others:
        yield folder.joinpath(*below), "/".join((folder.name, model.name, SINGLE, seed))


def _difference(run: Record, single: Record) -> str:
    """Why ``single`` says nothing of ``run``; empty where it does."""
    if single.method.name != SINGLE:
        return f"it is a run of {single.method.name}"
    if single.status != "complete":
        return f"its status is {single.status}"
    absent = [task for task in run.data if task not in single.data]
    if absent:
        return f"it has no task {absent[0]}"
    if run.model.fingerprint != single.model.fingerprint:
        return "the model has other weights"
    for task, data in run.data.items():
        for split in ("train", "test"):
            if getattr(data, f"{split}_digest") != getattr(single.data[task], f"{split}_digest"):
                return f"the {split} pairs of {task} are others"
    return _other_setting(run.config, single.config, _rates() if _tuned_alike(run, single) else ())


def _tuned_alike(run: Record, single: Record) -> bool:
    """Whether each has the rate that the same table says: then what is compared is either at its best rate."""
    ours, theirs = ((record.tuned or {}).get("digest") for record in (run, single))
    return ours is not None and ours == theirs


def _rates() -> list[str]:
    return [name.rpartition(".")[2] for name, _, setting in settings_of(RunConfig) if setting.compare == "rate"]


def _other_rates(run: dict[str, Any], single: dict[str, Any]) -> str:
    ours, theirs = (flat_levels(config) for config in (run, single))
    used = [
        n for n, _, s in settings_of(RunConfig) if s.compare == "rate" and (run.get("sft") or "supervised" not in n)
    ]
    return ", ".join(
        f"{name.rpartition('.')[2]} {theirs[name]:g}, here {ours[name]:g}"
        for name in used
        if isinstance(ours.get(name), float) and isinstance(theirs.get(name), float) and ours[name] != theirs[name]
    )


def _other_setting(run: dict[str, Any], single: dict[str, Any], free: Sequence[str]) -> str:
    # Everything that decides what a model learns or how it is scored; ``supervised`` counts only where there is such a
    # phase.
    for key in RunConfig.model_fields:
        if key in _DIGESTED or (key == "supervised" and not run.get("sft")) or setting_at(key).compare != "never":
            continue
        # A record of before there was a setting has nothing there.
        ours, theirs = (config.get(key) or None for config in (run, single))
        if isinstance(ours, dict) and isinstance(theirs, dict):
            for name, (own, other) in sorted(unlike((ours, theirs)).items()):
                if name not in free and setting_at(f"{key}.{name}").compare != "free":
                    return f"{name} is {other} there and {own} here"
        elif setting_at(key).identity and ours != theirs:
            return f"{key} is {theirs} there and {ours} here"
    return ""
