"""A tiny random model, its tokenizer and three tasks: a whole run in seconds, for tests and for trying a method.

``--model fake --stream fake``. The numbers mean nothing; everything else is as in a real run.
"""

from __future__ import annotations

from typing import Any

from lifealign_bench.data.cards import EXTRA_STREAMS, EXTRA_TASKS, StreamCard, StreamDefaults, TaskCard
from lifealign_bench.data.sources import InlineSource

__all__ = ["FAKE_STREAM", "FAKE_TASKS"]


FAKE_STREAM = "fake"

FAKE_TASKS = ("fake-upper", "fake-lower", "fake-digits")

_WORDS = [
    "ant",
    "bee",
    "cat",
    "dog",
    "elk",
    "fox",
    "gnu",
    "hen",
    "ibis",
    "jay",
    "kite",
    "lark",
    "mole",
    "newt",
    "owl",
    "pig",
    "quail",
    "ram",
    "seal",
    "toad",
    "urchin",
    "vole",
    "wasp",
    "yak",
    "zebra",
    "crab",
    "deer",
    "eel",
    "frog",
    "goat",
    "hare",
]


def _row(task: str, word: str, n: int) -> dict[str, Any]:
    plain, loud, number = f"a {word}", word.upper(), str(n * 37 % 1000)
    chosen, rejected = {
        "fake-upper": (loud, plain),
        "fake-lower": (plain, loud),
        "fake-digits": (number, plain),
    }[task]
    question = {"fake-upper": "call", "fake-lower": "name", "fake-digits": "count"}[task]
    return {"prompt": f"{question} {word} {n}", "chosen": chosen, "rejected": rejected, "check": {"text": chosen}}


def _card(task: str) -> TaskCard:
    rows = [_row(task, word, n) for n, word in enumerate(_WORDS)]
    return TaskCard(
        name=task,
        title="Made for tests",
        description="Made-up words for trying the harness; the numbers mean nothing.",
        kind="fake",
        license="Apache-2.0",
        source=InlineSource(train=tuple(rows[:20]), test=tuple(rows[20:])),
        reward="same_text",
    )


def _register() -> None:
    """Enter the fake tasks and their stream among the cards: importing this module does it, once."""
    for task in FAKE_TASKS:
        EXTRA_TASKS.add(task, _card(task))
    EXTRA_STREAMS.add(
        FAKE_STREAM,
        StreamCard(
            name=FAKE_STREAM,
            title="Three made-up tasks for tests",
            description="With --model fake, a whole run takes seconds and its numbers mean nothing.",
            tasks=FAKE_TASKS,
            defaults=StreamDefaults(max_new_tokens=8, learning_rate=5e-3),
        ),
    )


_register()
