"""Which abilities can be had, tried one by one before anything is trained."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lifealign_bench.abilities.ability import Abilities, Ability, CannotBeHad, make_ability
from lifealign_bench.abilities.allowed import BUILDERS
from lifealign_bench.abilities.definition import read_definition
from lifealign_bench.abilities.inside import no_foreign_metrics, offline, quiet_and_safe, why_no_hub
from lifealign_bench.abilities.names import BUILTIN, builtin_file, check_words, expand, is_file, unknown_ability
from lifealign_bench.config import RunConfig
from lifealign_bench.errors import BenchError

__all__ = ["as_begun", "find_abilities"]

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
    check_words(config.abilities)
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
