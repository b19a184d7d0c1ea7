"""The commands that README.md and the pages of docs/ show, as words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "Shown", "blocks", "pages", "shown_commands", "shown_in_text"]

ROOT = Path(__file__).resolve().parents[1]
# Code in another language is no command. A fence without a language holds commands.
SHELL = ("", "bash", "sh", "shell", "console")
OTHER = ("python", "yaml", "toml", "json", "text")
_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_ARRAY = re.compile(r"(\w+)=\(([^)]*)\)")
_INLINE = re.compile(r"(?<!`)`((?:lifealign-bench|make) [^`]+)`(?!`)")


@dataclass(frozen=True)
class Shown:
    """One command of a page.

    Args:
        place: page and line.
        words: as a shell would have them, but for variables; an array's element is all of them, with commas.
    """

    place: str
    words: tuple[str, ...]


def pages() -> list[Path]:
    """All that is written for users."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> Iterator[tuple[int, str, str]]:
    """Line, language and text of the page's code blocks.

    Raises:
        ValueError: a language of which it is not known whether it is a shell's.
    """
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 2
        if found[1] not in (*SHELL, *OTHER):
            raise ValueError(f"{page.name}:{line}: is {found[1]!r} a shell? Add it to tests/documented.py.")
        yield line, found[1], found[2]


def shown_commands() -> list[Shown]:
    """Every line of every block of commands."""
    found = []
    for page in pages():
        for line, language, text in blocks(page):
            if language in SHELL:
                found += [Shown(f"{page.relative_to(ROOT)}:{line + at}", words) for at, words in _commands(text)]
    return found


def shown_in_text() -> list[Shown]:
    """Commands between single backticks."""
    found = []
    for page in pages():
        text = _FENCE.sub(lambda block: "\n" * block[0].count("\n"), page.read_text(encoding="utf-8"))
        for command in _INLINE.finditer(text):
            line = text.count("\n", 0, command.start()) + 1
            found.append(Shown(f"{page.relative_to(ROOT)}:{line}", tuple(shlex.split(command[1]))))
    return found


def _commands(text: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    arrays = {name: ",".join(values.split()) for name, values in _ARRAY.findall(text)}
    begun, start = "", 0
    for at, line in enumerate(text.split("\n")):
        start = start if begun else at
        begun += line.removesuffix("\\")
        if line.endswith("\\"):
            continue
        whole, begun = begun, ""
        if re.match(r"\w+=", whole):  # a variable; the arrays are filled in where they are used
            continue
        whole = re.sub(r"\$\{(\w+)\[[^]]*\]\}", lambda found: arrays[found[1]], whole)
        words = tuple(shlex.split(whole, comments=True))
        if words:
            yield start, words
