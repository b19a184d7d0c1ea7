"""``lifealign-bench new method``: a working method file and its test, to be changed into one's own."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from string import Template

from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.methods import method_files, method_names
from lifealign_bench.util.files import atomic_path

__all__ = ["new_method"]

_TEMPLATES = Path(__file__).parent / "templates"
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def new_method(name: str, folder: Path, force: bool = False) -> tuple[Path, Path]:
    """Write ``<name>.py`` into ``folder`` and its test beside it.

    In the folder of the built-in methods every file is a method, so there the test goes where theirs are.

    Returns:
        The two files.

    Raises:
        UsageError: not a name for a method, or one that is taken.
        BenchError: no such folder; a file is there already and not ``force``; the folder cannot be written.
    """
    built_in = folder.resolve() in {path.resolve().parent for path in method_files().values()}
    file = folder / f"{name}.py"
    _check_name(name, file, force)
    if not folder.is_dir():
        raise BenchError(f"There is no folder {folder}.", "Make it first, or give another one with --dir.")
    tests = folder.resolve().parent / "tests" / "methods" if built_in else folder
    if not tests.is_dir():
        raise BenchError(
            f"{folder} holds the built-in methods of an installed package.",
            "Write your method elsewhere, e.g. --dir . ; a method file works from anywhere.",
        )
    test = tests / f"test_{name}.py"
    present = [str(path) for path in (file, test) if path.exists()]
    if present and not force:
        raise BenchError(
            f"{' and '.join(present)} {'are' if len(present) > 1 else 'is'} there already.",
            "Choose another name or folder, or overwrite with --force.",
        )
    words = {
        "name": name,
        "title": name.replace("_", " ").capitalize(),
        "cls": "".join(part.capitalize() for part in name.split("_")),
        "imports": "" if built_in else "\nfrom pathlib import Path\n",
        "method": f'"{name}"' if built_in else f'str(Path(__file__).with_name("{name}.py"))',
    }
    for path, template in ((file, "method.py.tmpl"), (test, "test_method.py.tmpl")):
        _write(path, Template((_TEMPLATES / template).read_text(encoding="utf-8")).substitute(words))
    return file, test


def _check_name(name: str, file: Path, force: bool) -> None:
    if not _NAME.fullmatch(name) or keyword.iskeyword(name) or name.endswith("_") or len(name) > 40:
        raise UsageError(
            f"{name!r} is not a name for a method.",
            "Use lower-case letters, digits and underscores, a letter first, at most 40, e.g. my_method.",
        )
    if name == "all" or name.startswith("test_"):
        raise UsageError(f"{name!r} cannot be the name of a method: it has another meaning.", "Choose another name.")
    own = method_files().get(name)
    if name in method_names() and not (force and own is not None and own.resolve() == file.resolve()):
        raise UsageError(
            f"There is a method called {name!r} already.", f"Choose another name; taken: {', '.join(method_names())}."
        )


def _write(path: Path, text: str) -> None:
    try:
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BenchError(f"{path} cannot be written: {error.strerror}.", "Give another folder with --dir.") from error
