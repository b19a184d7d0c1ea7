"""Finds what can be added to: methods, scorers, judges, rewards.

Each kind is found in the same ways: a file of its folder by its name, a user's own Python file by its path, an entry
point of an installed package. Listing goes by file names and texts alone and imports nothing; loading one imports that
one file.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.metadata
import importlib.util
import sys
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.util.registry import unknown_name

T = TypeVar("T")


@dataclass(frozen=True)
class Origin:
    """Where an extension comes from that is not part of this package.

    Args:
        source_sha256: SHA-256 (hex) of the file that defines it.
        package, version: the installed package that brings it; empty of a user's own file.
    """

    source_sha256: str
    package: str = ""
    version: str = ""

    def as_dict(self) -> dict[str, str]:
        """Plain values; what is empty is left out."""
        found = {"source_sha256": self.source_sha256, "package": self.package, "version": self.version}
        return {key: value for key, value in found.items() if value}


def is_own_file(word: str) -> bool:
    """Whether ``word`` names a Python file (``mine.py``), or one thing in it (``mine.py:Name``)."""
    file, _, name = word.rpartition(":")
    return word.endswith(".py") or (file.endswith(".py") and name.isidentifier())


def own_file(word: str) -> tuple[Path, str]:
    """The file of a word for which :func:`is_own_file` holds, and the name in it; empty where it has none."""
    file, name = (word, "") if word.endswith(".py") else (word.rpartition(":")[0], word.rpartition(":")[2])
    return Path(file).expanduser(), name


def own_name(word: str) -> str:
    """What an extension is called in tables and records: the name in a file, the file's stem, or the word itself."""
    if not is_own_file(word):
        return word
    file, name = own_file(word)
    return name or file.stem


