"""Finds methods: the files of the repository's (or the wheel's) methods folder, plug-ins, and a user's own file."""

from __future__ import annotations

import ast
import builtins
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal  # noqa: F401 - Literal: settings that are read from a file name it

from pydantic import Field, create_model

from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.method import METHODS, Method, MethodConfig, PlainValue
from lifealign_bench.util.extensions import Finder, Origin, is_own_file
from lifealign_bench.util.registry import unknown_name

# In a checkout the method files lie in the top-level folder methods/; a wheel has them beside this file.
_here = Path(__file__).parent
_folder = _here if any(p.stem != "__init__" for p in _here.glob("*.py")) else _here.parent.parent / "methods"
__path__ = [str(_folder)]


class _Methods(Finder[type[Method]]):
    """Methods are entered under their names by a decorator."""

    def pick(self, module: ModuleType, place: str, name: str) -> type[Method]:
        """The one registered method of a module; of one of this package that of the file's name."""
        own = {n: METHODS.get(n) for n in METHODS.names() if METHODS.get(n).__module__ == module.__name__}
        built_in = module.__name__.removeprefix(f"{__name__}.") if module.__name__.startswith(f"{__name__}.") else ""
        wanted = name or built_in
        if wanted in own:
            return own[wanted]
        if len(own) == 1 and not wanted:
            return next(iter(own.values()))
        raise self.none_or_several(
            place,
            list(own),
            f"A method file holds exactly one class decorated with @register_method({built_in or 'the name'!r}).",
        )

    def check(self, found: Any, place: str) -> type[Method]:
        """A subclass of Method."""
        if not (isinstance(found, type) and issubclass(found, Method)):
            raise BenchError(
                f"The {place} is not a subclass of lifealign_bench.method.Method.",
                "Its entry point has to name the method's class.",
            )
        return found

    def execute(self, module_name: str, path: Path) -> None:
        """Of a file that fails half-way no method stays."""
        before = set(METHODS.names())
        try:
            super().execute(module_name, path)
        except BaseException:
            METHODS.forget(set(METHODS.names()) - before)
            raise


_METHODS = _Methods("method", _folder, __name__)
method_files = _METHODS.files
method_names = _METHODS.names


@dataclass(frozen=True)
class Variant:
    """An ablation with a name: the method ``of`` with the settings ``fixed``."""

    of: str
    fixed: dict[str, PlainValue]

    def __str__(self) -> str:
        return f"{self.of} with {', '.join(f'{key} = {_short(value)}' for key, value in self.fixed.items())}"


def _short(value: PlainValue) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def variant_names() -> list[str]:
    """The built-in methods' variants, sorted; read from their files, which are not imported."""
    return sorted(f"{method}-{suffix}" for method, path in method_files().items() for suffix in _variants(path))


def find_variant(name: str) -> Variant | None:
    """What ``name`` is a variant of; None where it is none."""
    for method, path in method_files().items():
        if name.startswith(f"{method}-"):
            fixed = _variants(path).get(name.removeprefix(f"{method}-"))
            if fixed is not None:
                return Variant(method, fixed)
    return None


def unknown_method(name: str) -> UsageError:
    """The error for a ``name`` that is no method's; variants are proposed only to who seems to mean one."""
    return unknown_name("method", name, [*method_names(), *(variant_names() if "-" in name else [])])


