"""A record beside the others of its folder: what is right by itself and cannot be true of all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifealign_bench.methods import find_variant
from lifealign_bench.results.clusters import labels_of
from lifealign_bench.results.pairtable import Blocks, PairBlock
from lifealign_bench.results.record import Record, ScoreMatrix

_FEW = 8  # different values of a score that says little of a run
_CHANCE = 20  # pairs that do not say what most say, from which on two runs are not equal by chance
_EVERYTHING = "everything after training"
_LOOKS = str.maketrans("01i5", "olls", "-_.+ ")  # characters that look like others, or are overlooked


@dataclass(frozen=True)
class _End:
    """How a run ended: whose, and whether a setting switches off what its method does."""

    place: str
    method: str
    seed: object
    off: bool


class Others:
    """The records of a folder, added one by one; then, when all are there, each is asked for."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}
        self._noted: dict[str, list[str]] = {}
        self._seen: dict[tuple[object, ...], str] = {}
        self._ends: dict[str, dict[str, _End]] = {}
        self._names: dict[tuple[str, ...], dict[tuple[str, ...], list[str]]] = {}
        self._ids: dict[tuple[str, str], dict[str, list[str]]] = {}
        self._grouped: dict[tuple[str, str], dict[str, list[str]]] = {}

    def add(self, place: str, record: Record, blocks: Blocks) -> None:
        """One more record, which is whole by itself.

        Args:
            place: its name.
            blocks: stage to task to its per-pair scores; empty where there are none.
        """
        model = str(record.config.get("model_label") or record.config["model"])
        names = (str(record.config["stream"]), model, record.method.name)
        looks = tuple(_look(name) for name in names)
        self._names.setdefault(looks, {}).setdefault(names, []).append(place)
        self._same_times(place, record)
        if blocks:
            self._copies(place, record, names, blocks)
            self._under_another_name(place, record, blocks)
        first: Mapping[str, PairBlock] = next(iter(blocks.values()), {})
        for task, block in first.items():
            if task in record.data:
                ids = hashlib.sha256("\n".join(sorted(map(str, block.ids))).encode()).hexdigest()
                key = (task, record.data[task].test_digest)
                self._ids.setdefault(key, {}).setdefault(ids, []).append(place)
                if block.clusters is not None:
                    groups = hashlib.sha256(labels_of(block.clusters[_order(block)].tolist()).tobytes()).hexdigest()
                    self._grouped.setdefault((task, ids), {}).setdefault(groups, []).append(place)

    def problems(self, place: str) -> list[str]:
        """What is wrong with a record beside the others."""
        found = (self._found, self._look_alikes, self._other_pairs, self._other_clusters)
        return [problem for kind in found for problem in kind.get(place, ())]

    def notes(self, place: str) -> list[str]:
        """What a reader should know of a record beside the others."""
        return self._noted.get(place, [])

    def _copies(self, place: str, record: Record, names: tuple[str, ...], blocks: Blocks) -> None:
        """Two seeds that say the same of every pair are one run: what is trained differs in its last bits."""
        for what, mark in _marks(record.scores, blocks):
            first = self._seen.setdefault((*names, what, mark), place)
            if first != place:
                self._found.setdefault(place, []).append(f"{what} is that of {first} in every pair: it is the same run")
                return

    def _same_times(self, place: str, record: Record) -> None:
        """No two runs take the same time to the last digit, whatever they are called."""
        for stage in record.stages[1:]:
            train = stage.seconds.get("train", 0.0)
            if train == round(train, 3):
                continue  # nothing, or written by something that rounds
            first = self._seen.setdefault(("seconds", tuple(sorted(stage.seconds.items()))), place)
            if first != place:
                text = f"the times of stage {stage.index} are those of {first} to the last digit: it is the same run"
                self._found.setdefault(place, []).append(text)
                return

    def _under_another_name(self, place: str, record: Record, blocks: Blocks) -> None:
        """Methods that do anything different end differently. Equal by design are what they do of one task before there
        is another, and what a setting switches off: then it is noted."""
        mark = _end_mark(record, blocks)
        if mark is None:
            return
        end = _End(place, record.method.name, record.config.get("seed"), _switched_off(record))
        ends = self._ends.setdefault(mark, {})
        other = next((other for other in ends.values() if other.method != end.method), None)
        ends.setdefault(end.method, end)
        if other is None:
            return
        if (end.off or other.off) and end.seed == other.seed:
            text = (
                f"its last scores are those of {other.place} in every pair: as they were set, both methods do the same"
            )
            self._noted.setdefault(place, []).append(text)
            return
        for one, two in ((end, other), (other, end)):
            text = f"its last scores are those of {two.place}, another method, in every pair: it is the same run"
            self._found.setdefault(one.place, []).append(text)

    @cached_property
    def _look_alikes(self) -> dict[str, list[str]]:
        """The name that fewer records have is the one that looks like the other."""
        found: dict[str, list[str]] = {}
        for alike in self._names.values():
            first = max(alike, key=lambda names: (len(alike[names]), [-ord(c) for c in "/".join(names)]))
            for place in (place for names, places in alike.items() if names != first for place in places):
                found.setdefault(place, []).append(f"its names look like {'/'.join(first)} and are others")
        return found

    @cached_property
    def _other_pairs(self) -> dict[str, list[str]]:
        """The same test pairs are called the same in all records."""
        return _unusual(self._ids, "the test pairs of {} are called otherwise in other records of the same data")

    @cached_property
    def _other_clusters(self) -> dict[str, list[str]]:
        """The same test pairs belong together in all records that say it."""
        return _unusual(self._grouped, "the test pairs of {} are clustered otherwise in other records")


