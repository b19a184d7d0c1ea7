"""``run --config``: a YAML file that says all that the command line can, of one run or of several.

It is read strictly: every mistake is named with its file and line. A key without a value, or with ``null``, is as if it
were not there.
"""

from __future__ import annotations

import difflib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined, to_jsonable_python
from yaml.nodes import Node

from lifealign_bench.config import PRESETS, SECTIONS, RunConfig, setting_at
from lifealign_bench.data.cardfile import line_of, parse_card
from lifealign_bench.data.cards import StreamCard, load_stream, stream_of_tasks
from lifealign_bench.errors import UsageError
from lifealign_bench.experiments.fields import check_value
from lifealign_bench.methods import find_variant, method_config
from lifealign_bench.util.files import write_text
from lifealign_bench.util.registry import unknown_name

NOUN = "config file"

_TEXTS = ("method", "seed", "scorers")

# Every setting that users say, by its name; those that say it for several runs are read apart.
_ASKED = tuple(name for name in RunConfig.model_fields if setting_at(name).asked)
_KEYS = (*_ASKED[: _ASKED.index("train_limit")], "limit", *_ASKED[_ASKED.index("train_limit") :])
_APART = {*_TEXTS, "stream", "preset", "method_settings", *SECTIONS}


@dataclass(frozen=True)
class Place:
    """Somewhere in a config file.

    Args:
        path: the file.
        root: its YAML node.
        keys: the way from there.
    """

    path: Path
    root: Node
    keys: tuple[int | str, ...] = ()

    def __truediv__(self, key: int | str) -> Place:
        return Place(self.path, self.root, (*self.keys, key))

    def error(self, message: str, remedy: str) -> UsageError:
        """A mistake here."""
        return UsageError(f"{NOUN} {self.path}, line {line_of(self.root, self.keys)}: {message}", remedy)

    @contextmanager
    def named(self) -> Iterator[None]:
        """An error of what is inside names this place."""
        try:
            yield
        except UsageError as error:
            raise self.error(error.message, error.remedy) from error


@dataclass(frozen=True)
class RunsBlock:
    """What a file says of one set of runs; None and empty where it says nothing.

    Args:
        values: RunConfig's own settings, and the limits.
        sections: settings by the section of RunConfig that they belong to.
        method_settings: as they are written, by method; checked when the methods are known.
        place: where the block is.
    """

    methods: tuple[str, ...] = ()
    streams: tuple[str | StreamCard, ...] = ()
    seeds: tuple[str, ...] = ()
    scorers: tuple[str, ...] = ()
    preset: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    method_settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    place: Place | None = None

    @contextmanager
    def named(self, key: str) -> Iterator[None]:
        """An error of what is inside names the line of ``key``, where this block says it."""
        if self.place is None:
            yield
            return
        with (self.place / key).named():
            yield


def read_config_file(path: Path) -> tuple[RunsBlock, ...]:
    """The blocks of a config file: the file itself, or the items of its list ``runs``.

    Raises:
        UsageError: an unknown key or a value of the wrong type; names file and line.
        BenchError: it cannot be read or is not YAML.
    """
    data, root = parse_card(path.expanduser(), NOUN)
    place = Place(path, root)
    if "runs" not in data:
        return (_block(data, place),)
    if len(data) > 1:
        other = next(key for key in data if key != "runs")
        raise (place / str(other)).error(f"the key {other!r} stands beside 'runs'.", "Move it into each of the runs.")
    runs = data["runs"]
    place = place / "runs"
    if not isinstance(runs, list) or not runs:
        raise place.error("'runs' must be a list of runs.", "Write '- method: ...' for each, or take 'runs' out.")
    for i, item in enumerate(runs):
        if not isinstance(item, dict):
            raise (place / i).error("a run must be a mapping of keys to values.", "Write '- method: ...'.")
    return tuple(_block(item, place / i) for i, item in enumerate(runs))


def _block(data: Mapping[Any, Any], place: Place) -> RunsBlock:
    for key in data:
        if key not in _KEYS:
            raise _unknown(str(key), _KEYS, place)
    said = {key: value for key, value in data.items() if value is not None}
    values = {}
    for key in (key for key in said if key not in _APART):
        if key == "limit" or setting_at(key).zero_is_none:
            values[key] = _limit(key, said[key], place / key)
        else:
            with (place / key).named():
                values[key] = check_value(RunConfig, key, said[key])
    texts = {key: _texts(key, said[key], place / key) if key in said else () for key in _TEXTS}
    sections = {name: _section(name, said[name], place / name) for name in SECTIONS if name in said}
    return RunsBlock(
        methods=texts["method"],
        streams=_streams(said["stream"], place / "stream") if "stream" in said else (),
        seeds=texts["seed"],
        scorers=texts["scorers"],
        preset=_preset(said["preset"], place / "preset") if "preset" in said else None,
        values=values,
        sections=sections,
        method_settings=_method_settings(said.get("method_settings", {}), place / "method_settings"),
        place=place,
    )


