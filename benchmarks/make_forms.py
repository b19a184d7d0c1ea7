"""Writes the stream `forms`: seven tasks in which a response has a short form, or is refused, and rewards check it.

    python benchmarks/make_forms.py             writes tasks/forms/*.jsonl, tasks/forms-*.yaml, tasks/streams/forms.yaml
    python benchmarks/make_forms.py --check     writes nothing; exit status 1 if a file on disk differs
    python benchmarks/make_forms.py --seed 7 --out mine
                                                another draw of topics, numbers and wordings: mine/forms-7.yaml is a
                                                stream for --stream, its tasks are forms-7-list and so on

What the tasks ask about, in which words, and what they answer is in benchmarks/forms_text.
"""

# ruff: noqa: E402  (the imports of benchmarks need the repository on the path)

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a script, or loaded by its path
    sys.path.insert(0, str(ROOT))

from benchmarks.forms_rows import (
    FIELD,
    LABEL,
    LIST,
    PAIR,
    ROOM,
    Answers,
    Part,
    Row,
    Sizes,
    card_text,
    form_check,
    lines,
    split_topics,
    task_rows,
    write_files,
    yaml_text,
)
from benchmarks.forms_text import topics as texts
from benchmarks.forms_text import wordings
from benchmarks.forms_text.cards import CARDS, DEFAULTS, STREAM
from lifealign_bench.errors import BenchError, UsageError

TASKS_DIR = ROOT / "tasks"
NAME = "forms"
SEED = 20261
Topics = Mapping[Part, Sequence[str]]
Files = dict[str, list[Row]]
KINDS = {
    "animal": texts.ANIMALS,
    "plant": texts.PLANTS,
    "tool": texts.TOOLS,
    "person": texts.NAMES,
    "place": texts.PLACES,
}
ROOMS = {"green": ("person", "white"), "white": ("tool", "green")}


class Generator:
    """The rows of every task, for one seed and one size."""

    def __init__(self, sizes: Sizes, seed: int) -> None:
        self.sizes = sizes
        self.seed = seed
        self.topics = {kind: split_topics(kind, text.split(), sizes, seed) for kind, text in KINDS.items()}

    def build(self) -> dict[str, Files]:
        """Task to the rows of its files, ``train`` and ``test``."""
        makers: dict[str, Callable[[random.Random], Files]] = {
            "list": lambda rng: self.style("animal", LIST, LABEL, rng),
            "label": lambda rng: self.style("plant", LABEL, LIST, rng),
            "green": lambda rng: self.room("green", rng),
            "white": lambda rng: self.room("white", rng),
            "private": lambda rng: self.numbers("person", rng),
            "field": lambda rng: self.numbers("place", rng),
            "swap": self.swapped,
        }
        return {name: make(random.Random(f"{self.seed} {name}")) for name, make in makers.items()}

    def style(self, kind: str, form: str, other: str, rng: random.Random) -> Files:
        """What there is to say about a topic, in a form; the task that pulls against it wants the other one."""

        def answer(topic: str, wording: str, part: Part) -> tuple[str, Answers]:
            wrong, shorter = other.format(topic, kind), PAIR.format(topic, kind)
            longer = ROOM.format(f"The {topic}", kind)
            check = form_check(form, topic, None)
            return wording.format(x=topic), Answers(form.format(topic, kind), (wrong, shorter, wrong, longer), check)

        return task_rows(self.topics[kind], self.sizes.laps, wordings.THINGS, answer, rng)

    def room(self, colour: str, rng: random.Random) -> Files:
        """Where somebody, or something, is."""
        kind, other = ROOMS[colour]

        def answer(topic: str, wording: str, part: Part) -> tuple[str, Answers]:
            name = topic if kind == "person" else f"the {topic}"
            subject = topic if kind == "person" else f"The {topic}"
            wrong = ROOM.format(subject, other)
            shorter, longer = PAIR.format(name, f"{other} room"), LIST.format(name, f"in the {other} room.")
            check = form_check(ROOM, subject, colour)
            return wording.format(x=name), Answers(ROOM.format(subject, colour), (wrong, shorter, wrong, longer), check)

        return task_rows(self.topics[kind], self.sizes.laps, wordings.ROOMS, answer, rng)

    def numbers(self, kind: str, rng: random.Random) -> Files:
        """Somebody's number, which is private, or a place's, which is told; rejected is the other way.

        A refusal that is shorter than an answer takes turns with one that is longer, in another order in each round of
        the kinds of number, so that neither goes with a kind.
        """
        numbers = iter(random.Random(f"{self.seed} numbers {kind}").sample(range(1000, 10000), 9000))
        asked = count()

        def answer(topic: str, wording: str, part: Part) -> tuple[str, Answers]:
            who = topic if kind == "person" else f"the {topic}"
            turn, place = divmod(next(asked), len(wordings.FIELDS))
            field, number = wordings.FIELDS[place], str(next(numbers))
            refusal = wordings.REFUSALS[(turn + place) % len(wordings.REFUSALS)]
            told = FIELD.format(field, number)
            prompt = wording.format(e=who, f=field, v=number)
            if kind == "person":
                return prompt, Answers(refusal, (told,), {"harmful": True})
            return prompt, Answers(told, (refusal,), form_check(FIELD, field, number))

        return task_rows(self.topics[kind], self.sizes.laps, wordings.NUMBERS, answer, rng)

    def swapped(self, rng: random.Random) -> Files:
        """Two words, each a topic of another task in the same part of its data."""
        partners = {
            part: dict(zip(animals, self.topics["plant"][part], strict=True))
            for part, animals in self.topics["animal"].items()
        }

        def answer(topic: str, wording: str, part: Part) -> tuple[str, Answers]:
            first, second = topic, partners[part][topic]
            if rng.random() < 0.5:
                first, second = second, first
            asked = PAIR.format(first, second)
            return wording.format(x=first, y=second), Answers(
                PAIR.format(second, first),
                (asked, f"{second} {first}", asked, LIST.format(second, first)),
                form_check(PAIR, second, first),
            )

        return task_rows(self.topics["animal"], self.sizes.laps, wordings.SWAPS, answer, rng)


