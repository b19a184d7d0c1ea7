"""What the words of ``--ability`` mean; imports nothing heavy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

from lifealign_bench.errors import UsageError
from lifealign_bench.util.extras import require_extra

# Our own items: they need no network.
BUILTIN = {
    "builtin_facts": "general knowledge that does not age, 80 questions with 4 answers each",
    "builtin_arithmetic": "sums, differences, products, quotients of small numbers, 56 questions with 4 answers each",
    "builtin_format": "giving an answer in the form that was asked for or shown, 92 questions with 4 answers each",
}
SETS: dict[str, tuple[str, ...]] = {
    "builtin": tuple(BUILTIN),
    "tax": (
        "arc_easy",
        "arc_challenge",
        "hellaswag",
        "piqa",
        "winogrande",
        "boolq",
        "truthfulqa_mc1",
        "truthfulqa_mc2",
        "lambada_openai",
    ),
}
_BUILTIN_PREFIX = "builtin_"


def is_file(word: str) -> bool:
    """Whether a word is the path of a YAML task."""
    return word.endswith((".yaml", ".yml"))


def builtin_file(name: str) -> Path:
    """The YAML task of a built-in ability, a file of this package."""
    return Path(__file__).parent / "builtin" / f"{name.removeprefix(_BUILTIN_PREFIX)}.yaml"


def expand(words: Iterable[str]) -> list[str]:
    """The abilities that the words stand for: sets become their members, each once, in order."""
    return list(dict.fromkeys(name for word in words for name in SETS.get(word, (word,))))


def check_ability_words(words: Sequence[str]) -> None:
    """Refuse what can be known to be wrong without lm-eval's list of tasks.

    Raises:
        UsageError: a file that is not there, a built-in ability that does not exist, or lm-eval is not installed.
    """
    if words:
        require_extra("lm_eval", "ability", "--ability")
    for word in words:
        if is_file(word):
            if not Path(word).expanduser().is_file():
                raise UsageError(f"There is no YAML task {word}.", "Give --ability the path of a file that exists.")
        elif word.startswith(_BUILTIN_PREFIX) and word not in BUILTIN:
            raise unknown_ability(word, ())


def unknown_ability(word: str, known: Iterable[str]) -> UsageError:
    """The error for a word that is no ability.

    Args:
        known: lm-eval's tasks, which are thousands: only the close ones are named.
    """
    close = difflib.get_close_matches(word, [*SETS, *BUILTIN, *known], n=3, cutoff=0.6)
    hint = f"Did you mean {' or '.join(repr(c) for c in close)}? " if close else ""
    return UsageError(
        f"There is no ability called {word!r}.",
        f"{hint}It may be {', '.join([*SETS, *BUILTIN])}, a task of lm-eval (lm-eval ls tasks) or a YAML file.",
    )
