"""What a record says of its data and its method's code, held against the cards, data and method files that are here."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lifealign_bench.data.cards import TaskCard, load_task, task_names
from lifealign_bench.data.sources import SPLITS
from lifealign_bench.data.tasks import available, load_split
from lifealign_bench.data.verify import expected_hash
from lifealign_bench.errors import BenchError
from lifealign_bench.methods import find_variant, method_config, method_files
from lifealign_bench.pairs import Pair, Split, digest_pairs
from lifealign_bench.results.pairtable import PairBlock
from lifealign_bench.results.record import Record


@dataclass(frozen=True)
class Findings:
    """What was found: ``problems`` speak against the record, ``notes`` say what a reader should know."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __add__(self, other: Findings) -> Findings:
        return Findings(self.problems + other.problems, self.notes + other.notes)


class Origins:
    """Reads each task's data and each method's history once.

    Args:
        data_dir: a copy of the paper's ``data/`` tree.
    """

    def __init__(self, data_dir: Path | None = None) -> None:
        self._data_dir = data_dir
        self._cards: dict[str, TaskCard | None] = {}
        self._pairs: dict[tuple[str, Split], tuple[Pair, ...] | str] = {}
        self._contents: dict[tuple[str, Split, int | None], frozenset[str]] = {}
        self._digested: dict[tuple[str, Split, int | None], str] = {}

    def check(self, record: Record) -> Findings:
        """Data, training pairs and code of a record."""
        return self.data(record) + self.code(record)

    def pairs(self, record: Record, blocks: Mapping[int, Mapping[str, PairBlock]]) -> list[str]:
        """Whether the test pairs that were scored are called as the data here calls them; what is not available is
        told by :meth:`check`.

        Args:
            blocks: stage to task to its per-pair scores.
        """
        found = []
        for task, said in record.data.items():
            card = self._card(task)
            pairs = "" if card is None or card.version != said.version else self._load(card, "test")
            if isinstance(pairs, str):
                continue
            known = {pair.id for pair in pairs[: _limit(record, "test")]}
            ids = next((tasks[task].ids for tasks in blocks.values() if task in tasks), ())
            odd = next((str(i) for i in ids if i not in known), None)
            if odd is not None:
                found.append(f"{odd[:80]!r} is no test pair of {task}")
        return found

    def data(self, record: Record) -> Findings:
        """Whether the pairs are those of the cards, and whether a test pair is a training pair as well."""
        found = Findings()
        at_hand, absent = [], []
        for task, said in record.data.items():
            card = self._card(task)
            if card is None:
                absent.append(task)
                continue
            if card.version != said.version:
                found.notes.append(f"{task} is version {said.version}, the card here is {card.version}: not checked")
                continue
            pinned = {split: expected_hash(card, split) for split in SPLITS}
            other = [s for s in SPLITS if pinned[s] and said.source_hashes.get(s) != pinned[s]]
            if other:
                found.problems.append(f"the {other[0]} data of {task} is not that of its card")
                continue
            problems, notes = self._digests(record, card)
            found.problems.extend(problems)
            found.notes.extend(notes)
            at_hand += [] if problems or notes else [task]
            if said.test_prompts_in_train:
                found.notes.append(
                    f"{said.test_prompts_in_train} test prompts of {task} are also training prompts, with other "
                    "responses"
                )
        if absent:
            cards, their = ("the card", "its") if len(absent) == 1 else ("the cards", "their")
            verb = "is" if len(absent) == 1 else "are"
            found.notes.append(f"{cards} of {', '.join(absent)} {verb} not available: {their} data was not checked")
        found.problems.extend(self._leaks(record, at_hand))
        return found

    def _digests(self, record: Record, card: TaskCard) -> tuple[list[str], list[str]]:
        for split in SPLITS:
            pairs = self._load(card, split)
            if isinstance(pairs, str):
                return [], [f"the data of {card.name} is not available: not checked that no test pair is in training"]
            said = getattr(record.data[card.name], f"{split}_digest")
            key = (card.name, split, _limit(record, split))
            if key not in self._digested:
                self._digested[key] = digest_pairs(pairs[: key[2]])
            if self._digested[key] != said:
                return [f"the {split} pairs of {card.name} are not those that its data gives here"], []
        return [], []

    def _leaks(self, record: Record, tasks: list[str]) -> list[str]:
        """Test pairs (prompt and both responses) of any task that are training pairs of any."""
        train: set[str] = set()
        for task in tasks:
            train |= self._contents_of(record, task, "train")
        found = []
        for task in tasks:
            shared = len(train & self._contents_of(record, task, "test"))
            if shared:
                found.append(f"{shared} test pairs of {task} are also training pairs")
        return found

    def _contents_of(self, record: Record, task: str, split: Split) -> frozenset[str]:
        key = (task, split, _limit(record, split))
        if key not in self._contents:
            pairs = self._pairs[task, split]
            used = () if isinstance(pairs, str) else pairs[: key[2]]
            self._contents[key] = frozenset(_content(pair) for pair in used)
        return self._contents[key]

    def _card(self, task: str) -> TaskCard | None:
        """A registered task's card. A record may name anything: no path of it is opened."""
        if task not in self._cards:
            known = task in task_names(fakes=True)
            try:
                self._cards[task] = load_task(task) if known else None
            except BenchError:
                self._cards[task] = None
        return self._cards[task]

    def _load(self, card: TaskCard, split: Split) -> tuple[Pair, ...] | str:
        """The pairs, or why they are not available."""
        key = (card.name, split)
        if key not in self._pairs:
            try:
                absent = available(card, self._data_dir)
                self._pairs[key] = absent or load_split(card, split, data_dir=self._data_dir)[0]
            except BenchError as error:
                self._pairs[key] = error.message
        return self._pairs[key]

    def code(self, record: Record) -> Findings:
        """Whether the method's file is the one here or an earlier one of this repository, and what git said."""
        found = Findings()
        name = record.method.name
        variant = find_variant(name)
        file = method_files().get(variant.of if variant is not None else name)
        sha = record.method.source_sha256
        if file is None:
            found.notes.append(f"the method {name} is not part of this repository: its code was not checked")
        elif sha != _file_hash(file):
            versions = _history(file)
            other = None if sha in versions else _whose(sha)
            if other is not None:
                found.problems.append(f"its code is methods/{other.name}, and its method is {name}")
            elif sha in versions:
                found.notes.append(f"methods/{file.name} was changed since")
            elif versions:
                found.notes.append(f"its methods/{file.name} is none of the versions in this repository's history")
            else:
                found.notes.append(f"its methods/{file.name} is not the one that is here")
        else:
            found.problems.extend(_setting_problems(record))
        if record.git.get("commit") is None:
            found.notes.append("no commit: the package was not run from a git checkout")
        elif record.git.get("dirty"):
            found.notes.append("it ran with changes that were not committed")
        return found


