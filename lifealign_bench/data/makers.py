"""Rows out of a generator and its verifier: questions, answers that are accepted, and others that are refused."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lifealign_bench.data.holdout import plain_answer
from lifealign_bench.data.rows import Row
from lifealign_bench.data.verifiers import gym_dataset, gym_score, instruction_score, instruction_text, unfit_settings
from lifealign_bench.errors import BenchError

ACCEPTED = 1.0
# Some verifiers give a wrong answer a crumb for its form.
REFUSED = 0.1
# Items beside those that are used; their answers are rejected ones, so that none is chosen elsewhere.
_SPARE = 10
_DRAWS = 3
_ORDERS = 20
# Of an item's facts, what no verifier asks for.
_BOOKKEEPING = ("difficulty", "question", "source_dataset", "source_index")
_MARKS = ".,:;?!\"'()"
_ASKED = ("What is {}?", "Say in one sentence what {} is.", "Describe {} in one sentence.", "In short, what is {}?")


@dataclass(frozen=True)
class Item:
    """A question with an answer that its verifier accepts."""

    question: str
    answer: str
    check: Mapping[str, Any]

    @property
    def cluster(self) -> str:
        """The same for questions that differ in the order of their words alone, such as 1 + 2 and 2 + 1."""
        words = sorted(self.question.casefold().split())
        return hashlib.sha256(" ".join(words).encode()).hexdigest()[:12]


def problem_rows(generator: str, settings: Mapping[str, Any], seed: int, needed: int, distinct: bool) -> list[Row]:
    """``needed`` rows of a generator of reasoning-gym.

    Args:
        distinct: no answer, chosen or rejected, is chosen twice.

    Raises:
        BenchError: the settings do not fit, or the generator has too few different items.
    """
    wanted = needed * (1 + _SPARE)
    drawn = _problems(gym_dataset(generator, settings, seed, wanted * _DRAWS), generator, wanted * _DRAWS)
    items = _different(drawn, wanted, distinct)
    used, spare = items[:needed], items[needed:]
    # As many again, whose answers are nobody's chosen ones.
    least = 2 * needed if distinct else needed
    if len(items) < least:
        raise _too_few(generator, f"{len(items)} different items", least, "settings that vary more")
    others = [item.answer for item in (spare or used)]
    rng = random.Random(seed)
    return [_row(item, _other_answers(item, others, rng), gym_score, turn) for turn, item in enumerate(used)]


def instruction_rows(
    instruction: str, settings: Mapping[str, Any], seed: int, needed: int, topics: Sequence[tuple[str, str]]
) -> list[Row]:
    """``needed`` rows, each asking about another topic with an instruction of if-verifiable.

    Chosen and rejected say the same; only one of them keeps the instruction.

    Raises:
        BenchError: the settings do not fit, there are too few topics, or no way of writing keeps the instruction.
    """
    text = instruction_text(instruction, settings)
    rng = random.Random(seed)
    order = rng.sample(range(len(topics)), len(topics))
    rows: list[Row] = []
    for place in order:
        if len(rows) == needed:
            break
        topic, statement = topics[place]
        prompt = f"{_ASKED[rng.randrange(len(_ASKED))].format(topic)} {text}"
        check = {"instruction": instruction, "settings": dict(settings), "prompt": prompt}
        ways = _ways(topic, statement, settings)
        kept = next((way for way in ways if instruction_score(way, check) == ACCEPTED), None)
        if kept is None:
            raise unfit_settings(instruction, "no sentence about a topic is written so")
        item = Item(prompt, kept, check)
        rows.append({**_row(item, [ways], instruction_score, len(rows)), "cluster": topic})
    if len({row["cluster"] for row in rows}) < needed:
        raise _too_few(instruction, f"{len({topic for topic, _ in topics})} topics", needed, "more topics")
    return rows


def _too_few(generator: str, there: str, needed: int, more: str) -> BenchError:
    return BenchError(
        f"The generator {generator} has {there}, and {needed} are needed.",
        f"Ask for fewer with 'train' and 'test' on the card, or give {more}.",
    )


def _problems(dataset: Any, generator: str, size: int) -> Iterator[Item]:
    """The items whose answer the verifier accepts, by what is kept of them."""
    for number in range(size):
        made = json.loads(json.dumps(dataset[number], default=str))
        answer = str(made["answer"]).strip()
        facts = {key: value for key, value in made["metadata"].items() if key not in _BOOKKEEPING}
        check = {"generator": generator, "entry": {"answer": made["answer"], "metadata": facts}}
        if answer and gym_score(answer, check) == ACCEPTED:
            yield Item(made["question"].strip(), answer, check)


def _different(items: Iterable[Item], wanted: int, distinct: bool) -> list[Item]:
    """The first ``wanted`` that ask, and where it is wanted answer, something that none before them did."""
    found: list[Item] = []
    seen: set[str] = set()
    for item in items:
        names = [f"question {item.cluster}"] + ([f"answer {plain_answer(item.answer)}"] if distinct else [])
        if seen.isdisjoint(names):
            seen.update(names)
            found.append(item)
        if len(found) == wanted:
            break
    return found


def _other_answers(item: Item, others: Sequence[str], rng: random.Random) -> Iterator[list[str]]:
    """Answers that may be wrong, the most plausible first: its own parts in another order, another item's answer that
    stands in the question, any other item's."""
    parts = item.answer.split(", ")
    if len(parts) > 2:
        yield [", ".join(rng.sample(parts, len(parts))) for _ in range(_ORDERS)]
    words = {word.strip(_MARKS) for word in item.question.split()}
    yield [other for other in others if other in words]
    yield rng.sample(others, len(others))