def _unknown(key: str, known: Sequence[str], place: Place) -> UsageError:
    home = next((name for name, model in SECTIONS.items() if key in model.model_fields), None)
    everything = [*_KEYS, *(name for model in SECTIONS.values() for name in model.model_fields)]
    close = difflib.get_close_matches(key, known, n=3, cutoff=0.5) or difflib.get_close_matches(key, everything, n=3)
    if home is not None:
        hint = f"It is a setting of {home}: write it there. "
    else:
        hint = f"Did you mean {' or '.join(repr(c) for c in close)}? " if close else ""
    return (place / key).error(f"there is no key called {key!r}.", f"{hint}Known here: {', '.join(known)}.")


def _limit(key: str, value: Any, place: Place) -> int:
    """A number of pairs; 0 stands for all, as on the command line."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise place.error(f"{key} must be an integer >= 0, got {value!r}.", "It is a number of pairs; 0 means all.")
    return value


def _texts(key: str, value: Any, place: Place) -> tuple[str, ...]:
    """One name or a list of them; of seeds, numbers."""
    items = value if isinstance(value, list) else [value]
    kind = int if key == "seed" else str
    if not items or not all(isinstance(item, kind | str) and not isinstance(item, bool) for item in items):
        what = "an integer or a list of them" if key == "seed" else "a name or a list of names"
        raise place.error(f"{key} must be {what}, got {value!r}.", f"Write {key}: [a, b]." if kind is str else "")
    return tuple(str(item) for item in items)


def _streams(value: Any, place: Place) -> tuple[str | StreamCard, ...]:
    items = value if isinstance(value, list) else [value]
    found: list[str | StreamCard] = []
    for item in items:
        if isinstance(item, dict):
            tasks = item.get("tasks")
            if set(item) != {"name", "tasks"} or not isinstance(item["name"], str) or not isinstance(tasks, list):
                raise place.error("a stream of tasks needs a name and a list of tasks, and no more.", _STREAM)
            names = _texts("stream", tasks, place)
            with place.named():
                found.append(stream_of_tasks(item["name"], names))
        elif isinstance(item, str):
            found.append(item)
        else:
            raise place.error(f"stream must be a name, a mapping or a list of them, got {item!r}.", _STREAM)
    if not found:
        raise place.error("the list of streams is empty.", _STREAM)
    return tuple(found)


_STREAM = "Write stream: mini, or stream: {name: mine, tasks: [TruthfulQA, path/to/card.yaml]}."


def _preset(value: Any, place: Place) -> str:
    with place.named():
        if not isinstance(value, str) or value not in PRESETS:
            raise unknown_name("preset", str(value), PRESETS)
    return value


def _section(name: str, value: Any, place: Place) -> dict[str, Any]:
    return checked_settings(SECTIONS[name], _mapping(name, value, place), place)


def checked_settings(model: type[BaseModel], given: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """The settings of ``model`` that are written at ``place``, checked one by one."""
    checked: dict[str, Any] = {}
    for key, value in given.items():
        if key not in model.model_fields:
            raise _unknown(key, tuple(model.model_fields), place)
        with (place / key).named():
            try:
                checked[key] = check_value(model, key, value)
            except UsageError:
                if value is not None:
                    raise
    return checked


def _mapping(name: str, value: Any, place: Place) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise place.error(f"{name} must be a mapping of settings to values.", "Write 'setting: value' lines below it.")
    return {str(key): inner for key, inner in value.items()}


def _method_settings(value: Any, place: Place) -> dict[str, dict[str, Any]]:
    methods = _mapping("method_settings", value, place)
    return {name: _mapping(name, inner, place / name) for name, inner in methods.items() if inner is not None}


_HEAD = """\
# For: lifealign-bench run --config FILE
# Flags beside --config win over this file. Paths start from the folder in which the command runs.
"""


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
    several = {"method": _methods(configs), "stream": _each(map(_stream, configs)), "seed": _seeds(configs)}
    for key in _ASKED:
        if key in SECTIONS or key == "method_settings":
            continue
        values = several.get(key, [plain[key]])
        value = values[0] if len(values) == 1 else values
        yield from _entry(RunConfig, key, value or 0 if setting_at(key).zero_is_none else value)
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
            model = method_config(method)
            for key, value in settings.items():
                yield from (f"    {line}" for line in _entry(model, key, value))


def _settings(config: RunConfig) -> dict[str, Any]:
    """All settings of a run's method, defaults included; a variant's fixed ones are its name."""
    variant = find_variant(config.method)
    fixed = variant.fixed if variant is not None else {}
    values = {
        key: config.method_settings.get(key, field.get_default(call_default_factory=True))
        for key, field in method_config(config.method).model_fields.items()
        if key not in fixed
    }
    return {key: to_jsonable_python(value) for key, value in values.items() if value is not PydanticUndefined}


def _entry(model: type[BaseModel], key: str, value: Any) -> Iterable[str]:
    """The lines of one setting, with its meaning where there is room."""
    text = yaml.dump({key: value}, Dumper=_Lists, width=10**6, allow_unicode=True, sort_keys=False)
    lines = text.rstrip("\n").split("\n")
    meaning = model.model_fields[key].description or ""
    if model is RunConfig and setting_at(key).zero_is_none:
        meaning += "; 0: all"
    if len(lines) == 1 and meaning and "\n" not in meaning:
        return [f"{lines[0]}  # {meaning}"]
    return lines


def _scalar(text: str) -> str:
    return yaml.dump([text], Dumper=_Lists, width=10**6, allow_unicode=True).strip()[1:-1]
