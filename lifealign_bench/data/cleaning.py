"""A split's rows become pairs: what cannot be used is dropped, what is mended is counted, nothing goes unsaid."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from lifealign_bench.data.blank import is_blank
from lifealign_bench.data.dialogue import split_dialogue, strip_speaker, tidy_turns
from lifealign_bench.data.messages import MISSING, NOT_TEXT, Unusable, read_message, refuse_surrogates
from lifealign_bench.data.rows import Row
from lifealign_bench.data.shaping import RowShape
from lifealign_bench.pairs import Message, Pair, Split

EXAMPLES = 5

DUPLICATE = "duplicate pair"

IN_TRAIN = "test prompt also in train"


@dataclass(frozen=True)
class CleaningReport:
    """What cleaning did to one split.

    Args:
        task: its name.
        split: train or test.
        read: rows in the source.
        kept: pairs left; ``read == kept + sum(dropped.values())``.
        dropped: reason -> pairs.
        changed: what was mended -> kept pairs.
        noted: what is odd but was left alone -> kept pairs.
        examples: reason, mending or note -> the first row numbers (from 0), at most five.
    """

    task: str
    split: Split
    read: int
    kept: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    changed: Mapping[str, int] = field(default_factory=dict)
    noted: Mapping[str, int] = field(default_factory=dict)
    examples: Mapping[str, list[int]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for the record."""
        return {
            "task": self.task,
            "split": self.split,
            "read": self.read,
            "kept": self.kept,
            "dropped": dict(self.dropped),
            "changed": dict(self.changed),
            "noted": dict(self.noted),
            "examples": {what: list(rows) for what, rows in self.examples.items()},
        }

    def summary(self) -> str:
        """One line for people: counts, and for drops the rows to look at."""
        parts = [f"{self.task} {self.split}: kept {self.kept} of {self.read}"]
        for verb, counts in (("dropped", self.dropped), ("changed", self.changed), ("noted", self.noted)):
            if counts:
                parts.append(
                    f"{verb} {', '.join(self._count(what, n, verb == 'dropped') for what, n in counts.items())}"
                )
        return "; ".join(parts)

    def _count(self, what: str, number: int, with_rows: bool) -> str:
        if not with_rows:
            return f"{number} ({what})"
        rows = self.examples.get(what, [])
        more = ", ..." if number > len(rows) else ""
        return f"{number} ({what}: row {', '.join(map(str, rows))}{more})"


def clean_rows(cleaner: Cleaner, rows: Sequence[Row], split: Split) -> tuple[tuple[Pair, ...], CleaningReport]:
    """All usable pairs of a split in their order, and the account of the rest."""
    pairs: list[Pair] = []
    seen: set[tuple[tuple[Message, ...], str, str]] = set()
    dropped: dict[str, list[int]] = {}
    marked: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        try:
            pair, marks = cleaner.pair(row, f"{cleaner.task}/{split}/{number}")
            key = (pair.prompt, pair.chosen, pair.rejected)
            if key in seen:
                raise Unusable(DUPLICATE)
        except Unusable as reason:
            dropped.setdefault(str(reason), []).append(number)
            continue
        seen.add(key)
        pairs.append(pair)
        for mark in sorted(marks):
            marked.setdefault(mark, []).append(number)
    report = CleaningReport(
        task=cleaner.task,
        split=split,
        read=len(rows),
        kept=len(pairs),
        dropped={what: len(numbers) for what, numbers in dropped.items()},
        changed={what: len(numbers) for what, numbers in marked.items() if what != NO_OPENING},
        noted={what: len(numbers) for what, numbers in marked.items() if what == NO_OPENING},
        examples={what: numbers[:EXAMPLES] for what, numbers in {**dropped, **marked}.items()},
    )
    return tuple(pairs), report


def report_overlap(report: CleaningReport, train: Sequence[Pair], test: Sequence[Pair]) -> tuple[int, CleaningReport]:
    """How many test pairs have a prompt that is also a training prompt, and the test report that notes it."""
    known = {pair.prompt for pair in train}
    rows = [row_of(pair) for pair in test if pair.prompt in known]
    return len(rows), note_rows(report, noted={IN_TRAIN: rows} if rows else {})


def row_of(pair: Pair) -> int:
    """The row of the source that a pair was made of, from 0."""
    return int(pair.id.rpartition("/")[2])