def _ways(topic: str, statement: str, settings: Mapping[str, Any]) -> list[str]:
    """One statement in many forms, each with a twin of its length that is nearly it."""
    name = topic.removeprefix("a ").removeprefix("an ").removeprefix("the ").capitalize()
    plain = statement.replace(",", "")
    marker, end = str(settings.get("postscript_marker", "P.S.")), str(settings.get("end_phrase", "That is all."))
    swapped = " ".join(reversed(end.split()))
    return [
        *(statement, plain, f"{plain[:-1]},"),
        *(f'"{statement}"', f"'{statement}'", f"<<{name}>>\n{statement}", f"[[{name}]]\n{statement}"),
        *(f"[{name}] {statement}", f"({name}) {statement}", f"*{name}*: {statement}", f"_{name}_: {statement}"),
        *(f"* {name}\n* {statement}", f"+ {name}\n+ {statement}"),
        *(f"{name}\n******\n{statement}", f"{name}\n*****\n\n{statement}"),
        *(f"{statement}\n{marker} {name}.", f"{statement}\n{name}. {marker[::-1]}"),
        *(f"{statement} {end}", f"{statement} {swapped}"),
    ]


Score = Callable[[str, Mapping[str, Any]], float]


def _row(item: Item, groups: Iterable[Sequence[str]], score: Score, turn: int) -> Row:
    """The row of an item with a rejected answer of the first group that has one.

    Raises:
        BenchError: no answer is refused.
    """
    for group in groups:
        wrong = _as_long(item.answer, group, turn, lambda other: score(other, item.check) <= REFUSED)
        if wrong is not None:
            return {
                "prompt": item.question,
                "chosen": item.answer,
                "rejected": wrong,
                "cluster": item.cluster,
                "check": dict(item.check),
            }
    raise BenchError(
        f"The verifier refuses no other answer to {item.question[:60]!r}.", "Choose other settings, or another task."
    )


def _as_long(answer: str, others: Sequence[str], turn: int, refused: Callable[[str], bool]) -> str | None:
    """A refused one as long as ``answer``; else the nearest longer one in even turns, the nearest shorter one in odd
    turns, so that length says nothing; else the nearest."""
    sign = 1 if turn % 2 == 0 else -1

    def far(other: str) -> tuple[bool, int]:
        longer = sign * (len(other) - len(answer))
        return longer < 0, abs(longer)

    return next((other for other in sorted(others, key=far) if refused(other)), None)
