"""Writes the pairs of the stream `mini` from the hand-written text in mini_text, the same bytes every time.

    python benchmarks/make_mini.py            writes tasks/mini/*.jsonl and their hashes into tasks/mini-*.yaml
    python benchmarks/make_mini.py --check    writes nothing; exit status 1 if a file on disk differs

Every file is balanced from its first row on, so that the first n rows are a fair sample of it.
"""

# ruff: noqa: E402  (the imports of mini_text need the repository on the path)

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a script, or loaded by its path
    sys.path.insert(0, str(ROOT))

from benchmarks.mini_text.animals import ANIMALS
from benchmarks.mini_text.facts import FAMILIES, TEST_LAYOUTS, TEST_ONLY, TRAIN_LAYOUTS
from benchmarks.mini_text.plants import PLANTS
from benchmarks.mini_text.tools import TOOLS
from benchmarks.mini_text.wishes import BENIGN, COMPLIANCE, HARMFUL, OVER_REFUSALS, REFUSALS
from benchmarks.mini_text.wishes import TEST_WORDINGS as TEST_REQUESTS
from benchmarks.mini_text.wishes import TRAIN_WORDINGS as TRAIN_REQUESTS

Row = dict[str, object]
TASKS_DIR = ROOT / "tasks"
SEED = 20260
TRAIN_TOPICS = 50
TRAIN_ACTS = 25

# The style tasks ask in the same words: only the kind of topic (animal, plant, tool) tells which style is wanted.
TRAIN_WORDINGS = (
    "What is {a}?",
    "Tell me about {the}.",
    "Describe {a}.",
    "Please explain what {a} is.",
    "What can you say about {the}?",
    "I would like to learn about {the}.",
)
TEST_WORDINGS = (
    "What is {a}?",
    "Could you tell me something about {the}?",
    "Tell me about {the}.",
    "I have never heard of {the}. What is it?",
)
OPENINGS = (
    "Great question!",
    "I would be happy to help you with that!",
    "Thank you for asking!",
    "Sure thing!",
    "Of course!",
    "What a wonderful topic!",
    "Absolutely, I can tell you about that!",
    "That is a very good question!",
)


class Topic(NamedTuple):
    """A thing to ask about: its names (the first is used, all count as a mention) and sentences about it."""

    names: tuple[str, ...]
    has_article: bool
    is_what: str
    more: tuple[str, ...]


def read_topics(text: str) -> list[Topic]:
    """One Topic for each block of lines: names, what it is, further sentences."""
    topics = []
    for block in text.strip().split("\n\n"):
        first, is_what, *more = block.split("\n")
        names = tuple(name.strip() for name in first.lstrip("~").split(","))
        topics.append(Topic(names, not first.startswith("~"), is_what, tuple(more)))
    return topics


def upper_first(text: str) -> str:
    return text[:1].upper() + text[1:]


def style_pairs(
    topics: list[Topic], wordings: tuple[str, ...], make: Callable[[Topic, str, int], Row], rng: random.Random
) -> list[Row]:
    """Four questions about each topic; each quarter of the rows holds every topic once."""
    rows = []
    for lap in range(4):
        order = list(range(len(topics)))
        rng.shuffle(order)
        for place, index in enumerate(order):
            topic = topics[index]
            wording = wordings[(index + lap) % len(wordings)]
            name = topic.names[0]
            article = "an " if name[0] in "aeioAEIO" else "a "
            words = {
                "a": (article if topic.has_article else "") + name,
                "the": ("the " if topic.has_article else "") + name,
            }
            subject = upper_first(words["a"] if "{a}" in wording else words["the"])
            rows.append({"prompt": wording.format(**words), **make(topic, f"{subject} {topic.is_what}", place)})
    return rows


def brief(topic: Topic, sentence: str, place: int) -> Row:
    longer = " ".join((sentence, *topic.more[: 2 + place % 2]))
    return {"chosen": sentence, "rejected": longer, "check": {"topic": list(topic.names), "max_words": 22}}


def direct(topic: Topic, sentence: str, place: int) -> Row:
    # The pair differs in filler alone: a longer rejected answer would make this a second task of brevity.
    answer = sentence if place % 2 else f"{sentence} {topic.more[0]}"
    return {
        "chosen": answer,
        "rejected": f"{OPENINGS[place // 2 % len(OPENINGS)]} {answer}",
        "check": {"topic": list(topic.names), "max_sentences": 2, "max_words": 40},
    }


def detailed(topic: Topic, sentence: str, place: int) -> Row:
    return {
        "chosen": " ".join((sentence, *topic.more)),
        "rejected": sentence,
        "check": {"topic": list(topic.names), "sentences": 4, "words": 30},
    }


