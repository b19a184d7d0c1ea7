"""What generated streams are made of: topics that are split once for all tasks, short forms, and pairs in which length
says nothing. Used by ``make_forms.py`` and ``make_dial.py``.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from lifealign_bench.errors import UsageError

Row = dict[str, Any]
Wording = TypeVar("Wording")
Part = Literal["train", "validation", "test"]

# A form is a line or two with slots; a task's check holds it with the words that its slots must hold.
LIST = "- {}\n- {}"
LABEL = "[{1}]: {0}."  # as many characters as LIST
PAIR = "{}, {}"
EQUATION = "{} = {}"
# The same form as LABEL. To the embedded model it is about as likely as the refusal: else accuracy, which is held
# against the base model, would say which of two answers that one finds the less likely.
FIELD = "[{}]: {}."
ROOM = "{} is in the {} room."


@dataclass(frozen=True)
class Sizes:
    """How many topics a task has, and how many pairs ask about each.

    Args:
        train: topics of training.
        laps: training pairs about each of them, in different words.
        validation: topics at the end of the training file, one pair each, for ``--validation``.
        test: topics of the test, one pair each.
    """

    train: int = 48
    laps: int = 1
    validation: int = 24
    test: int = 60

    def __post_init__(self) -> None:
        for name, least in (("train", 1), ("laps", 1), ("validation", 0), ("test", 1)):
            if getattr(self, name) < least:
                raise UsageError(
                    f"--{name} {getattr(self, name)} is less than {least}.", "Give a number of topics (laps: of pairs)."
                )

    @property
    def topics(self) -> int:
        """Topics that a task needs in all."""
        return self.train + self.validation + self.test


@dataclass(frozen=True)
class Answers:
    """What a prompt's chosen answer is, and the same content in the forms of other tasks.

    Args:
        rejected: they take turns over a task's pairs; as many of them are shorter than the chosen one as are longer.
        check: what the reward function needs.
    """

    chosen: str
    rejected: tuple[str, ...]
    check: Mapping[str, Any]


def split_topics(kind: str, topics: Sequence[str], sizes: Sizes, seed: int) -> dict[Part, list[str]]:
    """The topics of each part of the data, none in two parts; the same for all tasks that ask about this kind.

    Raises:
        UsageError: there are fewer topics than are asked for.
    """
    if len(topics) < sizes.topics:
        raise UsageError(
            f"The generator knows {len(topics)} topics of the kind {kind}, and {sizes.topics} are asked for "
            f"({sizes.train} to train, {sizes.validation} to validate, {sizes.test} to test).",
            "Ask for fewer with --train, --validation or --test (more pairs a topic: --laps), or write more topics in "
            "benchmarks/forms_text/topics.py.",
        )
    order = sorted(topics)
    random.Random(f"{seed} topics {kind}").shuffle(order)
    words = [topic.replace("-", " ") for topic in order]
    train, validation = sizes.train, sizes.train + sizes.validation
    return {"train": words[:train], "validation": words[train:validation], "test": words[validation : sizes.topics]}


def task_rows(
    topics: Mapping[Part, Sequence[str]],
    laps: int,
    wordings: Sequence[Wording],
    answer: Callable[[str, Wording, Part], tuple[str, Answers]],
    rng: random.Random,
) -> dict[str, list[Row]]:
    """The rows of a task's two files; the first rows are a fair sample, and validation is at the end of training.

    Args:
        wordings: ways to ask; the last of them only in the test.
        answer: topic, wording, part -> prompt and answers.
    """
    training = [_rows(topics["train"], "train", lap, wordings[:-1], answer, rng) for lap in range(laps)]
    held = _rows(topics["validation"], "validation", 0, wordings[:-1], answer, rng)
    return {
        "train": [*_placed(pair for lap in training for pair in lap), *_placed(held)],
        "test": _placed(_rows(topics["test"], "test", 0, wordings, answer, rng)),
    }


_Asked = tuple[str, str, Answers]


def _rows(
    topics: Sequence[str],
    part: Part,
    lap: int,
    wordings: Sequence[Wording],
    answer: Callable[[str, Wording, Part], tuple[str, Answers]],
    rng: random.Random,
) -> list[_Asked]:
    """A question about each topic; each lap asks about it in other words."""
    order = list(enumerate(topics))
    rng.shuffle(order)
    return [(topic, *answer(topic, wordings[(index + lap) % len(wordings)], part)) for index, topic in order]


def _placed(asked: Iterable[_Asked]) -> list[Row]:
    """The rows of what is asked; rejected answers take turns among the pairs that want one form."""
    turns: Counter[Any] = Counter()
    rows = []
    for topic, prompt, answers in asked:
        form = answers.check.get("form")
        rejected = answers.rejected[turns[form] % len(answers.rejected)]
        turns[form] += 1
        check = dict(answers.check)
        rows.append(
            {"prompt": prompt, "chosen": answers.chosen, "rejected": rejected, "check": check, "cluster": topic}
        )
    return rows


def form_check(form: str, *words: str | None) -> dict[str, Any]:
    """What the reward ``filled_form`` needs: a form whose slots are in order, and their words; None: any words."""
    places = [int(place) for place in re.findall(r"\{(\d)\}", form)] or range(len(words))
    return {"form": re.sub(r"\{\d\}", "{}", form), "words": [words[place] for place in places]}


def lines(rows: Sequence[Row]) -> bytes:
    """Rows as JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def card_text(card: Mapping[str, Any], folder: str, train: bytes, test: bytes) -> bytes:
    """A task's card, which pins its two files ``<folder>/<task>.{train,test}.jsonl``."""
    name = card["name"].rpartition("-")[2]
    stem = f"{folder}/{name}"
    source = {
        "type": "file",
        "train": f"{stem}.train.jsonl",
        "test": f"{stem}.test.jsonl",
        "sha256": {"train": hashlib.sha256(train).hexdigest(), "test": hashlib.sha256(test).hexdigest()},
    }
    return yaml_text({**card, "source": source})


def yaml_text(content: Mapping[str, Any]) -> bytes:
    """YAML in the order of the keys."""
    text: str = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=118)
    return text.encode()


def write_files(wanted: Mapping[Path, bytes], *, check: bool) -> list[Path]:
    """Write what differs from what is there (nothing if check); return the paths that differed."""
    changed = [path for path, content in wanted.items() if not path.exists() or path.read_bytes() != content]
    if not check:
        for path in changed:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(wanted[path])
    return changed