def _unusual(told: Mapping[tuple[str, str], Mapping[str, list[str]]], problem: str) -> dict[str, list[str]]:
    """Place to the problem, of records that say something else than most do.

    Args:
        told: (task, of what) to what is said of it to the places of the records that say so.
    """
    found: dict[str, list[str]] = {}
    for (task, _), said in told.items():
        usual = max(said, key=lambda what: len(said[what]))
        for place in (place for what, places in said.items() if what != usual for place in places):
            found.setdefault(place, []).append(problem.format(task))
    return found


def _look(name: str) -> str:
    return name.lower().translate(_LOOKS).replace("rn", "m").replace("vv", "w")


def _marks(scores: Mapping[str, ScoreMatrix], blocks: Blocks) -> Iterator[tuple[str, str]]:
    """What identifies a run: every block of log-probabilities, and all other scores together. What is as it was before
    training says nothing."""
    all_of_it = hashlib.sha256()
    telling = 0
    for stage in sorted(set(blocks) - {0}):
        for task, block in sorted(blocks[stage].items()):
            order = _order(block)
            base = blocks.get(0, {}).get(task)
            for score in sorted(set(block.values) & set(scores)):
                values = _rounded(block.values[score][order])
                if base is not None and score in base.values and _same_values(base, score, values):
                    continue
                digest = hashlib.sha256(values.tobytes()).hexdigest()
                all_of_it.update(f"{stage} {task} {score} {digest}".encode())
                counts = np.unique(values, return_counts=True)[1]
                telling += len(values) - int(counts.max(initial=0))
                if len(counts) >= _FEW and scores[score].measured_in.startswith("nats"):
                    yield f"{score} of {task} after stage {stage}", digest
    if telling >= _CHANCE:
        yield _EVERYTHING, all_of_it.hexdigest()


def _end_mark(record: Record, blocks: Blocks) -> str | None:
    """What identifies what was trained, whatever it is called; None where methods may agree by design, or by chance."""
    last = len(record.stages) - 1
    if last < 2 and not any(len(stage.tasks) > 1 for stage in record.stages):
        return None
    found = _marks(record.scores, {0: blocks.get(0, {}), last: blocks.get(last, {})})
    marks = [digest for what, digest in found if what != _EVERYTHING]  # right and wrong alone may be the same
    return "".join(marks) if marks else None


def _switched_off(record: Record) -> bool:
    """Whether the run was given a setting of its method by which something of it does nothing: 0, none, or all."""
    chosen = record.config.get("method_settings")
    variant = find_variant(record.method.name)
    given = [*(chosen if isinstance(chosen, dict) else {}).values(), *(variant.fixed if variant else {}).values()]
    return any(value in (0, 1, None) for value in given if not isinstance(value, str | list | dict))


def _order(block: PairBlock) -> NDArray[np.intp]:
    return np.argsort(block.ids, kind="stable")


def _same_values(base: PairBlock, score: str, values: NDArray[np.float64]) -> bool:
    return np.array_equal(_rounded(base.values[score][_order(base)]), values, equal_nan=True)


def _rounded(values: NDArray[Any]) -> NDArray[np.float64]:
    """To what survives being written and read by other hands; one zero, one NaN."""
    found = np.array(np.round(values, 6), dtype=np.float64) + 0.0
    found[np.isnan(found)] = np.nan
    return found