def note_rows(
    report: CleaningReport,
    *,
    dropped: Mapping[str, Sequence[int]] = MappingProxyType({}),
    changed: Mapping[str, Sequence[int]] = MappingProxyType({}),
    noted: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> CleaningReport:
    """The report with more reasons, each with the rows that it holds for; ``kept`` stays as it is."""

    def counts(more: Mapping[str, Sequence[int]]) -> dict[str, int]:
        return {what: len(rows) for what, rows in more.items()}

    examples = {what: list(rows[:EXAMPLES]) for what, rows in {**dropped, **changed, **noted}.items()}
    return replace(
        report,
        dropped={**report.dropped, **counts(dropped)},
        changed={**report.changed, **counts(changed)},
        noted={**report.noted, **counts(noted)},
        examples={**report.examples, **examples},
    )


# Reasons to drop a pair.
EMPTY_PROMPT = "empty prompt"

EMPTY_CHOSEN = "empty chosen"

EMPTY_REJECTED = "empty rejected"

IDENTICAL = "identical chosen and rejected"

BAD_CHECK = "check is not an object of plain values"

NO_CLUSTER = "missing or null cluster"

NOT_ONE_TURN = "response is not one assistant turn"

NO_FIT = "prompt and responses do not fit together"

NO_QUESTION = "prompt does not end with the user's turn"

TURN_ORDER = "prompt turns out of order"

# What is mended.
STRIPPED = "white space stripped"

DIALOGUE = "dialogue split into turns"

UNLABELLED = "speaker label removed from a response"

RESTORED = "opening of chosen moved back from the prompt"

JOINED = "empty turns dropped or turns of one speaker joined"

SHARED = "prompt taken from the conversations"

# What is kept as it is, though one should know of it.
NO_OPENING = "rejected lacks its opening"


@dataclass(frozen=True)
class Cleaner:
    """How the rows of one task are read.

    Args:
        task: its name.
        prompt: column of the prompt; ``None`` where the responses hold the whole conversation.
        chosen: column of the preferred response.
        rejected: column of the other one.
        check: column of what the reward function needs; ``None`` if there is none.
        dialogue: prompts are transcripts with speaker labels.
        cluster: column of what says which pairs belong together, and fields in it; empty where the prompt does.
        shape: what is done to a row before its columns are read.
    """

    task: str
    prompt: str | None
    chosen: str
    rejected: str
    check: str | None
    dialogue: bool
    cluster: tuple[str, ...] = ()
    shape: RowShape = field(default_factory=RowShape)

    def pair(self, row: Row, id: str) -> tuple[Pair, set[str]]:
        """The pair of a row, and what was mended or is odd.

        Raises:
            Unusable: with the reason.
        """
        marks: set[str] = set()
        row = self.shape.row(row)
        chosen, rejected = self._value(row, self.chosen), self._value(row, self.rejected)
        asked = self._value(row, self.prompt) if self.prompt is not None else None
        if self.dialogue and self.prompt is None:
            chosen, rejected = _transcript(chosen), _transcript(rejected)
        question = self._question(asked, marks) if asked is not None else None
        if question is None or isinstance(chosen, tuple) or isinstance(rejected, tuple):
            prompt, first, second = _split_conversations(question, chosen, rejected, marks)
        else:
            prompt, first, second = question, chosen, rejected
            if self.dialogue:
                prompt, first, second = _mend_responses(prompt, first, second, marks)
        texts = first.strip(), second.strip()
        if texts != (first, second):
            marks.add(STRIPPED)
        _refuse_unusable(prompt, *texts)
        return Pair(id, self.task, prompt, *texts, check=self._check(row), group=self._group(row)), marks

    def _value(self, row: Row, column: str) -> str | tuple[Message, ...]:
        value = row.get(column)
        if value is None:
            raise Unusable(MISSING)
        if isinstance(value, str):
            refuse_surrogates(value)
            return value
        if isinstance(value, Mapping):  # one message alone
            return (read_message(value),)
        if isinstance(value, Sequence):
            return tuple(read_message(item) for item in value)
        raise Unusable(NOT_TEXT)

    def _question(self, asked: str | tuple[Message, ...], marks: set[str]) -> tuple[Message, ...]:
        if isinstance(asked, tuple):
            return _tidy(asked, marks)
        turns = split_dialogue(asked) if self.dialogue else None
        if turns is not None:
            marks.add(DIALOGUE)
            return _tidy(turns, marks)
        if asked != asked.strip():
            marks.add(STRIPPED)
        return tidy_turns([Message("user", asked)])

    def _group(self, row: Row) -> str:
        """The value of the cluster's column as text.

        Raises:
            Unusable: there is none: what is not known to be independent is not taken for it.
        """
        if not self.cluster:
            return ""
        value: Any = row
        for name in self.cluster:
            value = value.get(name) if isinstance(value, Mapping) else None
        blank = isinstance(value, str) and not value.strip()
        if value is None or blank or (isinstance(value, float) and math.isnan(value)):
            raise Unusable(NO_CLUSTER)
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)

    def _check(self, row: Row) -> Mapping[str, Any]:
        value = row.get(self.check) if self.check is not None else None
        if isinstance(value, str) and value.strip():  # a cell of a CSV file
            try:
                value = json.loads(value)
            except ValueError as error:
                raise Unusable(BAD_CHECK) from error
        if value is None or value == "":
            return {}
        if not isinstance(value, Mapping):
            raise Unusable(BAD_CHECK)
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except (TypeError, ValueError) as error:  # e.g. a date of a Parquet file
            raise Unusable(BAD_CHECK) from error
        return dict(value)


