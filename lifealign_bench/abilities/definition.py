"""A YAML task of the user's own, read without running anything that is in it."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from lifealign_bench.abilities.allowed import why_not_allowed
from lifealign_bench.errors import BenchError
from lifealign_bench.yamlbounds import BoundsError, check_bounds, read_bounded

__all__ = ["read_definition"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")
_TRUST = "Give --trust-remote-code if you trust whoever wrote it."


def read_definition(path: Path, trusted: bool) -> dict[str, Any]:
    """A task in lm-eval's format as its TaskManager takes it, with data files by absolute paths.

    Args:
        path: the file; its data files and includes are relative to it.
        trusted: whether it may name more than lm-eval's own words and data, and files outside its folder: code
            (``!function``, a metric of the hub or of a file) that lm-eval would run.

    Raises:
        BenchError: not readable, not one task, its data is not there, or it needs trust.
    """
    path = path.expanduser().resolve()
    content = _read(path, path.parent, trusted, ())
    if ("group" in content and "task" not in content) or not isinstance(content.get("task"), str):
        raise _bad(path, "it has no 'task: <name>', or is a group of several tasks")
    if not _NAME.fullmatch(content["task"]):
        raise _bad(path, f"{content['task']!r} is no name for a task: letters, digits, '_', '.' and '-'")
    if not trusted:
        _refuse_code(path, content)
    content.pop("group", None)
    content.pop("tag", None)
    _place_data(path, content)
    return content


def _bad(path: Path, why: str) -> BenchError:
    return BenchError(f"The YAML task {path} cannot be used: {why}.", "See docs/abilities.md for an example.")


def _read(path: Path, home: Path, trusted: bool, seen: tuple[Path, ...]) -> dict[str, Any]:
    """The file with what it includes; its own words win. ``home`` is the folder of the first file."""
    if path in seen:
        raise _bad(path, "it includes itself")
    try:
        text = read_bounded(path).decode("utf-8")
    except BoundsError as error:
        raise _bad(path, str(error)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise _bad(path, f"it cannot be read ({error})") from error
    try:
        check_bounds(text)
        content = yaml.load(text, Loader=_loader(path.parent, trusted))  # noqa: S506 - a SafeLoader
    except BoundsError as error:
        raise _bad(path, str(error)) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _bad(path, f"it is not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise _bad(path, "it is no mapping of names to values")
    includes = content.pop("include", [])
    merged: dict[str, Any] = {}
    for name in includes if isinstance(includes, list) else [includes]:
        included = (path.parent / str(name)).resolve()
        if not trusted and not included.is_relative_to(home):
            raise BenchError(f"The YAML task {path} includes {included}, which lies outside its folder.", _TRUST)
        merged |= _read(included, home, trusted, (*seen, path))
    return merged | content


def _loader(folder: Path, trusted: bool) -> type[yaml.SafeLoader]:
    class Loader(yaml.SafeLoader):
        """Plain YAML, and ``!function`` where it is trusted."""

    def function(loader: yaml.SafeLoader, node: yaml.Node) -> Callable[..., Any]:
        if not trusted or not isinstance(node, yaml.ScalarNode):
            raise BenchError(f"A YAML task in {folder} runs Python code (!function), which nobody allowed.", _TRUST)
        return _function(folder, str(loader.construct_scalar(node)))

    Loader.add_constructor("!function", function)
    return Loader


def _function(folder: Path, name: str) -> Callable[..., Any]:
    """``module.function`` of a file beside the YAML."""
    stem, _, attribute = name.rpartition(".")
    file = folder / f"{stem.replace('.', '/')}.py"
    spec = importlib.util.spec_from_file_location(f"_ability_{stem}", file)
    if not stem or spec is None or spec.loader is None or not file.is_file():
        raise BenchError(f"There is no file {file} for !function {name}.", "Put it beside the YAML task.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        found = vars(module)[attribute]
    except Exception as error:
        raise BenchError(f"!function {name} of {file} cannot be loaded: {type(error).__name__}: {error}.") from error
    if not callable(found):
        raise BenchError(f"!function {name} of {file} is no function.")
    return found  # type: ignore[no-any-return]


def _refuse_code(path: Path, content: dict[str, Any]) -> None:
    """What would run code without any ``!function``."""
    what = why_not_allowed(content)
    if what is not None:
        raise BenchError(f"The YAML task {path} asks for {what}: that may run code of others.", _TRUST)


def _place_data(path: Path, content: dict[str, Any]) -> None:
    """Make local data files absolute.

    Raises:
        BenchError: one is not there.
    """
    kwargs = content.get("dataset_kwargs")
    if not isinstance(kwargs, dict) or "data_files" not in kwargs:
        return

    def place(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: place(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [place(inner) for inner in value]
        if not isinstance(value, str) or "://" in value:
            return value
        file = path.parent / Path(value).expanduser()
        if not any(mark in value for mark in "*?[") and not file.is_file():
            raise BenchError(f"The YAML task {path} names a data file that is not there: {file}.", "Put it there.")
        return str(file)

    content["dataset_kwargs"] = {**kwargs, "data_files": place(kwargs["data_files"])}