def _setting_problems(record: Record) -> Iterator[str]:
    """Where a record of the method's present file has other settings than that file knows."""
    name, said = record.method.name, record.method.settings
    config, variant = method_config(name), find_variant(name)
    if set(said) != set(config.model_fields):
        odd = min(set(said) ^ set(config.model_fields))
        yield f"the method {name} has {'no' if odd in said else 'a'} setting {odd[:80]!r}"
        return
    try:
        config.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        yield f"the method's setting {'.'.join(map(str, first['loc']))[:80]}: {first['msg'][:200]}"
    for key, value in (variant.fixed if variant is not None else {}).items():
        if said[key] != value:
            yield f"{name} has {key} = {value}, and the record {str(said[key])[:80]}"


def _whose(sha: str) -> Path | None:
    """The file of the built-in method that has, or had, this SHA-256."""
    files = method_files().values()
    now = next((file for file in files if _file_hash(file) == sha), None)
    return now or next((file for file in files if sha in _history(file)), None)


def _limit(record: Record, split: Split) -> int | None:
    limit = record.config.get(f"{split}_limit")
    return limit if isinstance(limit, int) else None


def _content(pair: Pair) -> str:
    return repr((tuple((m.role, m.content) for m in pair.prompt), pair.chosen, pair.rejected))


@cache
def _file_hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@cache
def _history(file: Path) -> frozenset[str]:
    """SHA-256 of every committed version of a file; empty outside a git checkout."""
    commits = _git(file, "log", "--format=%H", "--", file.name).split()
    contents = [_git(file, "show", f"{commit.decode()}:./{file.name}") for commit in commits]
    return frozenset(hashlib.sha256(content).hexdigest() for content in contents if content)


def _git(file: Path, *words: str) -> bytes:
    try:
        done: Any = subprocess.run(["git", *words], cwd=file.parent, capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.SubprocessError):
        return b""
    return bytes(done.stdout) if done.returncode == 0 else b""
