"""Writes a stream whose degree of conflict is a setting, so that forgetting can be drawn as a dose and its response.

    python benchmarks/make_dial.py --conflict 0.5 --out dial     dial/dial-0.5.yaml is the stream, for --stream
    for c in 0 0.25 0.5 0.75 1; do python benchmarks/make_dial.py --conflict $c --out dial; done
    lifealign-bench sweep --method dpo --stream dial/dial-0.yaml --stream dial/dial-1.yaml

Each of its tasks asks about topics of one kind. Some prompts are settled: all tasks ask them in the same words and want
one and the same form. The others are contested: each task wants a form of its own. With the same seed two streams have
the same topics in the same order, and what is contested in one is contested in those of more conflict.

--conflict  share of each task's prompts that are contested. At 0 no two tasks want different forms for one kind of
            prompt.
--overlap   share of the contested prompts that all tasks ask in the same words; the others are asked in words of the
            task's own.
--rarity    share of the contested prompts in the same words that leave out the kind of the topic ("the otter" and not
            "the animal called otter"), so that the topic alone is the cue.
"""

# ruff: noqa: E402  (the imports of benchmarks need the repository on the path)

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a script, or loaded by its path
    sys.path.insert(0, str(ROOT))

from benchmarks.forms_rows import (
    EQUATION,
    LABEL,
    LIST,
    PAIR,
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
from benchmarks.forms_text.cards import DEFAULTS
from lifealign_bench.errors import BenchError, UsageError

SEED = 20261
FIELD_OF_KIND = "{1}: {0}"


@dataclass(frozen=True)
class Form:
    """How a task answers what is contested.

    Args:
        kind: of its topics, which are ``topics``.
        text: its form, with a slot for the topic and one for the kind.
        rejected: the same in the form of another task, with as many characters.
    """

    name: str
    kind: str
    topics: str
    text: str
    rejected: str


FORMS = (
    Form("list", "animal", texts.ANIMALS, LIST, LABEL),
    Form("label", "plant", texts.PLANTS, LABEL, LIST),
    Form("pair", "food", texts.FOODS, PAIR, FIELD_OF_KIND),
    Form("field", "tool", texts.TOOLS, FIELD_OF_KIND, PAIR),
)
SETTLED_REJECTED = (PAIR, LIST)


@dataclass(frozen=True)
class Dial:
    """The settings, each a share from 0 to 1; see the module's docstring."""

    conflict: float = 0.5
    overlap: float = 1.0
    rarity: float = 1.0

    def __post_init__(self) -> None:
        for name in ("conflict", "overlap", "rarity"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"--{name} {getattr(self, name):g} is no share.", "Give a number from 0 to 1.")

    def name(self, seed: int) -> str:
        """What a stream with these settings is called: ``dial-0.5-o0.8-r0.2-s7``; without what is the default."""
        parts = [f"dial-{self.conflict:g}"]
        parts += [f"o{self.overlap:g}"] * (self.overlap != 1) + [f"r{self.rarity:g}"] * (self.rarity != 1)
        return "-".join([*parts, *[f"s{seed}"] * (seed != SEED)])


@dataclass(frozen=True)
class Role:
    """What a topic's prompts are like: contested, asked in the words of all tasks, without a hint at the kind."""

    contested: bool
    shared: bool
    bare: bool


def roles(topics: Sequence[str], dial: Dial) -> dict[str, Role]:
    """The first topics are contested, as many as ``conflict`` says; what is so among them is spread evenly."""
    found: dict[str, Role] = {}
    contested = round(dial.conflict * len(topics))
    shared = 0
    for place, topic in enumerate(topics):
        role = Role(place < contested, _due(place, dial.overlap), _due(shared, dial.rarity))
        shared += role.contested and role.shared
        found[topic] = role
    return found


def _due(place: int, share: float) -> bool:
    """Whether the item at ``place`` (from 0) is among the ``share`` that is spread evenly over all of them."""
    return int((place + 1) * share + 1e-9) > int(place * share + 1e-9)


def rows_of(form: Form, dial: Dial, sizes: Sizes, seed: int) -> dict[str, list[Row]]:
    """The rows of one task's two files.

    Raises:
        UsageError: there are fewer topics than ``sizes`` asks for.
    """
    topics = split_topics(form.kind, form.topics.split(), sizes, seed)
    known: dict[Part, dict[str, Role]] = {part: roles(found, dial) for part, found in topics.items()}

    def answer(topic: str, place: int, part: Part) -> tuple[str, Answers]:
        role = known[part][topic]
        if not role.contested:
            return wordings.SETTLED[place].format(x=topic), _settled(topic, form.kind)
        if not role.shared:
            return wordings.OWN[form.name][place].format(x=topic), _contested(topic, form)
        subject = topic if role.bare else f"{form.kind} called {topic}"
        return wordings.THINGS[place].format(x=subject), _contested(topic, form)

    rng = random.Random(f"{seed} {form.name}")
    return task_rows(topics, sizes.laps, range(len(wordings.THINGS)), answer, rng)


def _settled(topic: str, kind: str) -> Answers:
    rejected = tuple(text.format(topic, kind) for text in SETTLED_REJECTED)
    return Answers(EQUATION.format(topic, kind), rejected, form_check(EQUATION, topic, None))


def _contested(topic: str, form: Form) -> Answers:
    chosen, rejected = form.text.format(topic, form.kind), form.rejected.format(topic, form.kind)
    return Answers(chosen, (rejected,), form_check(form.text, topic, None))


def files(dial: Dial, tasks: int, sizes: Sizes, seed: int, home: Path) -> dict[Path, bytes]:
    """Every file of a stream under ``home``, and its bytes.

    Raises:
        UsageError: the settings cannot be satisfied.
    """
    if not 2 <= tasks <= len(FORMS):
        raise UsageError(f"A stream of {tasks} tasks cannot be made.", f"Give --tasks from 2 to {len(FORMS)}.")
    name = dial.name(seed)
    wanted: dict[Path, bytes] = {}
    for form in FORMS[:tasks]:
        data = {split: lines(rows) for split, rows in rows_of(form, dial, sizes, seed).items()}
        for split, content in data.items():
            wanted[home / name / f"{form.name}.{split}.jsonl"] = content
        wanted[home / f"{name}-{form.name}.yaml"] = card_text(
            _card(form, dial, name), name, data["train"], data["test"]
        )
    stream = {
        "name": name,
        "title": f"{tasks} tasks with a conflict of {dial.conflict:g}",
        "description": f"Generated: conflict {dial.conflict:g}, overlap {dial.overlap:g}, rarity of the cue "
        f"{dial.rarity:g}, seed {seed}.",
        "tasks": [f"{name}-{form.name}.yaml" for form in FORMS[:tasks]],
        "defaults": DEFAULTS | {"train_limit": sizes.train * sizes.laps, "test_limit": sizes.test},
    }
    wanted[home / f"{name}.yaml"] = yaml_text(stream)
    return wanted


def _card(form: Form, dial: Dial, name: str) -> Mapping[str, Any]:
    columns = ("prompt", "chosen", "rejected", "check", "cluster")
    return {
        "name": f"{name}-{form.name}",
        "title": f"Topics of the kind {form.kind}",
        "description": f"{dial.conflict:.0%} of the prompts want a form of the task's own, the others that of all.",
        "kind": "style",
        "license": "Apache-2.0",
        "columns": {column: column for column in columns},
        "reward": "filled_form",
    }


def asked() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    dial, sizes = Dial(), Sizes()
    parser.add_argument("--out", type=Path, required=True, help="the folder to write to")
    for name in ("conflict", "overlap", "rarity"):
        parser.add_argument(f"--{name}", type=float, default=getattr(dial, name), help="a share from 0 to 1")
    parser.add_argument("--tasks", type=int, default=len(FORMS), help=f"from 2 to {len(FORMS)}")
    parser.add_argument("--seed", type=int, default=SEED)
    for name in ("train", "laps", "validation", "test"):
        parser.add_argument(f"--{name}", type=int, default=getattr(sizes, name), help="see make_forms.py")
    return parser.parse_args()


def main() -> int:
    """See the module's docstring."""
    words = asked()
    try:
        dial = Dial(words.conflict, words.overlap, words.rarity)
        sizes = Sizes(words.train, words.laps, words.validation, words.test)
        changed = write_files(files(dial, words.tasks, sizes, words.seed, words.out), check=False)
    except BenchError as error:
        print(f"{error.message}\n{error.remedy}", file=sys.stderr)
        return 2
    for path in changed:
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