class Finder(ABC, Generic[T]):
    """One kind of extension.

    Args:
        noun: what one is called in messages, e.g. ``"scorer"``; with an s it names their folder.
        folder: holds those of this package, a file each; those whose names begin with ``_`` are none.
        package: the name of the Python package that the folder is.
    """

    def __init__(self, noun: str, folder: Path, package: str) -> None:
        self.noun = noun
        self.folder = folder
        self.package = package

    @property
    def group(self) -> str:
        """The group of entry points by which installed packages bring more."""
        return f"lifealign_bench.{self.noun}s"

    @abstractmethod
    def pick(self, module: ModuleType, place: str, name: str) -> T:
        """The one extension that ``module`` defines; where it defines several, that called ``name``.

        Args:
            place: the file, for messages.

        Raises:
            BenchError: it defines none, or several of which none is meant.
        """

    @abstractmethod
    def check(self, found: Any, place: str) -> T:
        """What was found, where it is an extension of this kind.

        Raises:
            BenchError: it is none, or lacks something.
        """

    def files(self) -> dict[str, Path]:
        """Those of this package: name to file."""
        return {path.stem: path for path in sorted(self.folder.glob("*.py")) if not path.stem.startswith("_")}

    def plugins(self) -> dict[str, EntryPoint]:
        """Those of installed packages, by name.

        Raises:
            UsageError: two extensions have one name.
        """
        found: dict[str, EntryPoint] = {}
        entries = _entry_points(self.group, tuple(sys.path))
        own = self.files() if entries else {}
        for entry in entries:
            if entry.name in own or entry.name in found:
                raise UsageError(
                    f"The installed plug-in {entry.value!r} brings a second {self.noun} called {entry.name!r}.",
                    "Uninstall it or have its author rename its entry point.",
                )
            found[entry.name] = entry
        return found

    def names(self) -> list[str]:
        """Of this and of installed packages, sorted."""
        return sorted([*self.files(), *self.plugins()])

    def summary(self, name: str) -> str:
        """The first line of a file's docstring (read, not imported); where a plug-in comes from.

        Raises:
            UsageError: nothing is called so.
        """
        files = self.files()
        if name in files:
            doc = ast.get_docstring(ast.parse(files[name].read_text(encoding="utf-8"))) or ""
            return doc.partition("\n")[0]
        plugins = self.plugins()
        if name in plugins:
            return f"plug-in {plugins[name].value}"
        raise self.unknown(name)

    def unknown(self, name: str) -> UsageError:
        """The error for a ``name`` that is none."""
        return unknown_name(self.noun, name, self.names())

    def load(self, word: str) -> T:
        """What ``word`` names: a name, or the path of a Python file.

        Raises:
            UsageError: there is no such thing.
            BenchError: the file or plug-in cannot be imported, or does not define exactly one.
        """
        if is_own_file(word):
            return self._load_own(word)
        plugins = self.plugins()
        if word in self.files():
            file = f"{self.folder.name}/{word}.py"
            module = _guarded(f"{self.noun} file {file}", lambda: importlib.import_module(f"{self.package}.{word}"))
            return self.pick(module, file, "")
        if word not in plugins:
            raise self.unknown(word)
        what = f"plug-in {plugins[word].value!r}"
        return self.check(_guarded(what, plugins[word].load), what)

    def origin(self, word: str) -> Origin | None:
        """Where it comes from; None of what is part of this package.

        Raises:
            BenchError: it cannot be loaded.
        """
        if is_own_file(word):
            self.load(word)
            return Origin(hashlib.sha256(own_file(word)[0].read_bytes()).hexdigest())
        if word in self.files() or word not in self.plugins():
            return None
        found, entry = self.load(word), self.plugins()[word]
        source = Path(str(sys.modules[getattr(found, "__module__", entry.module)].__file__))
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        return Origin(digest, entry.dist.name, entry.dist.version) if entry.dist is not None else Origin(digest)

    def _load_own(self, word: str) -> T:
        path, name = own_file(word)
        if not path.is_file():
            raise UsageError(
                f"There is no {self.noun} file {path}.", f"Give the path of a Python file that defines a {self.noun}."
            )
        # One module per file content: loading the same file twice is not two extensions of one name.
        digest = hashlib.sha256(path.resolve().as_posix().encode() + path.read_bytes()).hexdigest()[:12]
        module_name = f"lifealign_bench_{self.noun}_{digest}"
        if module_name not in sys.modules:
            try:
                _guarded(f"{self.noun} file {path}", lambda: self.execute(module_name, path))
            except BenchError:
                sys.modules.pop(module_name, None)
                raise
        return self.pick(sys.modules[module_name], str(path), name)

    def execute(self, module_name: str, path: Path) -> None:
        """Make the module ``module_name`` of the file ``path``."""
        spec = importlib.util.spec_from_file_location(module_name, path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{path} is not a Python source file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        spec.loader.exec_module(module)

    def none_or_several(self, place: str, names: list[str], remedy: str) -> BenchError:
        """The error for a file that does not define exactly one."""
        found = f"defines {len(names)} {self.noun}s ({', '.join(names)})" if names else f"defines no {self.noun}"
        return BenchError(f"{place} {found}.", remedy)


C = TypeVar("C")


class ClassFinder(Finder[type[C]]):
    """A kind whose extensions are classes derived from ``base``; a file holds one public one."""

    def __init__(self, noun: str, folder: Path, package: str, base: type[C]) -> None:
        super().__init__(noun, folder, package)
        self.base = base

    def pick(self, module: ModuleType, place: str, name: str) -> type[C]:
        """See :meth:`Finder.pick`; classes that are imported, or whose names begin with ``_``, do not count."""
        own = {
            key: value
            for key, value in vars(module).items()
            if isinstance(value, type)
            and issubclass(value, self.base)
            and value.__module__ == module.__name__
            and not key.startswith("_")
        }
        if name and name in own:
            return self.check(own[name], place)
        if len(own) == 1 and not name:
            return self.check(next(iter(own.values())), place)
        base = f"{self.base.__module__}.{self.base.__name__}"
        if name:
            raise BenchError(f"{place} defines no {self.noun} called {name!r}.", f"It has: {', '.join(own) or 'none'}.")
        raise self.none_or_several(place, list(own), f"A {self.noun} file holds exactly one subclass of {base}.")

    def check(self, found: Any, place: str) -> type[C]:
        """See :meth:`Finder.check`."""
        if not (isinstance(found, type) and issubclass(found, self.base)):
            raise BenchError(
                f"The {place} is not a subclass of {self.base.__module__}.{self.base.__name__}.",
                f"Its entry point has to name the {self.noun}'s class.",
            )
        return found


def refuse_equal_names(finder: Finder[Any], words: tuple[str, ...]) -> None:
    """Refuse users' own files that are called like each other or like what there is already.

    Raises:
        UsageError: names both.
    """
    known = dict.fromkeys(finder.names(), f"the {finder.noun} of that name")
    for word in filter(is_own_file, words):
        name = own_name(word)
        if name in known:
            raise UsageError(
                f"Two {finder.noun}s are called {name!r}: {word} and {known[name]}.", "Rename one of them."
            )
        known[name] = word


@cache
def _entry_points(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Those of installed packages; ``path``: where packages are looked for."""
    return tuple(importlib.metadata.entry_points(group=group))


def is_outside(kind: type) -> bool:
    """Whether a class is not part of this package."""
    return not kind.__module__.startswith("lifealign_bench.")


@contextmanager
def own_code(what: str, kind: type) -> Iterator[None]:
    """Whatever an object of the class ``kind`` raises within the block becomes one clear error, if it is from outside.

    Args:
        what: its noun and name, for the message.

    Raises:
        BenchError: it failed.
    """
    try:
        yield
    except BenchError:
        raise
    except Exception as error:
        if not is_outside(kind):
            raise
        raise BenchError(
            f"The {what} fails: {type(error).__name__}: {error}{_where(error)}.",
            "Mend it and run the same command again.",
        ) from error


def _guarded(what: str, load: Callable[[], Any]) -> Any:
    """Run ``load``; whatever a foreign file raises becomes one clear error."""
    try:
        return load()
    except BenchError as error:
        raise BenchError(f"The {what} cannot be used: {error.message}", error.remedy) from error
    except (Exception, SystemExit) as error:
        raise BenchError(
            f"The {what} does not import: {type(error).__name__}: {error}{_where(error)}.",
            "Mend that file and try again.",
        ) from error


def _where(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.lineno is not None:
        return f" (line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
