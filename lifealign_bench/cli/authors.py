"""The commands for authors of methods: ``new method`` and ``check method``."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from lifealign_bench.cli.output import messages_console, results_console
from lifealign_bench.util.process import is_silent
from lifealign_bench.util.redaction import redact
from lifealign_bench.util.text import clean

__all__ = ["check_app", "new_app"]

new_app = typer.Typer(help="Write a method file of your own to begin with.", no_args_is_help=True)
check_app = typer.Typer(help="Try a method on what every method has to do.", no_args_is_help=True)


@new_app.command("method")
def new_method(
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits and underscores, e.g. my_method.")],
    folder: Annotated[Path, typer.Option("--dir", help="Where to write it.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
) -> None:
    """Write a working method file and its test.

    They train DPO with a small penalty; change them into your method, and check it as you go.
    """
    from lifealign_bench.cli import scaffold

    file, test = scaffold.new_method(name, folder.expanduser(), force)
    path = shlex.quote(str(file))
    console = results_console()
    for text, style in (
        (f"Written: {file} and its test {test}. Next:", ""),
        (f"  lifealign-bench check method {path}", "bold"),
        (f"  python -m pytest {shlex.quote(str(test))}", "bold"),
        (f"  lifealign-bench run --method {path} --model fake --stream fake", "bold"),
        (f"  lifealign-bench run --method {path} --stream mini", "bold"),
    ):
        console.print(Text(clean(text) if not text.startswith(" ") else text, style=style), soft_wrap=True)


@check_app.command("method")
def check_method(
    method: Annotated[str, typer.Argument(help="A method's name, or its file.")],
    processes: Annotated[
        bool, typer.Option("--processes/--no-processes", help="Also train in two processes (some 20 seconds).")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON document.")] = False,
) -> None:
    """Run a method through the conformance suite, on the fake model and made-up tasks.

    It shows for every check whether the method passed, and for those that it did not what was expected, what happened
    and the remedy. Exit code 0: all passed; 2: something failed.
    """
    from lifealign_bench.util.process import quieten_libraries

    quieten_libraries()
    from lifealign_bench.cli.findings import as_document, show_findings
    from lifealign_bench.conformance.checks import Check
    from lifealign_bench.conformance.suite import examine, known_method

    known_method(method)
    console = messages_console()
    with console.status("", spinner="dots") as status:

        def told(check: Check) -> None:
            status.update(Text(f"{check.name} ..."))

        findings = examine(method, processes, told)
    if is_silent():
        pass
    elif as_json:
        typer.echo(redact(json.dumps(as_document(method, findings), indent=2, ensure_ascii=False)))
    else:
        show_findings(results_console(), method, findings)
    raise typer.Exit(0 if all(finding.passed for finding in findings) else 2)
