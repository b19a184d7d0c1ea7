"""Which abilities can be had, tried one by one before anything is trained."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import BenchError
from lifealign_bench.scoring.abilities.ability import (
    Abilities,
    Ability,
    CannotBeHad,
    make_ability,
    no_foreign_metrics,
    offline,
    quiet_and_safe,
    why_no_hub,
)
from lifealign_bench.scoring.abilities.allowed import BUILDERS, why_not_allowed
from lifealign_bench.scoring.abilities.names import (
    BUILTIN,
    builtin_file,
    check_ability_words,
    expand,
    is_file,
    unknown_ability,
)
from lifealign_bench.util.yamlbounds import BoundsError, check_bounds, read_bounded

_TASK = re.compile(r"^task:[ \t]*[\"']?([A-Za-z0-9_.-]+)[\"']?[ \t]*$", re.MULTILINE)

_AGAIN = "Begin another run with --out, or make it available again."


def find_abilities(config: RunConfig, began: Mapping[str, Any] | None, notice: Callable[[str], None]) -> Abilities:
    """The abilities of a run, loaded.

    Args:
        began: what :func:`as_begun` gave at the run's first attempt, which this one must find again; None: this is the
            first.
        notice: told what is left out and why.

    Raises:
        UsageError: an unknown name, or a file that is not there.
        BenchError: a YAML task that cannot be used; none can be had; a run that goes on cannot have one it began with.
    """
    if not config.abilities:
        return Abilities()
    check_ability_words(config.abilities)
    names = expand(config.abilities)
    loader = _Loader(config.trust_remote_code)
    left_out: dict[str, str] = dict(began["left_out"]) if began else {}
    tests: dict[str, Ability] = {}
    with quiet_and_safe(config.trust_remote_code):
        for name in loader.named(names):
            if began is not None and name in began["left_out"]:
                notice(f"Ability {name} was left out when this run began ({left_out[name]}): it stays out.")
                continue
            try:
                tests[name] = loader.load(name)
            except CannotBeHad as error:
                if began is not None:
                    raise BenchError(
                        f"This run began with the ability {name}, which cannot be had now: {error.reason}.", _AGAIN
                    ) from error
                detail = f" ({error.detail})" if error.detail else ""
                notice(f"Ability {name} is left out: {error.reason}{detail}.")
                left_out[name] = error.reason
    if not tests:
        raise BenchError(
            f"None of the abilities {', '.join(left_out)} can be had: {'; '.join(dict.fromkeys(left_out.values()))}.",
            "--ability builtin needs no network.",
        )
    if began is not None:
        _same(began["digests"], tests)
    return Abilities(tuple(tests.values()), left_out, config.ability_stages == "all")


def as_begun(found: Abilities) -> dict[str, Any]:
    """What later attempts at the same run must find again, as plain JSON values."""
    return {"digests": {a.name: a.digest for a in found.tests}, "left_out": dict(found.left_out)}


def _same(began: Mapping[str, str], tests: Mapping[str, Ability]) -> None:
    """Refuse to go on with other questions than the run began with."""
    other = [name for name in began.keys() | tests.keys() if name not in tests or began.get(name) != tests[name].digest]
    if other:
        raise BenchError(
            f"The abilities {', '.join(sorted(other))} ask for something else than when this run began.", _AGAIN
        )


class _Loader:
    """Loads tasks; asks the hub and lists lm-eval's tasks (seconds) at most once, and only where it is needed."""

    def __init__(self, trusted: bool) -> None:
        self.trusted = trusted
        self._own: dict[str, dict[str, Any]] = {}
        self._plain: Any = None
        self._listed: Any = None
        self._folders: dict[str, Path] | None = None
        self._hub: list[str | None] = []

    def named(self, words: Sequence[str]) -> list[str]:
        """The names of the abilities: a file is called by its task.

        Raises:
            BenchError: a YAML task that cannot be used; two of one name.
        """
        names = []
        for word in words:
            name = word
            if word in BUILTIN or is_file(word):
                definition = read_definition(builtin_file(word) if word in BUILTIN else Path(word), self.trusted)
                name = str(definition["task"])
                self._own[name] = definition
            names.append(name)
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise BenchError(f"Two abilities are called {twice[0]!r}.", "Rename the task of a YAML file.")
        return names

    def load(self, name: str) -> Ability:
        """One ability.

        Raises:
            CannotBeHad: not here.
            UsageError: unknown.
        """
        if name in self._own:
            definition = self._own[name]
            return self._made(name, self._plain_manager(), definition, remote=not _is_local(definition))
        manager = self._of_folder(name) or self._list()
        if name not in manager.task_index:
            raise unknown_ability(name, manager.all_tasks)
        return self._made(name, manager, name, remote=True)

    def _made(self, name: str, manager: Any, spec: Any, remote: bool) -> Ability:
        reason = self._no_hub() if remote else None
        try:
            with ExitStack() as stack:
                if reason is not None:
                    stack.enter_context(offline())
                if isinstance(spec, str):
                    stack.enter_context(no_foreign_metrics(self.trusted))
                elif _is_local(spec):
                    # The cache of the library knows files by their time of change, which rsync and tar keep.
                    fresh = stack.enter_context(TemporaryDirectory(prefix="lifealign-bench-"))
                    kwargs = {**(spec.get("dataset_kwargs") or {}), "cache_dir": fresh, "keep_in_memory": True}
                    spec = {**spec, "dataset_kwargs": kwargs}
                tasks = list(manager.load([spec])["tasks"].values())
                return make_ability(name, tasks, self.trusted)
        except (CannotBeHad, BenchError):
            raise
        except Exception as error:
            first = (str(error).strip().splitlines() or [""])[0][:200]
            if reason is not None and isinstance(error, OSError):
                raise CannotBeHad(reason) from error
            raise CannotBeHad(f"it cannot be loaded ({type(error).__name__})", first) from error

    def _no_hub(self) -> str | None:
        if not self._hub:
            self._hub.append(why_no_hub())
        return self._hub[0]

    def _plain_manager(self) -> Any:
        if self._plain is None:
            from lm_eval.tasks import TaskManager

            self._plain = TaskManager(include_defaults=False)
        return self._plain

    def _of_folder(self, name: str) -> Any:
        """A manager of the folder with lm-eval's task ``name`` alone; None where it is no single task.

        lm-eval itself parses ten thousand files to find one; their names are found by one line each.
        """
        import lm_eval.tasks

        if self._folders is None:
            root = Path(lm_eval.tasks.__file__).parent
            self._folders = {}
            for path in sorted(root.rglob("*.yaml"), key=Path.as_posix):
                for found in _TASK.findall(path.read_text(encoding="utf-8", errors="replace")):
                    self._folders.setdefault(found, path.parent)
        if name not in self._folders:
            return None
        manager = lm_eval.tasks.TaskManager(include_defaults=False, include_path=str(self._folders[name]))
        return manager if name in manager.all_subtasks else None

    def _list(self) -> Any:
        if self._listed is None:
            from lm_eval.tasks import TaskManager

            self._listed = TaskManager()
        return self._listed


def _is_local(definition: Mapping[str, Any]) -> bool:
    """Whether all data of a task is in files here."""
    path = definition.get("dataset_path")
    if path not in BUILDERS:
        return isinstance(path, str) and Path(path).exists()
    return "://" not in repr((definition.get("dataset_kwargs") or {}).get("data_files"))


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
