"""Which package may import which: only what stands above it, without circles, and late only to stay light."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import lifealign_bench

ROOT = Path(lifealign_bench.__file__).parent
# From the nouns that everyone knows to the words of the command line. Packages in one line know nothing of each other.
ORDER = (
    *("errors", "pairs", "config", "util", "method", "methods", "data", "results", "models", "training", "scoring"),
    *("runs", "experiments conformance", "reporting", "notebook cli"),
)
# The Python interface lies with what is shown, and stands beside the command line: neither knows the other, and nobody
# but the package itself imports it.
INTERFACE = "reporting.notebook"
RANK = {package: rank for rank, packages in enumerate(ORDER) for package in packages.split()}
# What takes a command a noticeable time to load.
HEAVY = {
    *("accelerate", "alpaca_eval", "datasets", "httpx2", "huggingface_hub", "lm_eval", "matplotlib", "pandas"),
    *("peft", "pyarrow", "ray", "sacrebleu", "safetensors", "scipy", "statsmodels", "torch", "transformers", "trl"),
    "vl_convert",
}
# What a method's author imports, and the Python interface, whose names come when they are asked for.
AUTHORS = {"", "errors", "pairs", "config", "method"}
# Modules that still say twice what is public; the list only shrinks.
SAID_TWICE: tuple[str, ...] = ()
# What several modules have under one name, so that others can ask each of them for it.
IN_SEVERAL = {
    "app": "the command of a module of the command line",
    "execute": "does what a command was asked for",
    "main": "of a process of its own",
    "prepare": "what a warm process loads for it",
    "run": "one run; the Python interface calls it as the command line does",
}
MOST_LINES = 600
MOST_LINES_OF_A_FUNCTION = 70
MOST_AT_THE_TOP = 18


class Import(NamedTuple):
    """One import statement's module.

    Args:
        ours: whether it is a module of this package; its name is then without the package's.
        late: inside a function. Where only types are checked it is neither late nor at the top.
    """

    name: str
    ours: bool
    late: bool
    types_only: bool


def name_of(file: Path) -> str:
    """A module's name within the package; empty for the package's own ``__init__``."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


FILES = {name_of(file): file for file in sorted(ROOT.rglob("*.py"))}


def package_of(module: str) -> str:
    """The package that a module belongs to."""
    if f"{module}.".startswith(f"{INTERFACE}."):
        return "notebook"
    return "cli" if module == "__main__" else module.partition(".")[0]


@cache
def imports_of(module: str) -> tuple[Import, ...]:
    """All imports of a module, wherever they stand."""
    return tuple(_imports(ast.parse(FILES[module].read_text(encoding="utf-8")), late=False, types_only=False))


def _imports(node: ast.AST, late: bool, types_only: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        assert not isinstance(node, ast.ImportFrom) or not node.level, "imports are absolute"
        for name in _imported(node):
            ours = name.partition(".")[0] == "lifealign_bench"
            yield Import(name.partition(".")[2] if ours else name.partition(".")[0], ours, late, types_only)
        return
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        late = True
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        types_only = True
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, late, types_only)


def _imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    module = node.module or ""
    inside = [f"{module}.{alias.name}" for alias in node.names]
    modules = [name for name in inside if name.removeprefix("lifealign_bench.") in FILES]
    return modules + ([module] if len(modules) < len(inside) else [])


def ours(module: str) -> Iterator[Import]:
    """The imports of modules of this package."""
    return (found for found in imports_of(module) if found.ours and found.name)


@cache
def is_heavy(module: str) -> bool:
    """Whether importing a module loads something heavy."""
    return bool(HEAVY & {name for m in _loaded(module) for name in _third_party(m)})


def _third_party(module: str) -> set[str]:
    return {found.name for found in imports_of(module) if not (found.ours or found.late or found.types_only)}


def _loaded(module: str) -> set[str]:
    """The modules that importing one loads: those that it imports at its top, and the packages that hold them."""
    seen: set[str] = set()
    open_ = [module]
    while open_:
        name = open_.pop()
        if name and name not in seen:
            seen.add(name)
            open_.append(name.rpartition(".")[0])
            open_ += [found.name for found in ours(name) if not (found.late or found.types_only)]
    return seen