def _transcript(value: str | tuple[Message, ...]) -> str | tuple[Message, ...]:
    turns = split_dialogue(value) if isinstance(value, str) else None
    return turns if turns is not None else value


def _tidy(turns: tuple[Message, ...], marks: set[str]) -> tuple[Message, ...]:
    tidy = tidy_turns(turns)
    if len(tidy) != len(turns):
        marks.add(JOINED)
    elif tidy != turns:
        marks.add(STRIPPED)
    return tidy


def _split_conversations(
    question: tuple[Message, ...] | None,
    chosen: str | tuple[Message, ...],
    rejected: str | tuple[Message, ...],
    marks: set[str],
) -> tuple[tuple[Message, ...], str, str]:
    """Prompt and responses where a response is a list of messages: only its turn, or all of the conversation."""
    first = _tidy(chosen, marks) if isinstance(chosen, tuple) else tidy_turns([Message("assistant", chosen)])
    second = _tidy(rejected, marks) if isinstance(rejected, tuple) else tidy_turns([Message("assistant", rejected)])
    if question is not None and len(first) <= 1 and len(second) <= 1:
        return question, _only_turn(first), _only_turn(second)
    shared = _shared_prefix(first, second)
    # A prompt column beside whole conversations holds their beginning or, as a string, their last question.
    if question is not None and question not in (shared[: len(question)], shared[len(shared) - len(question) :]):
        raise Unusable(NO_FIT)
    marks.add(SHARED)
    return shared, _only_turn(first[len(shared) :]), _only_turn(second[len(shared) :])


def _shared_prefix(first: tuple[Message, ...], second: tuple[Message, ...]) -> tuple[Message, ...]:
    """The turns two conversations have in common, without a last assistant turn that would be both responses."""
    length = 0
    while length < min(len(first), len(second)) and first[length] == second[length]:
        length += 1
    if length == len(first) == len(second) and first and first[-1].role == "assistant":
        length -= 1
    return first[:length]


def _only_turn(turns: tuple[Message, ...]) -> str:
    if not turns:
        return ""
    if len(turns) > 1 or turns[0].role != "assistant":
        raise Unusable(NOT_ONE_TURN)
    return turns[0].content


def _mend_responses(
    prompt: tuple[Message, ...], chosen: str, rejected: str, marks: set[str]
) -> tuple[tuple[Message, ...], str, str]:
    """Undo what the paper's files did to responses of several paragraphs.

    There a transcript was cut before its last paragraph: the prompt of a chosen response of several paragraphs ends
    with the assistant's opening ones, and only then does the chosen response carry no label. They are put together
    again. A rejected response of several paragraphs has lost all but the last one; that cannot be mended, only told.
    """
    bare = strip_speaker(chosen)
    if bare == chosen and chosen.strip() and len(prompt) > 1 and prompt[-1].role == "assistant":
        bare = f"{prompt[-1].content}\n{chosen.strip()}"
        prompt = prompt[:-1]
        marks.add(RESTORED)
    other = strip_speaker(rejected)
    labelled = bare != chosen and RESTORED not in marks
    if labelled or other != rejected:
        marks.add(UNLABELLED)
    if other == rejected and (labelled or RESTORED in marks):
        marks.add(NO_OPENING)
    return prompt, bare, other


def _refuse_unusable(prompt: tuple[Message, ...], chosen: str, rejected: str) -> None:
    roles = [turn.role for turn in prompt]
    if not prompt or roles == ["system"]:
        raise Unusable(EMPTY_PROMPT)
    if is_blank(chosen):
        raise Unusable(EMPTY_CHOSEN)
    if is_blank(rejected):
        raise Unusable(EMPTY_REJECTED)
    if chosen == rejected:
        raise Unusable(IDENTICAL)
    if roles[-1] != "user":
        raise Unusable(NO_QUESTION)
    spoken = roles[1:] if roles[0] == "system" else roles
    if spoken[0] != "user" or "system" in spoken:
        raise Unusable(TURN_ORDER)