def effective_settings(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """A run's settings of the method ``name``: what was set, and what a variant fixes.

    Raises:
        UsageError: something was set that the variant fixes.
    """
    variant = find_variant(name)
    if variant is None:
        return dict(settings)
    taken = [key for key in settings if key in variant.fixed]
    if taken:
        raise UsageError(
            f"The setting {taken[0]!r} cannot be changed in {name}: it is {variant}.",
            f"Set it for {variant.of} alone (--method {variant.of} --set {taken[0]}=..., or beside the variant "
            f"--set {variant.of}.{taken[0]}=...).",
        )
    return {**settings, **variant.fixed}


def _variants(path: Path) -> dict[str, dict[str, PlainValue]]:
    """The literal ``variants`` of the class in a method file; empty where there is none.

    Raises:
        BenchError: it is not written out.
    """
    text = path.read_text(encoding="utf-8")
    if "variants" not in text:
        return {}  # most files: parsing them all would be felt at every start
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return {}  # loading the method says what is wrong
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets
        if any(isinstance(target, ast.Name) and target.id == "variants" for target in targets):
            try:
                found: dict[str, dict[str, PlainValue]] = ast.literal_eval(node.value)
            except ValueError as error:
                raise BenchError(
                    f"The variants in {path} are not written out.", "Make them a dict of names to dicts of settings."
                ) from error
            return found
    return {}


def method_summary(name: str) -> str:
    """The first line of a built-in method's docstring (read, not imported); where a plug-in comes from; what a
    variant fixes."""
    variant = find_variant(name)
    if variant is not None:
        return f"{variant}."
    if name not in method_names():
        raise unknown_method(name)
    return _METHODS.summary(name)


def load_method(name: str) -> type[Method]:
    """The class of a method: a built-in or installed name, a variant's, or the path of a Python file.

    Raises:
        UsageError: no such method.
        BenchError: the file or plug-in cannot be imported, or does not define exactly one method.
    """
    variant = None if is_own_file(name) else find_variant(name)
    if variant is not None:
        return load_method(variant.of)
    if not is_own_file(name) and name not in method_names():
        raise unknown_method(name)
    return _METHODS.load(name)


def method_config(name: str) -> type[MethodConfig]:
    """The settings of a method. Those of a built-in one are had without importing its file, which would load torch,
    where they stand by themselves in it.

    Raises:
        UsageError, BenchError: as :func:`load_method`.
    """
    variant = find_variant(name)
    name = name if variant is None else variant.of
    path = method_files().get(name)
    found = _config_in(name, path.read_text(encoding="utf-8")) if path is not None else None
    return found if found is not None else load_method(name).Config


@cache
def _config_in(name: str, text: str) -> type[MethodConfig] | None:
    """The settings that a method's file writes out, none of it run; None where they need more of the file."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return None  # loading the method says what is wrong
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    methods = [node for node in classes.values() if _names(node.decorator_list) & {"register_method"}]
    if len(methods) != 1 or _names(methods[0].bases) != {"Method"}:
        return None
    said = [
        node.value
        for node in methods[0].body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and "Config" in _names(node.targets if isinstance(node, ast.Assign) else [node.target])
    ]
    if not said:
        return MethodConfig
    own = classes.get(said[0].id) if isinstance(said[0], ast.Name) else None
    if own is None or _names(own.bases) != {"MethodConfig"}:
        return None
    try:
        fields = {name: field for node in own.body for name, field in _field_of(node)}
    except ValueError:
        return None
    return create_model(own.name, __base__=MethodConfig, __module__=__name__, __doc__=ast.get_docstring(own), **fields)


def _field_of(node: ast.stmt) -> Iterator[tuple[str, Any]]:
    """A field that is written out, for pydantic; nothing of a docstring.

    Raises:
        ValueError: it is something else, or names more than Python's own types and ``Literal``.
    """
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
        raise ValueError
    if not _names([node.annotation]) <= {"Literal", *dir(builtins)}:
        raise ValueError
    default: Any = ...
    if isinstance(node.value, ast.Call) and _names([node.value.func]) == {"Field"}:
        said = {str(word.arg): ast.literal_eval(word.value) for word in node.value.keywords}
        default = Field(*(ast.literal_eval(value) for value in node.value.args), **said)
    elif node.value is not None:
        default = ast.literal_eval(node.value)
    yield node.target.id, (ast.unparse(node.annotation), default)


def _names(nodes: Sequence[ast.AST]) -> set[str]:
    return {node.id for root in nodes for node in ast.walk(root) if isinstance(node, ast.Name)}


def method_doc(name: str) -> str:
    """What a method's file says of the method; a built-in one's is read, not imported."""
    variant = find_variant(name)
    path = method_files().get(name if variant is None else variant.of)
    if path is not None:
        return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "No description."
    cls = load_method(name)
    module = inspect.getmodule(cls)
    return inspect.cleandoc((module.__doc__ if module is not None else None) or cls.__doc__ or "No description.")


def method_origin(name: str) -> Origin | None:
    """Where a method comes from that is not part of this package; None of one that is.

    Raises:
        BenchError: it cannot be loaded.
    """
    variant = None if is_own_file(name) else find_variant(name)
    return _METHODS.origin(name if variant is None else variant.of)
