"""The commands for authors of methods: ``new method``, a file to begin with and its test, and ``check method``."""

from __future__ import annotations

import keyword
import re
import shlex
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from lifealign_bench.cli.output import echo_json, messages_console, results_console
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.methods import method_files, method_names
from lifealign_bench.reporting.tables.grid import Grid, show_grid
from lifealign_bench.util.files import atomic_path
from lifealign_bench.util.process import is_silent, quieten_libraries, require_processes
from lifealign_bench.util.text import clean
from lifealign_bench.util.warm import Warm

if TYPE_CHECKING:
    from lifealign_bench.conformance.checks import Finding, MethodCheck

new_app = typer.Typer(help="Write a method file to start your own from.", no_args_is_help=True)
check_app = typer.Typer(help="Check that a method does what every method has to do.", no_args_is_help=True)


@new_app.command("method")
def new_method(
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits and underscores, e.g. my_method.")],
    folder: Annotated[Path, typer.Option("--dir", help="Where to write it.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
) -> None:
    """Write a working method file and its test.

    They train DPO with a small penalty; change them into your method, and check it as you go.
    """
    file, test = write_method(name, folder.expanduser(), force)
    path = shlex.quote(str(file))
    console = results_console()
    for text, style in (
        (f"Written: {file} and its test {test}. Next:", ""),
        (f"  lifealign-bench check method {path}", "bold"),
        (f"  python -m pytest {shlex.quote(str(test))}", "bold"),
        (f"  lifealign-bench run --method {path} --model fake --stream fake", "bold"),
        (f"  lifealign-bench run --method {path} --stream forms", "bold"),
    ):
        console.print(Text(clean(text) if not text.startswith(" ") else text, style=style), soft_wrap=True)


@check_app.command("method")
def check_method(
    method: Annotated[str, typer.Argument(help="A method's name, or its file.")],
    processes: Annotated[
        bool, typer.Option("--processes/--no-processes", help="Also train in two processes (some 10 seconds).")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON document.")] = False,
) -> None:
    """Run a method through the conformance suite, on the fake model and made-up tasks.

    For every check it shows whether the method passed, and where it did not, what was expected, what happened and the
    remedy. Exit code 0: all passed; 2: something failed.
    """
    if processes:
        require_processes("The check in two processes", "leave it out with --no-processes")
    quieten_libraries()
    untouched = "torch" not in sys.modules
    from lifealign_bench.conformance.checks import WORKER
    from lifealign_bench.conformance.suite import examine, known_method

    warm = Warm(WORKER)
    if processes and untouched:
        warm.begin_here()  # all is loaded, and neither a stranger's file nor a computation was here before
    console = messages_console()
    with closing(warm), console.status("", spinner="dots") as status:
        known_method(method)

        def told(check: MethodCheck) -> None:
            status.update(Text(f"{check.name} ..."))

        findings = examine(method, processes, told, warm)
    if as_json:
        echo_json(as_document(method, findings))
    elif not is_silent():
        show_findings(results_console(), method, findings)
    raise typer.Exit(0 if all(finding.passed for finding in findings) else 2)


_TEMPLATES = Path(__file__).parent / "templates"
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def write_method(name: str, folder: Path, force: bool = False) -> tuple[Path, Path]:
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


def show_findings(console: Console, method: str, findings: Sequence[Finding]) -> None:
    """The verdict; one row a check; below it each failure with what was expected, what happened and the remedy."""
    rows = tuple((f.check, f.result, f.found) for f in findings)
    failed = [f for f in findings if not f.passed]
    skipped = sum(f.result == "skip" for f in findings)
    total = f"{len(findings) - len(failed) - skipped} passed, {len(failed)} failed, {skipped} skipped"
    verdict = f"Verdict: {method} {'does not conform' if failed else 'conforms'}: {total}."
    console.print(Text(clean(verdict), style="bold red" if failed else "bold green"), soft_wrap=True)
    show_grid(console, Grid(f"Conformance of {method}", ("check", "result", "what was seen"), rows, prose=(2,)))
    for finding in failed:
        console.print(Text(clean(f"{finding.check}: {finding.result}"), style="bold red"))
        for label, text in (
            ("expected", finding.expected),
            ("happened", finding.found),
            ("remedy", finding.remedy),
        ):
            console.print(Padding(Text.assemble((f"{label}: ", "bold"), clean(text)), (0, 0, 0, 2)))
        console.print()


def as_document(method: str, findings: Sequence[Finding]) -> dict[str, Any]:
    """For ``--json``."""
    return {
        "method": method,
        "passed": all(finding.passed for finding in findings),
        "checks": [finding.as_dict() for finding in findings],
    }
