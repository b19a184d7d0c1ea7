"""A YAML card and the pydantic model it fills: every mistake is named with its file and line."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from lifealign_bench.errors import BenchError
from lifealign_bench.util.yamlbounds import BoundsError, check_bounds, read_bounded

# The C parser reads the same language ten times faster; it is not in every build of PyYAML.
_SMALLER = "A card is a small file; rows belong into a data file that it names."
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class CardModel(BaseModel):
    """Base of all that is written in a card: frozen, and a key that does not exist is an error with a hint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    known = [name for name in cls.model_fields if name != "path"]
                    close = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
                    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
                    raise PydanticCustomError("unknown_key", "unknown key '{key}'; {hint}", {"key": key, "hint": hint})
        return data


C = TypeVar("C", bound=CardModel)


def read_card(path: Path, model: type[C], noun: str) -> C:
    """Fill ``model`` from the YAML file ``path``; the model's field ``path`` is set to it.

    Args:
        path: the card.
        model: its model, with a field ``path`` that a card must not hold itself.
        noun: what the card is called in messages, e.g. ``"task card"``.

    Raises:
        BenchError: the file cannot be read, is not YAML, or does not fit the model; names path and line.
    """
    data, root = parse_card(path, noun)
    if "path" in data:
        raise card_error(noun, path, line_of(root, ("path",)), "unknown key 'path'", "Take it out.")
    try:
        return model.model_validate({**data, "path": path})
    except ValidationError as error:
        raise _explain(error, noun, path, root) from error


def card_keys(path: Path, noun: str) -> set[str]:
    """The top-level keys of a card, to tell one kind of card from another.

    Raises:
        BenchError: the file cannot be read or is not a YAML mapping.
    """
    return set(parse_card(path, noun)[0])


def parse_card(path: Path, noun: str) -> tuple[dict[str, Any], MappingNode]:
    """The content of a card, and the nodes that know its lines.

    Raises:
        BenchError: the file cannot be read, is not a YAML mapping, or holds a key twice.
    """
    try:
        text = read_bounded(path).decode("utf-8")
    except FileNotFoundError as error:
        raise BenchError(f"There is no {noun} {path}.", "Check the path.") from error
    except OSError as error:
        raise BenchError(
            f"The {noun} {path} cannot be read: {error.strerror}.", "Check the path and rights."
        ) from error
    except BoundsError as error:
        raise card_error(noun, path, None, str(error), _SMALLER) from error
    except UnicodeDecodeError as error:
        raise BenchError(f"The {noun} {path} is not UTF-8 (byte {error.start}).", "Save it as UTF-8.") from error
    try:
        check_bounds(text)
        loader = _Loader(text)
        root = loader.get_single_node()
        if isinstance(root, MappingNode):
            _refuse_duplicates(root, noun, path)
        data = loader.construct_document(root) if root is not None else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise card_error(noun, path, line, f"this is not YAML: {error.problem}", "Mend the syntax there.") from error
    except BoundsError as error:
        raise card_error(noun, path, None, str(error), _SMALLER) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise card_error(noun, path, None, f"this is not YAML: {error}", "Mend the syntax.") from error
    if not isinstance(root, MappingNode) or not isinstance(data, dict):
        raise card_error(noun, path, 1, "it is not a mapping of keys to values", "Write lines like 'key: value'.")
    return data, root


def _refuse_duplicates(node: Node, noun: str, path: Path) -> None:
    """YAML lets the last of two equal keys win without a word; a card may not hold both."""
    if isinstance(node, MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, ScalarNode):
                raise card_error(noun, path, line, "a key is not a word", "Write lines like 'key: value'.")
            if key.value in seen:
                raise card_error(noun, path, line, f"the key {key.value!r} is there twice", "Take one of them out.")
            seen.add(key.value)
            _refuse_duplicates(value, noun, path)
    elif isinstance(node, SequenceNode):
        for item in node.value:
            _refuse_duplicates(item, noun, path)


def _explain(error: ValidationError, noun: str, path: Path, root: Node) -> BenchError:
    """The first problem of a validation with its line; how many more there are."""
    problems = error.errors(include_url=False)
    first = problems[0]
    place: tuple[int | str, ...] = first["loc"]
    if first["type"] == "unknown_key":
        place = (*place, first["ctx"]["key"])
        what = first["msg"]
    else:
        what = f"{'.'.join(str(p) for p in _written(root, place)) or 'the card'}: {first['msg']}"
    more = f" There are {len(problems) - 1} more mistakes." if len(problems) > 1 else ""
    return card_error(noun, path, line_of(root, place), what, f"Mend that line of the card.{more}")


def card_error(noun: str, path: Path, line: int | None, what: str, remedy: str) -> BenchError:
    """The error for a mistake in a card, with its place."""
    where = f"{path}, line {line}" if line is not None else str(path)
    return BenchError(f"Broken {noun} {where}: {what.rstrip('.')}.", remedy)


def _step(node: Node, key: int | str) -> tuple[Node, Node] | None:
    """The node that names ``key`` in ``node`` and the node of its value."""
    if isinstance(node, MappingNode):
        for name, value in node.value:
            if name.value == str(key):
                return name, value
    if isinstance(node, SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key], node.value[key]
    return None


def line_of(root: Node, place: Sequence[int | str]) -> int:
    """The 1-based line of the deepest part of ``place`` that is written in the card."""
    line, node = root.start_mark.line + 1, root
    for key in place:
        found = _step(node, key)
        if found is not None:
            line, node = found[0].start_mark.line + 1, found[1]
    return int(line)


def _written(root: Node, place: Sequence[int | str]) -> list[int | str]:
    """``place`` without what pydantic adds to it (the tag of a union); a missing key at its end stays."""
    kept: list[int | str] = []
    node = root
    for i, key in enumerate(place):
        found = _step(node, key)
        if found is not None:
            kept.append(key)
            node = found[1]
        elif i == len(place) - 1:
            kept.append(key)
    return kept
