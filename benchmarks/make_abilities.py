"""Writes the items of the built-in abilities from the text in ability_text, the same bytes every time.

    python benchmarks/make_abilities.py            writes lifealign_bench/scoring/abilities/builtin/*.jsonl
    python benchmarks/make_abilities.py --check    writes nothing; exit status 1 if a file on disk differs

In every file the right answers are dealt evenly over the four places.
"""

# ruff: noqa: E402  (the imports of ability_text need the repository on the path)

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a script, or loaded by its path
    sys.path.insert(0, str(ROOT))

from benchmarks.ability_text.facts import FACTS
from benchmarks.ability_text.formats import FORMATS

FOLDER = ROOT / "lifealign_bench" / "scoring" / "abilities" / "builtin"
SEED = 20261
CHOICES = 4
EACH = 14  # items of each kind of arithmetic

Item = tuple[str, str, str, str, str]


def _near(right: int, generator: random.Random) -> list[str]:
    """Three other numbers as one gets them by slips: one or two off, ten off."""
    slips = [right + d for d in (-10, -2, -1, 1, 2, 10) if right + d >= 0]
    return [str(n) for n in generator.sample(slips, CHOICES - 1)]


def arithmetic() -> list[Item]:
    """Sums, differences, products, quotients with small whole numbers; each question once."""
    generator = random.Random(SEED)
    sums = [(a, b) for a in range(2, 30) for b in range(2, 30)]
    small = [(a, b) for a in range(2, 11) for b in range(2, 11)]
    items: list[Item] = []
    for a, b in generator.sample(sums, EACH):
        items.append((f"What is {a} plus {b}?", str(a + b), *_near(a + b, generator)))  # type: ignore[arg-type]
    for a, b in generator.sample(sums, EACH):
        items.append((f"What is {a + b} minus {b}?", str(a), *_near(a, generator)))  # type: ignore[arg-type]
    for a, b in generator.sample(small, EACH):
        items.append((f"What is {a} times {b}?", str(a * b), *_near(a * b, generator)))  # type: ignore[arg-type]
    for a, b in generator.sample(small, EACH):
        items.append((f"What is {a * b} divided by {b}?", str(a), *_near(a, generator)))  # type: ignore[arg-type]
    return items


def laid_out(items: Iterable[Item]) -> str:
    """The items as JSON lines: question, four choices, the right one's place."""
    generator = random.Random(SEED)
    rows = list(items)
    generator.shuffle(rows)
    places = [i % CHOICES for i in range(len(rows))]
    generator.shuffle(places)
    lines = []
    for (question, right, *wrong), place in zip(rows, places, strict=True):
        generator.shuffle(wrong)
        choices = [*wrong[:place], right, *wrong[place:]]
        lines.append(json.dumps({"question": question, "choices": choices, "answer": place}))
    return "".join(f"{line}\n" for line in lines)


def files() -> dict[str, str]:
    """File name to content."""
    return {
        "facts.jsonl": laid_out(FACTS),
        "arithmetic.jsonl": laid_out(arithmetic()),
        "format.jsonl": laid_out(FORMATS),
    }


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    differing = 0
    for name, content in files().items():
        path = FOLDER / name
        if path.is_file() and path.read_text(encoding="utf-8") == content:
            continue
        differing += 1
        print(f"{name}: {'differs' if check else 'written'}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
    return int(check and differing > 0)


if __name__ == "__main__":
    sys.exit(main())