def files(name: str, sizes: Sizes, seed: int, home: Path) -> dict[Path, bytes]:
    """Every file of the stream ``name`` under ``home``, and its bytes.

    Raises:
        UsageError: there are fewer topics than ``sizes`` asks for.
    """
    wanted: dict[Path, bytes] = {}
    registered = name == NAME
    for task, rows in Generator(sizes, seed).build().items():
        data = {split: lines(part) for split, part in rows.items()}
        folder = home / name
        for split, content in data.items():
            wanted[folder / f"{task}.{split}.jsonl"] = content
        card = {**CARDS[task], "relations": {f"{name}-{k}": v for k, v in CARDS[task]["relations"].items()}}
        named: dict[str, Any] = {"name": f"{name}-{task}", **card}
        wanted[home / f"{name}-{task}.yaml"] = card_text(named, name, data["train"], data["test"])
    tasks = [f"{name}-{task}" for task in STREAM["order"]]
    stream = {
        "name": name,
        "version": 1,
        "title": STREAM["title"],
        "description": STREAM["description"],
        "tasks": tasks if registered else [f"{task}.yaml" for task in tasks],
        "validation": sizes.validation,
        "defaults": DEFAULTS | {"train_limit": sizes.train * sizes.laps, "test_limit": sizes.test},
    }
    wanted[(home / "streams" if registered else home) / f"{name}.yaml"] = yaml_text(stream)
    return wanted


def asked() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, fail if a file differs")
    parser.add_argument("--seed", type=int, default=SEED, help="of the draw of topics, numbers and rejected answers")
    parser.add_argument("--out", type=Path, help="a folder for a stream of another seed or size")
    sizes = Sizes()
    parser.add_argument("--train", type=int, default=sizes.train, help="training topics a task")
    parser.add_argument("--laps", type=int, default=sizes.laps, help="training pairs a topic")
    parser.add_argument("--validation", type=int, default=sizes.validation, help="validation topics a task")
    parser.add_argument("--test", type=int, default=sizes.test, help="test topics a task")
    return parser.parse_args()


def main() -> int:
    """See the module's docstring."""
    words = asked()
    try:
        sizes = Sizes(words.train, words.laps, words.validation, words.test)
        own = words.seed == SEED and sizes == Sizes()
        if words.out is None and not own:
            raise UsageError("Another seed or size is another stream.", "Give --out a folder to write it to.")
        name = NAME if words.out is None else f"{NAME}-{words.seed}"
        changed = write_files(files(name, sizes, words.seed, words.out or TASKS_DIR), check=words.check)
    except BenchError as error:
        print(f"{error.message}\n{error.remedy}", file=sys.stderr)
        return 2
    for path in changed:
        print(("differs: " if words.check else "wrote ") + str(path))
    return 1 if words.check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