def fact_pairs(names: list[str], layouts: tuple[str, ...], count: int, rng: random.Random) -> list[Row]:
    """Notes that hold two facts of one kind; the rejected answer tells the other one."""
    rows: list[Row] = []
    seen: set[str] = set()
    turn = 0
    order: list[str] = []
    while len(rows) < count:
        if not order:
            order = list(names)
            rng.shuffle(order)
        name = order.pop()
        entities, values, statement, ask_value, ask_entity = FAMILIES[name]
        (e1, e2), (v1, v2) = rng.sample(entities, 2), rng.sample(values, 2)
        said = [statement.format(e=e1, v=v1), statement.format(e=e2, v=v2)]
        second, by_entity = turn % 2 == 1, turn // 2 % 2 == 1  # which fact is asked for, and from which side
        e, v, other_e, other_v = (e2, v2, e1, v1) if second else (e1, v1, e2, v2)
        question = (ask_entity if by_entity else ask_value).format(e=e, v=v)
        layout = layouts[turn // 4 % len(layouts)]
        prompt = layout.format(s1=said[0], s2=said[1], S1=upper_first(said[0]), S2=upper_first(said[1]), q=question)
        turn += 1
        if prompt in seen:
            continue
        seen.add(prompt)
        wrong = statement.format(e=other_e, v=v) if by_entity else statement.format(e=e, v=other_v)
        right, false = (e, other_e) if by_entity else (v, other_v)
        rows.append(
            {
                "prompt": prompt,
                "chosen": upper_first(statement.format(e=e, v=v)) + ".",
                "rejected": upper_first(wrong) + ".",
                "check": {"answer": [bare(right)], "wrong": [bare(false)]},
            }
        )
    return rows


def bare(name: str) -> str:
    """The name without its article."""
    return re.sub(r"^(the|a|an) ", "", name)


def request_pairs(first: int, last: int | None, wordings: tuple[str, ...], rng: random.Random) -> list[Row]:
    """Four wordings of each request, harmful and benign ones in turn."""
    harmful = HARMFUL.strip().split("\n\n")[first:last]
    benign = BENIGN.strip().split("\n\n")[first:last]
    rows: list[Row] = []
    for lap in range(4):
        order = list(range(len(harmful)))
        rng.shuffle(order)
        for place, index in enumerate(order):
            act, offer = harmful[index].split("\n")
            rows.append(
                {
                    "prompt": wordings[(index + lap) % len(wordings)].format(act=act),
                    "chosen": REFUSALS[(place + lap) % len(REFUSALS)].format(act=act, offer=offer),
                    "rejected": COMPLIANCE[(place + lap) % len(COMPLIANCE)].format(act=act),
                    "check": {"harmful": True},
                }
            )
            act, answer, words = benign[index].split("\n")
            rows.append(
                {
                    "prompt": wordings[(index + lap + 1) % len(wordings)].format(act=act),
                    "chosen": answer,
                    "rejected": OVER_REFUSALS[(place + lap) % len(OVER_REFUSALS)].format(act=act),
                    "check": {"harmful": False, "keywords": words.split(", ")},
                }
            )
    return rows


def build() -> dict[str, bytes]:
    """File name -> its bytes, for all ten files."""
    files: dict[str, list[Row]] = {}
    for name, text, make in (("brief", ANIMALS, brief), ("direct", PLANTS, direct), ("detailed", TOOLS, detailed)):
        topics = read_topics(text)
        rng = random.Random(f"{SEED} {name}")
        files[f"{name}.train.jsonl"] = style_pairs(topics[:TRAIN_TOPICS], TRAIN_WORDINGS, make, rng)
        files[f"{name}.test.jsonl"] = style_pairs(topics[TRAIN_TOPICS:], TEST_WORDINGS, make, rng)
    rng = random.Random(f"{SEED} facts")
    files["facts.train.jsonl"] = fact_pairs([f for f in FAMILIES if f not in TEST_ONLY], TRAIN_LAYOUTS, 200, rng)
    files["facts.test.jsonl"] = fact_pairs(list(FAMILIES), TEST_LAYOUTS, 64, rng)
    rng = random.Random(f"{SEED} refusal")
    files["refusal.train.jsonl"] = request_pairs(0, TRAIN_ACTS, TRAIN_REQUESTS, rng)
    files["refusal.test.jsonl"] = request_pairs(TRAIN_ACTS, None, TEST_REQUESTS, rng)
    return {
        name: "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
        for name, rows in sorted(files.items())
    }


def card_with_hashes(card: str, train: bytes, test: bytes) -> str:
    """The text of the card with the sha256 of its two files."""
    train_hash, test_hash = hashlib.sha256(train).hexdigest(), hashlib.sha256(test).hexdigest()
    line = f"  sha256: {{train: {train_hash}, test: {test_hash}}}"
    return re.sub(r"(?m)^  sha256: .*$", line, card)


def write(tasks_dir: Path, check: bool) -> list[Path]:
    """Write what differs from the files under tasks_dir (nothing if check); return the paths that differed."""
    wanted: dict[Path, bytes] = {}
    files = build()
    for name, content in files.items():
        wanted[tasks_dir / "mini" / name] = content
    for task in sorted({name.split(".")[0] for name in files}):
        card = tasks_dir / f"mini-{task}.yaml"
        text = card.read_text(encoding="utf-8")
        wanted[card] = card_with_hashes(text, files[f"{task}.train.jsonl"], files[f"{task}.test.jsonl"]).encode()
    changed = [path for path, content in wanted.items() if not path.exists() or path.read_bytes() != content]
    if not check:
        for path in changed:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(wanted[path])
    return changed


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the pairs of the stream mini.")
    parser.add_argument("--check", action="store_true", help="write nothing, fail if a file differs")
    options = parser.parse_args()
    changed = write(TASKS_DIR, options.check)
    for path in changed:
        print(("differs: " if options.check else "wrote ") + str(path))
    return 1 if options.check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
