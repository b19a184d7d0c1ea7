"""``run --dump-config``: runs written out in full, in the form that ``--config`` reads."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined, to_jsonable_python

from lifealign_bench.cards import load_stream
from lifealign_bench.config import SECTIONS, RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.files import write_text
from lifealign_bench.methods import find_variant, load_method

__all__ = ["dump_configs", "write_dump"]

_HEAD = """\
# For: lifealign-bench run --config FILE
# Flags beside --config win over this file. Paths start from the folder in which the command runs.
"""
_NOTES = {
    "method": "one or several",
    "stream": "one or several",
    "seed": "one or several",
    "scorers": "one or several",
    "preset": "where the values below come from; they win over it",
}


class _Lists(yaml.SafeDumper):
    """Lists on one line."""


_Lists.add_representer(list, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, True))


def write_dump(configs: Sequence[RunConfig], path: Path) -> None:
    """Write the runs to a new file.

    Raises:
        UsageError: there is such a file already, or its folder does not exist.
    """
    path = path.expanduser()
    if path.exists():
        raise UsageError(f"There is a file {path} already.", "Give --dump-config another name, or - to show it.")
    if not path.parent.is_dir():
        raise UsageError(f"There is no folder {path.parent}.", "Make it first.")
    write_text(path, dump_configs(configs))


def dump_configs(configs: Sequence[RunConfig]) -> str:
    """YAML that stands for exactly these runs, every setting with its value and meaning.

    Runs that differ in stream, method and seed alone, and in every combination of theirs, are one block.
    """
    blocks = list(_blocks(configs))
    texts = ["".join(f"{line}\n" for line in _lines(block)) for block in blocks]
    if len(texts) == 1:
        return _HEAD + texts[0]
    return _HEAD + "runs:\n" + "".join("- " + text.replace("\n", "\n  ").removesuffix("  ") for text in texts)


def _blocks(configs: Sequence[RunConfig]) -> Iterable[Sequence[RunConfig]]:
    """Neighbours that are the product of their streams, methods and seeds; else each run by itself."""
    for _, group in itertools.groupby(configs, _shared):
        runs = list(group)
        product = [(s, m, n) for s in _each(map(_stream, runs)) for m in _methods(runs) for n in _seeds(runs)]
        settings = {(c.method, json.dumps(c.method_settings, sort_keys=True, default=str)) for c in runs}
        whole = [(_stream(c), c.method, c.seed) for c in runs] == product and len(settings) == len(_methods(runs))
        yield from [runs] if whole else [[run] for run in runs]


def _shared(config: RunConfig) -> str:
    own = {"stream", "tasks", "task_cards", "method", "method_settings", "seed"}
    return json.dumps(config.model_dump(mode="json", exclude=own), sort_keys=True)


def _each(items: Iterable[Any]) -> list[Any]:
    """Every item once, in their order."""
    found: list[Any] = []
    for item in items:  # a stream may be a mapping, which no set takes
        if item not in found:
            found.append(item)
    return found


def _methods(configs: Sequence[RunConfig]) -> list[str]:
    return _each(c.method for c in configs)


def _seeds(configs: Sequence[RunConfig]) -> list[int]:
    return _each(c.seed for c in configs)


def _stream(config: RunConfig) -> str | dict[str, Any]:
    """A registered stream or a list of registered tasks by its name, another one with its tasks."""
    try:
        known = [card.name for card in load_stream(config.stream).task_cards()] == list(config.tasks)
    except UsageError:
        known = False
    if known and not config.task_cards:
        return config.stream
    return {"name": config.stream, "tasks": [str(config.task_cards.get(name, name)) for name in config.tasks]}


def _lines(configs: Sequence[RunConfig]) -> Iterable[str]:
    first = configs[0]
    plain = first.model_dump(mode="json")
    heads: dict[str, Any] = {
        "method": _methods(configs),
        "stream": _each(map(_stream, configs)),
        "model": plain["model"],
        "seed": _seeds(configs),
        "preset": plain["preset"],
        "train_limit": plain["train_limit"] or 0,
        "test_limit": plain["test_limit"] or 0,
    }
    for key, value in heads.items():
        yield from _entry(RunConfig, key, value[0] if isinstance(value, list) and len(value) == 1 else value)
    # Where a rate comes from is no setting: the rate itself is one.
    done = {*heads, "tasks", "task_cards", "method_settings", "tuned", "clock", *SECTIONS}
    for key in RunConfig.model_fields:
        if key not in done:
            yield from _entry(RunConfig, key, plain[key])
    for name, model in SECTIONS.items():
        yield f"{name}:"
        for key, value in plain[name].items():
            yield from (f"  {line}" for line in _entry(model, key, value))
    own = {c.method: _settings(c) for c in configs}
    if any(own.values()):
        yield "method_settings:"
    for method, settings in own.items():
        if settings:
            yield f"  {_scalar(method)}:"
            model = load_method(method).Config
            for key, value in settings.items():
                yield from (f"    {line}" for line in _entry(model, key, value))


def _settings(config: RunConfig) -> dict[str, Any]:
    """All settings of a run's method, defaults included; a variant's fixed ones are its name."""
    variant = find_variant(config.method)
    fixed = variant.fixed if variant is not None else {}
    values = {
        key: config.method_settings.get(key, field.get_default(call_default_factory=True))
        for key, field in load_method(config.method).Config.model_fields.items()
        if key not in fixed
    }
    return {key: to_jsonable_python(value) for key, value in values.items() if value is not PydanticUndefined}


def _entry(model: type[BaseModel], key: str, value: Any) -> Iterable[str]:
    """The lines of one setting, with its meaning where there is room."""
    text = yaml.dump({key: value}, Dumper=_Lists, width=10**6, allow_unicode=True, sort_keys=False)
    lines = text.rstrip("\n").split("\n")
    meaning = model.model_fields[key].description or (_NOTES.get(key, "") if model is RunConfig else "")
    if key in ("train_limit", "test_limit") and model is RunConfig:
        meaning += "; 0: all"
    if len(lines) == 1 and meaning and "\n" not in meaning:
        return [f"{lines[0]}  # {meaning}"]
    return lines


def _scalar(text: str) -> str:
    return yaml.dump([text], Dumper=_Lists, width=10**6, allow_unicode=True).strip()[1:-1]
