"""``lifealign-bench export``: a run as files of other evaluation tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from lifealign_bench.cli import options
from lifealign_bench.cli.doubts import warn
from lifealign_bench.cli.output import echo_json, results_console
from lifealign_bench.reporting.exports.formats import FORMATS, ExportRequest, export_run
from lifealign_bench.results.runcheck import doubts_of
from lifealign_bench.results.view import RunView
from lifealign_bench.util.text import clean

app = typer.Typer()


@app.command(epilog="Example:\n\nlifealign-bench export runs/forms/smollm2-135m/dpo/seed-0 --format inspect --out logs")
def export(
    run: Annotated[Path, typer.Argument(help="The folder of a finished run, or a record.")],
    kind: Annotated[str, typer.Option("--format", metavar="|".join(FORMATS), help="The tool that is to read it.")],
    out: Annotated[Path, typer.Option("--out", help="The folder for the files.", show_default=False)],
    stage: Annotated[
        str, typer.Option("--stage", metavar="last|all|N", help="The stage after which the model is looked at.")
    ] = "last",
    model_id: Annotated[
        str,
        typer.Option(
            "--model-id",
            metavar="OWNER/NAME",
            help="What the trained model is called, where it has a name.",
            show_default=False,
        ),
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Overwrite any file.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Write a run's scores and responses in the format of another evaluation tool.

    Prompts and responses are in the files, where the run's folder has them: mind that before giving them away.
    """
    view = RunView.open(run.expanduser())
    warn(doubts_of([view]))
    places = export_run(view, ExportRequest(kind, out.expanduser(), stage, model_id, force))
    if as_json:
        echo_json({"format": kind, "files": [str(place) for place in places]})
        return
    for place in places:
        results_console().print(Text(clean(f"Written: {place}")), soft_wrap=True)