def _with_packages(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _holds(package: str, module: str) -> bool:
    return FILES[package].name == "__init__.py" and f"{module}.".startswith(f"{package}.")


def circles() -> set[str]:
    """The modules that can be reached from themselves, by imports at the top, in functions and for types.

    To import a module is to import the packages that hold it, but for those that hold the importer too.
    """
    graph = {
        module: {name for found in ours(module) for name in _with_packages(found.name) if not _holds(name, module)}
        for module in FILES
    }

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        open_ = [*graph[start]]
        while open_:
            name = open_.pop()
            if name not in seen:
                seen.add(name)
                open_ += graph[name]
        return seen

    return {module for module in graph if module in reached(module)}


def test_every_module_is_in_a_package_of_the_order() -> None:
    assert {package_of(module) for module in FILES if module} <= set(RANK)


def test_packages_import_only_what_is_above_them() -> None:
    against = set()
    for module in filter(None, FILES):
        for found in ours(module):
            here, there = package_of(module), package_of(found.name)
            if here != there and RANK[there] >= RANK[here]:
                against.add(f"{module} {found.name}")
    assert against == set()


def test_there_are_no_circles() -> None:
    assert circles() == set()


def test_late_imports_spare_something_heavy() -> None:
    """The commands are no exception: each has a module of its own, which is imported when it is used."""
    late = set()
    for module in filter(None, FILES):
        for found in ours(module):
            if found.late and not is_heavy(found.name):
                late.add(f"{module} {found.name}")
    assert late == set()


def test_no_module_is_too_long() -> None:
    lengths = {name: len(file.read_text(encoding="utf-8").splitlines()) for name, file in FILES.items()}
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


def test_no_function_is_too_long() -> None:
    lengths = {
        f"{module}.{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for module, file in FILES.items()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES_OF_A_FUNCTION} == {}


def test_the_top_of_the_package_stays_small() -> None:
    entries = {entry.name for entry in ROOT.iterdir()} - {"py.typed", "__pycache__"}
    assert len(entries) <= MOST_AT_THE_TOP, sorted(entries)


def test_no_two_classes_have_one_name() -> None:
    places: dict[str, list[str]] = {}
    for module, file in FILES.items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(module)
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}


def test_no_two_functions_or_aliases_have_one_name() -> None:
    """Of what is public at the top of a module."""
    places: dict[str, list[str]] = {}
    for module, file in FILES.items():
        for name in _defined(ast.parse(file.read_text(encoding="utf-8"))):
            places.setdefault(name, []).append(module)
    assert {name: modules for name, modules in places.items() if len(modules) > 1 and name not in IN_SEVERAL} == {}


def _defined(tree: ast.Module) -> Iterator[str]:
    """Functions and aliases; not a command's function, which is called as what is typed, nor what is in capitals."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            names = [] if any("app.command" in ast.unparse(by) for by in node.decorator_list) else [node.name]
        else:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            names = [target.id for target in targets if isinstance(target, ast.Name) and not target.id.isupper()]
        yield from (name for name in names if not name.startswith("_"))


def test_what_is_public_is_said_once() -> None:
    """By a name without an underscore; ``__all__`` stands where a module hands on names of others, and in what a
    method's author imports."""
    twice = set()
    for module, file in FILES.items():
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__" and module not in AUTHORS:
                imported = {alias.asname or alias.name for n in tree.body for alias in getattr(n, "names", ())}
                if not (imported & set(ast.literal_eval(node.value)) or module.startswith(SAID_TWICE)):
                    twice.add(module)
    assert twice == set()


def test_private_names_stay_in_their_module() -> None:
    private = set()
    for module, file in FILES.items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "lifealign_bench":
                private |= {f"{module} {node.module}.{alias.name}" for alias in node.names if _is_private(alias.name)}
    assert private == set()


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def test_a_plan_loads_nothing_that_only_training_needs() -> None:
    """A dry run of many pairs has to fit beside its libraries; these take a hundred megabytes."""
    seen, waiting, others = set[str](), ["experiments.plan"], set[str]()
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        at_the_top = [found for found in imports_of(module) if not (found.late or found.types_only)]
        others |= {found.name for found in at_the_top if not found.ours}
        waiting += [found.name for found in at_the_top if found.ours]
    assert "runs.setup" in seen and "transformers" in others
    assert not others & {"datasets", "lm_eval", "matplotlib", "pandas", "pyarrow", "trl"}
