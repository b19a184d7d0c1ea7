"""What text looks like to a rule: words, sentences, names, repetition. Reward functions are made of it.

Text is compared without regard to case, to the form of quotation marks and to Unicode compatibility forms. Only the
first MAX_CHARS characters are read, and every pattern here runs in linear time.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

# What a row brings for its reward function.
Check = Mapping[str, Any]

MAX_CHARS = 4000
OFF_TOPIC = 0.2  # what is left of a style reward when the topic is never mentioned
UNFINISHED = 0.5  # what is left of it when the response stops in the middle of its only sentence
_WORD = re.compile(r"[^\W_]+(?:['\-][^\W_]+)*")
_SENTENCE_END = re.compile(r"[.!?]+[\"')\]]*(?=\s|$)|\n+")
_QUOTES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u02bc": "'", "\u201c": '"', "\u201d": '"'})
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|etc|approx|dr|mr|mrs|st|vs)\.(?=\s+[a-z\d])")


def plain(text: object) -> str:
    """The text in compatibility form with straight quotes, stripped and at most MAX_CHARS long; "" if not a str."""
    if not isinstance(text, str):
        return ""
    shortened = text[:MAX_CHARS].translate(_QUOTES)
    return unicodedata.normalize("NFKC", shortened)[:MAX_CHARS].strip()


def has_word(text: str) -> bool:
    """Whether there is a letter or a digit."""
    return _WORD.search(text) is not None


def words(text: str) -> list[str]:
    """The words in order, in lower case; hyphens and apostrophes inside a word belong to it."""
    return [word.casefold() for word in _WORD.findall(text)]


def sentences(text: str) -> tuple[int, bool]:
    """How many sentences (or lines) hold a word, and whether the last of them is finished by a mark."""
    pieces = _SENTENCE_END.split(_ABBREVIATION.sub(lambda found: found.group().rstrip("."), text))
    count = sum(1 for piece in pieces if _WORD.search(piece))
    return count, _WORD.search(pieces[-1]) is None


def mentions(text: str, names: object) -> bool:
    """Whether one of the names occurs as whole words; a plural s or es at its end is allowed. No names: True."""
    if isinstance(names, str):
        names = [names]
    if not isinstance(names, Sequence) or not names:
        return True
    padded = " " + " ".join(word.removesuffix("'s") for word in words(text)) + " "
    for name in names:
        wanted = " ".join(words(plain(name)))
        if wanted and any(f" {wanted}{ending} " in padded for ending in ("", "s", "es")):
            return True
    return False


def variety(text: str) -> float:
    """1 for normal prose, falling to 0 as the share of different words falls from 1/2 to 1/5 (looping text)."""
    found = words(text)
    share = len(set(found)) / len(found) if found else 0.0
    return min(1.0, max(0.0, (share - 0.2) / 0.3))


def positive_number(check: Check, key: str, default: int) -> int:
    """The positive number under `key`, or the default where it is missing or unusable."""
    value = check.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 <= value < MAX_CHARS:
        return default
    return int(value)


def starts_with(text: str, phrases: Sequence[str]) -> bool:
    return text.casefold().lstrip("\"'*# ").startswith(tuple(phrases))


def contains(text: str, phrases: Sequence[str]) -> bool:
    folded = text.casefold()
    return any(phrase in folded for phrase in phrases)


def brevity(response: str, check: Check, most: int, limit: int) -> float:
    """How well the response keeps to `most` sentences and `limit` words, and to the topic.

    The smaller of two scores: 1 up to `most` sentences, less 1/3 for each one more (a line counts as a sentence);
    and 1 up to `limit` words, falling linearly to 0 at three times as many. Times UNFINISHED if a single sentence
    has no end, times OFF_TOPIC if no name in `topic` is mentioned, times 0 for fewer than 4 words, times `variety`.
    """
    count, finished = sentences(response)
    length = len(words(response))
    if length < 4:
        return 0.0
    score = min(1 - max(0, count - most) / 3, 1 - max(0, length - limit) / (2 * limit))
    score *= 1.0 if finished or count > 1 else UNFINISHED
    score *= 1.0 if mentions(response, check.get("topic")) else OFF_TOPIC
    return max(0.0, score) * variety(response)
