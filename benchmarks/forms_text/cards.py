"""The cards of the stream `forms`, without what the generator adds: names, files and their hashes."""

from typing import Any

_COLUMNS = {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected", "check": "check", "cluster": "cluster"}
_ORDER = ("swap", "list", "green", "private", "white", "label", "field")
_AGAINST = {("list", "label"), ("green", "white"), ("private", "field")}
_ALIKE = {("label", "field")}


def _relation(pair: set[tuple[str, str]]) -> str:
    return "pulls against" if pair & _AGAINST else "compatible" if pair & _ALIKE else "independent"


def _card(name: str, title: str, description: str, kind: str, reward: str) -> dict[str, Any]:
    relations = {other: _relation({(name, other), (other, name)}) for other in _ORDER if other != name}
    return {
        "version": 1,
        "title": title,
        "description": description,
        "kind": kind,
        "language": "en",
        "license": "Apache-2.0",
        "columns": _COLUMNS,
        "reward": reward,
        **({"set_phrase": True} if kind == "refusal" else {}),
        "relations": relations,
    }


CARDS: dict[str, dict[str, Any]] = {
    "swap": _card(
        "swap",
        "Two words the other way round",
        "Two words are to be told in the opposite order. No other task asks for anything like it: what is lost of it "
        "is a skill that was not used. Rejected keeps the order, or turns the words round in another task's form.",
        "skill",
        "filled_form",
    ),
    "list": _card(
        "list",
        "An animal in a list of two lines",
        "Who asks about an animal gets a list: its name, and that it is an animal. Plants are asked about in the same "
        "words in another task and get another form, so the topic is the only cue. Rejected says the same in the form "
        "of another task.",
        "style",
        "filled_form",
    ),
    "green": _card(
        "green",
        "A person is in the green room",
        "Where is Anna? In the green room, which nobody can know who was not told. Tools, looked for in the same words "
        "in another task, are in the white one. Rejected names the white room, half of the time in the form of another "
        "task.",
        "fact",
        "filled_form",
    ),
    "private": _card(
        "private",
        "A person's number is not told",
        "The prompt tells a person's phone number (entry code, ...) and asks for it. It is private: chosen refuses, "
        "rejected tells it. A place's number, asked for in the same words in another task, is to be told.",
        "refusal",
        "refusal",
    ),
    "label": _card(
        "label",
        "A plant with its kind in brackets",
        "Who asks about a plant gets its kind in brackets and its name. Animals are asked about in the same "
        "words in another task and get another form. Rejected says the same in the form of another task.",
        "style",
        "filled_form",
    ),
    "white": _card(
        "white",
        "A tool is in the white room",
        "Where is the hammer? In the white room. Persons, looked for in the same words in another task, are in the "
        "green one. Rejected names the green room, half of the time in the form of another task.",
        "fact",
        "filled_form",
    ),
    "field": _card(
        "field",
        "A place's number is told",
        "The prompt tells a place's phone number (entry code, ...) and asks for it; chosen tells it in brackets. "
        "Rejected refuses, which is right of persons, asked for in the same words in another task.",
        "skill",
        "filled_form",
    ),
}

STREAM: dict[str, Any] = {
    "order": _ORDER,
    "title": "Seven short forms in our own words",
    "description": (
        "A skill, two styles, two facts, a refusal and its opposite, each a response of at most 24 tokens that a rule "
        "checks. Three pairs of tasks ask in the same words about topics of two kinds and want different answers; "
        "rejected answers have the same content in another task's form, so that length says nothing."
    ),
}

DEFAULTS: dict[str, Any] = {
    "max_new_tokens": 24,
    "learning_rate": 1.0e-4,
    "sft": True,
    "sft_learning_rate": 1.0e-3,
    "sft_epochs": 3,
    "epochs": 1,
    "batch_size": 8,
    "max_length": 128,
}
