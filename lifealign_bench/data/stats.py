"""What a task's data are like: sizes, repetitions, lengths, script, and which test prompts are training prompts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lifealign_bench.data.cards import TaskCard
from lifealign_bench.data.cleaning import CleaningReport
from lifealign_bench.data.sources import SPLITS
from lifealign_bench.data.tasks import load_split
from lifealign_bench.pairs import Message, Pair, Split

# "pair" is what has to fit into a model's context at once: the prompt and the longer response.
PARTS = ("prompt", "chosen", "rejected", "pair")
TokenCounter = Callable[[Sequence[Pair]], list[tuple[int, int, int]]]
Prompt = tuple[Message, ...]

_BATCH = 64
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")
_ASCII_LETTER = re.compile(r"[A-Za-z]")


@dataclass(frozen=True)
class Percentiles:
    """Percentiles of lengths; each is a length that occurs (the smallest that so many percent do not exceed)."""

    p5: int
    p50: int
    p95: int
    max: int
    total: int

    @classmethod
    def of(cls, lengths: Sequence[int]) -> Percentiles:
        """Of at least one length."""
        low, middle, high = np.percentile(lengths, [5, 50, 95], method="inverted_cdf")
        return cls(int(low), int(middle), int(high), max(lengths), sum(lengths))


@dataclass(frozen=True)
class Script:
    """How much of the text is in Latin script: it tells English from Chinese, not from French.

    Args:
        characters: of prompts and responses.
        beyond_ascii: of these, not ASCII (also dashes, quotes, emoji).
        letters: characters that Unicode calls letters.
        not_latin: of these, letters of another script.
        pairs_not_latin: pairs more than half of whose letters are of another script.
    """

    characters: int = 0
    beyond_ascii: int = 0
    letters: int = 0
    not_latin: int = 0
    pairs_not_latin: int = 0


@dataclass(frozen=True)
class SplitStats:
    """One split.

    Args:
        report: what cleaning did; the rest is about the pairs that it kept.
        repeated_prompts: pairs whose prompt an earlier pair of the split has.
        turns: most turns of a prompt.
        characters: part -> spread.
        tokens: part -> spread, as a model reads them with its chat template; None where none was counted.
        script: see there.
        shorter_chosen: percent of the pairs whose chosen response is the shorter one in characters; equal lengths count
            half. A rule that takes the shorter response scores this, one that takes the longer the rest of 100.
    """

    report: CleaningReport
    repeated_prompts: int
    turns: int
    characters: dict[str, Percentiles]
    tokens: dict[str, Percentiles] | None
    script: Script
    shorter_chosen: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "cleaning": self.report.as_dict(),
            "pairs": self.report.kept,
            "repeated_prompts": self.repeated_prompts,
            "most_turns": self.turns,
            "characters": {part: asdict(spread) for part, spread in self.characters.items()},
            "tokens": {part: asdict(spread) for part, spread in self.tokens.items()} if self.tokens else None,
            "script": asdict(self.script),
            "shorter_chosen_percent": self.shorter_chosen,
        }


@dataclass(frozen=True)
class TaskStats:
    """A task: its splits, and their prompts for comparing tasks."""

    card: TaskCard
    splits: dict[Split, SplitStats]
    prompts: dict[Split, tuple[Prompt, ...]]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, without any text of the data."""
        return {
            "task": self.card.name,
            "language": self.card.language,
            **{split: stats.as_dict() for split, stats in self.splits.items()},
        }


def measure_task(
    card: TaskCard, data_dir: Path | None, count_tokens: TokenCounter | None, advance: Callable[[str, int, int], None]
) -> TaskStats:
    """Read, verify and measure a task.

    Args:
        card: the task.
        data_dir: a copy of the paper's data; see :mod:`lifealign_bench.data.sources`.
        count_tokens: pairs -> tokens of prompt, chosen and rejected of each; None: characters only.
        advance: hears (split, pairs done, pairs of the split) now and then.

    Raises:
        BenchError: the data cannot be used.
    """
    splits: dict[Split, SplitStats] = {}
    prompts: dict[Split, tuple[Prompt, ...]] = {}
    for split in SPLITS:
        advance(split, 0, 0)
        pairs, report, _ = load_split(card, split, data_dir=data_dir)
        tokens: list[tuple[int, int, int]] = []
        for start in range(0, len(pairs), _BATCH):
            advance(split, start, len(pairs))
            tokens += count_tokens(pairs[start : start + _BATCH]) if count_tokens is not None else []
        prompts[split] = tuple(pair.prompt for pair in pairs)
        splits[split] = SplitStats(
            report=report,
            repeated_prompts=len(pairs) - len(set(prompts[split])),
            turns=max(len(prompt) for prompt in prompts[split]),
            characters=_spreads([_characters(pair) for pair in pairs]),
            tokens=_spreads(tokens) if count_tokens is not None else None,
            script=script_of(pairs),
            shorter_chosen=_shorter_chosen(pairs),
        )
    return TaskStats(card, splits, prompts)


def overlaps(tasks: Sequence[TaskStats]) -> dict[str, dict[str, int]]:
    """Test pairs of a task (outer name) whose cleaned prompt is a training prompt of a task (inner name)."""
    train = {task.card.name: set(task.prompts["train"]) for task in tasks}
    return {
        task.card.name: {name: sum(p in known for p in task.prompts["test"]) for name, known in train.items()}
        for task in tasks
    }


def script_of(pairs: Iterable[Pair]) -> Script:
    """Add up the scripts of the texts of ``pairs``."""
    characters = beyond = letters = foreign = foreign_pairs = 0
    for pair in pairs:
        text = "\n".join([*(turn.content for turn in pair.prompt), pair.chosen, pair.rejected])
        others = _BEYOND_ASCII.findall(text)
        far = [character for character in others if character.isalpha()]
        here = len(_ASCII_LETTER.findall(text)) + len(far)
        odd = sum(not _is_latin(character) for character in far)
        characters += len(text) - len(pair.prompt) - 1  # without the line breaks put in between
        beyond += len(others)
        letters += here
        foreign += odd
        foreign_pairs += 2 * odd > here
    return Script(characters, beyond, letters, foreign, foreign_pairs)


def _is_latin(letter: str) -> bool:
    return "LATIN" in unicodedata.name(letter, "")


def _shorter_chosen(pairs: Sequence[Pair]) -> float:
    chosen, rejected = (np.array([len(getattr(pair, part)) for pair in pairs]) for part in ("chosen", "rejected"))
    return 100 * float(np.mean((chosen < rejected) + 0.5 * (chosen == rejected)))


def _characters(pair: Pair) -> tuple[int, int, int]:
    return sum(len(turn.content) for turn in pair.prompt), len(pair.chosen), len(pair.rejected)


def _spreads(lengths: Sequence[tuple[int, int, int]]) -> dict[str, Percentiles]:
    columns = [*zip(*lengths, strict=True), [prompt + max(a, b) for prompt, a, b in lengths]]
    return {part: Percentiles.of(column) for part, column in zip(PARTS, columns, strict=True)}
